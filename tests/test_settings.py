"""Settings are values with names that are checked and a hash that names their results; Endpoints keep their keys."""

import dataclasses
import hashlib
import os
import random
import subprocess
import sys

import pytest

from workbench.errors import SettingError
from workbench.settings import HNSW, HNSWSQ, IVF, IVFPQ, Endpoints, Flat, Settings, index_text, parse_index, same_build

NAMES = [field.name for field in dataclasses.fields(Settings)]

# Every field, none of them at its default, as the canonical JSON: sorted names, Python's separators, floats as floats.
EVERY_FIELD = (
    '{"arrivals": "constant", "batch_size": 11, "bisect_batch_on_function_error": false, "cache_ttl_s": 13.5, "candidates": 64, '
    '"catalogue": 1500, "clients": 9, "codec": "json", "embedder": "text-embedding-3-small", "events": 16, '
    '"habit_weight": 1.75, "half_life": 18.0, "handler": "published", "index": {"type": "ivf", "nlist": 19, "nprobe": 2}, '
    '"linger_ms": 20, "loop": "closed", "maximum_batching_window_in_seconds": 12, "maximum_record_age_in_seconds": 60, '
    '"maximum_retry_attempts": 21, "outage_s": 0.25, "parallelization_factor": 3, "placement": "lambda", "poison": 5, '
    '"poll_interval_ms": 23, "popularity_weight": 0.25, "query_slowdown": 1.5, "rate": 250.0, '
    '"report_batch_item_failures": false, "scenario": "retail", "seed": 26, "shards": 27, "source": "synthetic", '
    '"stall_s": 0.5, "start": "2017-10-02", "variant": "article", "warmup": 30}'
)
CHANGED = {
    "arrivals": "constant",
    "batch_size": 11,
    "bisect_batch_on_function_error": False,
    "cache_ttl_s": 13.5,
    "candidates": 64,
    "catalogue": 1500,
    "clients": 9,
    "embedder": "text-embedding-3-small",
    "events": 16,
    "habit_weight": 1.75,
    "half_life": 18,
    "handler": "published",
    "index": IVF(nlist=19, nprobe=2),
    "linger_ms": 20,
    "loop": "closed",
    "maximum_batching_window_in_seconds": 12,
    "maximum_record_age_in_seconds": 60,
    "maximum_retry_attempts": 21,
    "outage_s": 0.25,
    "parallelization_factor": 3,
    "placement": "lambda",
    "poison": 5,
    "poll_interval_ms": 23,
    "popularity_weight": 0.25,
    "query_slowdown": 1.5,
    "rate": 250,
    "report_batch_item_failures": False,
    "seed": 26,
    "shards": 27,
    "source": "synthetic",
    "stall_s": 0.5,
    "start": "2017-10-02",
    "variant": "article",
    "warmup": 30,
}


def test_an_unknown_name_lists_every_valid_one():
    with pytest.raises(SettingError) as caught:
        Settings(batchsize=10)
    assert (caught.value.name, caught.value.value) == ("batchsize", 10)
    assert str(caught.value) == f"batchsize = 10 is not allowed: Settings has {', '.join(NAMES)}"
    with pytest.raises(SettingError, match="Endpoints has cloud, aws_url"):
        Endpoints(url="x")


def test_positional_values_are_refused():
    with pytest.raises(TypeError):
        Settings("retail")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("events", 0),
        ("events", True),
        ("events", 1.5),
        ("events", "10"),
        ("rate", -0.1),
        ("rate", float("nan")),
        ("rate", float("inf")),
        ("rate", "fast"),
        ("cache_ttl_s", float("inf")),
        ("half_life", 0.0),
        ("batch_size", 10_001),
        ("maximum_batching_window_in_seconds", 301),
        ("parallelization_factor", 11),
        ("maximum_retry_attempts", -2),
        ("maximum_record_age_in_seconds", 604_801),
        ("shards", 0),
        ("candidates", 39),
        ("catalogue", 99),
        ("codec", "xml"),
        ("placement", "cloud"),
        ("variant", ""),
        ("scenario", None),
        ("index", "hnsw"),
        ("index", {"type": "tree"}),
        ("index", {"type": "hnsw", "links": 3}),
        ("index", HNSW(m=1)),
        ("index", IVF(nprobe=0)),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_by_its_name(name, wrong):
    with pytest.raises(SettingError) as caught:
        Settings(**{name: wrong})
    assert caught.value.name == name
    assert str(caught.value).startswith(f"{name} = ") and "\n" not in str(caught.value)


