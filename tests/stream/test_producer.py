import itertools
import random
import threading
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.clock import now_ns
from workbench.codecs import codec
from workbench.errors import EventRejected, ServiceError
from workbench.events import Event
from workbench.stream import producer as module
from workbench.stream.producer import BYTES_A_CALL, BYTES_A_RECORD, SENDERS, Producer, in_lanes
from workbench.stream.schedule import schedule

_JSON = codec("json")


def _users(count: int, form: str) -> list[str]:
    """Different users whose events go through one sender."""
    names = (form.format(number) for number in itertools.count())
    return list(itertools.islice((name for name in names if not zlib.crc32(name.encode()) % SENDERS), count))


_USERS = _users(1200, "user-{}")


class _Observer:
    def __init__(self) -> None:
        self.sent_ns: dict[int, int] = {}
        self.refusals: dict[int, EventRejected] = {}

    def sent(self, index: int, ns: int) -> None:
        assert index not in self.sent_ns
        self.sent_ns[index] = ns

    def refused(self, index: int, error: EventRejected) -> None:
        assert index not in self.refusals
        self.refusals[index] = error


class _Kinesis:
    """PutRecords, which refuses the records whose place in the call the script names, a set a call, then none."""

    def __init__(self, *script: set[int], always: bool = False) -> None:
        self._script, self._always = list(script), always
        self.calls: list[list[dict]] = []

    def put_records(self, *, StreamName: str, Records: list[dict]) -> dict:  # noqa: N803
        refused = set(range(len(Records))) if self._always else self._script.pop(0) if self._script else set()
        self.calls.append(Records)
        results = [
            {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
            if place in refused
            else {"SequenceNumber": "1", "ShardId": "shard"}
            for place in range(len(Records))
        ]
        return {"FailedRecordCount": len(refused), "Records": results}

    @property
    def ids(self) -> list[list[str]]:
        """The event ids of each call."""
        return [[_JSON.decode(record["Data"]).event_id for record in call] for call in self.calls]


def _event(number: int, *, user: str = "user", trace: str = "t") -> Event:
    return Event(event_id=str(number), user_id=user, product_id="p", timestamp_ms=number, trace_id=trace)


def _of_size(number: int, size: int, user: str = "user") -> Event:
    """An event that is a record of ``size`` bytes, its key included."""
    empty = len(_JSON.encode(_event(number, user=user, trace=""))) + len(user)
    return _event(number, user=user, trace="x" * (size - empty))


def _send(kinesis, events, *, due_ns=None, observer=None, stream="stream", linger_ms=0, stop=None) -> _Observer:
    observer = observer or _Observer()
    due_ns = np.full(len(events), now_ns(), np.int64) if due_ns is None else due_ns
    producer = Producer(kinesis, stream, _JSON, observer=observer, linger_ms=linger_ms)
    producer.send(events, due_ns, stop=stop or threading.Event())
    return observer


def test_every_event_is_in_the_stream_once_in_its_users_order_and_none_before_it_is_due(two_shards):
    events = [_event(number, user=f"user-{number % 7}") for number in range(300)]
    due_ns = schedule(300, rate=500, arrivals="poisson", seed=7) + now_ns() + 50_000_000
    observer = _send(two_shards.kinesis, events, due_ns=due_ns, stream=two_shards.name)
    found = [[_JSON.decode(record["Data"]) for record in records] for records in two_shards.contents().values()]
    assert Counter(event for shard in found for event in shard) == Counter(events)
    assert all(found)  # both shards have some
    for shard in found:
        for user in {event.user_id for event in shard}:
            owned = [event.timestamp_ms for event in shard if event.user_id == user]
            assert owned == [event.timestamp_ms for event in events if event.user_id == user]
    assert sorted(observer.sent_ns) == list(range(300))
    assert all(observer.sent_ns[index] >= due_ns[index] for index in range(300))


def test_a_users_records_have_the_user_as_their_key(wired):
    _send(wired.kinesis, [_event(1, user="a"), _event(2, user="ß")], stream=wired.name)
    (records,) = wired.contents().values()
    assert {record["PartitionKey"] for record in records} == {"a", "ß"}


def test_an_event_of_2_mb_is_refused_with_one_reason_and_the_others_go_on(wired):
    events = [_event(0), _of_size(1, 2_000_000), _event(2)]
    observer = _send(wired.kinesis, events, stream=wired.name)
    (records,) = wired.contents().values()
    assert [_JSON.decode(record["Data"]) for record in records] == [events[0], events[2]]
    assert {index: str(error) for index, error in observer.refusals.items()} == {
        1: "event 1: 2,000,000 bytes are more than a Kinesis record may have (1,048,576, its key included)"
    }
    assert sorted(observer.sent_ns) == [0, 2]


def test_the_largest_record_is_taken_and_one_byte_more_is_not(wired):
    events = [_of_size(0, BYTES_A_RECORD), _of_size(1, BYTES_A_RECORD + 1)]
    observer = _send(wired.kinesis, events, stream=wired.name)
    (records,) = wired.contents().values()
    assert [_JSON.decode(record["Data"]) for record in records] == [events[0]]
    assert list(observer.refusals) == [1]


@pytest.mark.parametrize("user", ["", "u" * 257])
def test_a_user_that_can_be_no_partition_key_is_refused_and_the_others_go_on(wired, user):
    observer = _send(wired.kinesis, [_event(0, user="u" * 256), _event(1, user=user), _event(2)], stream=wired.name)
    (records,) = wired.contents().values()
    assert sorted(_JSON.decode(record["Data"]).event_id for record in records) == ["0", "2"]
    reason = f"event 1: a user id of {len(user)} characters is no partition key, which has 1 to 256"
    assert {index: str(error) for index, error in observer.refusals.items()} == {1: reason}


def test_a_call_has_at_most_500_records():
    kinesis = _Kinesis()
    _send(kinesis, [_event(number, user=user) for number, user in enumerate(_USERS)])
    assert [len(call) for call in kinesis.calls] == [500, 500, 200]
    assert [each for call in kinesis.ids for each in call] == [str(number) for number in range(1200)]


def test_a_call_has_at_most_5_mib_keys_included():
    kinesis = _Kinesis()
    users = _users(11, "u" * 246 + "{:04}")  # five of them are more than what the small events have to fit into
    sizes = [BYTES_A_CALL // 5] * 5 + [600] + [BYTES_A_CALL // 5] * 4 + [600]
    _send(kinesis, [_of_size(number, size, user) for number, (size, user) in enumerate(zip(sizes, users, strict=True))])
    assert kinesis.ids == [["0", "1", "2", "3", "4"], ["5", "6", "7", "8", "9", "10"]]
    weights = [sum(len(record["Data"]) + len(record["PartitionKey"]) for record in call) for call in kinesis.calls]
    assert max(weights) == BYTES_A_CALL


def test_records_that_a_call_refused_are_sent_again_alone():
    kinesis = _Kinesis({1, 3}, {1})
    _send(kinesis, [_event(number, user=_USERS[number]) for number in range(5)])
    assert kinesis.ids == [["0", "1", "2", "3", "4"], ["1", "3"], ["3"]]


def test_a_call_has_one_record_of_a_key_so_that_a_refusal_does_not_change_their_order():
    """PutRecords may refuse a record and take the next one of its key (API reference, PutRecords: order is not guaranteed)."""
    kinesis = _Kinesis({0})
    a, b = _USERS[:2]
    _send(kinesis, [_event(number, user=user) for number, user in enumerate([a, a, b, a, b])])
    assert kinesis.ids == [["0", "2"], ["0"], ["1", "4"], ["3"]]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_refused_each_users_events_are_taken_in_order(seed, monkeypatch):
    monkeypatch.setattr(module, "_BACKOFF_S", (0.0,) * 30)
    chance, taken = random.Random(seed), []

    class Refusing(_Kinesis):
        def put_records(self, **asked) -> dict:
            self._script = [{place for place in range(len(asked["Records"])) if chance.random() < 0.4}]
            answer = super().put_records(**asked)
            results = zip(asked["Records"], answer["Records"], strict=True)
            taken.extend(_JSON.decode(record["Data"]) for record, result in results if "ErrorCode" not in result)
            return answer

    events = [_event(number, user=chance.choice(_USERS[:8])) for number in range(100)]
    _send(Refusing(), events)
    for user in _USERS[:8]:
        assert [event for event in taken if event.user_id == user] == [event for event in events if event.user_id == user]


def test_a_stream_that_refuses_to_the_last_try_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "_BACKOFF_S", (0.0, 0.0, 0.0))
    kinesis = _Kinesis(always=True)
    with pytest.raises(ServiceError) as raised:
        _send(kinesis, [_event(0, user=_USERS[0]), _event(1, user=_USERS[1])])
    assert str(raised.value) == "stream stream refused 2 records to the last try: ProvisionedThroughputExceededException"
    assert len(kinesis.calls) == 4


def test_a_stream_that_is_not_there_is_an_error_in_one_line(wired):
    with pytest.raises(
        ServiceError, match=r"^stream no-such-stream does not take records: .*ResourceNotFoundException"
    ) as raised:
        _send(wired.kinesis, [_event(0)], stream="no-such-stream")
    assert "\n" not in str(raised.value)


def test_an_error_of_one_sender_stops_the_other():
    class Broken(_Kinesis):
        def put_records(self, **_: object) -> dict:
            raise ConnectionError("no answer")

    users = [f"user-{number}" for number in range(20)]  # of both senders
    due_ns = now_ns() + np.arange(20) * 3_600_000_000_000  # all but the first are due in hours
    with pytest.raises(ServiceError, match="no answer"):
        _send(Broken(), [_event(number, user=user) for number, user in enumerate(users)], due_ns=due_ns)


def test_stopping_ends_the_wait_for_what_is_not_due_yet():
    kinesis, stop = _Kinesis(), threading.Event()
    due_ns = np.array([now_ns(), now_ns() + 3_600_000_000_000])
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    observer = _send(kinesis, [_event(0), _event(1)], due_ns=due_ns, stop=stop)
    timer.join()
    assert kinesis.ids == [["0"]] and list(observer.sent_ns) == [0]


def test_linger_joins_events_in_one_call():
    kinesis, due_ns = _Kinesis(), now_ns() + 100_000_000 + np.arange(20) * 1_000_000
    observer = _send(kinesis, [_event(number, user=_USERS[number]) for number in range(20)], due_ns=due_ns, linger_ms=200)
    assert kinesis.ids == [[str(number) for number in range(20)]]
    assert min(observer.sent_ns.values()) >= due_ns[0] + 200_000_000


def test_without_linger_an_event_does_not_wait_for_the_next():
    kinesis, due_ns = _Kinesis(), now_ns() + 50_000_000 + np.arange(3) * 500_000_000
    observer = _send(kinesis, [_event(number) for number in range(3)], due_ns=due_ns)
    assert kinesis.ids == [["0"], ["1"], ["2"]]
    assert observer.sent_ns[0] < due_ns[1]


def test_an_event_that_is_not_unicode_is_refused_alone():
    kinesis = _Kinesis()
    observer = _send(kinesis, [_event(0), _event(1, trace="\ud800"), _event(2, user="\ud800"), _event(3)])
    assert sorted(number for call in kinesis.ids for number in call) == ["0", "3"]
    assert sorted(observer.refusals) == [1, 2]
    assert str(observer.refusals[1]) == "event '1': it holds text that is not Unicode (a lone surrogate)"


def test_sending_one_is_a_call_of_its_own():
    kinesis, observer, begun = _Kinesis(), _Observer(), now_ns()
    producer = Producer(kinesis, "stream", _JSON, observer=observer, linger_ms=10_000)  # which holds nothing back here
    producer.send_one(7, _event(1, user="a"), stop=threading.Event())
    producer.send_one(3, _event(2, user="b"), stop=threading.Event())
    assert kinesis.ids == [["1"], ["2"]] and [call[0]["PartitionKey"] for call in kinesis.calls] == ["a", "b"]
    assert list(observer.sent_ns) == [7, 3]
    assert begun <= observer.sent_ns[7] <= observer.sent_ns[3] <= now_ns()


def test_sending_one_that_can_be_no_record_says_so_and_calls_nothing():
    kinesis, observer = _Kinesis(), _Observer()
    Producer(kinesis, "stream", _JSON, observer=observer).send_one(4, _event(1, user=""), stop=threading.Event())
    assert kinesis.calls == [] and observer.sent_ns == {} and list(observer.refusals) == [4]


def test_one_event_that_a_call_refused_is_sent_again(monkeypatch):
    monkeypatch.setattr(module, "_BACKOFF_S", (0.0, 0.0))
    kinesis = _Kinesis({0}, {0})
    Producer(kinesis, "stream", _JSON, observer=_Observer()).send_one(0, _event(1), stop=threading.Event())
    assert kinesis.ids == [["1"], ["1"], ["1"]]


@given(users=st.lists(st.sampled_from([f"user-{number}" for number in range(12)]), max_size=60), lanes=st.integers(1, 9))
def test_lanes_share_out_all_events_and_split_no_user(users, lanes):
    events = [_event(number, user=user) for number, user in enumerate(users)]
    given_: list[list[int]] = []
    in_lanes(events, lanes, given_.append, stop=threading.Event())
    assert len(given_) == lanes and sorted(index for lane in given_ for index in lane) == list(range(len(events)))
    assert all(lane == sorted(lane) for lane in given_)
    owners = [{users[index] for index in lane} for lane in given_]
    assert sum(map(len, owners)) == len(set(users))  # no user is in two lanes


def test_all_lanes_run_at_once():
    together = threading.Barrier(5, timeout=20)
    in_lanes([], 5, lambda lane: together.wait(), stop=threading.Event())


def test_the_first_error_of_a_lane_stops_the_others_and_is_raised():
    stop, ended = threading.Event(), []

    def send(lane: list[int]) -> None:
        if 0 in lane:
            raise LookupError("of the first event's lane")
        assert stop.wait(20)
        ended.append(lane)

    with pytest.raises(LookupError, match="of the first event's lane"):
        in_lanes([_event(number, user=f"user-{number}") for number in range(20)], 4, send, stop=stop)
    assert len(ended) == 3
