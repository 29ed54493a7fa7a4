"""Our own store, in this process."""

import os

from workbench.events import Record
from workbench.settings import parse_index
from workbench.vectors.store import Store


class Subject:
    """``options``: build (text of an index), sync ("full", "normal" or "off")."""

    def __init__(self, folder, dimension, options):
        self._build, self.pid = options["build"], os.getpid()
        index = parse_index(self._build)
        self._store = Store(dimension=dimension, metric="cosine", index=index, path=folder / "store", sync=options["sync"])

    def batch(self, rows, vectors, metadata):
        return [Record(str(row), vector, about) for row, vector, about in zip(rows, vectors, metadata, strict=True)]

    def insert(self, batch):
        self._store.upsert(batch)

    def wait_indexed(self):
        self._store.wait_indexed(timeout_s=3_600)

    def tune(self, setting):
        self._store.tune(parse_index(",".join([self._build, *(f"{name}={value}" for name, value in setting.items())])))

    def request(self, vector, conditions):
        operators = {"==": "$eq", "<": "$lt"}
        return vector[None], {field: {operators[operator]: value} for field, operator, value in conditions} or None

    def query(self, request):
        vectors, filter = request
        return self._store.query(vectors, top_k=10, filter=filter)[0]

    def rows(self, answer):
        return [int(match.id) for match in answer]

    def close(self):
        self._store.close()