def test_limits_themselves_are_allowed():
    edge = Settings(events=1, rate=0, batch_size=10_000, shards=100, candidates=40, warmup=0)
    assert (edge.rate, edge.batch_size, edge.candidates) == (0.0, 10_000, 40)
    assert type(edge.rate) is float  # given as 0: what is stored has the field's type


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().rate = 3.0


def test_but_changes_what_is_named_and_nothing_else():
    base = Settings(rate=50.0, index=HNSW(m=32))
    changed = base.but(batch_size=7)
    assert changed.batch_size == 7 and base.batch_size != 7
    assert {name for name in NAMES if getattr(changed, name) != getattr(base, name)} == {"batch_size"}
    with pytest.raises(SettingError, match="batch_size = 0"):
        base.but(batch_size=0)
    with pytest.raises(SettingError, match="Settings has"):
        base.but(bach_size=1)


def test_the_hash_is_that_of_the_canonical_json():
    settings = Settings(**CHANGED)
    assert settings.to_dict().keys() == set(NAMES)
    assert all(getattr(settings, name) != getattr(Settings(), name) for name in CHANGED), "each field is off its default"
    assert settings.hash == hashlib.sha256(EVERY_FIELD.encode()).hexdigest()[:12] == "42a0ec586168"


def test_the_hash_does_not_depend_on_the_order_of_the_fields():
    names = list(CHANGED)
    random.Random(3).shuffle(names)
    assert Settings(**{name: CHANGED[name] for name in names}).hash == Settings(**CHANGED).hash


def test_every_field_is_part_of_the_hash():
    assert len({Settings(**{name: value}).hash for name, value in CHANGED.items()} | {Settings().hash}) == len(CHANGED) + 1


@pytest.mark.parametrize("seed", ["0", "77"])
def test_the_hash_is_the_same_in_another_process(seed):
    code = "from workbench.settings import Settings, IVF; print(Settings(rate=33, index=IVF(nlist=64)).hash)"
    env = {**os.environ, "PYTHONHASHSEED": seed}
    other = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert other.strip() == Settings(rate=33.0, index=IVF(nlist=64)).hash


def test_equal_settings_have_equal_hashes():
    assert Settings(rate=-0.0) == Settings(rate=0.0) and Settings(rate=-0.0).hash == Settings(rate=0.0).hash
    assert Settings(index={"type": "hnsw", "m": 8}) == Settings(index=HNSW(m=8))


def test_from_dict_gives_back_what_to_dict_gave():
    settings = Settings(**CHANGED)
    assert Settings.from_dict(settings.to_dict()) == settings
    assert list(settings.to_dict()) == sorted(NAMES)
    with pytest.raises(SettingError, match="Settings has"):
        Settings.from_dict({**settings.to_dict(), "older": 1})


