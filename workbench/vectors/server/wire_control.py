"""The shapes of Pinecone's control plane in the versions 2025-10, 2026-04 and 2026-07: what is created and described.

Source: the OpenAPI files of github.com/pinecone-io/pinecone-api (to 2026-04) and what the official SDK 10.2.0 sends (2026-07).
"""

import re
import secrets
from typing import Annotated, Any, Literal

import msgspec

from workbench.errors import VectorError
from workbench.settings import Index, index_text, parse_index
from workbench.vectors.records import MAX_DIMENSION
from workbench.vectors.server.wire import MetadataSchema, Name, decode

INDEX_TAG = "workbench-index"  # the tag that chooses how one index is built and searched, as in hnsw:m=32,ef_search=64
MAX_TAGS = 20

_CLOUDS = ("aws", "gcp", "azure")
_TAG_KEY = re.compile("[A-Za-z0-9_-]{1,80}")
_TAG_VALUE = re.compile("[ -~]{0,120}")
_ON_DEMAND = "OnDemand"

_Dimension = Annotated[int, msgspec.Meta(ge=1, le=MAX_DIMENSION)]
_Metric = Literal["cosine", "dotproduct", "euclidean"]
_Protection = Literal["enabled", "disabled"]


class DenseField(msgspec.Struct):
    """A vector field of a 2026-07 schema."""

    type: Literal["dense_vector"]
    dimension: _Dimension
    metric: _Metric = "cosine"


class Schema(msgspec.Struct):
    """A 2026-07 schema; the vectors API serves exactly one dense field of the reserved name ``_values``."""

    fields: dict[str, Any]


class Serverless(msgspec.Struct):
    """Where an index of the older shape runs."""

    cloud: str
    region: str
    read_capacity: dict[str, Any] | None = None
    schema: MetadataSchema | None = None
    source_collection: str | None = None


class Managed(msgspec.Struct, kw_only=True):
    """Where an index of the 2026-07 shape runs."""

    deployment_type: str = "managed"
    cloud: str = "aws"
    region: str = "us-east-1"


class _Common(msgspec.Struct, kw_only=True):
    name: Name | None = None
    deletion_protection: _Protection | None = None
    tags: dict[str, str] | None = None


class CreateOlder(_Common, kw_only=True):
    """POST /indexes to 2026-04."""

    name: Name
    spec: dict[str, Any]
    dimension: _Dimension | None = None
    metric: _Metric | None = None
    vector_type: str = "dense"


class Create(_Common, kw_only=True):
    """POST /indexes in 2026-07."""

    schema: Schema | None = None
    deployment: Managed | None = None
    read_capacity: dict[str, Any] | None = None
    source_collection: str | None = None
    source_backup_id: str | None = None
    cmek_id: str | None = None


class ConfigureOlder(msgspec.Struct):
    """PATCH /indexes/NAME to 2026-04."""

    spec: dict[str, Any] | None = None
    deletion_protection: _Protection | None = None
    tags: dict[str, str] | None = None
    embed: dict[str, Any] | None = None


class Configure(msgspec.Struct, forbid_unknown_fields=True):
    """PATCH /indexes/NAME in 2026-07, which refuses fields that it does not know."""

    schema: dict[str, Any] | None = None
    deployment: dict[str, Any] | None = None
    read_capacity: dict[str, Any] | None = None
    deletion_protection: _Protection | None = None
    tags: dict[str, str] | None = None


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """An index as the control plane knows it. ``index`` is text for ``parse_index``; ``schemas`` are those of its namespaces."""

    name: str
    dimension: int
    metric: str
    index: str
    cloud: str = "aws"
    region: str = "us-east-1"
    deletion_protection: str = "disabled"
    tags: dict[str, str] = {}
    schema: MetadataSchema | None = None
    schemas: dict[str, MetadataSchema] = {}


def created(body: bytes, version: str, default_index: str) -> Description:
    """The index that a request asks for.

    Raises:
        VectorError: the request is wrong (422 where something is missing), or asks for what this server does not have.
        SettingError: the tag ``workbench-index`` is no index.
    """
    newer = version == "2026-07"
    create = decode(body, Create if newer else CreateOlder, missing=422)
    tags = _merged({}, create.tags)
    common = {
        "name": create.name or f"index-{secrets.token_hex(4)}",
        "deletion_protection": create.deletion_protection or "disabled",
        "tags": tags,
        "index": index_text(parse_index(tags.get(INDEX_TAG, default_index))),
    }
    return Description(**common, **(_newer(create) if newer else _older(create)))


