"""The first event source's rules, against the embedded Kinesis. Where AWS documents one, the test's name says it."""

import base64
import threading

import pytest

from workbench.errors import ServiceError


def _texts(event: dict) -> list[str]:
    return [base64.b64decode(record["kinesis"]["data"]).decode() for record in event["Records"]]


def _reporting(*bad: str, times: int = 1_000_000):
    """A function that reports these texts, each so many times."""
    left = dict.fromkeys(bad, times)

    def function(event: dict) -> dict:
        rejected = {}
        for record, text in zip(event["Records"], _texts(event), strict=True):
            if left.get(text, 0) > 0:
                left[text] -= 1
                rejected[record["kinesis"]["sequenceNumber"]] = f"{text} is bad"
        return {"batchItemFailures": [{"itemIdentifier": number} for number in rejected], "rejected": rejected}

    return function


def _raising(times: int):
    """A function that fails so many times."""
    left = [times]

    def function(event: dict) -> dict:
        if left[0] > 0:
            left[0] -= 1
            raise ValueError("the store is away")
        return {"batchItemFailures": []}

    return function


_fine = _reporting()


def _error(source, until) -> str:
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


def _checkpoint(wired) -> str | None:
    (shard_id,) = wired.contents()
    return wired.checkpoints.read(shard_id)


def test_batches_have_at_most_batch_size_records_in_each_shards_order(two_shards, until):
    for number in range(60):
        two_shards.put(str(number), key=f"user-{number % 9}")
    with two_shards.source(_fine, batch_size=10):
        until(lambda: sum(map(len, two_shards.delivered())) == 60, "all records were delivered")
        shards = two_shards.contents()
    for shard_id, records in shards.items():
        batches = [delivery.records for delivery in two_shards.deliveries if delivery.shard_id == shard_id]
        full, rest = divmod(len(records), 10)
        assert full >= 1  # of either shard
        assert [len(batch) for batch in batches] == [10] * full + [rest] * (rest > 0)
        assert [record["SequenceNumber"] for batch in batches for record in batch] == [r["SequenceNumber"] for r in records]


def test_a_batch_waits_for_its_window_and_holds_what_came_meanwhile(wired):
    with wired.source(_fine, batch_size=100, batching_window_s=0.6) as source:
        wired.put("a")
        wired.put("b")
        wired.put("c")
        wired.until_delivered(1)
        source.check()
    assert wired.delivered() == [["a", "b", "c"]]
    (delivery,) = wired.deliveries
    assert delivery.invoked_ns - delivery.received_ns[0] >= 600_000_000


def test_a_full_batch_does_not_wait_for_its_window(wired):
    wired.put("a", "b", "c", "d", "e")
    with wired.source(_fine, batch_size=2, batching_window_s=300):
        wired.until_delivered(2)
    assert wired.delivered() == [["a", "b"], ["c", "d"]]
    assert wired.deliveries[-1].answered_ns - wired.deliveries[0].received_ns[0] < 300_000_000_000


def test_a_reported_record_is_tried_again_alone_and_then_dead_lettered_while_the_rest_counts_as_processed(wired):
    numbers = wired.put("a", "bad", "c")
    with wired.source(_reporting("bad"), maximum_retry_attempts=2):
        wired.until_delivered(3)
        wired.put("d")
        wired.until_delivered(4)
    assert wired.delivered() == [["a", "bad", "c"], ["bad"], ["bad"], ["d"]]
    (letter,) = wired.dead(1)
    assert letter["workbench"] == {
        "reason": "bad is bad",
        "partitionKey": "user",
        "data": base64.b64encode(b"bad").decode(),
    }
    assert letter["KinesisBatchInfo"]["startSequenceNumber"] == numbers[1]
    assert letter["requestContext"]["approximateInvokeCount"] == 3
    assert [delivery.dead for delivery in wired.deliveries] == [{}, {}, {numbers[1]: "bad is bad"}, {}]
    assert _checkpoint(wired) == wired.contents()[wired.deliveries[0].shard_id][-1]["SequenceNumber"]


