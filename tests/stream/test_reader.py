"""Reading one shard: the embedded Kinesis's real answers, with the failures and the times put between."""

import logging
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from workbench.cloud.clients import client
from workbench.errors import ServiceError
from workbench.stream.leases import Start
from workbench.stream.reader import ShardReader

_SHARD = "shardId-000000000000"
_OLDEST = Start("TRIM_HORIZON")
_URL = "http://127.0.0.1:1/"
_BOUNDS_S = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0)  # 0.2 s doubled for each failure, 5 s at most


class Stream:
    """A stream of one shard."""

    def __init__(self, kinesis) -> None:
        self.kinesis, self.name = kinesis, f"read-{uuid.uuid4().hex[:8]}"
        kinesis.create_stream(StreamName=self.name, ShardCount=1)
        kinesis.get_waiter("stream_exists").wait(StreamName=self.name, WaiterConfig={"Delay": 1})

    def put(self, *texts: str) -> list[str]:
        """Each text as a record; returns their sequence numbers."""
        records = [{"Data": text.encode(), "PartitionKey": "user"} for text in texts]
        return [put["SequenceNumber"] for put in self.kinesis.put_records(StreamName=self.name, Records=records)["Records"]]

    def close(self) -> None:
        if self.name in self.kinesis.list_streams(Limit=10_000)["StreamNames"]:
            self.kinesis.delete_stream(StreamName=self.name)


@pytest.fixture
def stream(embedded_cloud) -> Iterator[Stream]:
    made = Stream(client("kinesis", embedded_cloud))
    yield made
    made.close()


class Time:
    """Seconds that pass only in pauses, and where a test says so."""

    def __init__(self) -> None:
        self.now, self.pauses, self.stopping = 0.0, [], False

    def clock(self) -> float:
        return self.now

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        if not self.stopping:
            self.now += seconds
        return self.stopping


class Between:
    """Kinesis, with something between: what each GetRecords raises (None: nothing), or the most that it answers with."""

    def __init__(self, kinesis, faults: Iterable[Exception | None] = (), *, limit: int = 10_000) -> None:
        self._kinesis, self._faults, self._limit = kinesis, deque(faults), limit
        self.reads = 0
        self.begun: list[dict] = []  # where iterators were asked for
        self.limits: list[int] = []

    def __getattr__(self, name: str):
        return getattr(self._kinesis, name)

    def get_shard_iterator(self, *, StreamName: str, ShardId: str, **place: object) -> dict:  # noqa: N803
        self.begun.append(place)
        return self._kinesis.get_shard_iterator(StreamName=StreamName, ShardId=ShardId, **place)

    def get_records(self, *, ShardIterator: str, Limit: int) -> dict:  # noqa: N803
        self.reads += 1
        self.limits.append(Limit)
        fault = self._faults.popleft() if self._faults else None
        if fault is not None:
            raise fault
        return self._kinesis.get_records(ShardIterator=ShardIterator, Limit=min(Limit, self._limit))


class Scripted(Between):
    """Answers GetRecords with these."""

    def __init__(self, kinesis, *answers: dict) -> None:
        super().__init__(kinesis)
        self._answers = deque(answers)

    def get_records(self, **_: object) -> dict:
        self.reads += 1
        return self._answers.popleft()


def refused(kinesis, code: str, status: int = 400, operation: str = "GetRecords") -> ClientError:
    """What boto3 raises for AWS's refusal."""
    refusal = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return getattr(kinesis.exceptions, code, ClientError)(refusal, operation)


def reader(
    stream: Stream,
    kinesis=None,
    *,
    after: str | None = None,
    start: Start = _OLDEST,
    poll_interval_s: float = 1.0,
    at: Time,
    jitter: random.Random | None = None,
) -> ShardReader:
    return ShardReader(
        kinesis or stream.kinesis,
        stream.name,
        _SHARD,
        after=after,
        start=start,
        poll_interval_s=poll_interval_s,
        pause=at.pause,
        clock=at.clock,
        jitter=jitter,
    )


def texts(records: list[dict]) -> list[str]:
    return [record["Data"].decode() for record in records]


