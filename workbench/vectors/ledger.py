"""What a store holds, and how it changes: each operation is numbered, made durable, and then applied, one after another."""

import fcntl
import functools
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np

from workbench.errors import StoreDamaged, VectorError
from workbench.vectors.compaction import compact
from workbench.vectors.index import ApproximateIndex
from workbench.vectors.log import CREATE, DELETE, DROP, EMPTY, UPSERT, Entry, Log, Sync
from workbench.vectors.namespace import Namespace
from workbench.vectors.recovery import Recovery, recover
from workbench.vectors.snapshots import Snapshots
from workbench.vectors.space import Space
from workbench.vectors.upkeep import Upkeep
from workbench.vectors.view import View

_P, _R = ParamSpec("_P"), TypeVar("_R")
_log = logging.getLogger(__name__)
_SPARE = 10_000  # dead records, or small entries, that a log may always hold


def _whole(change: Callable[_P, _R]) -> Callable[_P, _R]:
    """A change that goes on to its end when Ctrl-C comes, which is heard after it: half-way, memory and log would differ."""

    @functools.wraps(change)
    def shielded(*args: _P.args, **options: _P.kwargs) -> _R:
        if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
            return change(*args, **options)
        came = []
        heard = signal.signal(signal.SIGINT, lambda *_: came.append(True))
        try:
            return change(*args, **options)
        finally:
            signal.signal(signal.SIGINT, heard)
            if came:
                signal.raise_signal(signal.SIGINT)

    return shielded


