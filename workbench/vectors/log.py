"""The log of one store: every acknowledged operation in order, in an SQLite file, replayed when the store opens.

One row is one operation, committed before the store acknowledges it. SQLite in WAL mode is what makes that hold: a commit is
whole or absent, also when the process is killed in the middle of a write. How much more than a killed process a commit
survives is the ``sync`` policy's choice (sqlite.org/pragma.html#pragma_synchronous):

* ``full``: each commit is synced to the disk. It survives a power cut.
* ``normal``: the system writes it to the disk in its own time. It survives ``kill -9``; a power cut may take the last commits.
* ``off``: as ``normal``, and a power cut may damage the file, which is then refused.

SQLite notices damage to its own structures but not to what a row holds, so each row carries a checksum, and a table of totals
tells whether rows are missing. A damaged file is refused as a whole.
"""

import contextlib
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from workbench.errors import SettingError, StoreDamaged, VectorError

Sync = Literal["full", "normal", "off"]
SYNCS: tuple[Sync, ...] = ("full", "normal", "off")

_FORMAT = 1
_VACUUM_PAGES = 1_000  # given back to the file system in one transaction: about 4 MB
_MOST_BYTES = 1_000_000_000  # that SQLite takes in one value
_TABLES = {
    "log": """CREATE TABLE log (
  lsn INTEGER PRIMARY KEY, namespace TEXT NOT NULL, kind INTEGER NOT NULL,
  ids BLOB NOT NULL, versions BLOB NOT NULL, vectors BLOB NOT NULL, metadata BLOB NOT NULL, checksum INTEGER NOT NULL
)""",
    "totals": """CREATE TABLE totals (
  format INTEGER NOT NULL, dimension INTEGER NOT NULL, entries INTEGER NOT NULL, checksums INTEGER NOT NULL,
  lsn INTEGER NOT NULL, version INTEGER NOT NULL, checksum INTEGER NOT NULL
)""",
}

_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH")

UPSERT, DELETE, EMPTY, DROP, CREATE = range(5)  # what an entry does: the last three to a whole namespace
_list_of_ids = msgspec.json.Decoder(list[str])
_list_of_objects = msgspec.json.Decoder(list[msgspec.Raw])


def check_sync(sync: str) -> None:
    """``SettingError`` for what is no policy."""
    if sync not in SYNCS:
        raise SettingError("sync", sync, f"one of {', '.join(SYNCS)}")


class Entry(NamedTuple):
    """One operation. An upsert has all of it, a delete only ids.

    ``versions`` (int64[n]) number the records of a store in the order they were written, each once: they tell which of
    several records of one id is meant. ``vectors`` is float32[n, d] as it was given, ``metadata`` JSON objects.
    """

    lsn: int
    namespace: str
    kind: int
    ids: Sequence[str] = ()
    versions: np.ndarray = np.empty(0, np.int64)
    vectors: np.ndarray = np.empty((0, 0), np.float32)
    metadata: Sequence[bytes] = ()


class Totals(NamedTuple):
    """``lsn`` and ``version`` are the highest that were ever given: a number is never given twice."""

    entries: int = 0
    checksums: int = 0  # their sum
    lsn: int = 0
    version: int = 0

    def and_(self, entry: Entry, checksum: int) -> "Totals":
        version = max(self.version, int(entry.versions.max(initial=0)))
        return Totals(self.entries + 1, self.checksums + checksum, max(self.lsn, entry.lsn), version)


