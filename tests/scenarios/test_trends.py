"""What is touched most: counts in the state of a tumbling window."""

from datetime import UTC, datetime

import pytest

from workbench.codecs import codec
from workbench.events import Event
from workbench.scenarios.trends import Trend, Trends, trending
from workbench.stream.invoke import kinesis_event

_SHARD, _STREAM = "shardId-000000000000", "arn:aws:kinesis:us-east-1:000000000000:stream/events"


def call(*products: str | bytes, state: dict | None = None, final: bool = False, early: bool = False) -> dict:
    """AWS's event of a tumbling window; bytes are a record as it is."""
    records = []
    for number, each in enumerate(products):
        event = Event(event_id=f"e{number}", user_id="anna", product_id=str(each), timestamp_ms=number, trace_id="t")
        data = each if isinstance(each, bytes) else codec("json").encode(event)
        arrived = datetime(2026, 11, 24, 12, 0, number, tzinfo=UTC)
        records.append(
            {"SequenceNumber": str(number), "PartitionKey": "anna", "Data": data, "ApproximateArrivalTimestamp": arrived}
        )
    return {
        **kinesis_event(records, shard_id=_SHARD, stream_arn=_STREAM, function="trends"),
        "window": {"start": "2026-11-24T12:00:00Z", "end": "2026-11-24T12:01:00Z"},
        "state": state or {},
        "shardId": _SHARD,
        "eventSourceARN": _STREAM,
        "isFinalInvokeForWindow": final,
        "isWindowTerminatedEarly": early,
    }


def test_counts_go_from_call_to_call_and_are_told_once_the_window_is_over():
    told: list[Trend] = []
    count = Trends(codec("json"), told.append)
    first = count(call("p1", "p2", "p1"))
    assert first == {"state": {"touches": {"p1": 2, "p2": 1}}}
    second = count(call("p2", "p3", "p2", **first))
    assert second == {"state": {"touches": {"p1": 2, "p2": 3, "p3": 1}}} and told == []
    count(call(final=True, **second))
    assert told == [Trend(_SHARD, "2026-11-24T12:00:00Z", "2026-11-24T12:01:00Z", {"p1": 2, "p2": 3, "p3": 1})]
    count(call(final=True, early=True, **first))
    assert told[1].early and told[1].touches == {"p1": 2, "p2": 1}


def test_what_is_no_event_is_not_counted():
    assert Trends(codec("json"), print)(call("p1", b"junk", b"")) == {"state": {"touches": {"p1": 1}}}


def test_a_window_that_cannot_be_told_fails_its_final_call():
    def away(trend: Trend) -> None:
        raise ConnectionError("the dashboard is away")

    with pytest.raises(ConnectionError):
        Trends(codec("json"), away)(call(final=True))


def test_trending_adds_up_windows_and_shards():
    trends = [Trend("a", "0", "1", {"p1": 2, "p2": 5}), Trend("b", "0", "1", {"p1": 3, "p3": 1}), Trend("a", "1", "2", {"p4": 7})]
    assert trending(trends, 3) == [("p4", 7), ("p1", 5), ("p2", 5)]
    assert trending([], 3) == []
