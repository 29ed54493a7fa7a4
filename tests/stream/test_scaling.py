"""Target tracking: the formula by value, its properties under constant load, and a stream that follows its load."""

import itertools
import math
import threading
from collections import defaultdict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workbench.errors import ServiceError, SettingError
from workbench.stream.meter import Load, Meter
from workbench.stream.scaling import Scaler, TargetTracking, Tracker, desired

_WIDE = TargetTracking(maximum=10_000)
_NONE = Load(0.0, 0.0, 0.0)


def records(per_s: float) -> Load:
    return Load(per_s, 0.0, 0.0)


@pytest.mark.parametrize(
    ("shards", "load", "to"),
    [
        (4, records(3200), 4),  # 800 a shard: at the target
        (4, records(3201), 5),  # ceil(4 * 800.25 / 800)
        (4, records(6000), 8),  # ceil(4 * 1500 / 800)
        (4, records(9000), 8),  # 12 are wanted; at most double
        (20, records(15_200), 20),  # 760 a shard: 19 would do, but 95% of the target is not low
        (20, records(14_300), 18),  # 715 a shard are: ceil(20 * 715 / 800)
        (4, records(2879), 4),  # low, but ceil(3.6) are needed
        (4, records(2400), 3),  # ceil(4 * 600 / 800)
        (8, records(800), 4),  # one is enough; at least half
        (5, _NONE, 3),
        (1, _NONE, 1),
        (4, Load(0.0, 4_000_000, 0.0), 5),  # 1 MB/s a shard, 80% of it is kept
        (4, Load(6000, 4_000_000, 0.0), 8),  # the larger of both
        (4, Load(100, 4_000_000, 0.0), 5),
        (20, Load(100, 15_200_000, 0.0), 20),  # records are low, bytes are not
        (4, Load(0.0, 0.0, 60.0), 4),  # as old as may be
        (4, Load(0.0, 0.0, 75.0), 5),  # ceil(4 * 75 / 60)
        (4, Load(0.0, 0.0, 3600.0), 8),
        (20, Load(0.0, 0.0, 55.0), 20),  # readers are behind by more than 90% of what they may
        (20, Load(0.0, 0.0, 50.0), 17),  # ceil(20 * 50 / 60)
    ],
)
def test_desired_is_the_shards_times_metric_over_target_rounded_up(shards, load, to):
    assert desired(shards, load, _WIDE) == to


def test_it_stays_between_minimum_and_maximum_and_goes_there_in_allowed_steps():
    policy = TargetTracking(minimum=3, maximum=6)
    assert [desired(shards, _NONE, policy) for shards in (4, 6, 1, 2)] == [3, 3, 2, 3]
    assert [desired(shards, records(100_000), policy) for shards in (4, 6, 2, 20)] == [6, 6, 4, 10]


_POLICIES = st.builds(
    lambda least, more, target: TargetTracking(minimum=least, maximum=least + more, records_per_s=target),
    st.integers(1, 50),
    st.integers(0, 500),
    st.floats(1.0, 1000.0),
)


@given(st.integers(1, 600), st.floats(0, 1e6), st.floats(0, 1e9), st.floats(0, 1e5), _POLICIES)
def test_it_is_never_outside_the_limits(shards, records_per_s, bytes_per_s, age_s, policy):
    to = desired(shards, Load(records_per_s, bytes_per_s, age_s), policy)
    assert math.ceil(shards / 2) <= to <= 2 * shards  # UpdateShardCount's
    if policy.minimum <= shards <= policy.maximum:
        assert policy.minimum <= to <= policy.maximum
    else:
        assert (to < shards) == (shards > policy.maximum) and (to > shards) == (shards < policy.minimum), "towards them"


@given(st.integers(1, 600), st.floats(0, 1e5), _POLICIES)
def test_under_a_constant_load_it_reaches_the_target_in_log2_steps_and_stays(shards, load, policy):
    """Up or down, never both; where it ends no shard has more than the target, if the maximum allows that."""
    way = [shards]
    while (to := desired(way[-1], records(load), policy)) != way[-1]:
        way.append(to)
        assert len(way) < 20
    end = way[-1]
    assert way in (sorted(way), sorted(way, reverse=True)) and policy.minimum <= end <= policy.maximum
    assert len(way) - 1 <= math.ceil(abs(math.log2(end / shards)) - 1e-9)
    needed = math.ceil(load / policy.records_per_s)
    assert end >= min(needed, policy.maximum)
    if end > max(needed, policy.minimum):
        assert load >= 0.9 * end * policy.records_per_s  # not low: less would leave no room