@pytest.fixture
def at() -> Time:
    return Time()


# Where reading begins, and what it reads


def test_a_read_gives_the_records_as_getrecords_has_them_in_their_order(stream, at):
    data = [str(number) for number in range(1_200)]
    numbers = [number for first in range(0, 1_200, 400) for number in stream.put(*data[first : first + 400])]
    kinesis = Between(stream.kinesis)
    records = reader(stream, kinesis, at=at).read()
    assert texts(records) == data
    assert [record["SequenceNumber"] for record in records] == numbers
    assert set(records[0]) >= {"SequenceNumber", "ApproximateArrivalTimestamp", "Data", "PartitionKey"}
    assert kinesis.limits == [10_000]


def test_a_reader_begins_behind_its_checkpoint_or_with_the_oldest_record(stream, at):
    numbers = stream.put("a", "b", "c")
    assert texts(reader(stream, at=at).read()) == ["a", "b", "c"]
    assert texts(reader(stream, after=numbers[0], at=at).read()) == ["b", "c"]
    assert texts(reader(stream, after=numbers[2], at=at).read()) == []


def test_a_reader_begins_at_a_timestamp_to_the_millisecond(stream, at):
    for text in "abc":
        stream.put(text)
        time.sleep(0.01)
    a, b, c = (record["ApproximateArrivalTimestamp"].timestamp() for record in reader(stream, at=at).read())
    for start_s, expected in [
        (0.0, "abc"),
        (a, "abc"),
        (b, "bc"),
        (b - 0.002, "bc"),
        (b + 0.002, "c"),
        (c, "c"),
        (c + 0.002, ""),
    ]:
        assert texts(reader(stream, start=Start("AT_TIMESTAMP", start_s), at=at).read()) == list(expected), start_s


def test_a_checkpoint_comes_before_the_timestamp(stream, at):
    numbers = stream.put("a", "b")
    kinesis = Between(stream.kinesis)
    assert texts(reader(stream, kinesis, after=numbers[0], start=Start("AT_TIMESTAMP", 4e9), at=at).read()) == ["b"]
    assert kinesis.begun == [{"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": numbers[0]}]


# The pace


def test_a_shard_that_was_read_to_its_tip_is_polled_once_a_second(stream, at):
    stream.put("a")
    reading = reader(stream, at=at)
    assert texts(reading.read()) == ["a"] and at.pauses == []
    assert reading.read() == [] and at.pauses == [1.0]
    stream.put("b")
    at.now += 0.25  # processing takes of the second
    assert texts(reading.read()) == ["b"] and at.pauses == [1.0, 0.75]
    at.now += 7.0  # and more than it: the next poll is due
    assert reading.read() == [] and at.pauses == [1.0, 0.75]
    assert reading.read() == [] and at.pauses == [1.0, 0.75, 1.0]


def test_the_time_that_a_poll_takes_is_part_of_its_second(stream, at):
    class Slow(Between):
        def get_records(self, **asked: object) -> dict:
            at.now += 0.375
            return super().get_records(**asked)

    reading = reader(stream, Slow(stream.kinesis), at=at)
    assert [reading.read(), reading.read()] == [[], []]
    assert at.pauses == [0.625]


def test_another_pace_can_be_set(stream, at):
    reading = reader(stream, poll_interval_s=0.03125, at=at)
    assert [reading.read() for _ in range(4)] == [[]] * 4
    assert at.pauses == [0.03125] * 3


def test_reading_goes_on_at_once_while_records_remain(stream, at):
    stream.put("a", "b", "c", "d", "e", "f", "g")
    time.sleep(0.01)  # MillisBehindLatest is 0 for records that have just come
    reading = reader(stream, Between(stream.kinesis, limit=2), at=at)
    seen = [(texts(reading.read()), reading.behind) for _ in range(4)]
    assert seen == [(["a", "b"], True), (["c", "d"], True), (["e", "f"], True), (["g"], False)]
    assert at.pauses == []
    assert reading.read() == [] and at.pauses == [1.0]


