"""The list of what belongs to a sweep, as JSON that can be read with the naked eye."""

import os
from pathlib import Path

import msgspec

from workbench.errors import ResultError
from workbench.results.files import write
from workbench.results.records import Sweep

_NAME = "sweep.json"


def write_manifest(sweep: Sweep) -> Path:
    """Write ``sweep.json`` into the sweep's folder, in one step, in place of an older one; returns its path.

    The folder itself is not written down, so that it can be moved.

    Raises:
        ResultError: it cannot be written, or it would be refused when it is read.
    """
    path = sweep.folder / _NAME
    _check(sweep, path)
    values = {key: value for key, value in msgspec.structs.asdict(sweep).items() if key != "folder"}
    write(msgspec.json.format(msgspec.json.encode(values)) + b"\n", path, os.replace)
    return path


def read_manifest(folder: Path) -> Sweep:
    """The sweep whose folder this is.

    Raises:
        ResultError: there is no manifest, it is not one, or it names a file twice, a point twice or a file outside of its folder.
    """
    path = folder / _NAME
    try:
        values = msgspec.json.decode(path.read_bytes(), type=dict)
        sweep = msgspec.convert({**values, "folder": folder}, Sweep)
    except FileNotFoundError:
        raise ResultError(f"{folder} holds no sweep: there is no {_NAME} in it") from None
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ResultError(f"{path} is no sweep's manifest: {error}") from None
    _check(sweep, path)
    return sweep


def _check(sweep: Sweep, path: Path) -> None:
    folder = sweep.folder.resolve()
    files, points = set(), set()
    for point in sweep.points:
        # an absolute path, ".." and a link that leads away all end outside
        inside = (folder / point.file).resolve()
        if inside == folder or not inside.is_relative_to(folder):
            raise ResultError(f"{path} names {point.file!r}, which is outside of the sweep's folder")
        key = (msgspec.json.encode(point.settings, order="deterministic"), point.run)
        if point.file in files or key in points:
            raise ResultError(f"{path} names {point.file!r} or its point (run {point.run}) twice")
        files.add(point.file)
        points.add(key)
