"""The indexes of one server: in memory, or each in a folder of its own, so that the next server finds them.

``FOLDER/<name>/`` has ``index.json``, which describes the index, and the files of its store. ``FOLDER/.lock`` is held for as
long as the server lives (without the dot an index could not be named so). A folder whose name begins with a dot is an index
that was being made or removed: it does not count.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from workbench.errors import IndexNotFound, ServiceError, SettingError, StoreDamaged, VectorError
from workbench.settings import Index, index_text
from workbench.vectors.server.wire_control import Description, index_of
from workbench.vectors.store import Store

_FILE = "index.json"
_FORMAT = 1


class _Saved(msgspec.Struct, frozen=True):
    format: int
    description: Description


class Served:
    """One index and its store. ``active`` and ``writing`` count the requests under way; the event loop alone counts."""

    __slots__ = ("active", "description", "durable", "indexes", "store", "writing")

    def __init__(self, indexes: "Indexes", description: Description, store: Store, *, durable: bool) -> None:
        self.indexes, self.description, self.store, self.durable = indexes, description, store, durable
        self.active = self.writing = 0


class Indexes:
    """Every index of a server. Methods that change something may be called from any thread, and block while they write.

    Args:
        index: how indexes are built that do not say it themselves.
        folder: where they are kept; None keeps them in memory.
        sync: see ``workbench.vectors.log``.
        visible_after_s: how long a write is not seen by reads.

    Raises:
        ServiceError: another server uses the folder, or it cannot be used.
        StoreDamaged: an index in it is damaged.
    """

    def __init__(self, index: Index, folder: Path | None = None, sync: str = "full", visible_after_s: float = 0.0) -> None:
        self.default = index_text(index)
        self._folder, self._sync, self._visible_after_s = folder, sync, visible_after_s
        self._served: dict[str, Served] = {}
        self._leaving: set[str] = set()
        self._changing = threading.Lock()
        self._lock: BinaryIO | None = None
        if folder is not None:
            try:
                self._recover(folder)
            except BaseException:
                self.close()
                raise

    def __iter__(self) -> Iterator[Served]:
        return iter([self._served[name] for name in sorted(self._served)])

    def find(self, name: str) -> Served:
        """The index of that name, or ``IndexNotFound``."""
        served = self._served.get(name)
        if served is None:
            raise IndexNotFound(name[:80])
        return served

    def create(self, description: Description) -> Served:
        """A new, empty index.

        Raises:
            VectorError: 409 where the name is taken, 507 where the disk is full.
            SettingError: the index settings contradict themselves.
        """
        name = description.name
        with self._changing:
            if name in self._served or name in self._leaving:
                raise VectorError(f"index {name!r} already exists", 409)
            if self._folder is None:
                served = self._open(description, None)
            else:
                draft, folder = self._folder / f".draft-{name}", self._folder / name
                with _disk(folder):
                    shutil.rmtree(draft, ignore_errors=True)
                    draft.mkdir()
                    try:
                        _save(draft, description)
                        draft.rename(folder)  # only now there is an index
                    finally:
                        shutil.rmtree(draft, ignore_errors=True)
                    _sync_folder(self._folder)
                try:
                    served = self._open(description, folder)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
            self._served[name] = served
        return served

    def change(self, served: Served, changed: Callable[[Description], Description]) -> Description:
        """Change what is known of an index; other query settings take effect at once.

        Raises:
            VectorError: the index would have to be built anew, or the disk is full.
        """
        with self._changing:
            before = served.description
            after = changed(before)
            if after.index != before.index:
                try:
                    served.store.tune(index_of(after))
                except SettingError:
                    built = f"index {before.name!r} was built as {before.index}"
                    raise VectorError(f"{built}: only its query settings can change, not to {after.index}") from None
            if self._folder is not None:
                with _disk(self._folder / before.name):
                    _save(self._folder / before.name, after)
            served.description = after
        return after

    def leave(self, served: Served) -> None:
        """Find it no more; its name stays taken until it is discarded.

        Raises:
            VectorError: 403 where it is protected.
            IndexNotFound: another request was faster.
        """
        name = served.description.name
        with self._changing:
            if self._served.get(name) is not served:
                raise IndexNotFound(name)
            if served.description.deletion_protection == "enabled":
                raise VectorError(f"index {name!r} is protected: set deletion_protection to disabled first", 403)
            del self._served[name]
            self._leaving.add(name)

    def discard(self, served: Served) -> None:
        """End an index that was left and that no request uses any more, and remove its folder."""
        name = served.description.name
        try:
            served.store.close()
            if self._folder is not None:
                gone = self._folder / f".gone-{name}"
                with _disk(self._folder / name):
                    shutil.rmtree(gone, ignore_errors=True)
                    (self._folder / name).rename(gone)  # at once: half an index would be a damaged one
                    _sync_folder(self._folder)
                    shutil.rmtree(gone)
        finally:
            with self._changing:
                self._leaving.discard(name)

    def close(self) -> None:
        """Close every store and let the folder go. Nothing is lost, and a second call does nothing."""
        with self._changing:
            while self._served:
                self._served.popitem()[1].store.close()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def _recover(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / ".lock").open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(
                f"{folder} is in use by another vector server: choose another folder, or end that server"
            ) from None
        except OSError as error:
            raise ServiceError(f"{folder} cannot be used: {error.strerror}") from None
        for path in sorted(path for path in folder.iterdir() if path.is_dir()):
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)
            else:
                description = _saved(path)
                self._served[description.name] = self._open(description, path)

    def _open(self, description: Description, folder: Path | None) -> Served:
        store = Store(
            dimension=description.dimension,
            metric=description.metric,
            index=index_of(description),
            path=folder,
            sync=self._sync,
            visible_after_s=self._visible_after_s,
        )
        return Served(self, description, store, durable=folder is not None)


def _saved(folder: Path) -> Description:
    path = folder / _FILE
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
    except OSError as error:
        raise StoreDamaged(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreDamaged(f"{path} is damaged: {error}") from None
    if saved.format != _FORMAT:
        raise StoreDamaged(f"{path} has format {saved.format}: this version of the workbench reads {_FORMAT}")
    if saved.description.name != folder.name:
        raise StoreDamaged(f"{path} describes index {saved.description.name!r}: its folder was renamed")
    return saved.description


def _save(folder: Path, description: Description) -> None:
    draft = folder / f"{_FILE}.draft"
    with draft.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(_Saved(_FORMAT, description))) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / _FILE)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """What was renamed in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise VectorError(f"{path} cannot be written: {reason}; nothing was changed", 507) from None
