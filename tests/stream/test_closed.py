"""The closed loop over a stream that answers after a while: who waits for whom, and what ends it."""

import threading
import zlib

import numpy as np
import pytest

from workbench.clock import now_ns
from workbench.codecs import codec
from workbench.errors import EventRejected, ServiceError
from workbench.events import Event
from workbench.stream.closed import ClosedLoop

_JSON = codec("json")
_CLIENTS = 4
_USERS = [f"user-{number}" for number in range(11)]


class _System:
    """A stream and all that is behind it: each event is answered 3 ms after it was put, unless it answers ``nothing``.

    It is the loop's observer, too, and logs what happened in which order.
    """

    def __init__(self, *, nothing: bool = False, breaks_at: int | None = None) -> None:
        self.log: list[tuple[str, int, int]] = []  # what, which event, when (Unix ns)
        self.sent_ns: dict[int, int] = {}
        self.most = 0  # under way at one time
        self._nothing, self._breaks_at = nothing, breaks_at
        self._settled: set[int] = set()
        self._changed = threading.Condition()
        self._under_way = 0

    def put_records(self, *, StreamName: str, Records: list[dict]) -> dict:  # noqa: N803
        assert StreamName == "stream"
        (number,) = (int(_JSON.decode(record["Data"]).event_id) for record in Records)
        if number == self._breaks_at:
            raise ConnectionError("no answer")
        with self._changed:
            self.log.append(("put", number, now_ns()))
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        if not self._nothing:
            threading.Timer(0.003, self._settle, (number,)).start()
        return {"FailedRecordCount": 0, "Records": [{}]}

    def sent(self, index: int, ns: int) -> None:
        self.sent_ns[index] = ns

    def refused(self, index: int, error: EventRejected) -> None:
        with self._changed:
            self.log.append(("refused", index, now_ns()))
            self._settled.add(index)

    def wait_for(self, index: int, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: index in self._settled, timeout_s)

    def put(self) -> list[int]:
        return [number for what, number, _ in self.log if what == "put"]

    def _settle(self, number: int) -> None:
        with self._changed:
            self.log.append(("answered", number, now_ns()))
            self._settled.add(number)
            self._under_way -= 1
            self._changed.notify_all()


def _events(count: int) -> list[Event]:
    return [_event(number, _USERS[number % len(_USERS)]) for number in range(count)]


def _event(number: int, user: str) -> Event:
    return Event(event_id=str(number), user_id=user, product_id="p", timestamp_ms=number, trace_id="t")


def _send(system: _System, events: list[Event], *, clients: int = _CLIENTS, stop=None) -> np.ndarray:
    due_ns = np.zeros(len(events), np.int64)
    loop = ClosedLoop(system, "stream", _JSON, observer=system, clients=clients)
    loop.send(events, due_ns, stop=stop or threading.Event())
    return due_ns


def _clients(events: list[Event], clients: int = _CLIENTS) -> list[list[int]]:
    """Which events each client has; the clients share out the users by a hash."""
    lanes: list[list[int]] = [[] for _ in range(clients)]
    for number, event in enumerate(events):
        lanes[zlib.crc32(event.user_id.encode()) % clients].append(number)
    return lanes


def test_a_client_sends_its_next_event_when_its_last_one_was_answered():
    system, events = _System(), _events(80)
    _send(system, events)
    assert sorted(system.put()) == list(range(80)) and system.most <= _CLIENTS
    lanes = _clients(events)
    assert all(lanes), "each client has something to do"
    for lane in lanes:
        expected = [(what, number) for number in lane for what in ("put", "answered")]
        assert [(what, number) for what, number, _ in system.log if number in set(lane)] == expected


@pytest.mark.parametrize("clients", [1, 2, 7])
def test_never_are_more_events_under_way_than_there_are_clients(clients):
    system = _System()
    _send(system, _events(40), clients=clients)
    assert 1 <= system.most <= clients and len(system.put()) == 40


def test_all_clients_are_at_work_at_once():
    system, stop = _System(nothing=True), threading.Event()
    events = _events(40)
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    _send(system, events, stop=stop)
    timer.join()
    assert sorted(system.put()) == sorted(lane[0] for lane in _clients(events)) and system.most == _CLIENTS


def test_a_users_events_are_sent_in_their_order():
    system, events = _System(), _events(60)
    _send(system, events)
    for user in _USERS:
        assert [number for number in system.put() if events[number].user_id == user] == [
            number for number, event in enumerate(events) if event.user_id == user
        ]


def test_an_event_is_due_when_its_client_gets_to_it():
    system, events, begun = _System(), _events(40), now_ns()
    due_ns = _send(system, events)
    answered = {number: ns for what, number, ns in system.log if what == "answered"}
    for lane in _clients(events):
        before = begun
        for number in lane:
            assert before <= due_ns[number] <= system.sent_ns[number]
            before = answered[number]


def test_stopping_ends_the_wait_for_an_answer_that_never_comes():
    system, stop = _System(nothing=True), threading.Event()
    events = _events(40)
    loop = threading.Thread(target=_send, args=(system, events), kwargs={"stop": stop}, daemon=True)
    loop.start()
    stop.set()
    loop.join(20)
    assert not loop.is_alive() and len(system.put()) <= _CLIENTS


def test_a_stopped_loop_sends_nothing_and_writes_no_due_time():
    system, stop = _System(), threading.Event()
    stop.set()
    assert _send(system, _events(40), stop=stop).tolist() == [0] * 40 and system.log == []


def test_an_error_of_one_client_ends_all_and_is_raised():
    events = _events(40)
    system = _System(nothing=True, breaks_at=_clients(events)[0][0])  # the others would wait for ever
    with pytest.raises(ServiceError, match=r"^stream stream does not take records: no answer$"):
        _send(system, events)
    assert set(system.put()) <= {other[0] for other in _clients(events)[1:]}


def test_an_event_that_can_be_no_record_is_refused_and_its_client_goes_on():
    system = _System()
    _send(system, [_event(0, "a"), _event(1, ""), _event(2, "a"), _event(3, "a")], clients=1)
    assert [(what, number) for what, number, _ in system.log] == [
        ("put", 0),
        ("answered", 0),
        ("refused", 1),
        ("put", 2),
        ("answered", 2),
        ("put", 3),
        ("answered", 3),
    ]


def test_clients_without_users_end_at_once():
    system = _System()
    _send(system, [_event(0, "a"), _event(1, "a")], clients=50)
    assert system.put() == [0, 1] and system.most == 1
