"""What readers of a namespace see: rows that are only ever appended, and which of them live.

A writer appends rows and then publishes a new ``View``; what a view shows is never changed afterwards. So readers need no lock,
see all of a batch or none of it, and go on during a write or a build.
"""

from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import NamedTuple

import msgspec
import numpy as np

from workbench.errors import VectorError
from workbench.events import Record
from workbench.vectors.columns import Columns
from workbench.vectors.filters import Node
from workbench.vectors.index import ApproximateIndex, exact, exact_among
from workbench.vectors.space import Space

_OVERFLOW = np.finfo(np.float32).max  # the score FAISS gives where it has no row


class Rows:
    """Storage that grows by rows. What lies beyond a view's size belongs to later views."""

    __slots__ = ("columns", "given", "ids", "matrix", "metadata", "newest", "previous", "versions")

    def __init__(self, dimension: int, capacity: int = 0) -> None:
        self.matrix = np.empty((capacity, dimension), np.float32)  # under cosine each row has length 1
        self.versions = np.empty(capacity, np.int64)
        self.previous = np.empty(capacity, np.int32)  # the row that had this id before, or -1
        self.ids: list[str] = []
        self.metadata: list[bytes] = []
        self.given: list[np.ndarray | None] = []  # values as they came, where the matrix holds them at another length
        self.newest: dict[str, int] = {}  # id → its newest row, which may be dead
        self.columns: Columns | None = None

    def reserve(self, size: int) -> None:
        """Room for rows up to ``size``, so that appending cannot fail any more."""
        if size > len(self.matrix):
            capacity = max(size, 2 * len(self.ids))
            self.matrix, self.versions, self.previous = (
                _grown(array, capacity) for array in (self.matrix, self.versions, self.previous)
            )

    def append(
        self, ids: Sequence[str], vectors: np.ndarray, given: list, metadata: Sequence[bytes], versions: np.ndarray
    ) -> None:
        """Records with different ids, behind all others; room for them is reserved."""
        start, end = len(self.ids), len(self.ids) + len(ids)
        self.matrix[start:end], self.versions[start:end] = vectors, versions
        newest = self.newest
        self.previous[start:end] = [newest.get(id, -1) for id in ids]
        self.ids.extend(ids)
        self.metadata.extend(metadata)
        self.given.extend(given)
        newest.update(zip(ids, range(start, end), strict=True))

    def values(self, row: int) -> np.ndarray:
        """float32[d] as it was given; the caller's own."""
        given = self.given[row]
        return self.matrix[row].copy() if given is None else given.copy()


class Hit(NamedTuple):
    """One neighbour as it is stored: ``metadata`` is a JSON object; ``values`` float32[d], if they were asked for."""

    id: str
    score: float
    metadata: bytes
    values: np.ndarray | None


