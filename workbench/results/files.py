"""One result as one Parquet file, sealed: its SHA-256 stands inside it, so that a damaged file is never taken for a result.

Parquet's page checksums cover neither the footer nor a page's header. The seal covers every byte: it is the hash of the file
with zeros in the seal's place, and it is checked before anything is parsed. Any Parquet reader still reads the file.
"""

import hashlib
import math
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import ResultError
from workbench.results.records import Result

_RESULT, _SEAL = b"workbench.result", b"workbench.seal"  # keys of the schema's metadata
_MARK = b"sha256 of this file with zeros here: "
_ZEROS = b"0" * 64
_KEYS = ("settings", "run")  # columns that ``samples()`` puts before a result's own
_AGAIN = "delete it and the sweep measures that point again"


class _Stored(Result, frozen=True, kw_only=True):
    """A result as JSON can hold it."""

    figures: dict[str, float | Literal["NaN", "Infinity", "-Infinity"]]


def encode(result: Result, samples: pd.DataFrame | None = None) -> bytes:
    """One result as a Parquet file's bytes.

    ``samples`` are its rows, one an event (None: no rows): float64 is kept as float32, every other type as it is, the index not
    at all. The result is JSON in the schema's metadata. JSON has no NaN and no infinity: such figures are written as the texts
    ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, as in protobuf's JSON mapping, and ``read`` gives them back as numbers.

    Raises:
        ResultError: a column of ``samples`` has no Parquet type, or a name that ``samples()`` gives to another column.
    """
    table = _table(pd.DataFrame() if samples is None else samples)
    texts = [field.name for field in table.schema if pa.types.is_large_string(field.type) or pa.types.is_string(field.type)]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", use_dictionary=texts, write_page_checksum=True) as writer:
        writer.write_table(table)
        # the seal comes last: whatever stands before it may contain its mark
        writer.add_key_value_metadata({_RESULT: _json(result), _SEAL: _MARK + _ZEROS})
    data = sink.getvalue().to_pybytes()
    at = data.rindex(_MARK) + len(_MARK)
    return data[:at] + hashlib.sha256(data).hexdigest().encode() + data[at + len(_ZEROS) :]


def save(data: bytes, path: Path) -> None:
    """Write what ``encode`` gave: all of it or nothing, and never over another result.

    A draft beside it is made durable and then linked to the name, which fails if the name is taken. The folder is made if need
    be; its file system must know hard links.

    Raises:
        ResultError: the file exists, or it cannot be written (a full disk, no permission).
    """
    try:
        write(data, path, os.link)
    except FileExistsError:
        raise ResultError(f"{path} exists, and no result is overwritten: {_AGAIN}") from None


def write(data: bytes, path: Path, publish: Callable[[Path, Path], None]) -> None:
    """Write a draft in ``path``'s folder, then ``publish(draft, path)``; the draft is removed whatever happens.

    Raises:
        FileExistsError: as ``publish`` raises it.
        ResultError: anything else that the operating system refuses.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            publish(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.exists():
            raise
        raise ResultError(f"{path} cannot be written: {error.strerror or error}") from None


def read(path: Path) -> tuple[Result, pd.DataFrame]:
    """One result and its samples.

    Raises:
        ResultError: there is no such file, or it is damaged or no result.
    """
    result, file = unseal(path)
    return result, file.read().to_pandas()


def unseal(path: Path) -> tuple[Result, pq.ParquetFile]:
    """One result and its file, whose rows are not yet decoded. Raises as ``read``."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ResultError(f"{path} does not exist: run the sweep again, and it measures that point") from None
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror or error}") from None
    at = data.rfind(_MARK) + len(_MARK)
    if at < len(_MARK):
        raise ResultError(f"{path} is cut short or no result: {_AGAIN}")
    if data[at : at + len(_ZEROS)] != hashlib.sha256(data[:at] + _ZEROS + data[at + len(_ZEROS) :]).hexdigest().encode():
        raise ResultError(f"{path} is damaged, its checksum does not fit: {_AGAIN}")
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    try:
        stored = msgspec.json.decode(file.metadata.metadata[_RESULT], type=_Stored)
    except (msgspec.ValidationError, KeyError) as error:
        raise ResultError(f"{path} is a result of another version of the workbench ({error}): {_AGAIN}") from None
    figures = {name: float(value) for name, value in stored.figures.items()}
    return Result(**{**msgspec.structs.asdict(stored), "figures": figures}), file


def _table(samples: pd.DataFrame) -> pa.Table:
    if taken := [name for name in _KEYS if name in samples]:
        raise ResultError(f"samples cannot have a column {taken[0]!r}: it is the point's own")
    doubles = samples.select_dtypes("float64").columns
    try:
        return pa.Table.from_pandas(samples.astype(dict.fromkeys(doubles, "float32")), preserve_index=False)
    except (pa.ArrowException, ValueError) as error:
        raise ResultError(f"samples cannot be kept: {' '.join(str(error).split())}") from None


def _json(result: Result) -> bytes:
    figures = {name: _number(float(value)) for name, value in result.figures.items()}
    return msgspec.json.encode({**msgspec.structs.asdict(result), "figures": figures})


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _sync_folder(folder: Path) -> None:
    """The new name itself survives a power cut only after this."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