def test_an_empty_answer_with_records_behind_it_is_no_tip(stream, at):
    """Getting to a part of the shard that has records may take several calls (GetRecords, Kinesis API reference)."""
    kinesis = Scripted(
        stream.kinesis,
        {"Records": [], "NextShardIterator": "1", "MillisBehindLatest": 86_400_000},
        {"Records": [], "NextShardIterator": "2", "MillisBehindLatest": 0},
    )
    reading = reader(stream, kinesis, at=at)
    assert reading.iterator_age_ms is None and reading.behind
    reading.read()
    assert (reading.iterator_age_ms, reading.behind, reading.ended) == (86_400_000, True, False)
    reading.read()
    assert (reading.iterator_age_ms, reading.behind, reading.ended) == (0, False, False)
    assert at.pauses == []


# The end of a shard


def test_a_closed_shard_ends_with_its_last_record_and_is_polled_no_more(stream, at):
    record = {"SequenceNumber": "7", "Data": b"z", "PartitionKey": "user"}
    kinesis = Scripted(
        stream.kinesis,
        {"Records": [], "NextShardIterator": "1", "MillisBehindLatest": 0},
        {"Records": [record], "MillisBehindLatest": 5_000, "ChildShards": [{"ShardId": "1"}]},
    )
    reading = reader(stream, kinesis, at=at)
    assert reading.read() == [] and not reading.ended
    assert reading.read() == [record]
    assert (reading.ended, reading.behind, reading.iterator_age_ms) == (True, False, 5_000)
    assert [reading.read(), reading.read()] == [[], []]
    assert kinesis.reads == 2 and at.pauses == [1.0]


def test_a_closed_shard_that_has_left_the_stream_ends_with_a_warning(stream, at, caplog):
    class Another(Between):
        def list_shards(self, **_: object) -> dict:
            return {"Shards": [{"ShardId": "shardId-000000000001", "ParentShardId": _SHARD}]}

    reading = reader(stream, Another(stream.kinesis, [refused(stream.kinesis, "ResourceNotFoundException")]), at=at)
    with caplog.at_level(logging.WARNING):
        assert reading.read() == []
    assert (reading.ended, reading.behind) == (True, False)
    assert caplog.messages == [
        f"shard {_SHARD} of stream {stream.name} is gone: its last record has left the stream; "
        "what was not read of it before is lost"
    ]


# Expired iterators


def test_an_expired_iterator_is_renewed_behind_the_last_record_read(stream, at):
    expired = refused(stream.kinesis, "ExpiredIteratorException")
    kinesis = Between(stream.kinesis, [None, expired, None, None, expired, expired, None], limit=2)
    numbers = stream.put("a", "b", "c", "d", "e")
    reading = reader(stream, kinesis, at=at)
    assert [texts(reading.read()) for _ in range(7)] == [["a", "b"], [], ["c", "d"], ["e"], [], [], []]
    stream.put("f")
    assert texts(reading.read()) == ["f"]
    behind = [{"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": numbers[n]} for n in (1, 4, 4)]
    assert kinesis.begun == [{"ShardIteratorType": "TRIM_HORIZON"}, *behind]
    assert reading.throttled == 0


@pytest.mark.parametrize("start", [_OLDEST, Start("AT_TIMESTAMP", 1.0)])
def test_an_iterator_that_expires_before_the_first_record_is_renewed_from_the_start(stream, at, start):
    kinesis = Between(stream.kinesis, [None, refused(stream.kinesis, "ExpiredIteratorException")])
    reading = reader(stream, kinesis, start=start, at=at)
    assert [reading.read(), reading.read()] == [[], []]
    stream.put("a")
    assert texts(reading.read()) == ["a"]
    assert len(kinesis.begun) == 2 and kinesis.begun[0] == kinesis.begun[1]


def test_the_iterator_that_the_service_calls_expired_is_one_to_the_reader(stream, at):
    class Forgetful(Between):
        def get_records(self, *, ShardIterator: str, Limit: int) -> dict:  # noqa: N803
            iterator = "forgotten" if self.reads == 1 else ShardIterator
            return super().get_records(ShardIterator=iterator, Limit=Limit)

    stream.put("a", "b", "c")
    reading = reader(stream, Forgetful(stream.kinesis, limit=2), at=at)
    assert [texts(reading.read()) for _ in range(3)] == [["a", "b"], [], ["c"]]


