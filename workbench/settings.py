"""What is measured (``Settings``) and where it runs (``Endpoints``).

Settings are values: two equal ones have the same hash, and that hash names their results. Endpoints are never hashed:
moving to another cloud changes where a design runs, not what the design is.
"""

import dataclasses
import functools
import hashlib
import json
import math
import typing
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, Self

import msgspec

from workbench.errors import SettingError

Positive = Annotated[int, msgspec.Meta(ge=1)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Links = Annotated[int, msgspec.Meta(ge=2, le=256)]
Cells = Annotated[int, msgspec.Meta(ge=1, le=65536)]
Refine = Annotated[int, msgspec.Meta(ge=1, le=1024)]


def _value(cls):
    """A frozen, keyword-only dataclass that names the valid fields when it is given an unknown one, and checks types."""
    cls = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    plain_init = cls.__init__
    names = tuple(field.name for field in dataclasses.fields(cls))

    @functools.wraps(plain_init)
    def checked_init(self, **values):
        for name in values:
            if name not in names:
                raise SettingError(name, _shown(name, values[name]), f"{cls.__name__} has {', '.join(names)}")
        for name, hint in _hints(cls).items():
            if name in values:
                values[name] = _checked(name, values[name], hint)
        plain_init(self, **values)

    cls.__init__ = checked_init
    return cls


@functools.cache
def _hints(cls) -> dict[str, object]:
    return typing.get_type_hints(cls, include_extras=True)


def _checked(name: str, value: object, hint: object) -> object:
    if isinstance(value, msgspec.Struct):  # made without a check of its fields' ranges
        value = msgspec.to_builtins(value)
    try:
        checked = msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise SettingError(name, _shown(name, value), str(error).replace("`", "")) from None
    if isinstance(checked, float):
        if not math.isfinite(checked):
            raise SettingError(name, value, "a finite number")
        checked += 0.0  # -0.0 equals 0.0, and equal settings have one hash
    return checked


def _shown(name: str, value: object) -> object:
    """What an error may say of a value: never a key, not even one under a misspelt name."""
    return "***" if name.endswith("key") else value


def _read(name: str, text: str, hint: object) -> object:
    if name == "index":
        return parse_index(text)
    if hint is None:  # unknown: the constructor says so, and what is valid
        return text
    try:
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError as error:
        raise SettingError(name, text, str(error).replace("`", "")) from None


class Flat(msgspec.Struct, frozen=True, tag="flat", forbid_unknown_fields=True):
    """Exact search: every vector is compared."""

    query_fields: ClassVar[frozenset[str]] = frozenset()


class HNSW(msgspec.Struct, frozen=True, tag="hnsw", forbid_unknown_fields=True):
    """A navigable small-world graph.

    Build: ``m`` links a node (twice as many on the lowest level), ``ef_construction`` candidates while linking.
    Query: ``ef_search`` candidates.
    """

    query_fields: ClassVar[frozenset[str]] = frozenset({"ef_search"})
    m: Links = 16
    ef_construction: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 100
    ef_search: Annotated[int, msgspec.Meta(ge=1, le=16384)] = 128


class HNSWSQ(msgspec.Struct, frozen=True, tag="hnsw-sq", forbid_unknown_fields=True):
    """The same graph over vectors of one byte a dimension (8-bit scalar quantisation): a third of HNSW's memory at m = 16.

    Build: ``m`` and ``ef_construction``, as HNSW.
    Query: ``ef_search``, as HNSW; ``refine`` × k candidates are scored again, exactly.

    Recall@10 on 20,000 embeddings of 384: 0.989 without refining, 0.997 at refine = 2 and above; HNSW's is 0.995.
    """

    query_fields: ClassVar[frozenset[str]] = frozenset({"ef_search", "refine"})
    m: Links = 16
    ef_construction: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 100
    ef_search: Annotated[int, msgspec.Meta(ge=1, le=16384)] = 128
    refine: Refine = 2


class IVF(msgspec.Struct, frozen=True, tag="ivf", forbid_unknown_fields=True):
    """Inverted lists of whole vectors (FAISS' IVF-Flat).

    Build: ``nlist`` cells (it needs 39 vectors for each to train).
    Query: the ``nprobe`` nearest cells are searched.
    """

    query_fields: ClassVar[frozenset[str]] = frozenset({"nprobe"})
    nlist: Cells = 128
    nprobe: Cells = 16


class IVFPQ(msgspec.Struct, frozen=True, tag="ivf-pq", forbid_unknown_fields=True):
    """Inverted lists of codes of ``segments`` bytes (product quantisation): the smallest index, and the least exact.

    Build: ``nlist``, as IVF (and 9,984 vectors at least); ``segments`` equal parts of a vector, each coded in one byte. They
    must divide the dimension; parts of 8 dimensions and more train several times as fast as shorter ones.
    Query: ``nprobe``, as IVF; ``refine`` × k candidates are scored again, exactly.

    Recall@10 on 20,000 embeddings of 384 at nprobe = 32: 0.69 without refining, 0.91 at refine = 4, 0.94 at 8; IVF's is 0.95.
    """

    query_fields: ClassVar[frozenset[str]] = frozenset({"nprobe", "refine"})
    nlist: Cells = 128
    segments: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 48
    nprobe: Cells = 32
    refine: Refine = 8


Index = Flat | HNSW | HNSWSQ | IVF | IVFPQ
_INDEX_KINDS = {"flat": Flat, "hnsw": HNSW, "ivf": IVF, "hnsw-sq": HNSWSQ, "ivf-pq": IVFPQ}


def same_build(a: Index, b: Index) -> bool:
    """Whether an index that was built as ``a`` can answer as ``b``: only fields in ``query_fields`` differ."""
    built = [name for name in a.__struct_fields__ if name not in a.query_fields]
    return type(a) is type(b) and all(getattr(a, name) == getattr(b, name) for name in built)


def parse_index(text: str) -> Index:
    """``"flat"``, ``"hnsw"`` or ``"hnsw:m=32,ef_search=64"`` as a value.

    Raises:
        SettingError: an unknown kind, an unknown parameter or a value out of range.
    """
    kind, _, rest = text.partition(":")
    if kind not in _INDEX_KINDS:
        raise SettingError("index", text, f"one of {', '.join(_INDEX_KINDS)}, as in hnsw:m=16,ef_search=64")
    try:
        options = {key: int(value) for key, value in (pair.split("=") for pair in rest.split(",") if pair)}
        return msgspec.convert({"type": kind, **options}, _INDEX_KINDS[kind])
    except ValueError as error:
        fields = ", ".join(_INDEX_KINDS[kind].__struct_fields__) or "no parameters"
        raise SettingError("index", text, f"{kind} takes {fields} as whole numbers ({error})") from None


def index_text(index: Index) -> str:
    """The same in words, with every parameter: ``"flat"``, ``"ivf:nlist=128,nprobe=16"``. ``parse_index`` reads it."""
    kind, options = index.__struct_config__.tag, msgspec.structs.asdict(index)
    return f"{kind}:{','.join(f'{name}={value}' for name, value in options.items())}" if options else kind


@_value
class Settings:
    """One design under one load. Every field is part of the hash.

    Raises:
        SettingError: an unknown name (the valid ones are listed) or a value of the wrong type or range.
    """

    # the load
    scenario: Literal["retail"] = "retail"
    start: str = "2017-11-06"  # first day of events that is replayed; everything before it is history
    source: Literal["recorded", "synthetic"] = "recorded"  # what really happened, or draws from its habits, by the seed
    events: Positive = 1500
    rate: Annotated[float, msgspec.Meta(ge=0.0)] = 100.0  # events/s offered; 0: as fast as the stream takes them
    arrivals: Literal["constant", "poisson"] = "poisson"
    loop: Literal["open", "closed"] = "open"  # closed: each client waits for its answer, and rate and arrivals mean nothing
    clients: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4  # of a closed loop
    warmup: Annotated[int, msgspec.Meta(ge=0)] = 200  # events sent first and left out of every figure
    seed: Annotated[int, msgspec.Meta(ge=0)] = 7

    # faults planted on purpose, to see that measuring finds them
    stall_s: Annotated[float, msgspec.Meta(ge=0.0, le=60.0)] = 0.0  # half-way the function stands still for that long, once
    outage_s: Annotated[float, msgspec.Meta(ge=0.0, le=60.0)] = 0.0  # half-way the function fails for that long, once
    poison: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0  # events, evenly spread, at which the function always fails
    query_slowdown: Annotated[float, msgspec.Meta(ge=1.0, le=100.0)] = 1.0  # how many times as long a query takes; inline only

    # the stream and its consumer
    linger_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 10  # a producer's wait for more events to put in one call
    codec: Literal["json"] = "json"
    shards: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    poll_interval_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 10  # AWS polls once a second: 1000
    # the event source mapping, by AWS's names and within its ranges: see stream/mapping.py
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    maximum_batching_window_in_seconds: Annotated[int, msgspec.Meta(ge=0, le=300)] = 0
    parallelization_factor: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    maximum_retry_attempts: Annotated[int, msgspec.Meta(ge=-1, le=10_000)] = 2  # -1: as long as the stream keeps the records
    maximum_record_age_in_seconds: Annotated[int, msgspec.Meta(ge=-1, le=604_800)] = -1  # or from 60 on
    bisect_batch_on_function_error: bool = True
    report_batch_item_failures: bool = True

    # the function
    placement: Literal["inline", "lambda"] = "inline"
    handler: Literal["batched", "published"] = "batched"  # ours, or the article's: see function/published.py
    variant: Literal["catalogue", "article", "none"] = "catalogue"  # see function/variants.py
    embedder: Literal["minilm", "text-embedding-3-small"] = "minilm"
    cache_ttl_s: Annotated[float, msgspec.Meta(ge=0.0)] = 300.0
    half_life: Annotated[float, msgspec.Meta(gt=0.0)] = 10.0  # touches after which a touch counts half in a user's vector
    candidates: Annotated[int, msgspec.Meta(ge=40, le=10_000)] = 50  # 32 remembered touches may be left out, and five remain
    # the ranking's weights were chosen on purchases from 2017-10-02 on, a month before those that the default replays
    popularity_weight: Annotated[float, msgspec.Meta(ge=0.0)] = 0.5
    habit_weight: Annotated[float, msgspec.Meta(ge=0.0)] = 3.0

    # the vector store
    catalogue: Annotated[int, msgspec.Meta(ge=100)] = 10_000  # most bought products that are indexed
    index: Index = HNSW()

    def but(self, **changes) -> Self:
        """The same settings with some changed."""
        return type(self)(**{**self._fields(), **changes})

    def to_dict(self) -> dict:
        """Plain, sorted, JSON-ready."""
        return dict(sorted(msgspec.to_builtins(self._fields()).items()))

    @classmethod
    def from_dict(cls, values: dict) -> Self:
        """The settings that ``to_dict`` gave."""
        return cls(**values)

    @classmethod
    def parse(cls, pairs: Iterable[str]) -> Self:
        """Settings from texts such as ``rate=200`` or ``index=hnsw:m=32``; what is not named keeps its default.

        Raises:
            SettingError: a text without ``=``, an unknown name, a value that does not fit.
        """
        values: dict[str, object] = {}
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals:
                raise SettingError("setting", pair, "NAME=VALUE, as in rate=200")
            values[name] = _read(name, text, _hints(cls).get(name))
        return cls(**values)

    @property
    def hash(self) -> str:
        """12 hex digits, the same on every machine and in every process."""
        return hashlib.sha256(json.dumps(self.to_dict()).encode()).hexdigest()[:12]

    def _fields(self) -> dict:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@_value
class Endpoints:
    """Where a run's services answer. Keys are kept out of ``repr`` and are never written to a result."""

    cloud: Literal["embedded", "localstack", "aws"] = "embedded"
    aws_url: str | None = None  # None: AWS itself
    region: str = "us-east-1"
    vectors_url: str | None = None
    vectors_key: str = dataclasses.field(default="", repr=False)
    embeddings_url: str | None = None
    embeddings_key: str = dataclasses.field(default="", repr=False)

    def to_dict(self) -> dict:
        """What a result may carry: everything but the keys."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.repr}
