"""The local vector server as a child process, and every backend of the vector store, opened by name."""

import copy
import inspect
import itertools
import os
import time
import uuid

import numpy as np
import pytest

from workbench.process import Child
from workbench.vectors import BACKENDS, backend
from workbench.vectors.filters import compile_filter

KEY = "test-key"
SERVICE = "pinecone-service"  # Pinecone's client again, with the real service behind it
_MOST_S = 120.0  # until a write to the real service must be visible
_numbers = itertools.count()


@pytest.fixture(scope="session")
def server_url(tmp_path_factory):
    child = Child(
        "vector server", "workbench.vectors.server", log=tmp_path_factory.mktemp("server") / "log", env={"WORKBENCH_API_KEY": KEY}
    )
    try:
        yield child.wait_ready()
    finally:
        child.stop()


@pytest.fixture(scope="session")
def milvus_file(tmp_path_factory):
    """One file for all collections, kept open: to start Milvus Lite takes half a second."""
    path = str(tmp_path_factory.mktemp("milvus") / "contract.db")
    keeper = backend("milvus")(uri=path, name="keeper", dimension=2)
    yield path
    keeper.close()


@pytest.fixture(scope="session")
def service_indexes():
    """Indexes of the real service by dimension and metric, made when first asked for and deleted at the end."""
    import pinecone

    key, mark, opened = os.environ["PINECONE_API_KEY"], uuid.uuid4().hex[:8], {}

    def index(dimension, metric):
        if (dimension, metric) not in opened:
            name = f"contract-{mark}-{metric}-{dimension}"
            opened[dimension, metric] = (
                name,
                backend("pinecone")(url=None, key=key, name=name, dimension=dimension, metric=metric),
            )
        return opened[dimension, metric][1]

    yield index
    with pinecone.Pinecone(api_key=key) as client:
        for name, store in opened.values():
            store.close()
            client.indexes.delete(name)


class Eventually:
    """A store whose writes become visible some time after they return, held to a model: each write waits until all is seen."""

    def __init__(self, store):
        self._store, self._model = store, {}
        self.dimension = store.dimension
        for namespace in store.stats():
            store.delete(namespace=namespace)
        self._wait()

    def __getattr__(self, name):
        return getattr(self._store, name)

    def close(self):
        """The index serves the next test too."""

    def upsert(self, records, *, namespace=""):
        count = self._store.upsert(records, namespace=namespace)
        self._model.setdefault(namespace, {}).update(copy.deepcopy({record.id: record for record in records}))
        self._wait()
        return count

    def update(self, id, *, values=None, metadata=None, namespace=""):
        done = self._store.update(id, values=values, metadata=metadata, namespace=namespace)
        if done:
            held = self._model[namespace][id]
            merged = {**held.metadata, **copy.deepcopy(metadata or {})}
            self._model[namespace][id] = type(held)(id, held.values if values is None else np.array(values), merged)
            self._wait()
        return done

    def delete(self, ids=None, *, namespace="", filter=None):
        ids = ids if ids is None or isinstance(ids, str) else list(ids)
        self._store.delete(ids, namespace=namespace, filter=filter)
        held = self._model.get(namespace, {})
        matches = compile_filter(filter or {})
        gone = [id for id, record in held.items() if matches(record.metadata)] if ids is None else ids
        for id in gone:
            held.pop(id, None)
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + _MOST_S
        while not self._all_seen():
            assert time.monotonic() < deadline, f"a write is not visible after {_MOST_S:g} s"
            time.sleep(0.5)

    def _all_seen(self):
        model = {namespace: records for namespace, records in self._model.items() if records}
        if self._store.stats() != {namespace: len(records) for namespace, records in model.items()}:
            return False
        probe = np.ones((1, self.dimension), np.float32)
        for namespace, records in self._model.items():
            stored = self._store.fetch(list(records), namespace=namespace) if records else {}
            if {id: record.metadata for id, record in stored.items()} != {id: r.metadata for id, r in records.items()}:
                return False
            if any(not np.array_equal(stored[id].values, np.asarray(r.values, np.float32)) for id, r in records.items()):
                return False
            found = self._store.query(probe, top_k=min(10_000, len(records) + 1), namespace=namespace)[0]
            if {match.id: match.metadata for match in found} != {id: r.metadata for id, r in records.items()}:
                return False
            if set(self._store.ids(namespace=namespace)) != set(records):
                return False
        return True


@pytest.fixture
def open_store(request):
    """Opens a backend by name; what is served gets an index of its own."""
    opened = []

    def open(name, *, dimension, metric="cosine"):
        if name == SERVICE:
            return Eventually(request.getfixturevalue("service_indexes")(dimension, metric))
        kind = backend(name)
        takes = inspect.signature(kind).parameters
        where = {}
        if "url" in takes:
            where = {"url": request.getfixturevalue("server_url"), "key": KEY, "name": f"contract-{next(_numbers)}"}
        if "uri" in takes:
            where = {"uri": request.getfixturevalue("milvus_file"), "name": f"contract_{next(_numbers)}"}
        opened.append(kind(dimension=dimension, metric=metric, **where))
        return opened[-1]

    yield open
    for store in opened:
        store.close()


@pytest.fixture(params=[*BACKENDS, SERVICE])
def backend_name(request):
    if request.param == SERVICE and not os.environ.get("PINECONE_API_KEY"):
        pytest.skip("PINECONE_API_KEY is not set: the real service is not asked")
    return request.param
