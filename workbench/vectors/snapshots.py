"""Graphs on disk, so that a store that opens again need not build them: one file a namespace, with its checksum.

They are a cache of what the log says. A file that is damaged, or of other settings, is removed and the graph built anew.
"""

import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import numpy as np

from workbench.errors import SettingError, StoreDamaged
from workbench.settings import Index, index_text, parse_index, same_build
from workbench.vectors.index import ApproximateIndex
from workbench.vectors.space import Space

_MAGIC = b"workbench graph 1\n"
_TRAILER = 4  # bytes of the CRC-32 of all before it
_CHUNK = 1 << 20


class Snapshot(NamedTuple):
    """``versions`` (int64[n]) are the records behind the graph's rows, in its order."""

    namespace: str
    versions: np.ndarray
    graph: ApproximateIndex


class _Header(msgspec.Struct):
    namespace: str
    index: str
    dimension: int
    metric: str
    rows: int


class Snapshots:
    """The graphs of one store, in ``folder``."""

    def __init__(self, folder: Path, space: Space) -> None:
        self._folder, self._space = folder, space
        folder.mkdir(exist_ok=True)
        for draft in folder.glob("*.draft"):  # of a process that was killed
            draft.unlink()

    def write(self, namespace: str, versions: np.ndarray, graph: ApproximateIndex) -> None:
        """Replace the namespace's graph on disk, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        space, path = self._space, self._path(namespace)
        header = msgspec.json.encode(_Header(namespace, index_text(space.index), space.dimension, space.metric, len(versions)))
        draft = path.with_suffix(".draft")
        try:
            with draft.open("wb", buffering=_CHUNK) as file:
                sealed = _Sealed(file)
                for part in (_MAGIC, len(header).to_bytes(4, "little"), header, versions.tobytes()):
                    sealed.write(part)
                graph.write(sealed)
                file.write(sealed.checksum.to_bytes(_TRAILER, "little"))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return next(self._folder.glob("*.graph"), None) is not None

    def remove(self, namespace: str) -> None:
        """Forget a namespace's graph."""
        self._path(namespace).unlink(missing_ok=True)

    def read(self) -> Iterator[Snapshot | str]:
        """Every graph that is whole and of the store's settings; of any other one, why it was removed."""
        for path in sorted(self._folder.glob("*.graph")):
            try:
                yield self._read(path)
            except (StoreDamaged, SettingError, OSError) as error:  # the second: of a kind that another version has
                path.unlink(missing_ok=True)
                yield f"{path.name}: {error}"

    def _read(self, path: Path) -> Snapshot:
        space = self._space
        with path.open("rb") as file:
            _verify(file)
            file.seek(len(_MAGIC))
            header = msgspec.json.decode(file.read(int.from_bytes(file.read(4), "little")), type=_Header)
            index: Index = parse_index(header.index)
            if (header.dimension, header.metric) != (space.dimension, space.metric) or not same_build(index, space.index):
                raise StoreDamaged(f"it was built as {header.index}, and {index_text(space.index)} is asked for")
            versions = np.frombuffer(file.read(8 * header.rows), np.int64)
            graph = ApproximateIndex.read(file, space.index, space.dimension, euclidean=space.euclidean, unit_length=space.cosine)
        if len(graph) != len(versions):
            raise StoreDamaged(f"it has {len(graph)} rows, not {len(versions)}")
        return Snapshot(header.namespace, versions, graph)

    def _path(self, namespace: str) -> Path:
        return self._folder / f"{hashlib.sha256(namespace.encode()).hexdigest()[:24]}.graph"


class _Sealed(io.RawIOBase):
    """Passes on what is written, and adds up its checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.checksum = file, 0

    def writable(self) -> bool:
        return True

    def write(self, part: bytes) -> int:
        self.checksum = zlib.crc32(part, self.checksum)
        return self._file.write(part)


def _verify(file: BinaryIO) -> None:
    """
    Raises:
        StoreDamaged: it is no graph, cut short, or not what was written.
    """
    left = os.fstat(file.fileno()).st_size - _TRAILER
    if left < len(_MAGIC) or file.read(len(_MAGIC)) != _MAGIC:
        raise StoreDamaged("it is no graph of this version")
    file.seek(0)
    checksum = 0
    while left:
        part = file.read(min(_CHUNK, left))
        checksum, left = zlib.crc32(part, checksum), left - len(part)
    if file.read(_TRAILER) != checksum.to_bytes(_TRAILER, "little"):
        raise StoreDamaged("it is damaged: its checksum does not fit")
