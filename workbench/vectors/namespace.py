"""One namespace in memory: how it changes, and how its rows get their index.

A replaced or deleted record leaves a dead row behind; once most rows are dead, the living ones move to new storage. Whoever
calls ``upsert``, ``delete`` or ``empty`` holds the space's ``writing`` lock.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic

import numpy as np

from workbench.settings import Flat
from workbench.vectors.columns import Columns
from workbench.vectors.index import ApproximateIndex, rows_needed
from workbench.vectors.space import Space
from workbench.vectors.upkeep import Job
from workbench.vectors.view import Rows, View

_TAIL = 1_000  # rows that wait outside the index, searched exactly meanwhile (0.03 ms)
_SPARE_DEAD = 8  # dead rows that never trigger a compaction, so that a tiny namespace does not compact at every write
_INLINE = 1_000  # rows that are compacted within the write itself: under a millisecond
_SLICE = 1_024  # rows that a build adds before it looks again whether somebody searches
_GROWTH = 1.25  # how much larger a graph must be than the one on disk to be written again


class Namespace:
    """The records of one namespace.

    ``upkeep`` takes work that is to be done on another thread; ``keep(versions, graph)`` writes the graph to disk.
    """

    __slots__ = ("_busy", "_head", "_keep", "_kept", "_pending", "_space", "_upkeep", "_visible")

    def __init__(
        self,
        space: Space,
        upkeep: Callable[[Job], None],
        keep: Callable[[np.ndarray, ApproximateIndex], None] | None = None,
    ) -> None:
        self._space, self._upkeep, self._keep = space, upkeep, keep
        self._head = self._visible = View(Rows(space.dimension), np.empty(0, bool), 0)
        self._pending: deque[tuple[float, View]] | None = deque() if space.delay_s else None
        self._busy = False
        self._kept = 0  # rows of the graph on disk

    @property
    def head(self) -> View:
        """What was acknowledged."""
        return self._head

    @property
    def view(self) -> View:
        """What readers see."""
        if self._pending:
            self._reveal()
        return self._visible

    @property
    def forgettable(self) -> bool:
        """Whether it is empty, and nobody is to see yet that it was not."""
        return not (self._head.count or self._pending or self._visible.count)

    @property
    def busy(self) -> bool:
        """Whether rows are being indexed or moved on another thread."""
        return self._busy

    # Writes

    def reserve(self, count: int) -> None:
        """Room for that many more rows.

        Raises:
            MemoryError: there is none.
        """
        self._head.rows.reserve(self._head.size + count)

    def upsert(self, ids: Sequence[str], vectors: np.ndarray, metadata: Sequence[bytes], versions: np.ndarray) -> None:
        """Insert or replace records with different ids, for which room is reserved."""
        view = self._head
        scaled, given = self._space.scaled(vectors)
        replaced = list(view.find(ids).values())
        live = np.concatenate([view.live, np.ones(len(ids), bool)])
        live[replaced] = False
        view.rows.append(ids, scaled, given, metadata, versions)
        self._publish(view._replace(live=live, count=view.count + len(ids) - len(replaced)))
        self._tidy()

    def delete(self, ids: Iterable[str]) -> None:
        """Delete those ids that are there."""
        view = self._head
        gone = list(view.find(ids).values())
        live = view.live.copy()
        live[gone] = False
        self._publish(view._replace(live=live, count=view.count - len(gone)))
        self._tidy()

    def empty(self) -> None:
        """Delete everything."""
        self._publish(View(Rows(self._space.dimension), np.empty(0, bool), 0))

    def restore(self, rows: Rows, live: np.ndarray, graph: ApproximateIndex | None) -> None:
        """Take what was recovered from disk, of which the graph covers the first rows; index what it lacks."""
        self._head = self._visible = View(rows, live, int(np.count_nonzero(live)), graph)
        self._kept = len(graph) if graph is not None else 0
        self._tidy()

    def _publish(self, view: View) -> None:
        self._head = view
        if self._pending is None:
            self._visible = view
        else:
            self._pending.append((monotonic() + self._space.delay_s, view))

    def _reveal(self) -> None:
        with self._space.revealing:  # else a slower reader could put an older view over a newer one
            now = monotonic()
            while self._pending and self._pending[0][0] <= now:
                self._visible = self._pending.popleft()[1]

    # Upkeep

    def _tidy(self) -> None:
        """Compact or index what has become due: at once if that is cheap, else on another thread."""
        view = self._head
        if self._busy or not self._due(view):
            return
        if view.size <= _INLINE and view.graph is None and view.count < rows_needed(self._space.index):
            self._move(view, view.living(), None)
            return
        self._busy = True
        self._upkeep(self._build)

    @staticmethod
    def _wasteful(view: View) -> bool:
        return view.size - view.count > max(view.count, _SPARE_DEAD)

    def _due(self, view: View) -> bool:
        if self._wasteful(view):
            return True
        if view.graph is None:
            return view.count >= rows_needed(self._space.index)
        return view.size - len(view.graph) >= _TAIL

    def _build(self, stopping: Callable[[], bool]) -> None:
        """Until nothing is due: extend the graph, or move the living rows under a new one."""
        try:
            while not stopping():
                with self._space.writing:
                    view = self._head
                    if not self._due(view):
                        self._busy = False  # under the lock: a writer after this sees it and asks anew
                        break
                if view.graph is not None and not self._wasteful(view):
                    self._fill(view.graph, view.rows.matrix, view.size, stopping)
                    self._save(view.rows.versions, view.graph)
                else:
                    self._renew(view, stopping)
        except BaseException:
            self._busy = False
            raise

    def _renew(self, view: View, stopping: Callable[[], bool]) -> None:
        """Move the living rows to new storage under a new graph, without stopping readers or writers."""
        space, kept, graph = self._space, view.living(), None
        if not isinstance(space.index, Flat) and len(kept) >= rows_needed(space.index):
            matrix = view.rows.matrix[kept]
            graph = ApproximateIndex(space.index, space.dimension, euclidean=space.euclidean, unit_length=space.cosine)
            graph.train(matrix, threads=self._threads())
            self._fill(graph, matrix, len(matrix), stopping)
            if stopping():
                return
        columns = view.rows.columns
        if columns is not None:  # or the next filtered query would have to read everything
            columns = columns.renewed([view.rows.metadata[row] for row in kept], len(kept))
        with space.writing:
            if self._head.rows is view.rows:  # else it was emptied meanwhile
                self._move(view, kept, graph, columns)
        if graph is not None:
            self._save(view.rows.versions[kept], graph)  # of the rows it was built from, whatever the namespace holds by now

    def _move(self, view: View, kept: np.ndarray, graph: ApproximateIndex | None, columns: Columns | None = None) -> None:
        """Publish ``kept`` rows of ``view``, which graph and columns cover, then those written since; others stay behind."""
        now = self._head
        written = now.live[view.size :].nonzero()[0] + view.size
        chosen = np.concatenate([kept, written])
        old, new = now.rows, Rows(self._space.dimension, len(chosen))
        new.append(
            [old.ids[row] for row in chosen],
            old.matrix[chosen],
            [old.given[row] for row in chosen],
            [old.metadata[row] for row in chosen],
            old.versions[chosen],
        )
        new.columns = columns
        live = now.live[chosen]  # what died since is still in the graph, so it keeps a row
        # Of an id that was replaced since, the newer row came later, and is the one that `append` remembers.
        self._publish(View(new, live, now.count, graph))

    def _fill(self, graph: ApproximateIndex, matrix: np.ndarray, size: int, stopping: Callable[[], bool]) -> None:
        for start in range(len(graph), size, _SLICE):
            for _ in graph.add(matrix[start : min(start + _SLICE, size)], threads=self._threads()):
                if stopping():
                    return

    def _threads(self) -> int:
        return os.cpu_count() or 1 if self._space.quiet() else 1

    def _save(self, versions: np.ndarray, graph: ApproximateIndex) -> None:
        if self._keep is not None and len(graph) >= _GROWTH * self._kept:
            self._keep_graph(versions, graph)

    def _keep_graph(self, versions: np.ndarray, graph: ApproximateIndex) -> None:
        self._keep(versions[: len(graph)].copy(), graph)
        self._kept = len(graph)

    def keep_last(self) -> None:
        """Write what the graph has gained since it was last written, before the store closes."""
        view = self._head
        if self._keep is not None and view.graph is not None and len(view.graph) > self._kept:
            self._keep_graph(view.rows.versions, view.graph)
