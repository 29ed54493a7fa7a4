"""A sweep's folder on disk: one sweep at a time fills it, and nothing in it is ever overwritten or deleted."""

import contextlib
import datetime
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from workbench.errors import ResultError
from workbench.results import Point, read


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other sweep out of ``folder``, which is made if need be. However this process ends, the system unlocks it.

    The lock is a file beside the folder, so that it holds while the folder is set aside.

    Raises:
        ResultError: another sweep fills the folder, or it cannot be made.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    with contextlib.ExitStack() as held:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            file = held.enter_context(lock.open("a+"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            folder.mkdir(exist_ok=True)
        except BlockingIOError:
            owner = lock.read_text() or "unknown"
            raise ResultError(
                f"{folder} is being filled by another sweep, process {owner}: await its end or name another"
            ) from None
        except OSError as error:
            raise ResultError(f"{folder} cannot be used for results: {error.strerror}") from None
        yield


def set_aside(folder: Path) -> None:
    """Give what is in ``folder`` the name "folder.<UTC time>", and leave ``folder`` empty.

    Raises:
        ResultError: that name is taken, or the folder cannot be renamed.
    """
    if not any(folder.iterdir()):
        return
    aside = folder.with_name(f"{folder.name}.{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S.%fZ}")
    try:
        folder.rename(aside)
        folder.mkdir()
    except OSError as error:
        raise ResultError(f"{folder} cannot be set aside as {aside.name}: {error.strerror}") from None


def measured(folder: Path, points: Sequence[Point]) -> set[str]:
    """Files of the points that have a result already; each is read and checked.

    Raises:
        ResultError: one is damaged.
    """
    for draft in folder.glob(".*.draft"):  # of a sweep that was killed while it saved
        draft.unlink()
    found = {point.file for point in points if (folder / point.file).exists()}
    for file in found:
        read(folder / file)
    return found
