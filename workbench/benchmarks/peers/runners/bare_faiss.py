"""FAISS alone: an index in this process, without metadata, filters, updates or a file. What a store adds shows beside it."""

import os

import faiss
import numpy as np


class Subject:
    """``options``: m, ef_construction."""

    def __init__(self, folder, dimension, options):
        self.pid = os.getpid()
        self._index = faiss.IndexHNSWFlat(dimension, options["m"], faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = options["ef_construction"]

    def batch(self, rows, vectors, metadata):
        return np.ascontiguousarray(vectors)

    def insert(self, batch):
        self._index.add(batch)

    def wait_indexed(self):
        faiss.omp_set_num_threads(1)  # queries are asked one at a time

    def tune(self, setting):
        self._parameters = faiss.SearchParametersHNSW(efSearch=setting["ef_search"])

    def request(self, vector, conditions):
        if conditions:
            raise ValueError("FAISS knows no metadata")
        return vector[None]

    def query(self, request):
        return self._index.search(request, 10, params=self._parameters)

    def rows(self, answer):
        return answer[1][0].tolist()

    def close(self):
        pass
