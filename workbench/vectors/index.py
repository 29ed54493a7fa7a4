"""Nearest neighbours of rows of a matrix: exactly, or through a FAISS index that covers the first rows.

Rows are only ever appended, and a row's number is its label, so a matrix can be searched while it grows. Neither HNSW nor a
searched IVF list can drop a vector at once; dead rows are left out by a bitmap that FAISS consults during the search, which
keeps recall where filtering afterwards would lose it.

Every search runs on the calling thread: FAISS's OpenMP would wake (and spin) a thread pool for a query that takes 0.3 ms.
Concurrent queries still use every core, because FAISS releases the interpreter lock.
"""

import contextlib
import threading
from collections.abc import Iterator

import faiss
import numpy as np

from workbench.errors import SettingError
from workbench.settings import HNSW, IVF, Flat, Index

HNSW_MINIMUM = 1_000  # below it an exact scan is as fast: 0.03 ms at 1,000 rows of 384
IVF_MINIMUM_PER_LIST = 39  # faiss.ClusteringParameters.min_points_per_centroid
_CHUNK = 8  # rows added per exclusive section: what a query may have to wait for, about 3 ms
_BUILD_CHUNK = 256  # the same where nobody searches yet: how soon a build can be abandoned, about 0.1 s
_BLOCK = 16  # queries per scan: from 20 on FAISS turns to matrix multiplication, which cancels digits under euclidean


def check_index(settings: Index) -> Index:
    """The settings, or ``SettingError`` where they contradict themselves."""
    if isinstance(settings, IVF) and settings.nprobe > settings.nlist:
        raise SettingError("nprobe", settings.nprobe, f"at most nlist = {settings.nlist}")
    return settings


def rows_needed(settings: Index) -> float:
    """From how many rows on an index is built; until then, and always for Flat, search is exact."""
    match settings:
        case Flat():
            return float("inf")
        case HNSW():
            return HNSW_MINIMUM
        case IVF():
            return max(HNSW_MINIMUM, settings.nlist * IVF_MINIMUM_PER_LIST)


def exact(
    queries: np.ndarray, matrix: np.ndarray, k: int, *, euclidean: bool, bits: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` nearest rows of float32[n, d] to each of float32[q, d]: (scores float32[q, k], rows int64[q, k]), nearest first.

    Scores are inner products, or squared distances if ``euclidean``. ``bits`` (uint8, little-endian) marks the rows that may
    be returned; where fewer than ``k`` may, the rest of ``rows`` is -1.
    """
    faiss.omp_set_num_threads(1)
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    scan = faiss.knn_L2sqr if euclidean else faiss.knn_inner_product
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    options = (None, selector) if euclidean else (selector,)  # knn_L2sqr takes the rows' squared lengths first
    for start in range(0, len(queries), _BLOCK):
        block = slice(start, start + _BLOCK)
        part = queries[block]
        pointers = [faiss.swig_ptr(array) for array in (part, matrix, scores[block], rows[block])]
        scan(*pointers[:2], matrix.shape[1], len(part), len(matrix), k, *pointers[2:], *options)
    return scores, rows


class ApproximateIndex:
    """An HNSW or IVF index over rows 0 … n-1 of a matrix. One thread may add while others search."""

    def __init__(self, settings: HNSW | IVF, dimension: int, *, euclidean: bool, unit_length: bool) -> None:
        self._settings = settings
        self._exclusion = _ReadersWriter()
        metric = faiss.METRIC_L2 if euclidean else faiss.METRIC_INNER_PRODUCT
        if isinstance(settings, HNSW):
            self._index = faiss.IndexHNSWFlat(dimension, settings.m, metric)
            self._index.hnsw.efConstruction = settings.ef_construction
        else:
            self._cells = faiss.IndexFlat(dimension, metric)  # FAISS does not own it: it must live as long as the index
            self._index = faiss.IndexIVFFlat(self._cells, dimension, settings.nlist, metric)
            self._index.cp.spherical = unit_length

    def __len__(self) -> int:
        return self._index.ntotal

    def train(self, matrix: np.ndarray) -> None:
        """Learn IVF's cells from float32[n, d]; nothing to do for HNSW."""
        faiss.omp_set_num_threads(1)
        if not self._index.is_trained:
            self._index.train(matrix)

    def add(self, rows: np.ndarray) -> Iterator[None]:
        """Append float32[n, d] a few rows at a time, yielding in between, where no lock is held."""
        faiss.omp_set_num_threads(1)
        chunk = _CHUNK if len(self) else _BUILD_CHUNK
        for start in range(0, len(rows), chunk):
            with self._exclusion.writing():
                self._index.add(rows[start : start + chunk])
            yield

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
        """As ``exact``, over the first ``covered`` rows: (scores, rows, covered). ``allowed`` is bool[n] with n ≥ covered.

        None where too few rows are allowed for the index to be worth its error: search exactly then.
        """
        faiss.omp_set_num_threads(1)
        with self._exclusion.reading():
            covered = len(self)
            share = np.count_nonzero(allowed[:covered]) / covered
            if share < 0.1:
                return None
            selector = None if share == 1 else faiss.IDSelectorBitmap(np.packbits(allowed[:covered], bitorder="little"))
            scores, rows = self._index.search(queries, k, params=self._parameters(k, share, selector))
        return scores, rows, covered

    def _parameters(self, k: int, share: float, selector: object) -> object:
        # Where only a share of what is visited may be returned, visit that much more: recall then stays what it was.
        settings = self._settings
        if isinstance(settings, HNSW):
            return faiss.SearchParametersHNSW(efSearch=round(max(settings.ef_search, k) / share), sel=selector)
        return faiss.SearchParametersIVF(nprobe=min(settings.nlist, round(settings.nprobe / share)), sel=selector)


class _ReadersWriter:
    """Many readers or one writer. A waiting writer goes first, or a steady stream of queries would keep it out for ever."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._writer = False
        self._waiting = 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not (self._writer or self._waiting))
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: not (self._writer or self._readers))
            self._waiting -= 1
            self._writer = True
        try:
            yield
        finally:
            with self._changed:
                self._writer = False
                self._changed.notify_all()
