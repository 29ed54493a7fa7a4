"""Parsers and shapes of the wire: against the rules of the store, and against whatever bytes may come."""

import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import SettingError, VectorError
from workbench.settings import HNSW
from workbench.vectors.records import encode_metadata
from workbench.vectors.server import wire, wire_control
from workbench.vectors.server.wire_records import parse_metadata, parse_query, parse_records, parse_values

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KINDS = (wire.Upsert, wire.Query, wire.FetchByMetadata, wire.Update, wire.Delete, wire.Stats, wire.CreateNamespace, wire.Search)
SERVERLESS = {"cloud": "aws", "region": "us-east-1"}


def raw(value):
    return msgspec.Raw(value if isinstance(value, bytes) else json.dumps(value).encode())


def vector(id, values, metadata=None):
    return wire.Vector(id=id, values=raw(values), metadata=raw(metadata))


@given(st.lists(st.lists(FLOATS, min_size=3, max_size=3).filter(any), min_size=1, max_size=5))
def test_values_are_read_as_python_reads_them(rows):
    ids, matrix, metadata = parse_records([vector(str(n), row) for n, row in enumerate(rows)], 3)
    assert ids == [str(n) for n in range(len(rows))] and metadata == [b"{}"] * len(rows)
    assert matrix.dtype == np.float32 and np.array_equal(matrix, np.float32(rows))


@given(st.lists(st.integers(min_value=-(10**37), max_value=10**37), min_size=2, max_size=2).filter(any))
def test_whole_numbers_of_any_length_are_numbers(numbers):
    assert np.array_equal(parse_values(raw(numbers), 2, "x"), np.float32([float(number) for number in numbers]))


@given(JSON)
@settings(max_examples=300)
def test_only_a_list_of_so_many_numbers_is_a_vector(value):
    numbers = isinstance(value, list) and all(type(each) in (int, float) and abs(each) < 1e30 for each in value)
    right = numbers and len(value) == 2 and any(np.float32(value))
    try:
        assert np.array_equal(parse_values(raw(value), 2, "x"), np.float32(value)) and right
    except VectorError as error:
        assert not right and error.status == 400 and "'x'" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (b"[1,[2]]", "list of numbers"),
        (b"[[1],[2]]", "list of numbers"),
        (b"[[1,2]]", "list of numbers"),
        (b"[1,true]", "list of numbers"),
        (b'[1,"2"]', "list of numbers"),
        (b"[1,null]", "list of numbers"),
        (b'"[1,2]"', "list of numbers"),
        (b"3", "list of numbers"),
        (b"{}", "list of numbers"),
        (b"[1,2e400]", "list of numbers"),
        (b"[1,2", "list of numbers"),
        (b"[1,NaN]", "list of numbers"),
        (b"[" * 5000, "list of numbers"),
        (b"[]", "0 dimensions"),
        (b"null", "0 dimensions"),
        (b"[1,2,3]", "3 dimensions: this index has dimension 2"),
        (b"[1,1e39]", "infinity"),
        (b"[0,-0.0]", "only zeros"),
        (b"[0,1e-60]", "only zeros"),
    ],
)
def test_values_that_are_refused(values, says):
    with pytest.raises(VectorError, match="'x'") as refused:
        parse_values(raw(values), 2, "x")
    assert says in str(refused.value) and refused.value.status == 400


def test_the_message_names_the_record():
    with pytest.raises(VectorError, match="values of 'second' have 1 dimensions"):
        parse_records([vector("first", [1, 2]), vector("second", [1])], 2)
    with pytest.raises(VectorError, match="values of 'second' hold NaN or an infinity"):
        parse_records([vector("first", [1, 2]), vector("second", [1, 1e300])], 2)
    with pytest.raises(VectorError, match="metadata field 'a' of 'second'"):
        parse_records([vector("first", [1, 2]), vector("second", [1, 2], {"a": {}})], 2)


def test_a_query_may_be_zero_or_infinite_here_since_the_store_knows_its_metric():
    assert np.array_equal(parse_query(raw([0, 1e39]), 2), np.float32([0, math.inf]))