def test_a_reported_record_that_then_succeeds_is_no_dead_letter(wired):
    wired.put("a", "bad", "c", "worse")
    with wired.source(_reporting("bad", "worse", times=2), maximum_retry_attempts=2):
        wired.until_delivered(5)
    assert wired.delivered() == [["a", "bad", "c", "worse"], ["bad"], ["bad"], ["worse"], ["worse"]]
    assert wired.dead(0) == []


def test_without_retries_a_reported_record_is_given_up_at_once(wired):
    wired.put("a", "bad")
    with wired.source(_reporting("bad"), maximum_retry_attempts=0):
        wired.until_delivered(1)
    assert wired.delivered() == [["a", "bad"]]
    assert wired.dead(1)[0]["requestContext"]["approximateInvokeCount"] == 1


def test_a_record_reported_without_a_reason_says_so(wired):
    def function(event: dict) -> dict:
        return {"batchItemFailures": [{"itemIdentifier": event["Records"][0]["kinesis"]["sequenceNumber"]}]}

    wired.put("a")
    with wired.source(function, maximum_retry_attempts=1):
        wired.until_delivered(2)
    assert wired.dead(1)[0]["workbench"]["reason"] == "the function reported this record without a reason"


def test_a_batch_whose_function_failed_is_tried_again_whole_and_then_dead_lettered(wired):
    numbers = wired.put("a", "b", "c")
    with wired.source(_raising(3), maximum_retry_attempts=2):
        wired.until_delivered(3)
        wired.put("d")
        wired.until_delivered(4)
    assert wired.delivered() == [["a", "b", "c"]] * 3 + [["d"]]
    assert [letter["KinesisBatchInfo"]["startSequenceNumber"] for letter in wired.dead(3)] == numbers
    assert wired.deliveries[2].dead == dict.fromkeys(numbers, "ValueError: the store is away")
    assert [delivery.failure for delivery in wired.deliveries] == ["ValueError: the store is away"] * 3 + [""]


def test_a_failed_batch_that_then_succeeds_is_no_dead_letter(wired):
    wired.put("a", "b")
    with wired.source(_raising(2), maximum_retry_attempts=2):
        wired.until_delivered(3)
    assert wired.delivered() == [["a", "b"]] * 3
    assert wired.dead(0) == []


@pytest.mark.parametrize("function", [_raising(1_000_000), _reporting("a"), _reporting("b")], ids=["failing", "first", "second"])
def test_what_is_in_mid_retry_when_the_source_stops_is_left_to_the_next(wired, function):
    numbers = wired.put("a", "b")
    with wired.source(function, maximum_retry_attempts=10_000):
        wired.until_delivered(3)
    assert _checkpoint(wired) is None and wired.dead(0) == []
    wired.deliveries.clear()
    wired.put("c")
    with wired.source(_fine):
        wired.until_delivered(1)
    assert wired.delivered() == [["a", "b", "c"]]
    assert int(_checkpoint(wired)) > int(numbers[-1])


def test_a_source_that_was_stopped_before_it_read_anything_loses_nothing(wired):
    with wired.source(_fine, poll_interval_s=10.0) as source:
        pass
    source.check()
    wired.deliveries.clear()
    wired.put("between two sources")
    with wired.source(_fine):
        wired.until_delivered(1)
    assert wired.delivered() == [["between two sources"]]


def test_the_next_source_goes_on_behind_the_checkpoint(wired):
    wired.put("a", "b")
    with wired.source(_fine):
        wired.until_delivered(1)
    wired.put("c", "d")
    with wired.source(_fine):
        wired.until_delivered(2)
    with wired.source(_fine):
        wired.put("e")
        wired.until_delivered(3)
    assert wired.delivered() == [["a", "b"], ["c", "d"], ["e"]]


