"""Decode sets aside, one by one and with a reason, what is no event; the rest goes on in its order."""

import base64
import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.events import MAX_ID, SCHEMA_VERSION, Event
from workbench.function.aggregation import SubRecord, pack
from workbench.function.decode import Arrival, decode

from .world import JSON, ORIGIN, batch, event, fields

GOOD = event("good")


def arrived(sequence_number: str, entry: Event, index: int | None = None) -> Arrival:
    return Arrival(sequence_number, entry, index, ORIGIN)


def changed(**changes) -> bytes:
    return JSON.encode(msgspec.structs.replace(event("e1"), **changes))


def without(name: str) -> bytes:
    return msgspec.json.encode({key: value for key, value in fields(GOOD).items() if key != name})


BAD = {
    "not base64": ("%%%", "base64"),
    "base64 cut short": (base64.b64encode(JSON.encode(GOOD)).decode()[:-1], "base64"),
    "text that is not ASCII": ("é", "base64"),
    "no data": (None, "base64"),
    "empty": (b"", "not a json event"),
    "not JSON": (b"event 17", "not a json event"),
    "JSON, but no object": (b"[1, 2]", "Expected object"),
    "a missing field": (without("product_id"), "missing required field product_id"),
    "a field of another type": (JSON.encode(GOOD).replace(b'"u1"', b"1"), "Expected str, got int - at $.user_id"),
    "an empty event id": (changed(event_id=""), "event_id is empty"),
    "a blank user id": (changed(user_id=" \t"), "user_id is empty"),
    "an empty product id": (changed(product_id=""), "product_id is empty"),
    "a user id that is no key": (changed(user_id="ü"), r"user_id = '\xfc' is not 1 to 500 ASCII characters"),
    "a zero byte in an id": (changed(product_id="a\0"), r"product_id = 'a\x00' is not 1 to 500 ASCII characters"),
    "an event id that is too long": (changed(event_id="e" * (MAX_ID + 1)), "is not 1 to 500 ASCII characters"),
    "a trace id of a megabyte": (changed(trace_id="t" * 1_000_000), "trace_id has 1,000,000 characters"),
    "nested too deeply": (JSON.encode(GOOD)[:-1] + b',"x":' + b"[" * 50_000, "nested too deeply"),
    "a newer schema": (changed(schema_version=SCHEMA_VERSION + 1), "schema_version = 2 is newer than 1"),
    "a time before 1970": (changed(timestamp_ms=-1), "timestamp_ms = -1 is not between 0 and 253402300799999"),
    "a time after 9999": (changed(timestamp_ms=253_402_300_800_000), "timestamp_ms = 253402300800000 is not between"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_event_is_set_aside_with_its_reason_and_the_rest_goes_on(case):
    data, reason = BAD[case]
    arrivals, rejected = decode(batch(GOOD, data, event("next"))["Records"], JSON)
    assert arrivals == [arrived("1", GOOD), arrived("3", event("next"))]
    assert list(rejected) == ["2"] and reason in rejected["2"]
    assert len(rejected["2"]) < 300 and "\n" not in rejected["2"]


def test_the_order_of_the_good_ones_and_of_the_bad_ones_is_the_shards():
    good = [event(str(number)) for number in range(20)]
    mixed = [entry for each in good for entry in (each, b"broken")]
    arrivals, rejected = decode(batch(*mixed)["Records"], JSON)
    assert [arrival.event for arrival in arrivals] == good
    assert [arrival.sequence_number for arrival in arrivals] == [str(number) for number in range(1, 41, 2)]
    assert list(rejected) == [str(number) for number in range(2, 41, 2)]


@pytest.mark.parametrize(
    "edge",
    [
        {"timestamp_ms": 0},
        {"timestamp_ms": 253_402_300_799_999},
        {"user_id": "u" * MAX_ID},
        {"product_id": "~ / # [1]"},
        {"trace_id": ""},
        {"trace_id": "📦"},
        {"schema_version": 0},
    ],
)
def test_what_is_just_allowed_is_allowed(edge):
    arrivals, rejected = decode(batch(changed(**edge))["Records"], JSON)
    assert rejected == {} and [arrival.event for arrival in arrivals] == [msgspec.structs.replace(event("e1"), **edge)]


def test_no_records_give_no_events():
    assert decode([], JSON) == ([], {})


def aggregated(*entries: Event | bytes) -> bytes:
    """One Kinesis record's data that holds these."""
    data = (JSON.encode(entry) if isinstance(entry, Event) else entry for entry in entries)
    return pack(SubRecord("u1", None, each) for each in data)


def test_an_aggregated_record_becomes_one_arrival_for_each_event():
    """In the shard's order; the bytes are put together as AWS describes them."""
    message = b"\x0a\x02u1"  # the table of partition keys
    for entry in (JSON.encode(event("a")), JSON.encode(event("b"))):
        assert len(entry) < 124  # so that either length takes one byte
        message += bytes([0x1A, 4 + len(entry), 0x08, 0, 0x1A, len(entry)]) + entry
    data = b"\xf3\x89\x9a\xc2" + message + hashlib.md5(message).digest()
    arrivals, rejected = decode(batch(GOOD, data, event("next"))["Records"], JSON)
    assert rejected == {}
    assert arrivals == [
        arrived("1", GOOD),
        arrived("2", event("a"), 0),
        arrived("2", event("b"), 1),
        arrived("3", event("next")),
    ]
    assert [arrival.place for arrival in arrivals] == ["1", "2:0", "2:1", "3"]


@pytest.mark.parametrize("case", [case for case, (data, _) in BAD.items() if isinstance(data, bytes)])
def test_a_bad_one_within_an_aggregated_record_is_set_aside_alone(case):
    data, reason = BAD[case]
    records = batch(GOOD, aggregated(event("a"), data, event("b"), data), event("next"))["Records"]
    arrivals, rejected = decode(records, JSON)
    assert [(arrival.place, arrival.event.event_id) for arrival in arrivals] == [
        ("1", "good"),
        ("2:0", "a"),
        ("2:2", "b"),
        ("3", "next"),
    ]
    assert list(rejected) == ["2:1", "2:3"] and all(reason in each for each in rejected.values())


def test_an_aggregated_record_within_another_is_no_event():
    """The KCL unpacks once, too."""
    arrivals, rejected = decode(batch(aggregated(GOOD, aggregated(GOOD)))["Records"], JSON)
    assert arrivals == [arrived("1", GOOD, 0)] and list(rejected) == ["1:1"] and "not a json event" in rejected["1:1"]


def test_an_aggregated_record_that_is_damaged_is_set_aside_as_a_whole():
    whole = aggregated(event("a"), event("b"))
    message = whole[4:-16] + b"\x1a\x02\x08\x00"  # a record without data, under an MD5 that is right
    wrong = whole[:4] + message + hashlib.md5(message).digest()
    arrivals, rejected = decode(batch(GOOD, whole[:-1], wrong, event("next"))["Records"], JSON)
    assert arrivals == [arrived("1", GOOD), arrived("4", event("next"))] and list(rejected) == ["2", "3"]
    assert rejected["2"].startswith("not a json event: ")  # of a wrong MD5, so that it counts as not aggregated
    assert rejected["3"] == "not a KPL-aggregated event: a record has no data"


def test_an_aggregated_record_that_holds_nothing_gives_nothing():
    message = b"\x0a\x02u1"
    empty = b"\xf3\x89\x9a\xc2" + message + hashlib.md5(message).digest()
    assert decode(batch(GOOD, empty)["Records"], JSON) == ([arrived("1", GOOD)], {})


@given(
    junk=st.lists(st.binary(max_size=40), min_size=1, max_size=4),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3),
    resealed=st.booleans(),
)
def test_whatever_an_aggregated_record_holds_the_records_around_it_go_on(junk, changes, resealed):
    whole = bytearray(aggregated(event("a"), *junk, event("b")))
    for at, byte in changes:
        whole[4 + at % (len(whole) - 20)] = byte  # anywhere in the message
    data = bytes(whole[:-16]) + (hashlib.md5(whole[4:-16]).digest() if resealed else bytes(whole[-16:]))
    arrivals, rejected = decode(batch(GOOD, data, event("next"))["Records"], JSON)
    assert arrivals[0] == arrived("1", GOOD) and arrivals[-1] == arrived("3", event("next"))
    places = [arrival.place for arrival in arrivals[1:-1]] + list(rejected)
    assert all(place.partition(":")[0] == "2" for place in places) and len(set(places)) == len(places)
    if not changes:
        assert [arrival.event.event_id for arrival in arrivals[1:-1]] == ["a", "b"]
        assert list(rejected) == [f"2:{index}" for index in range(1, len(junk) + 1)]