@given(st.integers(1, 64), st.floats(0, 50_000), st.floats(0, 1000), st.floats(1, 100))
def test_with_cooldowns_neither_does_it_go_back_and_forth(shards, load, cooldown_s, interval_s):
    assume(cooldown_s / interval_s < 200)
    policy = TargetTracking(maximum=64, scale_in_cooldown_s=cooldown_s, scale_out_cooldown_s=cooldown_s)
    tracker, way, at = Tracker(policy), [shards], []
    for look in range(2000):
        to = tracker.next(look * interval_s, way[-1], records(load))
        if to != way[-1]:
            tracker.changed(look * interval_s)
            way.append(to)
            at.append(look * interval_s)
    assert way in (sorted(way), sorted(way, reverse=True)) and desired(way[-1], records(load), policy) == way[-1]
    if way[-1] < shards:
        assert all(later - earlier >= cooldown_s for earlier, later in itertools.pairwise([0.0, *at]))
    else:
        assert at == [look * interval_s for look in range(len(at))], "shards are added at once"


def test_shards_are_removed_one_cooldown_after_a_change_and_after_the_load_became_low():
    tracker = Tracker(TargetTracking(scale_in_cooldown_s=100))
    assert tracker.next(0, 4, records(6000)) == 8
    tracker.changed(0)
    assert tracker.next(10, 8, records(1000)) == 8  # low since 10
    assert tracker.next(99, 8, records(1000)) == 8
    assert tracker.next(105, 8, records(6000)) == 8  # and not any more
    assert tracker.next(110, 8, records(1000)) == 8
    assert tracker.next(209, 8, records(1000)) == 8
    assert tracker.next(210, 8, records(1000)) == 4
    tracker.changed(210)
    assert tracker.next(211, 4, records(6000)) == 8, "but added at once, whatever the cooldown"


def test_an_iterator_age_makes_for_one_change_each_cooldown():
    """What waits is in the shards that were: the age falls long after there are more."""
    tracker, late = Tracker(TargetTracking(scale_out_cooldown_s=100)), Load(800, 0.0, 600.0)
    assert tracker.next(0, 1, late) == 2
    tracker.changed(0)
    assert tracker.next(50, 2, late) == 2
    assert tracker.next(60, 2, Load(2000, 0.0, 600.0)) == 3, "records go on at once"
    assert tracker.next(100, 2, late) == 4


