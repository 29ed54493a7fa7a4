"""Vectors and metadata of requests: JSON in, rows of one float32 matrix and canonical JSON out, by the rules of ``records``.

Reading numbers is what an upsert costs: 250 vectors of 384 take 9 ms as lists of Python floats, 2 to 3 ms as read here.
"""

import msgspec
import numpy as np
import simdjson
from msgspec import Raw

from workbench.errors import VectorError
from workbench.vectors import records as rules
from workbench.vectors.server.wire import Vector, decode


def given(raw: Raw) -> bool:
    """Whether a field was in the request and is not null."""
    return bytes(raw) != b"null"


def parse_records(vectors: list[Vector], dimension: int) -> tuple[list[str], np.ndarray, list[bytes]]:
    """(ids, values float32[n, d], metadata as JSON) of an upsert, ready for ``Store.put``.

    Raises:
        VectorError: what is not allowed, and in which record.
    """
    matrix = np.empty((len(vectors), dimension), np.float32)
    parser = simdjson.Parser()
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused as such
        for row, vector in zip(matrix, vectors, strict=True):
            rules.check_id(vector.id)
            if vector.sparse_values is not None:
                raise VectorError(f"sparseValues of {vector.id!r} are not served here: dense values are")
            row[:] = _numbers(vector.values, dimension, f"values of {vector.id!r}", parser)
    ids = [vector.id for vector in vectors]
    _check(matrix, ids)
    return ids, matrix, [parse_metadata(vector.metadata, vector.id) for vector in vectors]


def parse_values(raw: Raw, dimension: int, id: str) -> np.ndarray:
    """float32[d] of one record. Raises as ``parse_records``."""
    with np.errstate(over="ignore"):
        row = _numbers(raw, dimension, f"values of {id!r}", simdjson.Parser()).astype(np.float32)
    _check(row[None], [id])
    return row


def parse_query(raw: Raw, dimension: int) -> np.ndarray:
    """float32[d] to search with; infinite where a number does not fit, which the store refuses.

    Raises:
        VectorError: it is not so many numbers.
    """
    with np.errstate(over="ignore"):
        return _numbers(raw, dimension, "values of the query vector", simdjson.Parser()).astype(np.float32)


def parse_metadata(raw: Raw, id: str) -> bytes:
    """A record's metadata as compact JSON, ``{}`` where there is none.

    Raises:
        VectorError: it is not allowed; ``records.encode_metadata`` has the rules and the words.
    """
    text = bytes(raw)
    return b"{}" if text == b"null" else rules.encode_metadata(decode(text, object), id)


def parse_fields(raw: Raw, id: str) -> dict:
    """The same as an object."""
    return rules.check_metadata(decode(bytes(raw), object), id)


def _numbers(raw: Raw, dimension: int, what: str, parser: simdjson.Parser) -> np.ndarray:
    """float64[d]"""
    text = bytes(raw)
    try:
        # simdjson would flatten an array within the array.
        numbers = np.frombuffer(parser.parse(text).as_buffer(of_type="d")) if text.rfind(b"[") == 0 else _slowly(text, what)
    except (ValueError, TypeError, RuntimeError):
        numbers = _slowly(text, what)
    if len(numbers) != dimension:
        raise VectorError(f"{what} have {len(numbers)} dimensions: this index has dimension {dimension}")
    return numbers


def _slowly(text: bytes, what: str) -> np.ndarray:
    """What simdjson does not read: integers beyond 64 bits, and everything that is to be refused in words."""
    if text == b"null":
        return np.empty(0)
    try:
        return np.asarray(msgspec.json.decode(text, type=list[float]), np.float64)
    except RecursionError:
        raise VectorError(f"{what} must be a list of numbers, and are nested") from None
    except msgspec.DecodeError as error:
        raise VectorError(f"{what} must be a list of numbers: {str(error).replace('`', '')}") from None


def _check(matrix: np.ndarray, ids: list[str]) -> None:
    for row in np.flatnonzero(~np.isfinite(matrix).all(axis=1)):
        raise VectorError(f"values of {ids[row]!r} hold NaN or an infinity (in float32)")
    for row in np.flatnonzero(~matrix.any(axis=1)):
        # Pinecone refuses these whatever the metric.
        rule = "Dense vectors must contain at least one non-zero value"
        raise VectorError(f"{rule}. Vector ID {ids[row]!r} contains only zeros")
