"""Two consumers of one stream, and how many AWS lets read a shard."""

import contextlib
import math
import threading
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.clock import now_ns
from workbench.codecs import codec
from workbench.errors import SettingError
from workbench.events import Event
from workbench.scenarios.trends import Trend, Trends, trending
from workbench.stream.fanout import standard_consumers

_RECORDS, _A_READ = 60, 4


@pytest.mark.parametrize(
    ("poll_interval_s", "bytes_per_s", "most"),
    [
        (1.0, 0, 5),  # Lambda's poll: five reads a second
        (0.2, 0, 1),
        (0.25, 0, 1),
        (0.1, 0, 0),  # ten reads a second are refused even to one
        (1.0, 1_000_000, 2),  # a full shard: 2 MB/s out, 1 MB/s in
        (1.0, 600_000, 3),
        (60.0, 100_000, 20),
    ],
)
def test_standard_consumers_share_five_reads_and_2_mb_a_second(poll_interval_s, bytes_per_s, most):
    assert standard_consumers(poll_interval_s, bytes_per_s) == most


@given(st.floats(0.01, 100), st.floats(0, 1_000_000))
def test_no_more_would_fit(poll_interval_s, bytes_per_s):
    most = standard_consumers(poll_interval_s, bytes_per_s)
    near = 1 + 1e-9
    assert most / poll_interval_s <= 5 * near and most * bytes_per_s <= 2_000_000 * near
    assert (most + 1) / poll_interval_s * near > 5 or (most + 1) * bytes_per_s * near > 2_000_000


@pytest.mark.parametrize("interval_s", [0.0, -1.0, math.inf, math.nan, 1e308])
def test_what_is_no_interval_is_refused(interval_s):
    with pytest.raises(SettingError, match=r"^poll_interval_s = .* is not allowed: seconds, above 0$"):
        standard_consumers(interval_s)


@pytest.mark.parametrize("bytes_per_s", [-1.0, math.inf, math.nan])
def test_what_is_no_rate_is_refused(bytes_per_s):
    with pytest.raises(SettingError, match=r"^bytes_per_s = .* is not allowed: bytes a second, 0 or more$"):
        standard_consumers(1.0, bytes_per_s)


class Counted:
    """A client whose reads are counted, and bring a few records each."""

    def __init__(self, kinesis) -> None:
        self._kinesis, self.reads = kinesis, 0

    def __getattr__(self, name: str):
        return getattr(self._kinesis, name)

    def get_records(self, *, ShardIterator: str, Limit: int) -> dict:  # noqa: N803
        self.reads += 1
        return self._kinesis.get_records(ShardIterator=ShardIterator, Limit=min(Limit, _A_READ))


class Neighbour:
    """An analytics function that does ``what``, and a source for it."""

    def __init__(self, wired, what: str) -> None:
        self.called, self.go_on, self._what = threading.Event(), threading.Event(), what
        self.source = wired.source(self, leases=wired.leases(consumer="analytics"), batch_size=_A_READ)

    def __call__(self, event: dict) -> dict:
        self.called.set()
        if self._what == "slow":
            assert self.go_on.wait(60)
        if self._what == "failing":
            raise ValueError("the dashboard is away")
        return {}

    def __enter__(self) -> "Neighbour":
        if self._what == "none":
            return self
        self.source.start()
        assert self.called.wait(20)
        if self._what == "stopped":
            self.source.stop()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        if self._what not in ("none", "stopped"):
            self.source.stop()
            self.source.check()


@pytest.mark.parametrize("neighbour", ["none", "quick", "slow", "failing", "stopped"])
def test_what_analytics_does_changes_nothing_for_enrichment(wired, until, neighbour):
    """It gets each record once, in order, in the same batches, with as many reads as alone: one for each few records."""
    keys = [f"user-{number % 7}" for number in range(_RECORDS)]
    put = [number for place, key in enumerate(keys) for number in wired.put(str(place), key=key)]
    got: list[list[str]] = []

    def enrich(event: dict) -> dict:
        got.append([record["kinesis"]["sequenceNumber"] for record in event["Records"]])
        return {}

    counted = Counted(wired.kinesis)
    # Once at the tip it would poll again in 1,000 s: what it has read by then is the shard, once.
    with Neighbour(wired, neighbour), wired.source(enrich, kinesis=counted, batch_size=5, poll_interval_s=1000.0) as source:
        until(lambda: sum(map(len, got)) >= _RECORDS, "enrichment has it all")
        source.check()
    assert [number for batch in got for number in batch] == put
    assert counted.reads == _RECORDS // _A_READ
    assert wired.checkpoint() == put[-1]


def test_nor_does_it_while_records_come_and_it_takes_up_where_it_was_left(wired, until):
    """Analytics is stopped in mid-stream; enrichment goes on, and analytics, back, gets the rest."""
    got: dict[str, list[str]] = defaultdict(list)

    def noting(name: str):
        def function(event: dict) -> dict:
            got[name] += [record["kinesis"]["sequenceNumber"] for record in event["Records"]]
            return {}

        return function

    with wired.source(noting("enrichment")):
        with wired.source(noting("analytics"), leases=wired.leases(consumer="analytics")):
            put = wired.put("a", "b")
            until(lambda: got["analytics"] == got["enrichment"] == put, "both have it")
        put += wired.put("c", "d")
        until(lambda: got["enrichment"] == put, "enrichment goes on alone")
        assert got["analytics"] == put[:2]
        with wired.source(noting("analytics"), leases=wired.leases(consumer="analytics")):
            until(lambda: got["analytics"] == put, "analytics has the rest, and nothing twice")
    assert got["enrichment"] == put


def _event(number: int, product: str) -> str:
    event = Event(event_id=f"e{number}", user_id="anna", product_id=product, timestamp_ms=now_ns() // 10**6, trace_id="t")
    return codec("json").encode(event).decode()


def test_analytics_counts_each_windows_touches_beside_enrichment(two_shards, until):
    """Every record is counted once, in the window and shard of its arrival."""
    products = ["p1", "p2", "p1", "p3", "p1", "p2"]
    seen: list[str] = []
    told: list[Trend] = []

    def enrich(event: dict) -> dict:
        seen.extend(record["kinesis"]["sequenceNumber"] for record in event["Records"])
        return {}

    analytics = Trends(codec("json"), told.append)
    windows = {"leases": two_shards.leases(consumer="analytics"), "tumbling_window_in_seconds": 1, "batch_size": 10}
    with contextlib.ExitStack() as running:
        running.enter_context(two_shards.source(enrich))
        source = running.enter_context(two_shards.source(analytics, **windows))
        for number in range(90):
            two_shards.put(_event(number, products[number % 6]), key=f"user-{number % 9}")
        until(lambda: sum(sum(trend.touches.values()) for trend in told) >= 90, "every touch is counted")
        source.check()
    expected: dict[tuple[str, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for shard_id, records in two_shards.contents().items():
        for record in records:
            product = codec("json").decode(record["Data"]).product_id
            expected[shard_id, int(record["ApproximateArrivalTimestamp"].timestamp())][product] += 1
    assert len(seen) == len(set(seen)) == 90
    assert {(trend.shard_id, trend.start[-3:-1]): trend.touches for trend in told} == {
        (shard_id, f"{second % 60:02}"): touches for (shard_id, second), touches in expected.items()
    }
    assert trending(told, 2) == [("p1", 45), ("p2", 30)]