@given(JSON)
@settings(max_examples=300)
def test_metadata_is_what_the_store_says_it_is(value):
    if value is None:
        assert parse_metadata(raw(value), "x") == b"{}"
        return
    try:
        expected = encode_metadata(msgspec.json.decode(raw(value)), "x")
    except (VectorError, msgspec.MsgspecError):
        with pytest.raises(VectorError) as refused:
            parse_metadata(raw(value), "x")
        assert refused.value.status == 400
    else:
        assert parse_metadata(raw(value), "x") == expected
        assert json.loads(expected) == value


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"\xff":1}',
        b'{"a":1e400}',
        b'{"a":18446744073709551616}',
        b'{"$a":1}',
        b'{"a":[1]}',
        b"[]",
        b'"x"',
        b'{"a":' + b"[" * 5000,
    ],
)
def test_metadata_that_is_refused(text):
    with pytest.raises(VectorError) as refused:
        parse_metadata(raw(text), "x")
    assert refused.value.status == 400


def test_metadata_is_compact_and_of_a_field_given_twice_the_last_counts():
    assert parse_metadata(raw(b' { "a" : 1.0 , "a" : [ "x" , "\\u00e9" ] } '), "x") == '{"a":["x","é"]}'.encode()
    longest = {"a": "x" * (40 * 1024 - len('{"a":""}'))}
    assert len(parse_metadata(raw(longest), "x")) == 40 * 1024
    with pytest.raises(VectorError, match="40,961 bytes"):
        parse_metadata(raw({"a": longest["a"] + "x"}), "x")


@given(st.sampled_from(KINDS), st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=500)
def test_no_body_breaks_a_parser(kind, body):
    try:
        wire.decode(body, kind)
    except VectorError as error:
        assert error.status == 400 and "\n" not in str(error)


@given(st.sampled_from(wire.VERSIONS), st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=300)
def test_no_body_breaks_the_control_plane(version, body):
    index = wire_control.Description(name="x", dimension=3, metric="cosine", index="flat")
    for parse in (
        lambda: wire_control.created(body, version, "hnsw"),
        lambda: wire_control.configured(index, body, version, "hnsw"),
    ):
        try:
            parse()
        except VectorError as error:
            assert error.status in (400, 404, 422)


@given(st.text(alphabet=st.characters(max_codepoint=127, exclude_characters="\0"), min_size=1, max_size=512))
def test_a_page_goes_on_where_it_ended(name):
    assert wire.page_start(wire.page_token(name)) == name
    assert wire.page_start("") is None and wire.page_start(None) is None


@given(st.text(max_size=20))
def test_no_token_breaks_the_next_page(token):
    try:
        start = wire.page_start(token)
        assert start is None or start.isascii()
    except VectorError as error:
        assert error.status == 400


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [
        (400, 3, "INVALID_ARGUMENT"),
        (401, 16, "UNAUTHENTICATED"),
        (403, 7, "FORBIDDEN"),
        (404, 5, "NOT_FOUND"),
        (409, 6, "ALREADY_EXISTS"),
        (412, 9, "FAILED_PRECONDITION"),
        (507, 8, "RESOURCE_EXHAUSTED"),
        (418, 2, "UNKNOWN"),
    ],
)
def test_an_error_has_two_shapes(status, code, name):
    assert json.loads(wire.error_body("why", status, control=False)) == {"code": code, "message": "why", "details": []}
    assert json.loads(wire.error_body("why", status, control=True)) == {
        "error": {"code": name, "message": "why"},
        "status": status,
    }


def test_metadata_is_spliced_into_an_answer_as_it_is():
    values = np.float32([0.1, 1e-45, 16777216])
    body = wire.encode({"values": values, "metadata": wire.spliced(b'{"a":1.0}')})
    assert body == b'{"values":[0.1,1e-45,16777216.0],"metadata":{"a":1.0}}'


def created(body, version="2026-04"):
    return wire_control.created(json.dumps(body).encode(), version, "hnsw")