def _newer(create: Create) -> dict:
    if create.schema is None:
        raise VectorError("the request is not valid: a 2026-07 index needs schema with fields._values", 422)
    if set(create.schema.fields) != {"_values"}:
        names = ", ".join(sorted(create.schema.fields))[:80] or "(none)"
        raise VectorError(f"schema fields {names} are not served here: exactly one dense_vector field, _values, is")
    for name in ("source_collection", "source_backup_id", "cmek_id"):
        if getattr(create, name) is not None:
            raise VectorError(f"{name} is not served here: an index is created empty and unencrypted")
    place = create.deployment or Managed()
    if place.deployment_type != "managed":
        raise VectorError(f"deployment_type {place.deployment_type!r} is not served here: managed is")
    _check_read_capacity(create.read_capacity)
    dense = _convert(create.schema.fields["_values"], DenseField, "schema.fields._values")
    return {"dimension": dense.dimension, "metric": dense.metric, **_place(place.cloud, place.region)}


def _older(create: CreateOlder) -> dict:
    if create.vector_type != "dense":
        raise VectorError(f"vector_type {create.vector_type!r} is not served here: dense is")
    if set(create.spec) != {"serverless"}:
        names = ", ".join(sorted(create.spec))[:80] or "(empty)"
        raise VectorError(f"spec {names} is not served here: serverless with cloud and region is")
    if create.dimension is None:
        raise VectorError("the request is not valid: a dense index needs dimension", 422)
    place = _convert(create.spec["serverless"], Serverless, "spec.serverless")
    if place.source_collection is not None:
        raise VectorError("source_collection is not served here: an index is created empty")
    _check_read_capacity(place.read_capacity)
    about = {"dimension": create.dimension, "metric": create.metric or "cosine", "schema": place.schema}
    return {**about, **_place(place.cloud, place.region)}


def _place(cloud: str, region: str) -> dict:
    if cloud not in _CLOUDS or not region:
        raise VectorError(f"Resource cloud: {cloud[:40]} region: {region[:40]} not found: {', '.join(_CLOUDS)} are", 404)
    return {"cloud": cloud, "region": region}


def configured(index: Description, body: bytes, version: str, default_index: str) -> Description:
    """The index with the changes that a request asks for: its protection and its tags can be changed. Raises as ``created``."""
    if version == "2026-07":
        changes = decode(body, Configure, missing=422)
        for name in ("schema", "deployment"):
            if getattr(changes, name) is not None:
                raise VectorError(f"{name} of a managed index cannot be changed: deletion_protection and tags can")
        _check_read_capacity(changes.read_capacity)
    else:
        changes = decode(body, ConfigureOlder, missing=422)
        if changes.embed is not None:
            raise VectorError("embed is not served here: there is no integrated embedding")
        _check_spec_change(changes.spec)
    tags = _merged(index.tags, changes.tags)
    text = tags.get(INDEX_TAG, default_index) if INDEX_TAG in (changes.tags or {}) else index.index
    protection = changes.deletion_protection or index.deletion_protection
    return msgspec.structs.replace(index, deletion_protection=protection, tags=tags, index=index_text(parse_index(text)))


def index_of(description: Description) -> Index:
    """How an index is built and searched."""
    return parse_index(description.index)


def index_model(index: Description, host: str, version: str) -> dict:
    """An index in the shape of a version."""
    capacity = {"mode": _ON_DEMAND, "status": {"state": "Ready"}}
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
    serverless = {"cloud": index.cloud, "region": index.region, "read_capacity": capacity}
    if index.schema is not None:
        serverless["schema"] = msgspec.to_builtins(index.schema)
    return {
        **common,
        "dimension": index.dimension,
        "metric": index.metric,
        "vector_type": "dense",
        "spec": {"serverless": serverless},
    }


def _merged(tags: dict[str, str], changes: dict[str, str] | None) -> dict[str, str]:
    """An empty value removes a tag."""
    for key, value in (changes or {}).items():
        if not _TAG_KEY.fullmatch(key):
            raise VectorError(f"tag key {key[:80]!r} is not allowed: 1 to 80 letters, digits, _ or -")
        if not _TAG_VALUE.fullmatch(value):
            raise VectorError(f"value of tag {key!r} is not allowed: up to 120 printable ASCII characters")
    merged = {key: value for key, value in {**tags, **(changes or {})}.items() if value}
    if len(merged) > MAX_TAGS:
        raise VectorError(f"{len(merged)} tags are not allowed: at most {MAX_TAGS}")
    return merged


def _check_read_capacity(capacity: dict[str, Any] | None) -> None:
    if capacity is not None and capacity.get("mode") != _ON_DEMAND:
        raise VectorError(f"read_capacity mode {str(capacity.get('mode'))[:40]!r} is not served here: {_ON_DEMAND} is")


def _check_spec_change(spec: dict[str, Any] | None) -> None:
    if spec is None:
        return
    serverless = spec.get("serverless")
    if set(spec) != {"serverless"} or not isinstance(serverless, dict) or not set(serverless) <= {"read_capacity"}:
        raise VectorError("spec of a serverless index cannot be changed but for serverless.read_capacity: there are no pods here")
    _check_read_capacity(_convert(serverless.get("read_capacity"), dict[str, Any] | None, "spec.serverless.read_capacity"))


def _convert(value: object, kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message = str(error).replace("`", "")
        lacks = message.startswith("Object missing required field")
        raise VectorError(f"the request is not valid: {where}: {message}", 422 if lacks else 400) from None
