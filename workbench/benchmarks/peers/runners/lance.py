"""LanceDB in this process: files of columns, with an HNSW graph in each cell of an IVF index, of which there is one here."""

import datetime
import os

import lancedb
import pyarrow as pa
from lancedb.index import Bitmap, BTree, HnswFlat

_FIELDS = {"aisle": Bitmap(), "in_stock": Bitmap(), "bucket": BTree()}
_METADATA = pa.schema(
    {
        "aisle": pa.string(),
        "price": pa.float64(),
        "in_stock": pa.bool_(),
        "products": pa.list_(pa.string()),
        "bucket": pa.int64(),
    }
)
_SHOWN = ["id", *_METADATA.names, "_distance"]


class Subject:
    """``options``: m, ef_construction."""

    def __init__(self, folder, dimension, options):
        self.pid, self._options, self._ef = os.getpid(), options, None
        vector = pa.field("vector", pa.list_(pa.float32(), dimension))
        schema = pa.schema([pa.field("id", pa.int64()), vector, *_METADATA])
        self._table = lancedb.connect(folder / "lance").create_table("records", schema=schema)

    def batch(self, rows, vectors, metadata):
        return rows, vectors, metadata

    def insert(self, batch):
        rows, vectors, metadata = batch
        numbers = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        columns = pa.Table.from_pylist(metadata, schema=_METADATA).columns
        self._table.add(pa.Table.from_arrays([pa.array(rows, pa.int64()), numbers, *columns], schema=self._table.schema))

    def wait_indexed(self):
        self._table.optimize()  # else every batch stays a fragment of its own
        graph = HnswFlat(distance_type="cosine", num_partitions=1, **self._options)
        for field, config in {"vector": graph, **_FIELDS}.items():
            self._table.create_index(field, config=config, wait_timeout=datetime.timedelta(hours=1))

    def tune(self, setting):
        self._ef = setting["ef_search"]

    def request(self, vector, conditions):
        operators = {"==": "=", "<": "<"}
        parts = [f"{field} {operators[operator]} {_literal(value)}" for field, operator, value in conditions]
        return vector, " AND ".join(parts)

    def query(self, request):
        vector, where = request
        search = self._table.search(vector, "vector").distance_type("cosine").nprobes(1).ef(self._ef).limit(10).select(_SHOWN)
        return (search.where(where, prefilter=True) if where else search).to_list()

    def rows(self, answer):
        return [row["id"] for row in answer]

    def close(self):
        """Every call was written."""


def _literal(value):
    return f"'{value}'" if isinstance(value, str) else str(value).lower()
