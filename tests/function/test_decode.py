"""Decode sets aside, one by one and with a reason, what is no event; the rest goes on in its order."""

import base64

import msgspec
import pytest

from workbench.events import MAX_ID, SCHEMA_VERSION
from workbench.function.decode import Arrival, decode

from .world import JSON, batch, event, fields

GOOD = event("good")


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
    assert arrivals == [Arrival("1", GOOD), Arrival("3", event("next"))]
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
