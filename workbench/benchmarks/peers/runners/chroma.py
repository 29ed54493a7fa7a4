"""Chroma in this process: SQLite, and an HNSW graph that is extended as records arrive."""

import os

import chromadb
from chromadb.api.client import SharedSystemClient
from chromadb.config import Settings

_MOST = 5_461  # records a call


class Subject:
    """``options``: m, ef_construction."""

    def __init__(self, folder, dimension, options):
        self.pid, self._folder = os.getpid(), str(folder / "chroma")
        graph = {"space": "cosine", "max_neighbors": options["m"], "ef_construction": options["ef_construction"]}
        self._records = self._open().create_collection("records", configuration={"hnsw": graph}, embedding_function=None)

    def batch(self, rows, vectors, metadata):
        if len(rows) > _MOST:
            raise ValueError(f"a batch of {len(rows):,} records: Chroma takes {_MOST:,}")
        return [str(row) for row in rows], vectors, metadata

    def insert(self, batch):
        ids, vectors, metadata = batch
        self._records.add(ids=ids, embeddings=vectors, metadatas=metadata)

    def wait_indexed(self):
        """The graph is extended within the calls."""

    def tune(self, setting):
        self._records.modify(configuration={"hnsw": {"ef_search": setting["ef_search"]}})
        SharedSystemClient.clear_system_cache()  # an open collection goes on with the setting that it was opened with
        self._records = self._open().get_collection("records", embedding_function=None)

    def request(self, vector, conditions):
        operators = {"==": "$eq", "<": "$lt"}
        parts = [{field: {operators[operator]: value}} for field, operator, value in conditions]
        return vector[None], {"$and": parts} if len(parts) > 1 else parts[0] if parts else None

    def query(self, request):
        vectors, where = request
        return self._records.query(query_embeddings=vectors, n_results=10, where=where, include=["metadatas", "distances"])

    def rows(self, answer):
        return [int(id) for id in answer["ids"][0]]

    def close(self):
        """Every call was committed."""

    def _open(self):
        return chromadb.PersistentClient(self._folder, Settings(anonymized_telemetry=False))