def test_there_are_ten_changes_in_24_hours():
    tracker = Tracker(TargetTracking(scale_out_cooldown_s=0))
    for hour in range(10):
        assert tracker.next(hour * 3600, 1, records(1000)) == 2
        tracker.changed(hour * 3600)
    assert tracker.next(24 * 3600 - 1, 1, records(1000)) == 1
    assert tracker.next(24 * 3600, 1, records(1000)) == 2


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ({"minimum": 0}, "1 to 10,000 shards"),
        ({"minimum": 5, "maximum": 4}, "the minimum, 5, to 10,000 shards"),
        ({"maximum": 10_001}, "the minimum, 1, to 10,000 shards"),
        ({"records_per_s": 1001}, "above 0, at most 1,000"),
        ({"records_per_s": 0}, "above 0, at most 1,000"),
        ({"bytes_per_s": math.nan}, "above 0, at most 1,000,000"),
        ({"scale_in_cooldown_s": -1}, "seconds, 0 or more"),
        ({"scale_out_cooldown_s": math.inf}, "seconds, 0 or more"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(setting, allowed):
    with pytest.raises(SettingError) as raised:
        TargetTracking(**setting)
    assert raised.value.allowed == allowed


def test_a_stream_follows_its_load_from_1_shard_to_4_and_back(wired, until):
    """While it reshards no event is lost, and each key's come in their order. 10 records/s a shard stand for 800."""
    put: dict[str, list[str]] = defaultdict(list)
    seen: dict[str, list[str]] = defaultdict(list)
    meter = Meter(wired.kinesis)
    per_s, over, errors = [100.0], threading.Event(), []

    def produce() -> None:
        for number in itertools.count():
            if over.wait(1 / per_s[0]):
                return
            key = f"user-{number % 11}"
            try:
                put[key].append(meter.put_record(StreamName=wired.name, Data=b"x", PartitionKey=key)["SequenceNumber"])
            except Exception as error:
                errors.append(error)
                return

    def function(event: dict) -> dict:
        for record in event["Records"]:
            seen[record["kinesis"]["partitionKey"]].append(record["kinesis"]["sequenceNumber"])
        return {}

    policy = TargetTracking(maximum=4, records_per_s=10, scale_in_cooldown_s=1.0)
    producing = threading.Thread(target=produce)
    with (
        wired.source(function, kinesis=meter) as source,
        Scaler(wired.kinesis, wired.name, policy=policy, load=meter.load, interval_s=0.5) as scaler,
    ):
        producing.start()
        try:
            until(lambda: scaler.looks and scaler.looks[-1].shards == 4, "4 shards carry 100 records/s")
            per_s[0] = 3.0
            until(lambda: scaler.looks[-1].shards == 1, "1 shard carries 3 records/s", 60.0)
        finally:
            over.set()
            producing.join()
        until(lambda: sum(map(len, seen.values())) >= sum(map(len, put.values())), "all is delivered")
        scaler.check()
        source.check()
    assert errors == [] and seen == put
    counts = [look.shards for look in scaler.looks]
    assert counts[0] == 1 and max(counts) == 4 and counts[-1] == 1
    assert [look.to for look in scaler.looks[:-1]] == counts[1:], "each count is what the look before asked for"
    assert all(math.ceil(look.shards / 2) <= look.to <= 2 * look.shards for look in scaler.looks)
    listed = wired.kinesis.list_shards(StreamName=wired.name)["Shards"]
    assert len(listed) >= 1 + 2 + 4 + 2 + 1
    ended = {lease.shard_id for lease in wired.leases().all(shard["ShardId"] for shard in listed) if lease.ended}
    assert len(ended) == len(listed) - 1, "all but the open one were read to their end"


def test_a_consumer_that_is_held_up_calls_for_more_shards(wired, until):
    """It polls no more, and what comes meanwhile grows old unread: the age counts from its last poll on."""
    policy, meter, go_on = TargetTracking(iterator_age_s=0.5), Meter(wired.kinesis), threading.Event()
    wired.put(*"abcdef")

    def wanted() -> int:
        return desired(1, meter.load(), policy)

    with wired.source(lambda event: {"waited": go_on.wait(60)}, kinesis=meter, batch_size=1) as source:
        until(lambda: wanted() == 2, "two shards are wanted")
        go_on.set()
        until(lambda: wanted() == 1, "one is enough")
        source.check()


def test_a_scaler_whose_stream_is_gone_says_so_in_one_line(wired, until):
    with Scaler(wired.kinesis, "no-such-stream", policy=_WIDE, load=lambda: _NONE, interval_s=0.01) as scaler:
        until(lambda: scaler._errors, "it has looked")
        with pytest.raises(ServiceError, match=r"^stream no-such-stream cannot be scaled: .*no-such-stream") as raised:
            scaler.check()
    assert "\n" not in str(raised.value)
    with pytest.raises(SettingError, match=r"^interval_s = 0 is not allowed: seconds, above 0$"):
        Scaler(wired.kinesis, wired.name, policy=_WIDE, load=lambda: _NONE, interval_s=0)


def test_a_change_that_kinesis_does_not_take_now_is_asked_for_again(wired):
    """Another resharding under way, or one too many: no error, and no change that counts."""

    class Busy:
        def __getattr__(self, name: str):
            return getattr(wired.kinesis, name)

        def update_shard_count(self, **request) -> dict:
            raise wired.kinesis.exceptions.LimitExceededException(
                {"Error": {"Code": "LimitExceededException"}}, "UpdateShardCount"
            )

    scaler = Scaler(Busy(), wired.name, policy=_WIDE, load=lambda: records(10_000))
    for _ in range(12):
        scaler.look()
    assert [(look.shards, look.to) for look in scaler.looks] == [(1, 2)] * 12
    scaler._kinesis = wired.kinesis
    scaler.look()
    assert wired.kinesis.describe_stream_summary(StreamName=wired.name)["StreamDescriptionSummary"]["OpenShardCount"] == 2