class View(NamedTuple):
    """The rows up to some moment, and which of them live."""

    rows: Rows
    live: np.ndarray  # bool[size]
    count: int  # live rows
    graph: ApproximateIndex | None = None

    @property
    def size(self) -> int:
        return len(self.live)

    @property
    def covered(self) -> int:
        """Rows that the graph has, which may have been extended since."""
        return 0 if self.graph is None else min(len(self.graph), self.size)

    def find(self, ids: Iterable[str]) -> dict[str, int]:
        """The live rows of those ids that have one."""
        rows, size, live = self.rows, self.size, self.live
        found = {}
        for id in ids:
            row = rows.newest.get(id, -1)
            while row >= size:  # written after this view
                row = int(rows.previous[row])  # looked up anew: a writer may have moved the array to a larger one
            if row >= 0 and live[row]:
                found[id] = row
        return found

    def living(self) -> np.ndarray:
        """int64[count]: the live rows."""
        return self.live.nonzero()[0]

    def ready(self, filter: Node) -> bool:
        """Whether ``matching`` has every row's fields at hand."""
        return self.rows.columns is not None and self.rows.columns.ready(filter, self.size)

    def matching(self, filter: Node | None) -> np.ndarray:
        """bool[size]: the live rows that match."""
        if filter is None:
            return self.live
        if self.rows.columns is None:
            self.rows.columns = Columns()
        return self.live & self.rows.columns.matching(filter, self.rows.metadata, self.size)

    def ids(self, prefix: str = "") -> Iterator[str]:
        """The live ids with this prefix."""
        ids = self.rows.ids
        every = (ids[row] for row in self.living().tolist())
        return (id for id in every if id.startswith(prefix)) if prefix else every

    def record(self, row: int) -> Record:
        """A row as it was given; the caller's own."""
        return Record(self.rows.ids[row], self.rows.values(row), decoded(self.rows.metadata[row]))

    def hits(
        self, space: Space, queries: np.ndarray, top_k: int, filter: Node | None, *, values: bool = False
    ) -> list[list[Hit]]:
        """What ``search`` finds, row by row of float32[q, d].

        Raises:
            VectorError: a score overflows float32.
        """
        scores, rows = self.search(space, queries, top_k, filter)
        if not (np.abs(scores) < _OVERFLOW).all():  # also where FAISS found no row at all, since every score was infinite or NaN
            raise VectorError("a score is too large for float32: scale the vectors down")
        ids, metadata, vector = self.rows.ids, self.rows.metadata, self.rows.values
        return [
            [Hit(ids[row], score, metadata[row], vector(row) if values else None) for row, score in zip(near, best, strict=True)]
            for near, best in zip(rows.tolist(), scores.tolist(), strict=True)
        ]

    def search(self, space: Space, queries: np.ndarray, top_k: int, filter: Node | None) -> tuple[np.ndarray, np.ndarray]:
        """(scores float32[q, k], rows int64[q, k]) of the nearest live rows that match; k is at most ``top_k``."""
        space.searched_at = monotonic()
        allowed, count = None, self.count
        if filter is not None or count < self.size:
            allowed = self.matching(filter)
            count = count if filter is None else int(np.count_nonzero(allowed))
        k = min(top_k, count)
        if k == 0 or len(queries) == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        if space.cosine:
            queries = (queries / np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)).astype(np.float32)
        # A graph walk promises no fixed number of results, and a quarter of everything is cheaper to scan.
        found = self._by_graph(space, queries, k, allowed) if self.graph is not None and 4 * k < count else None
        scores, rows = found or _scan(space, self.rows.matrix[: self.size], queries, k, allowed, count)
        return np.clip(scores, -1, 1) if space.cosine else scores, rows

    def _by_graph(
        self, space: Space, queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        if allowed is None and len(self.graph) > self.size:  # it has been extended since this view was published
            allowed = self.live
        scores, rows, covered = self.graph.search(queries, k, allowed, self.rows.matrix, space.index)
        if rows.min() < 0 or rows.max() >= self.size:  # too few, or some that were added just now
            return None
        covered = min(covered, self.size)
        waiting = self.size - covered if allowed is None else int(np.count_nonzero(allowed[covered:]))
        if waiting:
            tail = None if allowed is None else allowed[covered:]
            near, at = _scan(space, self.rows.matrix[covered : self.size], queries, min(k, waiting), tail, waiting)
            scores, rows = np.hstack([scores, near]), np.hstack([rows, at + covered])
            order = np.argsort(scores if space.euclidean else -scores, axis=1, kind="stable")[:, :k]
            scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
        return scores, rows


def decoded(metadata: bytes) -> dict:
    """The caller's own copy of a record's metadata."""
    return _decode(metadata)


_decode = msgspec.json.Decoder(dict).decode


def _scan(
    space: Space, matrix: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    if count == len(matrix):
        return exact(queries, matrix, k, euclidean=space.euclidean)
    return exact_among(queries, matrix, k, allowed.nonzero()[0], euclidean=space.euclidean)


def _grown(array: np.ndarray, capacity: int) -> np.ndarray:
    grown = np.empty((capacity, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
