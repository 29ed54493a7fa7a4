"""The shapes of Pinecone's REST protocol, in the versions 2025-10, 2026-04 and 2026-07: requests in, answers out.

Source: the OpenAPI files of github.com/pinecone-io/pinecone-api (to 2026-04) and what the official SDK 10.2.0 sends (2026-07).
"""

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import orjson

from workbench.errors import VectorError
from workbench.events import Match, Record
from workbench.vectors.records import MAX_DIMENSION

VERSIONS = ("2025-10", "2026-04", "2026-07")
DEFAULT_NAMESPACE = "__default__"  # how the service names the namespace ""
MAX_BATCH = 1_000
MAX_BODY_BYTES = 2 * 1024 * 1024

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
    501: (12, "UNIMPLEMENTED"),
}
_UNKNOWN = (2, "UNKNOWN")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=45, pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
Dimension = Annotated[int, msgspec.Meta(ge=1, le=MAX_DIMENSION)]
Metric = Literal["cosine", "dotproduct", "euclidean"]
Protection = Literal["enabled", "disabled"]
Ids = Annotated[list[str], msgspec.Meta(max_length=MAX_BATCH)]


class DenseField(msgspec.Struct):
    """A vector field of a 2026-07 schema."""

    type: Literal["dense_vector"]
    dimension: Dimension
    metric: Metric = "cosine"


class Schema(msgspec.Struct):
    """A 2026-07 schema; the vectors API serves exactly one dense field of the reserved name ``_values``."""

    fields: dict[str, Any]


class Create(msgspec.Struct, kw_only=True):
    """POST /indexes, in either shape."""

    name: Name
    dimension: Dimension | None = None
    metric: Metric = "cosine"
    vector_type: str = "dense"
    spec: dict[str, Any] | None = None
    schema: Schema | None = None
    deployment: dict[str, Any] | None = None
    deletion_protection: Protection = "disabled"
    tags: dict[str, str] | None = None


class Configure(msgspec.Struct):
    """PATCH /indexes/NAME."""

    deletion_protection: Protection | None = None
    tags: dict[str, str] | None = None


class Vector(msgspec.Struct, rename="camel"):
    """A record of an upsert."""

    id: str
    values: list[float] = []
    metadata: dict[str, Any] | None = None
    sparse_values: Any = None


class Upsert(msgspec.Struct, rename="camel"):
    """POST /vectors/upsert."""

    vectors: Annotated[list[Vector], msgspec.Meta(min_length=1, max_length=MAX_BATCH)]
    namespace: str = ""


class Query(msgspec.Struct, rename="camel", kw_only=True):
    """POST /query."""

    top_k: int
    namespace: str = ""
    vector: list[float] | None = None
    id: str | None = None
    filter: dict[str, Any] | None = None
    include_values: bool = False
    include_metadata: bool = False
    sparse_vector: Any = None


class Delete(msgspec.Struct, rename="camel"):
    """POST /vectors/delete."""

    ids: Ids | None = None
    delete_all: bool = False
    filter: dict[str, Any] | None = None
    namespace: str = ""


class Stats(msgspec.Struct):
    """POST /describe_index_stats."""

    filter: dict[str, Any] | None = None


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """An index as the control plane knows it."""

    name: str
    dimension: int
    metric: str
    cloud: str = "aws"
    region: str = "us-east-1"
    deletion_protection: str = "disabled"
    tags: dict[str, str] | None = None