class Ledger:
    """The namespaces of one store. Whoever changes something holds ``space.writing``; readers take a ``view``.

    Raises:
        VectorError: another process has the folder (409), or it cannot be used (507).
        StoreDamaged: a file in it is not what was written.
    """

    def __init__(self, space: Space, path: Path | None, sync: Sync) -> None:
        self._space = space
        self.namespaces: dict[str, Namespace] = {}
        self.created: set[str] = set()  # namespaces that exist though they may be empty
        self.lsn = 0  # of the last operation that counts
        self._given = self._version = 0  # the last numbers that were given to an operation and to a record
        self.records = 0
        self.upkeep = Upkeep()
        self.log: Log | None = None
        self.recovered: Recovery | None = None
        self._invisible: deque[tuple[float, int]] = deque()  # (when it becomes visible, lsn)
        self._shown = 0  # the last lsn that was there
        if path is not None:
            self._lock = _locked(path)
            try:
                self._open_disk(path, sync)
            except BaseException:
                self._lock.close()
                raise

    def _open_disk(self, path: Path, sync: Sync) -> None:
        try:
            self._snapshots = Snapshots(path / "graphs", self._space)
        except OSError as error:
            raise VectorError(f"{path / 'graphs'} cannot be used: {error.strerror or error}", 507) from None
        log = Log(path / "log.sqlite", dimension=self._space.dimension, sync=sync)
        self.log = log
        try:
            if not log.totals.lsn and self._snapshots:  # a file that was made just now, in place of one that is lost
                raise StoreDamaged(f"{log.path} is missing or empty, and {path / 'graphs'} says that it held records")
            found = recover(log, self._snapshots, self._space, self._opened)
        except BaseException:
            self.upkeep.close()
            log.close()
            raise
        self.created, self.recovered, self._logged = found.created, found.report, found.logged
        self.records = found.report.records
        self.lsn = self._shown = self._given = log.totals.lsn
        self._version = log.totals.version
        self._floor = log.totals.entries  # entries that a pass of compaction would leave, as far as is known
        self._compacting = False

    # Reads

    def head(self, name: str) -> View | None:
        """What a namespace holds, whether it is visible yet or not; None where it holds nothing."""
        namespace = self.namespaces.get(name)
        return namespace.head if namespace is not None and namespace.head.count else None

    def view(self, name: str) -> View | None:
        """What readers see of a namespace; None where it holds nothing."""
        namespace = self.namespaces.get(name)
        view = namespace.view if namespace is not None else None
        return view if view is not None and view.count else None

    @property
    def visible_lsn(self) -> int:
        """The last operation that readers see."""
        invisible = self._invisible
        if not self._space.delay_s:
            return self.lsn
        with self._space.revealing:
            now = time.monotonic()
            while invisible and invisible[0][0] <= now:
                self._shown = invisible.popleft()[1]
        return self._shown

    # Writes

    @_whole
    def upsert(self, name: str, ids: list[str], vectors: np.ndarray, metadata: list[bytes]) -> int:
        """Insert or replace; of several records with one id the last one counts. Returns the lsn."""
        last = {id: position for position, id in enumerate(ids)}
        if len(last) < len(ids):
            kept = list(last.values())
            ids, vectors, metadata = list(last), vectors[kept], [metadata[position] for position in kept]
        namespace = self._opened(name)
        namespace.reserve(len(ids))  # what does not fit into memory is refused before it is written down
        versions = np.arange(self._version + 1, self._version + 1 + len(ids))
        try:
            self._note(Entry(self._given + 1, name, UPSERT, ids, versions, vectors, metadata))
        except BaseException:
            self._forget_if_empty(name)
            raise
        before = namespace.head.count
        namespace.upsert(ids, vectors, metadata, versions)
        self.records += namespace.head.count - before
        self._acknowledge()
        return self.lsn

    @_whole
    def delete(self, name: str, ids: list[str]) -> None:
        """Delete records that are there."""
        if ids:
            self._note(Entry(self._given + 1, name, DELETE, ids))
            self.namespaces[name].delete(ids)
            self.records -= len(ids)
            self._forget_if_empty(name)
            self._acknowledge()

    @_whole
    def empty(self, name: str, *, drop: bool = False) -> None:
        """Delete all records of a namespace; with ``drop`` itself, too."""
        self._note(Entry(self._given + 1, name, DROP if drop else EMPTY))
        if drop:
            self.created.discard(name)
        if name in self.namespaces:
            self.records -= self.namespaces[name].head.count
            self.namespaces[name].empty()
            self._forget_if_empty(name)
        self._acknowledge()

    @_whole
    def create(self, name: str) -> None:
        """Make a namespace that exists though it is empty."""
        self._note(Entry(self._given + 1, name, CREATE))
        self.created.add(name)
        self._acknowledge()

    def close(self) -> None:
        """End what is under way; write the graphs that have grown, and let the folder go."""
        self.upkeep.close()
        if self.log is not None:
            try:
                for namespace in self.namespaces.values():
                    namespace.keep_last()
            except OSError as error:  # they are a cache of what the log says
                _log.warning("the graphs were not written: %s", error)
            finally:
                self.log.close()
                self._lock.close()

    def _note(self, entry: Entry) -> None:
        if self.log is not None:
            self.log.append(entry)
            self._logged += len(entry.versions)
        self._given, self._version = entry.lsn, self._version + len(entry.versions)

    def _acknowledge(self) -> None:
        """Only now that readers can see it, or will once it is due, does the number of an operation count."""
        self.lsn = self._given
        if self._space.delay_s:
            self._invisible.append((time.monotonic() + self._space.delay_s, self.lsn))
        if self.log is not None:
            self._tidy()

    def _opened(self, name: str) -> Namespace:
        if name not in self.namespaces:
            keep = self._keeper(name) if self.log is not None else None
            self.namespaces[name] = Namespace(self._space, self.upkeep.submit, keep)
        return self.namespaces[name]

    def _forget_if_empty(self, name: str) -> None:
        if self.namespaces[name].forgettable:
            del self.namespaces[name]

    def _keeper(self, name: str) -> Callable[[np.ndarray, ApproximateIndex], None]:
        return lambda versions, graph: self._snapshots.write(name, versions, graph)

    # Upkeep of the log

    def _tidy(self) -> None:
        dead, entries = self._logged - self.records, self.log.totals.entries
        if self._compacting or (dead <= max(self.records, _SPARE) and entries <= 2 * self._floor + _SPARE):
            return
        self._compacting = True
        self.upkeep.submit(self._compact)

    def _compact(self, stopping: Callable[[], bool]) -> None:
        try:
            with self._space.writing:
                last, before = self.lsn, self._logged
            counted = compact(self.log, last, self._alive, self.created.__contains__, stopping)
        finally:
            self._compacting = False
        with self._space.writing:
            self._logged += counted - before
            self._floor = self.log.totals.entries - (self.lsn - last)  # less what was written meanwhile, an entry each
            if not stopping():
                self._tidy()

    def _alive(self, entry: Entry) -> np.ndarray:
        alive = np.zeros(len(entry.ids), bool)
        with self._space.writing:
            view = self.head(entry.namespace)
            if view is not None:
                found = view.find(entry.ids)
                rows = np.array([found.get(id, -1) for id in entry.ids])
                alive[:] = (rows >= 0) & (view.rows.versions[rows] == entry.versions)
        return alive


def _locked(path: Path):
    """The folder's lock file, held by this process.

    Raises:
        VectorError: another process holds it (409), or the folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / "lock").open("w")
    except OSError as error:
        raise VectorError(f"{path} cannot be used: {error.strerror or error}", 507) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise VectorError(f"{path} is in use by another store: one process at a time", 409) from None
    return file
