"""Vectors in an SQLite file: the embedding cache's second tier, shared by the processes of one machine."""

import contextlib
import logging
import sqlite3
import threading
import time
import zlib
from pathlib import Path

from workbench.errors import SettingError

APPLICATION_ID = 0x56535745  # marks an SQLite file as ours; the ASCII letters VSWE
FORMAT = 1
_WAIT_S = 30.0  # for another process's write, which takes well under a second
_CHUNK = 500  # keys a SELECT; SQLite takes thousands, but is no faster for them
_SUM_BYTES = 4

_log = logging.getLogger(__name__)


class _ForeignFileError(Exception):
    """The file is a database of something else, or of another format."""


class VectorFile:
    """Rows of ``dimension`` float32 under 16-byte keys, kept apart for each model and dimension.

    A file that is damaged, or is something else, is renamed to ``NAME.damaged-N``, which is logged in one line, and a new
    one is begun. A row carries a checksum; one that does not match counts as absent. If the file can no longer be read or
    written (a full disk), that is logged once and the rest of the run does without it. Threads take turns.

    Raises:
        SettingError: the file cannot be opened or created.
    """

    def __init__(self, path: Path, model: str, dimension: int) -> None:
        self.path, self._model, self._row_bytes = path, f"{model}/{dimension}", dimension * 4
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise SettingError("path", str(path), f"a file that can be created and written ({error})") from None

    def get(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """The rows that are there. 10,000 take about 0.1 s."""
        return self._guarded(lambda: self._select(keys)) or {}

    def put(self, rows: dict[bytes, bytes]) -> None:
        """Keep the rows, in one transaction. 10,000 take about 0.2 s."""
        self._guarded(lambda: self._insert(rows))

    def holds_any(self) -> bool:
        """Whether there is a row of this model."""
        query = "SELECT EXISTS (SELECT 1 FROM vectors WHERE model = ?)"
        return bool(self._guarded(lambda: self._connection.execute(query, (self._model,)).fetchone()[0]))

    def close(self) -> None:
        """Close the file; from then on it holds nothing and keeps nothing."""
        with self._lock:
            self._disconnect()

    def _guarded(self, action):
        """What the action gives; None if there is no file, or it turned out to be damaged or out of reach."""
        with self._lock:
            if self._connection is None:
                return None
            try:
                return action()
            except sqlite3.Error as error:
                try:
                    if not _is_damage(error):
                        raise
                    self._set_aside(error)
                    self._open()
                except (sqlite3.Error, OSError) as reason:
                    self._disconnect()
                    _log.warning("the embedding cache %s is out of use, vectors stay in memory only: %s", self.path, reason)
                return None

    def _select(self, keys: list[bytes]) -> dict[bytes, bytes]:
        found, wrong = {}, 0
        for start in range(0, len(keys), _CHUNK):
            part = keys[start : start + _CHUNK]
            query = f"SELECT key, row FROM vectors WHERE model = ? AND key IN ({','.join('?' * len(part))})"
            for key, stored in self._connection.execute(query, (self._model, *part)):
                row = stored[:-_SUM_BYTES]
                if len(row) == self._row_bytes and stored[-_SUM_BYTES:] == _checksum(key, row):
                    found[key] = row
                else:
                    wrong += 1
        if wrong:
            _log.warning("the embedding cache %s has %d damaged rows, which are embedded again", self.path, wrong)
        return found

    def _insert(self, rows: dict[bytes, bytes]) -> None:
        with self._connection as transaction:
            transaction.execute("BEGIN IMMEDIATE")
            transaction.executemany(
                "INSERT OR REPLACE INTO vectors (model, key, row) VALUES (?, ?, ?)",
                ((self._model, key, row + _checksum(key, row)) for key, row in rows.items()),
            )

    def _open(self) -> None:
        try:
            self._connect()
        except (sqlite3.Error, _ForeignFileError) as error:
            if not (isinstance(error, _ForeignFileError) or _is_damage(error)):
                raise
            self._set_aside(error)
            self._connect()

    def _connect(self) -> None:
        self.path.touch()  # SQLite would create it later, and there must be an inode to look at
        self._connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
        self._inode = self.path.stat().st_ino
        mark = self._pragma("application_id"), self._pragma("user_version")
        if mark != (APPLICATION_ID, FORMAT):
            # Another process may be creating the file: it is ours once the write lock has been had and the mark looked at.
            self._connection.execute("BEGIN IMMEDIATE")
            self._create()
            self._connection.execute("COMMIT")
        self._write_ahead()
        self._connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last vectors, never the file

    def _create(self) -> None:
        mark = self._pragma("application_id"), self._pragma("user_version")
        if mark == (APPLICATION_ID, FORMAT):
            return
        if mark != (0, 0) or self._connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            raise _ForeignFileError("it is another program's database, or of another version")
        self._connection.execute("CREATE TABLE vectors (model TEXT, key BLOB, row BLOB, PRIMARY KEY (model, key))")
        self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version = {FORMAT}")

    def _write_ahead(self) -> None:
        """Readers then never wait for a writer. SQLite does not wait for the lock that this takes, so we do."""
        end = time.monotonic() + _WAIT_S
        while self._pragma("journal_mode") != "wal":
            try:
                self._pragma("journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def _pragma(self, text: str) -> object:
        return self._connection.execute(f"PRAGMA {text}").fetchone()[0]

    def _set_aside(self, reason: Exception) -> None:
        self._disconnect()
        if self.path.stat().st_ino != self._inode:
            return  # another process has set it aside already, and begun the file that is there now
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        self.path.rename(aside)
        for suffix in ("-wal", "-shm"):  # they belong to the old file and would damage the new one
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        _log.warning("the embedding cache %s was not usable (%s): it is now %s, a new one begun", self.path, reason, aside.name)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # an error of the sqlite3 module itself has none
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _checksum(key: bytes, row: bytes) -> bytes:
    return zlib.crc32(row, zlib.crc32(key)).to_bytes(_SUM_BYTES, "little")
