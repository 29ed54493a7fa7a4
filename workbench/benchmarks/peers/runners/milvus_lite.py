"""Milvus Lite: a Milvus server that its client starts in this process."""

import json
import os

from pymilvus import DataType, MilvusClient

_FIELDS = ["aisle", "price", "in_stock", "products", "bucket"]


class Subject:
    """``options``: m, ef_construction."""

    def __init__(self, folder, dimension, options):
        self.pid, self._params = os.getpid(), {}
        self._client = MilvusClient(str(folder / "records.db"))
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
        schema.add_field("aisle", DataType.VARCHAR, max_length=64)
        schema.add_field("price", DataType.DOUBLE)
        schema.add_field("in_stock", DataType.BOOL)
        schema.add_field("products", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=16, max_length=256)
        schema.add_field("bucket", DataType.INT64)
        index = self._client.prepare_index_params()
        build = {"M": options["m"], "efConstruction": options["ef_construction"]}
        index.add_index("vector", index_type="HNSW", metric_type="COSINE", params=build)
        self._client.create_collection("records", schema=schema, index_params=index)

    def batch(self, rows, vectors, metadata):
        return rows, vectors, metadata

    def insert(self, batch):
        columns = zip(*batch, strict=True)
        self._client.insert("records", [{"id": row, "vector": vector, **about} for row, vector, about in columns])

    def wait_indexed(self):
        self._client.flush("records")
        self._client.load_collection("records")

    def tune(self, setting):
        self._params = {"metric_type": "COSINE", "params": {"ef": setting["ef_search"]}}

    def request(self, vector, conditions):
        return vector, " and ".join(f"{field} {operator} {json.dumps(value)}" for field, operator, value in conditions)

    def query(self, request):
        vector, filter = request
        return self._client.search(
            "records", [vector], limit=10, filter=filter, search_params=self._params, output_fields=_FIELDS
        )[0]

    def rows(self, answer):
        return [hit["id"] for hit in answer]

    def close(self):
        self._client.close()
