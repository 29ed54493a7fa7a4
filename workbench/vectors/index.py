"""Nearest neighbours of rows of a matrix through a FAISS index that covers the first rows.

Rows are only ever appended, and a row is known by its number, so a matrix can be searched while it grows. Neither HNSW nor a
searched IVF list can drop a vector at once; dead rows are left out of what was found. A graph gets every different
vector once, as a node (``twins``); callers see rows only.

Every search runs on the calling thread: FAISS's OpenMP would wake (and spin) a thread pool for a query that takes 0.3 ms.
Concurrent queries still use every core, because FAISS releases the interpreter lock. OpenMP's number of threads is the calling
thread's own, so a builder may use more.
"""

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import BinaryIO, Self

import faiss
import numpy as np

from workbench.errors import StoreDamaged
from workbench.settings import Index
from workbench.vectors import kinds
from workbench.vectors.kinds import check_index, rows_needed
from workbench.vectors.scan import exact, exact_among
from workbench.vectors.twins import Twins

__all__ = ["ApproximateIndex", "check_index", "exact", "exact_among", "rows_needed"]

_GRAPH_CHUNK = 4  # rows added per exclusive section: what a query may have to wait for, 2 ms at 100,000 rows
_LISTS_CHUNK = 64  # the same where adding a row takes microseconds
_BUILD_CHUNK = 256  # the same where nobody searches yet: how soon a build can be abandoned, about 0.1 s
_SQ_SAMPLE = 20_000  # rows that tell the range of each dimension; FAISS copies all it is given
_WIDEN = 4  # how much further a filtered search looks where its first look found too few