class Log:
    """The log in ``path``, made if it is not there. Safe to use from several threads.

    Raises:
        StoreDamaged: the file is damaged, no log, or one of another version or dimension.
        VectorError: it cannot be opened or written; 507 where the disk is full.
    """

    def __init__(self, path: Path, *, dimension: int, sync: Sync = "full") -> None:
        check_sync(sync)
        self.path, self._dimension = path, dimension
        self._lock = threading.Lock()
        with self._errors():
            self._database = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
            try:
                self._open(sync)
            except BaseException:
                self._database.close()
                raise

    def _open(self, sync: Sync) -> None:
        execute = self._database.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")  # one process owns it: no shared memory file, and quicker commits
        execute(f"PRAGMA synchronous = {sync.upper()}")
        if not execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            self._make()
        execute("BEGIN IMMEDIATE")  # a file that may only be read is refused now, not at the first write
        execute("ROLLBACK")
        for (form,) in execute("SELECT format FROM totals"):
            if form != _FORMAT:
                raise StoreDamaged(f"{self.path} has format {form}: this version of the workbench reads {_FORMAT}")
        # A damaged schema could still be read and not be written, damaged lists of free pages overwrite what is in use.
        found = execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
        (verdict,) = execute("PRAGMA quick_check(1)").fetchone()
        totals = execute("SELECT * FROM totals").fetchall()
        expected = [("table", name, name, statement) for name, statement in sorted(_TABLES.items())]
        if verdict != "ok" or found != expected or len(totals) != 1:
            reason = verdict.splitlines()[-1] if verdict != "ok" else "its tables are not those that were made"
            raise StoreDamaged(f"{self.path} is damaged: {reason}")
        _, dimension, *counts, checksum = totals[0]
        if _sealed(dimension, counts) != checksum:
            raise StoreDamaged(f"{self.path} is damaged: its totals are not what was written")
        if dimension != self._dimension:
            raise StoreDamaged(f"{self.path} holds vectors of dimension {dimension}, not {self._dimension}")
        self.totals = Totals(*counts)

    def _make(self) -> None:
        execute = self._database.execute
        execute("PRAGMA auto_vacuum = INCREMENTAL")
        execute("PRAGMA journal_mode = WAL")
        execute("BEGIN")
        for statement in _TABLES.values():
            execute(statement)
        row = (_FORMAT, self._dimension, *Totals(), _sealed(self._dimension, Totals()))
        execute("INSERT INTO totals VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        execute("COMMIT")

    def replay(self) -> Iterator[Entry]:
        """Every entry in order.

        Raises:
            StoreDamaged: an entry is not what was written, or one is missing. Nothing that was given before counts then.
        """
        entries = checksums = 0
        with self._errors():
            for lsn, namespace, kind, *parts, checksum in self._database.execute("SELECT * FROM log ORDER BY lsn"):
                if not all(isinstance(part, bytes) for part in parts) or _checksum(lsn, namespace, kind, parts) != checksum:
                    raise StoreDamaged(f"{self.path} is damaged: entry {lsn} is not what was written")
                entries, checksums = entries + 1, checksums + checksum
                yield self._decoded(lsn, namespace, kind, parts)
        if (entries, checksums) != self.totals[:2]:
            raise StoreDamaged(f"{self.path} is damaged: {entries:,} entries are left of {self.totals.entries:,}")

    def append(self, entry: Entry) -> None:
        """Make it last. Nothing is written if this raises.

        Raises:
            VectorError: it cannot be written; 507 where the disk is full.
        """
        self.rewrite([], [entry])

    def rewrite(self, gone: Sequence[int], written: Iterable[Entry]) -> None:
        """In one transaction: remove the entries with these lsns, then write others, which may take their places.

        Raises: as ``append``.
        """
        with self._lock, self._errors():
            execute, totals = self._database.execute, self.totals
            try:
                execute("BEGIN IMMEDIATE")
                for lsn in gone:
                    (checksum,) = execute("DELETE FROM log WHERE lsn = ? RETURNING checksum", (lsn,)).fetchone()
                    totals = totals._replace(entries=totals.entries - 1, checksums=totals.checksums - checksum)
                for entry in written:
                    parts = _encoded(entry)
                    checksum = _checksum(entry.lsn, entry.namespace, entry.kind, parts)
                    row = (entry.lsn, entry.namespace, entry.kind, *parts, checksum)
                    execute("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                    totals = totals.and_(entry, checksum)
                row = (*totals, _sealed(self._dimension, totals))
                execute("UPDATE totals SET entries = ?, checksums = ?, lsn = ?, version = ?, checksum = ?", row)
                execute("COMMIT")
            except BaseException as error:
                if self._database.in_transaction:
                    execute("ROLLBACK")
                elif not isinstance(error, sqlite3.Error):  # Ctrl-C, heard as soon as the commit was done
                    self.totals = totals
                raise
            self.totals = totals

    def between(self, first: int, last: int, limit: int) -> list[Entry]:
        """At most ``limit`` entries from ``first`` to ``last``, in order."""
        with self._lock, self._errors():
            found = self._database.execute(
                "SELECT * FROM log WHERE lsn BETWEEN ? AND ? ORDER BY lsn LIMIT ?", (first, last, limit)
            ).fetchall()
        return [self._decoded(lsn, namespace, kind, parts) for lsn, namespace, kind, *parts, _ in found]

    def shrink(self) -> bool:
        """Give a few free pages back to the file system; whether there are more."""
        with self._lock, self._errors():
            self._database.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
            return self._database.execute("PRAGMA freelist_count").fetchone()[0] > 0

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in (self.path, self.path.with_name(f"{self.path.name}-wal")) if path.exists())

    def close(self) -> None:
        """Move everything into the one file, and let it go."""
        with self._lock, contextlib.suppress(sqlite3.Error):  # what was committed is safe in the WAL, too
            self._database.close()

    def _decoded(self, lsn: int, namespace: str, kind: int, parts: Sequence[bytes]) -> Entry:
        ids, versions, vectors, metadata = parts
        return Entry(
            lsn,
            namespace,
            kind,
            _list_of_ids.decode(ids),
            np.frombuffer(versions, np.int64),
            np.frombuffer(vectors, np.float32).reshape(-1, self._dimension),
            [bytes(each) for each in _list_of_objects.decode(metadata)],
        )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError:  # what SQLite says of a damaged file quotes it
            raise StoreDamaged(f"{self.path} is damaged or no vector log") from None
        except OverflowError:  # of Python's own, from 2 GB on
            raise VectorError(f"an operation of more than {_MOST_BYTES:,} bytes cannot be logged: divide it", 413) from None
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")  # none: what SQLite gave is not what Python expects, or it was closed
            if name.startswith("SQLITE_TOOBIG"):
                raise VectorError(f"an operation of more than {_MOST_BYTES:,} bytes cannot be logged: divide it", 413) from None
            if name.startswith("SQLITE_FULL"):
                raise VectorError(f"{self.path} cannot be written: the disk is full; nothing was stored", 507) from None
            if name.startswith("SQLITE_BUSY"):
                raise VectorError(f"{self.path} is in use by another process", 409) from None
            if name.startswith(_DAMAGE) or not (name or isinstance(error, sqlite3.ProgrammingError)):
                raise StoreDamaged(f"{self.path} is damaged or no vector log: {str(error).splitlines()[0]}") from None
            raise VectorError(f"{self.path} cannot be used: {error}", 507) from None


def _sealed(dimension: int, totals: Sequence[int]) -> int:
    return zlib.crc32(" ".join(map(str, (_FORMAT, dimension, *totals))).encode())


def _encoded(entry: Entry) -> tuple[bytes | memoryview, ...]:
    return (
        msgspec.json.encode(entry.ids),
        _buffer(entry.versions),
        _buffer(entry.vectors),
        b"[" + b",".join(entry.metadata) + b"]",
    )


def _buffer(array: np.ndarray) -> memoryview:
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


def _checksum(lsn: int, namespace: str, kind: int, parts: Iterable[bytes]) -> int:
    checksum = zlib.crc32(f"{lsn} {kind} {namespace}".encode())
    for part in parts:
        checksum = zlib.crc32(part, zlib.crc32(len(part).to_bytes(8, "little"), checksum))
    return checksum
