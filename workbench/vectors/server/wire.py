"""The bytes of Pinecone's data plane: requests in, answers and errors out, and the limits that the service has.

Source: the OpenAPI files of github.com/pinecone-io/pinecone-api (to 2026-04) and what the official SDK 10.2.0 sends (2026-07);
limits from docs.pinecone.io/reference/api/database-limits.
"""

import base64
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Raw

from workbench.errors import VectorError

VERSIONS = ("2025-10", "2026-04", "2026-07")
DEFAULT_NAMESPACE = "__default__"  # how the service names the namespace ""
MAX_BATCH = 1_000
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_ANSWER_BYTES = 4 * 1024 * 1024  # of a query
MAX_PAGE = 100
MAX_FETCHED = 10_000  # records of one page of a fetch by metadata

_CODES = {  # HTTP status: (gRPC code for the data plane, name for the control plane)
    400: (3, "INVALID_ARGUMENT"),
    401: (16, "UNAUTHENTICATED"),
    403: (7, "FORBIDDEN"),
    404: (5, "NOT_FOUND"),
    405: (12, "UNIMPLEMENTED"),
    409: (6, "ALREADY_EXISTS"),
    412: (9, "FAILED_PRECONDITION"),
    413: (11, "OUT_OF_RANGE"),
    422: (3, "UNPROCESSABLE_ENTITY"),
    500: (13, "INTERNAL"),
    501: (12, "UNIMPLEMENTED"),
    503: (14, "UNAVAILABLE"),
    507: (8, "RESOURCE_EXHAUSTED"),
}
_UNKNOWN = (2, "UNKNOWN")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=45, pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?\\Z")]
NULL = Raw(b"null")
_MAP = Annotated[dict[str, Any], msgspec.Meta(min_length=1)]
_Ids = Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]


class Vector(msgspec.Struct, rename="camel"):
    """A record of an upsert. Its values and metadata are for ``wire_records``."""

    id: str
    values: Raw = NULL
    metadata: Raw = NULL
    sparse_values: Any = None


class Upsert(msgspec.Struct):
    """POST /vectors/upsert."""

    vectors: Annotated[list[Vector], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]
    namespace: str | None = None


class Query(msgspec.Struct, rename="camel", kw_only=True):
    """POST /query."""

    top_k: int
    namespace: str | None = None
    vector: Raw = NULL
    id: str | None = None
    filter: dict[str, Any] | None = None
    include_values: bool = False
    include_metadata: bool = False
    sparse_vector: Any = None
    queries: Any = None
    scan_factor: Any = None
    max_candidates: Any = None


class FetchByMetadata(msgspec.Struct, rename="camel", kw_only=True):
    """POST /vectors/fetch_by_metadata."""

    filter: _MAP
    namespace: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_FETCHED)] = MAX_PAGE
    pagination_token: str | None = None


class Update(msgspec.Struct, rename="camel", kw_only=True):
    """POST /vectors/update."""

    id: str | None = None
    values: Raw = NULL
    sparse_values: Any = None
    set_metadata: Raw = NULL
    filter: _MAP | None = None
    dry_run: bool = False
    namespace: str | None = None


class Delete(msgspec.Struct, rename="camel"):
    """POST /vectors/delete."""

    ids: _Ids | None = None
    delete_all: bool = False
    filter: dict[str, Any] | None = None
    namespace: str | None = None


class Stats(msgspec.Struct):
    """POST /describe_index_stats."""

    filter: dict[str, Any] | None = None


class FilterableField(msgspec.Struct, forbid_unknown_fields=True):
    """A metadata field that can be filtered on. The service has no others: what is not to be one is left out."""

    filterable: Literal[True]


class MetadataSchema(msgspec.Struct, forbid_unknown_fields=True):
    """Which metadata fields can be filtered on. Here all can, whatever is listed: it is only remembered."""

    fields: dict[str, FilterableField]


class CreateNamespace(msgspec.Struct):
    """POST /namespaces."""

    name: str
    schema: MetadataSchema | None = None


class SearchVector(msgspec.Struct):
    """The vector of a records search."""

    values: Raw = NULL
    sparse_indices: Any = None
    sparse_values: Any = None


class SearchQuery(msgspec.Struct, kw_only=True):
    """What a records search looks for."""

    top_k: int
    filter: dict[str, Any] | None = None
    inputs: Any = None
    vector: SearchVector | list[float] | None = None
    id: str | None = None
    match_terms: Any = None


class Search(msgspec.Struct, kw_only=True):
    """POST /records/namespaces/NAMESPACE/search."""

    query: SearchQuery
    fields: list[str] | None = None
    rerank: Any = None


_FIXED = {struct: msgspec.json.Decoder(struct) for struct in (Upsert, Query)}  # made once: what is decoded most


def decode(body: bytes, kind: type, *, missing: int = 400) -> Any:
    """A request body as its struct.

    Raises:
        VectorError: it is not JSON, or a field is wrong; ``missing`` is the status where a required field is not there.
    """
    decoder = _FIXED.get(kind)
    try:
        return msgspec.json.decode(body, type=kind) if decoder is None else decoder.decode(body)
    except msgspec.ValidationError as error:
        message = str(error).replace("`", "")
        lacks = message.startswith("Object missing required field")
        raise VectorError(f"the request is not valid: {message}", missing if lacks else 400) from None
    except RecursionError:
        raise VectorError("the request body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise VectorError(f"the request body is not valid JSON: {error}") from None


def encode(answer: object) -> bytes:
    """JSON; float32 arrays become the shortest decimals that give them back."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def spliced(metadata: bytes) -> orjson.Fragment:
    """Metadata for ``encode``, which takes it as it is."""
    return orjson.Fragment(metadata)


def error_body(message: str, status: int, *, control: bool) -> bytes:
    """An error in the shape of the control or the data plane."""
    code, name = _CODES.get(status, _UNKNOWN)
    if control:
        return encode({"error": {"code": name, "message": message}, "status": status})
    return encode({"code": code, "message": message, "details": []})


def page_token(last: str) -> str:
    """What a client sends back for the page after this id or name."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def page_start(token: str | None) -> str | None:
    """The id or name that a page token stands for.

    Raises:
        VectorError: no ``page_token`` made it.
    """
    if not token:
        return None
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii")
    except ValueError:  # not base64, or not ASCII, before or after
        raise VectorError(f"paginationToken {token[:60]!r} is not one that a page gave") from None
