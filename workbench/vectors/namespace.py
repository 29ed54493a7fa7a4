"""One namespace in memory: a matrix that grows by rows, what stands behind each row, and the index over it.

Writers append rows and then publish a new ``View``; what a view shows is never changed afterwards. So readers need no lock,
see all of a batch or none of it, and go on during a write or a build. A replaced or deleted record leaves a dead row behind;
once most rows are dead, the living ones move to a new matrix.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from workbench.settings import Flat, Index
from workbench.vectors.filters import Predicate
from workbench.vectors.index import ApproximateIndex, exact, rows_needed

_TAIL = 1_000  # rows that wait outside the index, searched exactly meanwhile (0.03 ms)
_SPARE_DEAD = 8  # dead rows that never trigger a compaction, so that a tiny namespace does not compact at every write
_INLINE = 1_000  # rows that are compacted within the write itself: under a millisecond
_UNIT = 1e-6  # a length this close to 1 counts as 1; float32 cannot tell much finer


class View(NamedTuple):
    """What readers see. Lists and matrix may be longer than ``size``: what lies beyond belongs to a later view."""

    matrix: np.ndarray  # float32[≥ size, d]; under cosine each row has length 1
    ids: list[str]
    metadata: list[dict]
    given: list[np.ndarray | None]  # values as they came, where the matrix holds them at another length
    live: np.ndarray  # bool[size]
    count: int  # live rows
    graph: ApproximateIndex | None

    @property
    def size(self) -> int:
        return len(self.live)


class Namespace:
    """The records of one namespace of one index."""

    __slots__ = ("_building", "_euclidean", "_metric", "_settings", "_spawn", "_view", "_writing", "dropped", "rows")

    def __init__(self, dimension: int, metric: str, settings: Index, spawn: Callable[[Callable[[], None]], None]) -> None:
        self._metric, self._euclidean, self._settings = metric, metric == "euclidean", settings
        self._spawn = spawn
        self._writing = threading.Lock()
        self._building = False
        self._view = View(np.empty((0, dimension), np.float32), [], [], [], np.empty(0, bool), 0, None)
        self.rows: dict[str, int] = {}
        self.dropped = False

    def __len__(self) -> int:
        return self._view.count

    # Writes

    def upsert(self, ids: Sequence[str], values: np.ndarray, metadata: Sequence[dict]) -> bool:
        """Insert or replace; False if this namespace was dropped meanwhile and holds nothing any more."""
        last = {id: position for position, id in enumerate(ids)}  # of several records with one id the last one counts
        if len(last) < len(ids):
            kept = list(last.values())
            ids, values, metadata = list(last), values[kept], [metadata[position] for position in kept]
        scaled, given = self._scaled(values)
        with self._writing:
            if self.dropped:
                return False
            self._append(ids, scaled, metadata, given)
            self._tidy()
        return True

    def delete(self, ids: Iterable[str] | None = None, predicate: Predicate | None = None) -> None:
        """Delete these ids, or what matches."""
        with self._writing:
            view = self._view
            if ids is None:
                ids = [view.ids[row] for row in self._allowed(view, predicate).nonzero()[0]]
            gone = [row for row in (self.rows.pop(id, None) for id in ids) if row is not None]
            live = view.live.copy()
            live[gone] = False
            self._view = view._replace(live=live, count=view.count - len(gone))
            self._tidy()

    def drop_if(self, condition: Callable[["Namespace"], bool]) -> bool:
        """Empty it for good if the condition holds; a writer that still has it sees ``dropped`` and takes a new one."""
        with self._writing:
            if condition(self):
                self.dropped = True
                self.rows = {}
                self._view = View(self._view.matrix[:0], [], [], [], np.empty(0, bool), 0, None)
            return self.dropped

    def _scaled(self, values: np.ndarray) -> tuple[np.ndarray, list[np.ndarray | None]]:
        """Rows as they are searched, and the given values where those differ."""
        if self._metric != "cosine":
            return values, [None] * len(values)
        lengths = np.linalg.norm(values.astype(np.float64), axis=1)  # in float32 a tiny vector's squares would vanish
        odd = np.abs(lengths - 1) > _UNIT
        scaled = values.copy()
        scaled[odd] = values[odd] / lengths[odd, None]
        return scaled, [row.copy() if is_odd else None for row, is_odd in zip(values, odd, strict=True)]

    def _append(self, ids: Sequence[str], scaled: np.ndarray, metadata: Sequence[dict], given: list) -> None:
        view = self._view
        start, end = view.size, view.size + len(ids)
        matrix = view.matrix
        if end > len(matrix):
            matrix = np.empty((max(end, 2 * start), matrix.shape[1]), np.float32)
            matrix[:start] = view.matrix[:start]
        matrix[start:end] = scaled
        replaced = [row for row in map(self.rows.get, ids) if row is not None]
        live = np.concatenate([view.live, np.ones(len(ids), bool)])
        live[replaced] = False
        # From here on nothing large is allocated: a batch that does not fit into memory has changed nothing.
        view.ids.extend(ids)
        view.metadata.extend(metadata)
        view.given.extend(given)
        self._view = view._replace(matrix=matrix, live=live, count=view.count + len(ids) - len(replaced))
        self.rows.update(zip(ids, range(start, end), strict=True))

    # Upkeep

    def _tidy(self) -> None:
        """Compact or index what has become due: at once if that is cheap, else on a thread of its own."""
        if self._building or not self._due():
            return
        if self._view.size <= _INLINE and self._view.graph is None and self._view.count < rows_needed(self._settings):
            self._rebuild(self._view, None)
            return
        self._building = True
        self._spawn(self._build)

    def _due(self) -> bool:
        view = self._view
        if view.size - view.count > max(view.count, _SPARE_DEAD):
            return True
        needed = rows_needed(self._settings)
        return view.size - len(view.graph) >= _TAIL if view.graph is not None else view.count >= needed

    def _build(self) -> None:
        try:
            while threading.main_thread().is_alive():  # or the interpreter is on its way out, and nobody will ask
                with self._writing:
                    if not self._due():
                        self._building = False  # under the lock: a writer after this sees it and spawns anew
                        return
                    view = self._view
                if view.graph is not None and view.size - view.count <= max(view.count, _SPARE_DEAD):
                    done = _fill(view.graph, view.matrix[len(view.graph) : view.size])
                else:
                    done = self._renew(view)
                if not done:
                    return
        except BaseException:
            self._building = False
            raise

    def _renew(self, view: View) -> bool:
        """Move the living rows to a new matrix under a new index, without stopping readers or writers."""
        graph = None
        kept = view.live.nonzero()[0]
        if not isinstance(self._settings, Flat) and len(kept) >= rows_needed(self._settings):
            matrix = view.matrix[kept]
            graph = ApproximateIndex(
                self._settings, matrix.shape[1], euclidean=self._euclidean, unit_length=self._metric == "cosine"
            )
            graph.train(matrix)
            if not _fill(graph, matrix):
                return False
        with self._writing:
            if not self.dropped:
                self._rebuild(view, graph)
        return True

    def _rebuild(self, view: View, graph: ApproximateIndex | None) -> None:
        """Publish the rows that lived in ``view``, which ``graph`` covers, then those written since; dead ones stay behind."""
        now = self._view
        written = now.live[view.size :].nonzero()[0] + view.size
        kept = np.concatenate([view.live.nonzero()[0], written])
        live = now.live[kept]  # what died since is still in the graph, so it keeps a row
        self._view = View(
            now.matrix[kept],
            [now.ids[row] for row in kept],
            [now.metadata[row] for row in kept],
            [now.given[row] for row in kept],
            live,
            now.count,
            graph,
        )
        self.rows = {self._view.ids[row]: row for row in live.nonzero()[0].tolist()}

    @property
    def building(self) -> bool:
        """Whether rows are being indexed or moved on another thread."""
        return self._building

    # Reads

    def fetch(self, ids: Iterable[str]) -> dict[str, tuple[np.ndarray, dict]]:
        """(values float32[d], metadata) of the ids that exist."""
        with self._writing:  # ids are looked up in a dictionary that writers change in place
            found = [(id, self.rows[id]) for id in ids if id in self.rows]
            view = self._view
        return {id: (_values(view, row), view.metadata[row]) for id, row in found}

    def query(self, queries: np.ndarray, top_k: int, predicate: Predicate | None) -> tuple[View, np.ndarray, np.ndarray]:
        """(view, scores float32[q, k], rows int64[q, k]) of the nearest live rows that match; k is at most ``top_k``."""
        view = self._view
        allowed = view.live if predicate is None else self._allowed(view, predicate)
        count = view.count if predicate is None else int(np.count_nonzero(allowed))
        k = min(top_k, count)
        if k == 0 or len(queries) == 0:
            return view, np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        if self._metric == "cosine":
            queries = (queries / np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)).astype(np.float32)
        # A graph walk promises no fixed number of results, and a quarter of everything is cheaper to scan.
        found = self._by_graph(view, queries, k, allowed) if 4 * k < count else None
        scores, rows = found or self._scan(view.matrix[: view.size], queries, k, allowed, count)
        return view, np.clip(scores, -1, 1) if self._metric == "cosine" else scores, rows

    def _by_graph(self, view: View, queries: np.ndarray, k: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        found = view.graph.search(queries, k, allowed) if view.graph is not None else None
        if found is None:
            return None
        scores, rows, covered = found
        if (rows < 0).any():
            return None
        tail = allowed[covered:]
        if waiting := int(np.count_nonzero(tail)):
            more = self._scan(view.matrix[covered : view.size], queries, min(k, waiting), tail, waiting)
            scores, rows = np.hstack([scores, more[0]]), np.hstack([rows, more[1] + covered])
            order = np.argsort(scores if self._euclidean else -scores, axis=1, kind="stable")[:, :k]
            scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
        return scores, rows

    def _scan(
        self, matrix: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        if count == len(matrix):
            return exact(queries, matrix, k, euclidean=self._euclidean)
        if 4 * count < len(matrix):  # few rows: gather them, rather than ask about every one
            chosen = allowed.nonzero()[0]
            scores, rows = exact(queries, matrix[chosen], k, euclidean=self._euclidean)
            return scores, chosen[rows]
        return exact(queries, matrix, k, euclidean=self._euclidean, bits=np.packbits(allowed, bitorder="little"))

    @staticmethod
    def _allowed(view: View, predicate: Predicate) -> np.ndarray:
        matches = (predicate(metadata) for metadata in view.metadata[: view.size])
        return view.live & np.fromiter(matches, bool, view.size)


def _values(view: View, row: int) -> np.ndarray:
    given = view.given[row]
    return view.matrix[row].copy() if given is None else given.copy()


def _fill(graph: ApproximateIndex, rows: np.ndarray) -> bool:
    """Add the rows; False if the interpreter began to exit meanwhile."""
    return all(threading.main_thread().is_alive() for _ in graph.add(rows))
