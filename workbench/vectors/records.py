"""What a vector store accepts: ids, values, metadata and limits, checked in one place and named in one line.

Limits and types: docs.pinecone.io/reference/api/database-limits.
"""

import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from workbench.errors import VectorError
from workbench.events import Record

MAX_ID = 512
MAX_TOP_K = 10_000
MAX_METADATA_BYTES = 40 * 1024
MAX_DIMENSION = 20_000
METRICS = ("cosine", "dotproduct", "euclidean")


def check_id(value: object) -> str:
    """An id of 1 to 512 ASCII characters, or ``VectorError``."""
    if type(value) is not str or not 1 <= len(value) <= MAX_ID or not value.isascii() or "\0" in value:
        shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        raise VectorError(f"id {shown} is not allowed: 1 to {MAX_ID} ASCII characters")
    return value


def check_ids(values: Iterable[str]) -> list[str]:
    """Ids as a list, or ``VectorError``; one string is refused, since it would be taken letter by letter."""
    if isinstance(values, str):
        raise VectorError(f"ids must be a list of strings, not the string {values[:60]!r}")
    return [check_id(value) for value in values]


def check_selection(ids: Iterable[str] | None, filter: dict | None) -> list[str] | None:
    """What is to be deleted: ids as a list, or None where it is a filter's matches or (with neither) a whole namespace.

    Raises:
        VectorError: both, or an empty filter, which would delete everything by accident.
    """
    if ids is not None and filter is not None:
        raise VectorError("delete takes ids or a filter, not both")
    if filter == {}:
        raise VectorError("delete with an empty filter is not allowed: give neither ids nor filter to delete a namespace")
    return None if ids is None else check_ids(ids)


def check_namespace(value: object) -> str:
    """A namespace's name: up to 512 ASCII characters, "" is the default one; or ``VectorError``."""
    if type(value) is not str or len(value) > MAX_ID or not value.isascii() or "\0" in value:
        raise VectorError(f"namespace {repr(value)[:60]} is not allowed: up to {MAX_ID} ASCII characters")
    return value


def check_top_k(value: object) -> int:
    """1 to 10,000, or ``VectorError``."""
    if type(value) is not int or not 1 <= value <= MAX_TOP_K:
        raise VectorError(f"top_k {value!r} is not allowed: a whole number from 1 to {MAX_TOP_K:,}")
    return value


def check_metadata(metadata: object, id: str) -> dict:
    """The metadata, or ``VectorError`` naming the field."""
    encode_metadata(metadata, id)
    return metadata


def encode_metadata(metadata: object, id: str) -> bytes:
    """Metadata as a JSON object, or ``VectorError`` naming the field."""
    if not isinstance(metadata, dict):
        raise VectorError(f"metadata of {id!r} must be an object, not {type(metadata).__name__}")
    for field, value in metadata.items():
        if type(field) is not str or field.startswith("$"):
            raise VectorError(f"metadata field {field!r} of {id!r} must be a string that does not begin with $")
        if not _storable(value):
            allowed = "a string, a finite number of 64 bits, a bool or a list of strings"
            raise VectorError(f"metadata field {field!r} of {id!r} must be {allowed}, not {type(value).__name__}")
    try:
        encoded = msgspec.json.encode(metadata)
    except UnicodeEncodeError:
        raise VectorError(f"metadata of {id!r} holds text that is not Unicode (a lone surrogate)") from None
    if len(encoded) > MAX_METADATA_BYTES:
        raise VectorError(f"metadata of {id!r} takes {len(encoded):,} bytes as JSON: at most {MAX_METADATA_BYTES:,}")
    return encoded


def _storable(value: object) -> bool:
    kind = type(value)
    if kind is list:
        return all(type(element) is str for element in value)
    if kind is int:
        return -(2**63) <= value < 2**64
    return kind is str or kind is bool or (kind is float and math.isfinite(value))


def query_matrix(vectors: object, dimension: int, metric: str) -> np.ndarray:
    """Query vectors as a contiguous float32[n, d]; ``VectorError`` for a wrong shape, NaN, infinity, or zero under cosine."""
    array = _numbers(vectors)
    if array is None or array.ndim != 2:
        raise VectorError(f"query vectors must be numbers of shape [n, {dimension}], not {_shape(vectors, array)}")
    if len(array) and array.shape[1] != dimension:
        raise VectorError(f"query vectors have {array.shape[1]} dimensions: this index has {dimension}")
    array = _float32(array).reshape(len(array), dimension)
    for row in np.flatnonzero(~np.isfinite(array).all(axis=1)):
        raise VectorError(f"query vector {row} holds NaN or an infinity (in float32)")
    if metric == "cosine":
        for row in np.flatnonzero(~array.any(axis=1)):
            raise VectorError(f"query vector {row} contains only zeros, which have no direction under cosine")
    return array


def record_matrix(records: Sequence[Record], dimension: int) -> np.ndarray:
    """The records' values as a contiguous float32[n, d]; ``VectorError`` names the first record that is wrong."""
    try:
        array = _numbers([record.values for record in records])
    except (TypeError, ValueError):
        array = None
    if array is None or array.shape != (len(records), dimension):
        for record in records:
            single = _numbers(record.values)
            if single is None or single.ndim != 1:
                shape = _shape(record.values, single)
                raise VectorError(f"values of {record.id!r} must be a list of {dimension} numbers, not {shape}")
            if len(single) != dimension:
                raise VectorError(f"values of {record.id!r} have {len(single)} dimensions: this index has {dimension}")
        array = np.stack([_numbers(record.values) for record in records])
    array = _float32(array)
    for row in np.flatnonzero(~np.isfinite(array).all(axis=1)):
        raise VectorError(f"values of {records[row].id!r} hold NaN or an infinity (in float32)")
    for row in np.flatnonzero(~array.any(axis=1)):
        # Pinecone refuses these whatever the metric.
        rule = "Dense vectors must contain at least one non-zero value"
        raise VectorError(f"{rule}. Vector ID {records[row].id!r} contains only zeros")
    return array


def _numbers(values: object) -> np.ndarray | None:
    """An array of real numbers, or None for anything else: NumPy alone would turn "1.5" into a number."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        return None
    return array if array.dtype.kind in "fiu" or array.size == 0 else None


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused as such by the caller
        return np.ascontiguousarray(array, dtype=np.float32)


def _shape(values: object, array: np.ndarray | None) -> str:
    return f"an array of shape {list(array.shape)}" if array is not None else f"{type(values).__name__} of something else"