# Records that are no longer there


class Forgotten(Between):
    """Knows no sequence number."""

    def get_shard_iterator(self, **asked: object) -> dict:
        if asked["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER":
            raise refused(self._kinesis, "InvalidArgumentException", operation="GetShardIterator")
        return super().get_shard_iterator(**asked)


def test_behind_a_sequence_number_that_is_unknown_comes_the_oldest_record_and_a_warning(stream, at, caplog):
    stream.put("a", "b")
    expired = refused(stream.kinesis, "ExpiredIteratorException")
    kinesis = Forgotten(stream.kinesis, [expired, None])
    reading = reader(stream, kinesis, after="495", start=Start("AT_TIMESTAMP", 4e9), at=at)
    with caplog.at_level(logging.WARNING):
        assert [texts(reading.read()) for _ in range(3)] == [[], ["a", "b"], []]
    assert kinesis.begun == [{"ShardIteratorType": "TRIM_HORIZON"}] * 2
    assert caplog.messages == [
        f"shard {_SHARD} of stream {stream.name}: reading goes on with the oldest record, for Kinesis does not know sequence "
        "number 495 (An error occurred (InvalidArgumentException) when calling the GetShardIterator operation: no); "
        "what came behind that and has left the stream is lost"
    ]


# Failures


_REFUSALS = {
    "rate": ("ProvisionedThroughputExceededException", 400),
    "limit": ("LimitExceededException", 400),
    "kms": ("KMSThrottlingException", 400),
    "throttling": ("ThrottlingException", 400),
    "500": ("InternalFailureException", 500),
    "503": ("ServiceUnavailable", 503),
    "expired": ("ExpiredIteratorException", 400),
}
_THROTTLING = {"rate", "limit", "kms", "throttling"}
_SILENCES = {
    "refused": EndpointConnectionError,
    "connect timeout": ConnectTimeoutError,
    "read timeout": ReadTimeoutError,
    "closed": ConnectionClosedError,
}
_KINDS = [*_REFUSALS, *_SILENCES]


def failure(kinesis, kind: str) -> Exception:
    return refused(kinesis, *_REFUSALS[kind]) if kind in _REFUSALS else _SILENCES[kind](endpoint_url=_URL)


@pytest.mark.parametrize("kind", _KINDS)
def test_what_passes_by_itself_is_tried_again_after_a_pause(stream, at, kind):
    stream.put("a", "b")
    error = failure(stream.kinesis, kind)
    reading = reader(stream, Between(stream.kinesis, [error, None, error, error]), at=at, jitter=random.Random(3))
    assert reading.read() == [] and reading.behind
    assert texts(reading.read()) == ["a", "b"] and not reading.behind
    stream.put("c")
    assert [reading.read(), reading.read()] == [[], []] and reading.behind
    assert texts(reading.read()) == ["c"] and not reading.behind
    chance = random.Random(3)
    waits = [bound * chance.random() for bound in (0.2, 0.2, 0.4)]
    assert at.pauses == pytest.approx([waits[0], 1.0, waits[1], waits[2]])
    assert reading.throttled == (3 if kind in _THROTTLING else 0)


def test_the_longest_wait_doubles_with_each_failure_up_to_five_seconds(stream, at):
    error = refused(stream.kinesis, "ProvisionedThroughputExceededException")
    stream.put("a")
    reading = reader(stream, Between(stream.kinesis, [error] * 8), at=at, jitter=random.Random(11))
    assert [reading.read() for _ in range(8)] == [[]] * 8
    assert texts(reading.read()) == ["a"]
    chance = random.Random(11)
    assert at.pauses == pytest.approx([bound * chance.random() for bound in _BOUNDS_S])
    assert reading.throttled == 8


def test_any_number_of_failures_can_come_in_five_minutes(stream, at):
    class Never(random.Random):
        def random(self) -> float:
            return 0.0

    error = refused(stream.kinesis, "InternalFailureException", 500)
    stream.put("a")
    reading = reader(stream, Between(stream.kinesis, [error] * 1_500), at=at, jitter=Never())
    assert all(reading.read() == [] for _ in range(1_500))
    assert texts(reading.read()) == ["a"] and at.pauses == []


def test_after_five_minutes_of_nothing_but_errors_reading_fails(stream, at):
    class Down(Between):
        def get_records(self, **_: object) -> dict:
            self.reads += 1
            raise refused(self._kinesis, "InternalFailureException", 500)

    kinesis = Down(stream.kinesis)
    reading = reader(stream, kinesis, at=at, jitter=random.Random(2))
    with pytest.raises(ServiceError) as told:
        while True:
            before = at.now
            assert reading.read() == []
    assert str(told.value) == (
        f"shard {_SHARD} of stream {stream.name} could not be read for 300 s: "
        "An error occurred (InternalFailureException) when calling the GetRecords operation: no"
    )
    assert before < 300.0 <= at.now < 305.0
    assert kinesis.reads == len(at.pauses) + 1


def test_one_answer_begins_the_five_minutes_anew(stream, at):
    class Mostly(Between):
        """Answers once, about a minute before the time is up."""

        answered_at = None

        def get_records(self, **asked: object) -> dict:
            if self.answered_at is None and at.now > 240.0:
                self.answered_at = at.now
                return self._kinesis.get_records(**asked)
            raise refused(self._kinesis, "InternalFailureException", 500)

    kinesis = Mostly(stream.kinesis)
    reading = reader(stream, kinesis, at=at, jitter=random.Random(4))
    with pytest.raises(ServiceError, match="could not be read for 300 s"):
        while True:
            assert reading.read() == []
    since = kinesis.answered_at + 1.0  # the next poll, which failed
    assert since + 300.0 <= at.now < since + 305.0


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "KMSDisabledException", "InvalidArgumentException", "ValidationException"]
)
def test_what_does_not_pass_is_told_at_once(stream, at, code):
    with pytest.raises(ServiceError) as told:
        reader(stream, Between(stream.kinesis, [refused(stream.kinesis, code)]), at=at).read()
    assert str(told.value) == (
        f"shard {_SHARD} of stream {stream.name} cannot be read: "
        f"An error occurred ({code}) when calling the GetRecords operation: no"
    )
    assert at.pauses == []