def test_parse_reads_each_field_from_text():
    texts = [f"{name}={value}" for name, value in CHANGED.items() if name != "index"] + ["index=ivf:nlist=19,nprobe=2"]
    assert Settings.parse(texts) == Settings(**CHANGED)
    assert Settings.parse([]) == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rate", "setting = 'rate' is not allowed: NAME=VALUE, as in rate=200"),
        ("", "NAME=VALUE"),
        ("rate=", "rate = '' is not allowed"),
        ("rate=nan", "rate = 'nan' is not allowed"),
        ("events=1.5", "events = '1.5' is not allowed"),
        ("raet=5", "raet = '5' is not allowed: Settings has scenario, "),
        ("codec=xml", "codec = 'xml' is not allowed"),
        ("index=tree", "one of flat, hnsw, ivf"),
    ],
)
def test_parse_names_the_text_that_does_not_fit(text, said):
    with pytest.raises(SettingError) as caught:
        Settings.parse([text])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("flat", Flat()),
        ("hnsw", HNSW()),
        ("hnsw:m=32", HNSW(m=32)),
        ("hnsw:m=32,ef_search=64,ef_construction=7", HNSW(m=32, ef_search=64, ef_construction=7)),
        ("ivf:nprobe=3", IVF(nprobe=3)),
        ("hnsw-sq:refine=4", HNSWSQ(refine=4)),
        ("ivf-pq:nlist=64,segments=32,nprobe=8,refine=5", IVFPQ(nlist=64, segments=32, nprobe=8, refine=5)),
    ],
)
def test_parse_index_reads_the_kind_and_its_parameters(text, index):
    assert parse_index(text) == index


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a76442fbdc11",
        "hnsw:m",
        "hnsw:m=",
        "hnsw:m=1",
        "hnsw:m=3.5",
        "hnsw:m=3=4",
        "hnsw:nlist=3",
        "flat:m=3",
        "ivf:type=1",
        "hnsw:refine=2",
        "hnsw-sq:refine=0",
        "ivf-pq:segments=0",
        "ivfpq",
    ],
)
def test_parse_index_refuses_anything_else(text):
    with pytest.raises(SettingError) as caught:
        parse_index(text)
    assert caught.value.name == "index" and caught.value.value == text and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (Flat(), "flat"),
        (HNSW(), "hnsw:m=16,ef_construction=100,ef_search=128"),
        (HNSWSQ(), "hnsw-sq:m=16,ef_construction=100,ef_search=128,refine=2"),
        (IVF(), "ivf:nlist=128,nprobe=16"),
        (IVFPQ(), "ivf-pq:nlist=128,segments=48,nprobe=32,refine=8"),
    ],
)
def test_an_index_in_words_names_every_parameter(index, text):
    assert index_text(index) == text and parse_index(text) == index


def test_the_hash_of_each_kind_of_index_stays_what_it_was():
    """Results are found by these: a kind's new field, or a class attribute that becomes one, would orphan them."""
    hashes = {kind: Settings(index=kind()).hash for kind in (Flat, HNSW, IVF)}
    assert hashes == {Flat: "2f5fadf3dee8", HNSW: "f619a62a7828", IVF: "1322d52f97c7"}
    assert len({Settings(index=kind()).hash for kind in (Flat, HNSW, HNSWSQ, IVF, IVFPQ)}) == 5


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (Flat(), Flat(), True),
        (HNSW(), HNSW(ef_search=9), True),
        (HNSW(), HNSW(m=9), False),
        (HNSW(), HNSW(ef_construction=9), False),
        (HNSW(), HNSWSQ(), False),
        (HNSWSQ(), HNSWSQ(ef_search=9, refine=9), True),
        (HNSWSQ(), HNSWSQ(m=9), False),
        (IVF(), IVF(nprobe=9), True),
        (IVF(), IVF(nlist=9), False),
        (IVF(), IVFPQ(), False),
        (IVFPQ(), IVFPQ(nprobe=9, refine=9), True),
        (IVFPQ(), IVFPQ(segments=9), False),
        (IVFPQ(), IVFPQ(nlist=9), False),
    ],
)
def test_the_same_build_answers_under_other_query_settings(a, b, same):
    assert same_build(a, b) is same_build(b, a) is same


def test_keys_are_never_shown_nor_written():
    endpoints = Endpoints(vectors_url="http://127.0.0.1:1", vectors_key="sesame-1", embeddings_key="sesame-2")
    assert "sesame" not in repr(endpoints) + str(endpoints) + f"{endpoints!s}{endpoints.to_dict()}"
    assert endpoints.to_dict() == {
        "cloud": "embedded",
        "aws_url": None,
        "region": "us-east-1",
        "vectors_url": "http://127.0.0.1:1",
        "embeddings_url": None,
    }


@pytest.mark.parametrize("wrong", [{"vectors_key": b"sesame"}, {"embeddings_key": ["sesame"]}, {"vector_key": "sesame"}])
def test_a_key_that_is_refused_is_not_shown(wrong):
    with pytest.raises(SettingError) as caught:
        Endpoints(**wrong)
    assert "sesame" not in str(caught.value) + repr(caught.value.value) and next(iter(wrong)) in str(caught.value)