class ApproximateIndex:
    """An index of one of the kinds but Flat over rows 0 … n-1 of a matrix. One thread may add while others search.

    Args:
        settings: what is built; each search brings its own query settings.
        dimension: of the rows.
        euclidean: whether squared distances are compared, not inner products.
        unit_length: whether all rows have length 1; IVF's centroids then have, too.

    Raises:
        SettingError: the settings contradict themselves or the dimension.
    """

    def __init__(self, settings: Index, dimension: int, *, euclidean: bool, unit_length: bool) -> None:
        self._index = kinds.empty(check_index(settings, dimension), dimension, euclidean, unit_length)
        self._twins = Twins(sought=hasattr(self._index, "hnsw"))
        self._euclidean = euclidean
        self._exclusion = _ReadersWriter()
        self._adding = threading.Lock()  # what is being written must not grow; queries go on
        self._searched = False

    def __len__(self) -> int:
        """Rows, of equal ones each."""
        return len(self._twins)

    def train(self, matrix: np.ndarray, *, threads: int = 1) -> None:
        """Learn cells and codes from float32[n, d], at least ``rows_needed`` of them; nothing to do for HNSW.

        FAISS samples 256 rows a centroid, always the same ones.
        """
        faiss.omp_set_num_threads(threads)
        if isinstance(self._index, faiss.IndexHNSWSQ):
            matrix = np.ascontiguousarray(matrix[:: math.ceil(len(matrix) / _SQ_SAMPLE)])
        if not self._index.is_trained:
            self._index.train(matrix)

    def add(self, rows: np.ndarray, *, threads: int = 1) -> Iterator[None]:
        """Append float32[n, d] a few rows at a time, yielding in between, where no lock is held.

        More than one thread says that no queries are expected: then, and before the first search, chunks are large enough
        for FAISS to use them. From the first search on, they are small enough not to be felt.
        """
        small = _GRAPH_CHUNK if hasattr(self._index, "hnsw") else _LISTS_CHUNK
        if threads > 1:
            self._searched = False
        rows = np.ascontiguousarray(rows, np.float32)
        start = 0
        while start < len(rows):
            end = start + (small if self._searched else _BUILD_CHUNK)
            part = rows[start:end]
            arrival = self._twins.arriving(part)
            different = part if len(arrival.new) == len(part) else part[arrival.new]
            faiss.omp_set_num_threads(threads)  # each time: this thread may have searched meanwhile
            with self._adding, self._exclusion.writing():
                if len(different):
                    self._index.add(different)
                self._twins.add(arrival)
            start = end
            yield

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None, matrix: np.ndarray, settings: Index
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """As ``exact``, over the first ``covered`` rows: (scores, rows, covered).

        ``allowed`` (bool[n]) marks the rows that may be returned, of which those from n on may not; None allows all.
        ``matrix`` (float32[≥ covered, d]) holds the rows, from which a quantised kind's candidates are scored exactly; rows that
        are not allowed are not read. ``settings`` are those of the build or differ in query settings alone.

        Of equal rows a graph returns the first, in ascending order, save where all allowed rows are compared.
        """
        self._searched = True
        faiss.omp_set_num_threads(1)
        if allowed is not None:
            return self._filtered(queries, k, allowed, matrix, settings)
        scores, nodes, covered = self._nearest(queries, self._candidates(k, settings), settings)
        leads = self._twins.leads(nodes, None)
        return *self._twins.expanded(*self._best(queries, k, scores, leads, matrix, settings), covered, None), covered

    def _candidates(self, k: int, settings: Index) -> int:
        return max(k, min(k * getattr(settings, "refine", 1), self._index.ntotal))

    def _nearest(self, queries: np.ndarray, k: int, settings: Index, wider: float = 1.0) -> tuple[np.ndarray, np.ndarray, int]:
        """(scores, nodes, rows covered)."""
        with self._exclusion:
            return *self._index.search(queries, k, params=kinds.parameters(settings, wider)), len(self)

    def _best(
        self, queries: np.ndarray, k: int, scores: np.ndarray, rows: np.ndarray, matrix: np.ndarray, settings: Index
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first ``k`` of the candidates; a quantised kind's are scored again, exactly, and put in order."""
        if hasattr(settings, "refine"):
            rows = np.where(rows < len(matrix), rows, -1)  # rows that were added since the caller took its matrix
            return exact_among(queries, matrix, k, rows, euclidean=self._euclidean)
        return scores[:, :k], rows[:, :k]

    def _filtered(
        self, queries: np.ndarray, k: int, allowed: np.ndarray, matrix: np.ndarray, settings: Index
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """``search`` among allowed rows.

        The nearest rows are looked at whether allowed or not: as many as hold enough allowed ones with room to spare, were
        the filter independent of the vectors. Where too few are allowed, the filter is for what lies far from the query, and
        an index that was asked for allowed rows alone would give whatever few it came past. Then it looks further, and at
        last, where comparing all allowed rows takes no longer, exactly.
        """
        covered, candidates = len(self), self._candidates(k, settings)
        allowed = allowed[:covered]
        count = int(np.count_nonzero(allowed))
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        left = np.arange(len(queries))  # queries still to be answered
        further = 1
        while len(left):
            wider = further * covered / max(count, 1)
            looked = math.ceil((2 * candidates + 16) * wider)
            if kinds.compared(settings, covered, looked, wider) >= count:
                break
            near, nodes, _ = self._nearest(queries[left], looked, settings, wider)
            at = self._twins.leads(nodes, allowed)
            # Further away more rows are nearly as near as the best, and codes tell them apart less well.
            first = np.argsort(at < 0, axis=1, kind="stable")[:, : candidates * further]
            lines = np.arange(len(left))[:, None]
            near, at, further = near[lines, first], at[lines, first], further * _WIDEN
            enough = at[:, candidates - 1] >= 0
            answered, left = left[enough], left[~enough]
            best = self._best(queries[answered], k, near[enough], at[enough], matrix, settings)
            scores[answered], rows[answered] = self._twins.expanded(*best, covered, allowed)
        if len(left):
            chosen = allowed.nonzero()[0]
            scores[left], rows[left] = exact_among(queries[left], matrix, k, chosen, euclidean=self._euclidean)
        return scores, rows, covered

    def write(self, file: BinaryIO) -> None:
        """Write the whole index, without a checksum. Rows are added before or after, while queries go on."""
        with self._adding:
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write))
            self._twins.write(file)

    @classmethod
    def read(cls, file: BinaryIO, settings: Index, dimension: int, *, euclidean: bool, unit_length: bool) -> Self:
        """What ``write`` wrote; ``file`` then stands behind it.

        Raises:
            StoreDamaged: it is cut short or damaged, or an index of other build settings, dimension or metric.
        """
        made = cls(settings, dimension, euclidean=euclidean, unit_length=unit_length)
        try:
            found = faiss.read_index(faiss.PyCallbackIOReader(file.read))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].rpartition("Error: ")[2]
            raise StoreDamaged(f"the index cannot be read: {reason}") from None
        expected, there = kinds.build(made._index), kinds.build(found)
        if there != expected or not found.is_trained:
            raise StoreDamaged(f"the index was built as {there}, not as {expected}")
        if hasattr(found, "hnsw"):
            kinds.make_room(found, found.ntotal // 8)
        made._index, made._twins = found, Twins.read(file, found.ntotal, sought=hasattr(found, "hnsw"))
        made._searched = True  # it was read to be searched
        return made


class _ReadersWriter:
    """Many readers (``with it``) or one writer. A waiting writer goes first, or steady queries would keep it out for ever."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = self._waiting = 0
        self._writer = False

    def __enter__(self) -> None:
        with self._changed:
            while self._writer or self._waiting:
                self._changed.wait()
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._readers -= 1
            if self._waiting:
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