def test_a_batch_under_way_is_finished_and_checkpointed_when_the_source_stops(wired):
    begun, go_on = threading.Event(), threading.Event()

    def function(event: dict) -> dict:
        begun.set()
        go_on.wait(20)
        return {"batchItemFailures": []}

    (number,) = wired.put("a")
    source = wired.source(function)
    source.start()
    assert begun.wait(20)
    stopping = threading.Thread(target=source.stop)
    stopping.start()
    go_on.set()
    stopping.join(20)
    assert not stopping.is_alive() and wired.delivered() == [["a"]] and _checkpoint(wired) == number


def test_dead_letters_that_cannot_be_sent_leave_the_record_to_the_next_source(wired, until):
    class Away:
        def send(self, *_: object, **__: object) -> None:
            raise ConnectionError("the queue is away")

    wired.put("bad")
    with wired.source(_reporting("bad"), maximum_retry_attempts=0, dead_letters=Away()) as source:
        assert _error(source, until) == f"reading stream {wired.name} failed: the queue is away"
    assert _checkpoint(wired) is None
    with wired.source(_fine):
        wired.until_delivered(1)
    assert wired.delivered() == [["bad"]]


class _Wrapped:
    """Kinesis, but for what a subclass does otherwise."""

    def __init__(self, kinesis, *reads: int) -> None:
        self._kinesis, self._reads, self.reads = kinesis, reads, 0

    def __getattr__(self, name: str):
        return getattr(self._kinesis, name)


class _Short(_Wrapped):
    """Answers each read with two records at most."""

    def get_records(self, *, ShardIterator: str, Limit: int) -> dict:  # noqa: N803
        return self._kinesis.get_records(ShardIterator=ShardIterator, Limit=min(Limit, 2))


def test_reading_does_not_pause_while_records_remain(wired):
    wired.put("a", "b", "c", "d", "e", "f", "g")
    with wired.source(_fine, kinesis=_Short(wired.kinesis), poll_interval_s=1000.0):
        wired.until_delivered(4)
    assert wired.delivered() == [["a", "b"], ["c", "d"], ["e", "f"], ["g"]]


class _Expiring(_Wrapped):
    """Its iterators expire before each of the reads that are named."""

    def get_records(self, **asked: object) -> dict:
        self.reads += 1
        if self.reads in self._reads:
            refusal = {"Error": {"Code": "ExpiredIteratorException", "Message": "Iterator has expired"}}
            raise self._kinesis.exceptions.ExpiredIteratorException(refusal, "GetRecords")
        return self._kinesis.get_records(**asked)


def test_an_expired_iterator_is_renewed_where_reading_stood(wired, until):
    kinesis = _Expiring(wired.kinesis, 3, 4, 8)
    wired.put("a")
    with wired.source(_fine, kinesis=kinesis) as source:
        wired.until_delivered(1)
        until(lambda: kinesis.reads > 5, "it expired twice more")
        wired.put("b")
        until(lambda: kinesis.reads > 10, "it expired once more")
        wired.put("c")
        wired.until_delivered(3)
        source.check()
    assert wired.delivered() == [["a"], ["b"], ["c"]]


def test_an_iterator_that_expires_before_the_first_record_loses_nothing(wired):
    wired.put("a")
    with wired.source(_fine, kinesis=_Expiring(wired.kinesis, 1)):
        wired.until_delivered(1)
    assert wired.delivered() == [["a"]]


def test_a_stream_that_is_deleted_in_mid_run_is_told_in_one_line(wired, until):
    with wired.source(_fine) as source:
        wired.put("a")
        wired.until_delivered(1)
        source.check()
        wired.kinesis.delete_stream(StreamName=wired.name)
        line = _error(source, until)
    assert line.startswith(f"reading stream {wired.name} failed: ") and "ResourceNotFoundException" in line and "\n" not in line