def test_an_index_says_how_it_is_built_by_a_tag():
    older = {"name": "x", "dimension": 3, "metric": "euclidean", "spec": {"serverless": SERVERLESS}}
    assert wire_control.index_of(created(older)) == HNSW()
    tagged = created({**older, "tags": {"workbench-index": "hnsw:m=32", "a": ""}})
    assert wire_control.index_of(tagged) == HNSW(m=32) and tagged.tags == {"workbench-index": "hnsw:m=32"}
    assert (tagged.dimension, tagged.metric, tagged.region) == (3, "euclidean", "us-east-1")
    tuned = wire_control.configured(tagged, b'{"tags":{"workbench-index":"hnsw:m=32,ef_search=9"}}', "2025-10", "hnsw")
    assert wire_control.index_of(tuned) == HNSW(m=32, ef_search=9)
    untagged = wire_control.configured(tuned, b'{"tags":{"workbench-index":""}}', "2026-07", "hnsw")
    assert wire_control.index_of(untagged) == HNSW() and untagged.tags == {}
    with pytest.raises(SettingError, match="tree"):
        created({**older, "tags": {"workbench-index": "tree"}})


def test_both_generations_describe_the_same_index():
    fields = {"fields": {"_values": {"type": "dense_vector", "dimension": 3, "metric": "dotproduct"}}}
    new = created({"name": "x", "schema": fields}, "2026-07")
    assert new == created({"name": "x", "dimension": 3, "metric": "dotproduct", "spec": {"serverless": SERVERLESS}})
    assert wire_control.index_model(new, "http://h", "2026-07")["schema"] == fields
    model = wire_control.index_model(new, "http://h", "2025-10")
    assert (model["dimension"], model["metric"], model["spec"]["serverless"]["region"]) == (3, "dotproduct", "us-east-1")
    assert created({"schema": fields}, "2026-07").name.startswith("index-")  # the service names what has no name


def test_a_metadata_schema_is_remembered():
    schema = {"fields": {"year": {"filterable": True}}}
    made = created({"name": "x", "dimension": 3, "spec": {"serverless": {**SERVERLESS, "schema": schema}}})
    assert wire_control.index_model(made, "http://h", "2026-04")["spec"]["serverless"]["schema"] == schema
    with pytest.raises(VectorError, match="filterable"):
        created(
            {
                "name": "x",
                "dimension": 3,
                "spec": {"serverless": {**SERVERLESS, "schema": {"fields": {"a": {"filterable": False}}}}},
            }
        )


@pytest.mark.parametrize(
    ("version", "body", "says"),
    [
        ("2026-07", {"deployment": {"replicas": 2}}, "deployment"),
        ("2026-07", {"schema": {"fields": {}}}, "schema"),
        ("2026-07", {"embed": {}}, "embed"),
        ("2026-07", {"spec": {}}, "spec"),
        ("2026-07", {"read_capacity": {"mode": "Dedicated"}}, "OnDemand"),
        ("2026-04", {"spec": {"pod": {"replicas": 2}}}, "pods"),
        ("2026-04", {"spec": {"serverless": {"read_capacity": {"mode": "Dedicated"}}}}, "OnDemand"),
        ("2026-04", {"spec": {"serverless": {"region": "elsewhere"}}}, "cannot be changed"),
        ("2025-10", {"embed": {"model": "m"}}, "embed"),
    ],
)
def test_what_cannot_be_configured(version, body, says):
    index = wire_control.Description(name="x", dimension=3, metric="cosine", index="flat")
    with pytest.raises(VectorError, match=says) as refused:
        wire_control.configured(index, json.dumps(body).encode(), version, "flat")
    assert refused.value.status == 400


@pytest.mark.parametrize("body", [b"{}", b'{"read_capacity":{"mode":"OnDemand"}}', b'{"deletion_protection":null}'])
def test_a_configuration_that_changes_nothing(body):
    index = wire_control.Description(
        name="x", dimension=3, metric="cosine", index="flat", deletion_protection="enabled", tags={"a": "b"}
    )
    assert wire_control.configured(index, body, "2026-07", "hnsw") == index
