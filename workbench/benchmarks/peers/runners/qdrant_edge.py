"""Qdrant Edge: Qdrant's engine in this process. An update goes to its log; only optimising builds the graph."""

import os

from qdrant_edge import (
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    HnswIndexConfig,
    MatchValue,
    PayloadSchemaType,
    Point,
    Query,
    QueryRequest,
    RangeFloat,
    SearchParams,
    UpdateOperation,
)

_FIELDS = {"aisle": PayloadSchemaType.Keyword, "in_stock": PayloadSchemaType.Integer, "bucket": PayloadSchemaType.Integer}


class Subject:
    """``options``: m, ef_construction."""

    def __init__(self, folder, dimension, options):
        self.pid, self._params = os.getpid(), None
        place = folder / "shard"
        place.mkdir()
        graph = HnswIndexConfig(m=options["m"], ef_construct=options["ef_construction"], full_scan_threshold=10)
        config = EdgeConfig(
            vectors=EdgeVectorParams(size=dimension, distance=Distance.Cosine),
            hnsw_config=graph,
            optimizers=EdgeOptimizersConfig(indexing_threshold=1_000, default_segment_number=1),  # kB: a graph for any size
        )
        self._shard = EdgeShard.create(str(place), config)
        for field, kind in _FIELDS.items():  # before the graph, which is built with links for what they select
            self._shard.update(UpdateOperation.create_field_index(field, kind))

    def batch(self, rows, vectors, metadata):
        # Its Python binding (0.9.0) takes the True of a condition for 1, which matches no bool.
        return rows, vectors, [{**about, "in_stock": int(about["in_stock"])} for about in metadata]

    def insert(self, batch):
        rows, vectors, metadata = batch
        points = [Point(row, vector, about) for row, vector, about in zip(rows, vectors.tolist(), metadata, strict=True)]
        self._shard.update(UpdateOperation.upsert_points(points))

    def wait_indexed(self):
        self._shard.optimize()
        self._shard.flush()

    def tune(self, setting):
        self._params = SearchParams(hnsw_ef=setting["ef_search"])

    def request(self, vector, conditions):
        return vector, Filter(must=[_condition(*each) for each in conditions]) if conditions else None

    def query(self, request):
        vector, filter = request
        nearest = Query.Nearest(vector.tolist())
        return self._shard.query(QueryRequest(10, query=nearest, filter=filter, with_payload=True, params=self._params))

    def rows(self, answer):
        return [point.id for point in answer]

    def close(self):
        self._shard.flush()
        self._shard.close()


def _condition(field, operator, value):
    if operator == "==":
        return FieldCondition(field, match=MatchValue(value))
    return FieldCondition(field, range=RangeFloat(lt=value))