def decode(body: bytes, kind: type) -> Any:
    """A request body as its struct, or ``VectorError`` saying which field is wrong."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        message = str(error).replace("`", "")
        # The control plane answers 422 to what is missing and 400 to what is wrong; the data plane knows only 400.
        missing = kind is Create and message.startswith("Object missing required field")
        raise VectorError(f"the request is not valid: {message}", 422 if missing else 400) from None
    except RecursionError:
        raise VectorError("the request body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise VectorError(f"the request body is not valid JSON: {error}") from None


def described(create: Create, version: str) -> Description:
    """What is to be created, or ``VectorError`` for what this server does not have."""
    if version == "2026-07":
        if create.schema is None:
            raise VectorError("the request is not valid: a 2026-07 index needs schema with fields._values", 422)
        if set(create.schema.fields) != {"_values"}:
            names = ", ".join(sorted(create.schema.fields))[:80]
            raise VectorError(f"schema fields {names} are not served here: exactly one dense_vector field, _values, is")
        dense = _convert(create.schema.fields["_values"], DenseField, "schema.fields._values")
        dimension, metric, place = dense.dimension, dense.metric, create.deployment or {}
        if place.get("deployment_type", "managed") != "managed":
            raise VectorError(f"deployment_type {place['deployment_type']!r} is not served here: managed is")
    else:
        if create.vector_type != "dense":
            raise VectorError(f"vector_type {create.vector_type!r} is not served here: dense is")
        if create.dimension is None:
            raise VectorError("the request is not valid: a dense index needs dimension", 422)
        place = (create.spec or {}).get("serverless")
        if not isinstance(place, dict):
            raise VectorError("spec is not served here: serverless with cloud and region is")
        dimension, metric = create.dimension, create.metric
    cloud, region = place.get("cloud", "aws"), place.get("region", "us-east-1")
    if not isinstance(cloud, str) or not isinstance(region, str):
        raise VectorError("the request is not valid: cloud and region must be strings")
    return Description(
        name=create.name,
        dimension=dimension,
        metric=metric,
        cloud=cloud,
        region=region,
        deletion_protection=create.deletion_protection,
        tags=create.tags,
    )


def index_model(index: Description, host: str, version: str) -> dict:
    """An index in the shape of a version."""
    capacity = {"mode": "OnDemand", "status": {"state": "Ready"}}
    common = {
        "name": index.name,
        "host": host,
        "status": {"ready": True, "state": "Ready"},
        "deletion_protection": index.deletion_protection,
        **({"tags": index.tags} if index.tags else {}),
    }
    if version == "2026-07":
        return {
            **common,
            "schema": {"fields": {"_values": {"type": "dense_vector", "dimension": index.dimension, "metric": index.metric}}},
            "deployment": {"deployment_type": "managed", "cloud": index.cloud, "region": index.region},
            "read_capacity": capacity,
        }
    return {
        **common,
        "dimension": index.dimension,
        "metric": index.metric,
        "vector_type": "dense",
        "spec": {"serverless": {"cloud": index.cloud, "region": index.region, "read_capacity": capacity}},
    }


def records(upsert: Upsert) -> list[Record]:
    """What to store, or ``VectorError``."""
    for vector in upsert.vectors:
        if vector.sparse_values is not None:
            raise VectorError(f"sparseValues of {vector.id!r} are not served here: dense values are")
    # float64 holds what JSON says; the store decides what fits float32.
    return [Record(vector.id, np.asarray(vector.values, np.float64), vector.metadata or {}) for vector in upsert.vectors]


def match(found: Match, values: dict[str, Record] | None, with_metadata: bool) -> dict:
    """One neighbour as the query asked for it."""
    answer = {"id": found.id, "score": found.score, "values": values[found.id].values if values else []}
    if with_metadata and found.metadata:
        answer["metadata"] = found.metadata
    return answer


def record(found: Record) -> dict:
    """A fetched record."""
    answer = {"id": found.id, "values": found.values}
    return {**answer, "metadata": found.metadata} if found.metadata else answer


def encode(answer: object) -> bytes:
    """JSON; float32 arrays become the shortest decimals that give them back."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def error_body(message: str, status: int, *, control: bool) -> bytes:
    """An error in the shape of the control or the data plane."""
    code, name = _CODES.get(status, _UNKNOWN)
    if control:
        return encode({"error": {"code": name, "message": message}, "status": status})
    return encode({"code": code, "message": message, "details": []})


def _convert(value: object, kind: type, where: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise VectorError(f"the request is not valid: {where}: {str(error).replace('`', '')}") from None
