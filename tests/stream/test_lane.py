"""When a batch is due, and what is in it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.stream.invoke import kinesis_event
from workbench.stream.lane import PAYLOAD_BYTES, Lane, Read, group_of, window_start
from workbench.stream.mapping import EventSourceMapping

from .made import numbers, record


def lane_of(*records: dict, at_ns: int = 0, **rules) -> Lane:
    lane = Lane(EventSourceMapping(**rules))
    for each in records:
        lane.add(Read(each, at_ns))
    return lane


def taken(lane: Lane) -> list[int]:
    return numbers([read.record for read in lane.take()])


def test_without_a_window_a_batch_is_due_as_soon_as_there_is_a_record():
    assert lane_of().wait_s(0) is None
    lane = lane_of(record(1))
    assert lane.wait_s(0) == 0 and taken(lane) == [1] and lane.wait_s(0) is None


def test_a_window_begins_with_its_first_record():
    lane = lane_of(record(1), at_ns=5_000_000_000, maximum_batching_window_in_seconds=3)
    lane.add(Read(record(2), 7_000_000_000))
    assert lane.wait_s(5_000_000_000) == 3 and lane.wait_s(7_500_000_000) == 0.5
    assert lane.wait_s(8_000_000_000) == 0 and lane.wait_s(9_000_000_000) == 0
    assert taken(lane) == [1, 2]


def test_a_full_batch_does_not_wait():
    rules = {"batch_size": 2, "maximum_batching_window_in_seconds": 300}
    lane = lane_of(record(1), **rules)
    assert lane.wait_s(0) == 300
    lane.add(Read(record(2), 0))
    lane.add(Read(record(3), 0))
    assert lane.wait_s(0) == 0 and taken(lane) == [1, 2] and lane.wait_s(0) == 300 and taken(lane) == [3]


def test_a_batch_ends_where_its_payload_would_be_too_large_for_a_call():
    large = [record(number, data=bytes(1_000_000)) for number in range(6)]
    lane = lane_of(*large, maximum_batching_window_in_seconds=300)
    assert lane.wait_s(0) == 0 and taken(lane) == [0, 1, 2, 3] and lane.wait_s(0) == 300
    names = {
        "shard_id": "shardId-000000000000",
        "function": "arn:" + 140 * "f",
        "stream_arn": "arn:aws:kinesis:eu-central-1:" + 170 * "s",
    }
    for each in (record(7, data=b""), record(8, key="k" * 256, data=bytes(range(256)))):
        written = len(msgspec.json.encode(kinesis_event([each], **names))) - len('{"Records":[]}')
        assert written <= Read(each, 0).payload_bytes
    assert 4 * Read(large[0], 0).payload_bytes < PAYLOAD_BYTES < 5 * Read(large[0], 0).payload_bytes


def test_a_record_larger_than_a_call_goes_alone():
    lane = lane_of(record(1, data=bytes(5_000_000)), record(2), maximum_batching_window_in_seconds=300)
    assert lane.wait_s(0) == 0 and taken(lane) == [1] and taken(lane) == [2]


def test_a_batch_has_records_of_one_tumbling_window():
    rules = {"tumbling_window_in_seconds": 60, "maximum_batching_window_in_seconds": 300}
    lane = lane_of(*(record(number, at_s=at) for number, at in enumerate([60.0, 119.9, 120.0, 130.0])), **rules)
    assert lane.wait_s(0) == 0 and taken(lane) == [0, 1] and lane.wait_s(0) == 300 and taken(lane) == [2, 3]
    assert window_start(record(1, at_s=119.9), EventSourceMapping(tumbling_window_in_seconds=60)) == 60
    assert window_start(record(1), EventSourceMapping()) is None


@pytest.mark.parametrize("factor", [1, 2, 10])
def test_a_key_has_one_group_and_groups_are_used_alike(factor):
    groups = [group_of(f"user-{number}", factor) for number in range(5_000)]
    assert groups == [group_of(f"user-{number}", factor) for number in range(5_000)]
    counts = [groups.count(group) for group in range(factor)]
    assert sum(counts) == 5_000 and min(counts) > 0.8 * 5_000 / factor
    assert 0 <= group_of("\ud800", factor) < factor


@given(st.lists(st.integers(0, 3_000_000), max_size=30), st.integers(1, 8))
def test_batches_are_all_records_in_order(sizes, batch_size):
    lane = lane_of(*(record(number, data=bytes(size)) for number, size in enumerate(sizes)), batch_size=batch_size)
    batches = []
    while lane.wait_s(0) == 0:
        batches.append(lane.take())
    assert [number for batch in batches for number in numbers([read.record for read in batch])] == [*range(len(sizes))]
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len(batch) == 1 or sum(read.payload_bytes for read in batch) <= PAYLOAD_BYTES