@pytest.mark.parametrize(("error", "line"), [(ValueError("one\ntwo"), "one"), (KeyError(), "KeyError")])
def test_an_error_of_no_known_kind_is_told_at_once_in_one_line(stream, at, error, line):
    with pytest.raises(ServiceError) as told:
        reader(stream, Between(stream.kinesis, [error]), at=at).read()
    assert str(told.value) == f"shard {_SHARD} of stream {stream.name} cannot be read: {line}"


def test_a_stream_that_is_deleted_is_told_at_once(stream, at):
    stream.put("a")
    reading = reader(stream, Between(stream.kinesis, [None, refused(stream.kinesis, "ResourceNotFoundException")]), at=at)
    assert texts(reading.read()) == ["a"]
    stream.kinesis.delete_stream(StreamName=stream.name)
    with pytest.raises(ServiceError, match=f"^stream {stream.name} does not exist$"):
        reading.read()
    assert at.pauses == [1.0]


def test_a_stream_that_is_deleted_with_its_iterators_is_told_when_they_are_renewed(stream, at):
    """The embedded cloud forgets them with the stream, and calls them expired."""
    stream.put("a")
    reading = reader(stream, at=at, jitter=random.Random(8))
    assert texts(reading.read()) == ["a"]
    stream.kinesis.delete_stream(StreamName=stream.name)
    assert reading.read() == []
    with pytest.raises(ServiceError, match=f"^stream {stream.name} does not exist$"):
        reading.read()
    assert at.pauses == pytest.approx([1.0, 0.2 * random.Random(8).random()])


