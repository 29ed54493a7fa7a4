"""One worker and several: what survives a stop, a crash and a resharding, and what an error looks like."""

import collections
import random
import threading

import pytest

from workbench.errors import ServiceError


def fine(event: dict) -> dict:
    return {}


def failing(event: dict) -> dict:
    raise ValueError("the store is away")


def error_of(source, until) -> str:
    """The error that the source comes to tell."""
    told = []

    def raised() -> bool:
        try:
            source.check()
        except ServiceError as error:
            told.append(str(error))
        return bool(told)

    until(raised, "the source has failed")
    return told[0]


def killed(source) -> None:
    """Its threads end as if its process had: nothing more is written down, and its leases run out."""
    source._stop.set()
    source._thread.join()
    for worker in source._workers.values():
        worker.stop()


def test_what_is_in_mid_retry_when_the_source_stops_is_left_to_the_next(wired):
    numbers = wired.put("a", "b")
    with wired.source(failing):
        wired.until_delivered(3)
    assert wired.checkpoint() is None and wired.discards == []
    wired.deliveries.clear()
    wired.put("c")
    with wired.source(fine):
        wired.until_delivered(1)
    assert wired.calls() == [["a", "b", "c"]]
    assert int(wired.checkpoint()) > int(numbers[-1])


def test_a_source_that_was_stopped_before_it_read_anything_loses_nothing(wired):
    with wired.source(fine, poll_interval_s=10.0) as source:
        pass
    source.check()
    wired.deliveries.clear()
    wired.put("between two sources")
    with wired.source(fine):
        wired.until_delivered(1)
    assert wired.calls() == [["between two sources"]]


def test_the_next_source_goes_on_behind_the_checkpoint(wired):
    for texts in (["a", "b"], ["c", "d"], ["e"]):
        wired.put(*texts)
        calls = len(wired.deliveries) + 1
        with wired.source(fine):
            wired.until_delivered(calls)
    assert wired.calls() == [["a", "b"], ["c", "d"], ["e"]]


def test_a_batch_under_way_is_finished_and_checkpointed_when_the_source_stops(wired):
    begun, go_on = threading.Event(), threading.Event()

    def function(event: dict) -> dict:
        begun.set()
        go_on.wait(20)
        return {}

    (number,) = wired.put("a")
    source = wired.source(function)
    source.start()
    assert begun.wait(20)
    stopping = threading.Thread(target=source.stop)
    stopping.start()
    go_on.set()
    stopping.join(20)
    assert not stopping.is_alive() and wired.calls() == [["a"]] and wired.checkpoint() == number


def test_what_cannot_be_sent_to_the_destination_is_left_to_the_next_source(wired, until):
    def away(*_: object) -> None:
        raise ConnectionError("the queue is away")

    wired.put("bad")
    with wired.source(failing, maximum_retry_attempts=0, discard=away) as source:
        assert error_of(source, until) == f"reading stream {wired.name} failed: the queue is away"
    assert wired.checkpoint() is None
    with wired.source(fine):
        wired.until_delivered(1)
    assert wired.calls() == [["bad"]]


def test_a_stream_that_is_deleted_in_mid_run_is_told_in_one_line(wired, until):
    with wired.source(fine) as source:
        wired.put("a")
        wired.until_delivered(1)
        source.check()
        wired.kinesis.delete_stream(StreamName=wired.name)
        line = error_of(source, until)
    assert line.startswith(f"reading stream {wired.name} failed: ") and "\n" not in line


def test_a_stream_that_does_not_exist_is_told_at_the_start(wired):
    wired.kinesis.delete_stream(StreamName=wired.name)
    with pytest.raises(ServiceError, match=f"^stream {wired.name} does not exist$"):
        wired.source(fine).start()


def test_two_consumers_of_a_stream_do_not_disturb_each_other(wired, until):
    """Enrichment and analytics: each sees every record, and one that fails holds up nobody else."""
    wired.put("a", "b")
    with wired.source(failing, leases=wired.leases(consumer="analytics")), wired.source(fine):
        until(lambda: any(delivery.settled for delivery in wired.deliveries), "enrichment went on")
        wired.put("c")
        until(lambda: sum(len(delivery.settled) for delivery in wired.deliveries) == 3, "and on")
    assert wired.checkpoint() is not None
    wired.deliveries.clear()
    with wired.source(fine, leases=wired.leases(consumer="analytics")):
        wired.until_delivered(1)
    assert wired.calls() == [["a", "b", "c"]]


def test_workers_share_the_shards_and_one_takes_over_from_another(two_shards, until):
    """Nothing is lost or out of order; what the dead one had not checkpointed comes again."""
    seen = collections.defaultdict(list)

    def noting(worker: str):
        def function(event: dict) -> dict:
            for record in event["Records"]:
                seen[record["kinesis"]["partitionKey"]].append((worker, record["kinesis"]["sequenceNumber"]))
            return {}

        return function

    first = two_shards.source(noting("first"), leases=two_shards.leases("first", duration_s=3.0))
    second = two_shards.source(noting("second"), leases=two_shards.leases("second", duration_s=3.0))
    first.start()
    second.start()
    put: dict[str, list[str]] = collections.defaultdict(list)

    def put_some() -> None:
        for key in (f"user-{number}" for number in range(20)):
            put[key] += two_shards.put("x", key=key)

    def workers() -> set[str]:
        leases = two_shards.leases().all(two_shards.contents())
        return {lease.owner for lease in leases}

    put_some()
    until(lambda: workers() == {"first", "second"}, "each has a shard")
    put_some()
    killed(first)
    put_some()
    until(lambda: workers() == {"second"}, "the second has both")
    put_some()
    until(lambda: all({number for _, number in seen[key]} == set(numbers) for key, numbers in put.items()), "nothing is lost")
    second.stop()
    second.check()
    for key, numbers in put.items():
        firsts = list(dict.fromkeys(number for _, number in seen[key]))
        assert firsts == numbers, "each key's records come in their order, those that come again left out"


def test_a_resharding_is_followed_parents_before_children(two_shards, until):
    """Splits and merges under way: every record once, and each key's in the order in which they were put."""
    random_, put, seen = random.Random(4), collections.defaultdict(list), collections.defaultdict(list)

    def function(event: dict) -> dict:
        for record in event["Records"]:
            seen[record["kinesis"]["partitionKey"]].append(record["kinesis"]["sequenceNumber"])
        return {}

    def put_some() -> None:
        for _ in range(5):
            for key in random_.sample([f"user-{number}" for number in range(40)], 20):
                put[key] += two_shards.put("x", key=key)

    with two_shards.source(function) as source:
        put_some()
        two_shards.kinesis.update_shard_count(StreamName=two_shards.name, TargetShardCount=4, ScalingType="UNIFORM_SCALING")
        put_some()
        until(lambda: sum(map(len, seen.values())) == sum(map(len, put.values())), "all is delivered")
        two_shards.kinesis.update_shard_count(StreamName=two_shards.name, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
        put_some()
        until(lambda: sum(map(len, seen.values())) >= sum(map(len, put.values())), "all is delivered")
        source.check()
    assert seen == put
    ended = {lease.shard_id for lease in two_shards.leases().all(two_shards.contents()) if lease.ended}
    assert len(two_shards.contents()) == 8 and len(ended) == 6  # 2, then 4, then 2 that are open