def test_a_stream_that_never_was_is_told_at_once(stream, at):
    stream.kinesis.delete_stream(StreamName=stream.name)
    with pytest.raises(ServiceError, match=f"^stream {stream.name} does not exist$"):
        reader(stream, at=at).read()


def test_a_shard_that_is_listed_but_not_found_is_told_at_once(stream, at):
    error = refused(stream.kinesis, "ResourceNotFoundException")
    with pytest.raises(ServiceError, match=f"^shard {_SHARD} of stream {stream.name} cannot be read: .*ResourceNotFound"):
        reader(stream, Between(stream.kinesis, [error]), at=at).read()


class Unreliable(Between):
    """Fails as often as it answers, in every way there is; some of its failures are answers that got lost."""

    def __init__(self, kinesis, chance: random.Random) -> None:
        super().__init__(kinesis)
        self._chance, self.failures = chance, {}

    def get_shard_iterator(self, **asked: object) -> dict:
        return self._maybe(lambda: super(Unreliable, self).get_shard_iterator(**asked), expires=False)

    def get_records(self, *, ShardIterator: str, Limit: int) -> dict:  # noqa: N803
        limit = min(Limit, self._chance.randint(1, 5))
        return self._maybe(lambda: super(Unreliable, self).get_records(ShardIterator=ShardIterator, Limit=limit), expires=True)

    def _maybe(self, call: Callable[[], dict], *, expires: bool) -> dict:
        if self._chance.random() < 0.5:
            return call()
        kind = self._chance.choice(_KINDS)
        if kind == "expired" and not expires:
            kind = "rate"
        if kind in ("read timeout", "closed"):
            call()
        self.failures[kind] = self.failures.get(kind, 0) + 1
        raise failure(self._kinesis, kind)


@pytest.mark.parametrize("seed", range(3))
def test_over_hundreds_of_failures_each_record_is_read_once_and_in_order(stream, at, seed):
    chance = random.Random(seed)
    kinesis = Unreliable(stream.kinesis, chance)
    reading = reader(stream, kinesis, poll_interval_s=0.01, at=at, jitter=random.Random(seed))
    put, seen = [], []
    while sum(kinesis.failures.values()) < 200 or len(seen) < len(put):
        if sum(kinesis.failures.values()) < 200 and chance.random() < 0.3:
            put += stream.put(*(str(number) for number in range(chance.randint(1, 6))))
        seen += [record["SequenceNumber"] for record in reading.read()]
    assert seen == put and len(put) > 100
    assert sorted(kinesis.failures) == sorted(_KINDS)
    assert reading.throttled == sum(kinesis.failures[kind] for kind in _THROTTLING)


# Stopping


def test_a_stop_ends_the_wait_for_the_next_poll_without_another_poll(stream, at):
    kinesis = Between(stream.kinesis)
    reading = reader(stream, kinesis, at=at)
    assert reading.read() == [] and not reading.behind
    stream.put("a")
    at.stopping = True
    assert reading.read() == []
    assert kinesis.reads == 1 and at.now == 0.0
    assert reading.behind  # nobody looked


def test_a_stop_ends_the_wait_after_a_failure_without_another_poll(stream, at):
    kinesis = Between(stream.kinesis, [EndpointConnectionError(endpoint_url=_URL)])
    reading = reader(stream, kinesis, at=at)
    at.stopping = True
    assert [reading.read(), reading.read()] == [[], []]
    assert kinesis.reads == 1


def test_a_stop_from_another_thread_ends_a_wait_of_many_minutes(stream):
    stop, polled = threading.Event(), threading.Event()

    class Polled(Between):
        def get_records(self, **asked: object) -> dict:
            polled.set()
            return super().get_records(**asked)

    kinesis = Polled(stream.kinesis)
    reading = ShardReader(kinesis, stream.name, _SHARD, after=None, start=_OLDEST, poll_interval_s=1_000.0, pause=stop.wait)

    def work() -> None:
        while not stop.is_set():
            reading.read()

    thread = threading.Thread(target=work)
    thread.start()
    assert polled.wait(20)
    stop.set()
    thread.join(20)
    assert not thread.is_alive() and kinesis.reads == 1
