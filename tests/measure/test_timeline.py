"""Hand-made deliveries: what became of each event, and where its time went."""

import threading
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from workbench.codecs import codec
from workbench.errors import EventRejected
from workbench.events import Event
from workbench.function.processor import STAGES
from workbench.measure.timeline import WAY, Timeline
from workbench.stream.batch import Condition, Discarded
from workbench.stream.worker import Delivery

_MS = 1_000_000
_START = 1_800_000_000_000_000_000
_JSON = codec("json")
_STAGES_MS = dict(zip(STAGES, (1, 2, 4, 8, 16, 32), strict=True))
_PARTS_MS = {"send": 3, "stream": 20, "queue": 5, "call": 7, **_STAGES_MS, "return": 11}


def _event(number: int, user: str = "user") -> Event:
    return Event(event_id=f"event-{number}", user_id=user, product_id="p", timestamp_ms=number, trace_id="t")


def _record(number: int, data: bytes | None = None) -> dict:
    return {"SequenceNumber": str(1000 + number), "Data": _JSON.encode(_event(number)) if data is None else data}


def _timeline(events: int) -> Timeline:
    """Events due every 10 ms, all sent 3 ms late."""
    timeline = Timeline([_event(number) for number in range(events)], _JSON)
    timeline.due_ns[:] = _START + np.arange(events) * 10 * _MS
    for number in range(events):
        timeline.sent(number, int(timeline.due_ns[number]) + 3 * _MS)
    return timeline


def _delivery(*numbers: int, received_ms: int = 23, records=None, reported=(), failure="", dead=(), cold=None) -> Delivery:
    """The parts of ``_PARTS_MS`` for an event that was due at the start, and arrived ``received_ms`` after it.

    Of ``dead`` ones a call that failed was the last try; from one that answered they were rejected.
    """
    records = records or [_record(number) for number in numbers]
    received = _START + received_ms * _MS
    invoked = received + 5 * _MS
    started = invoked + 7 * _MS
    ended = started + sum(_STAGES_MS.values()) * _MS
    numbered = [each["SequenceNumber"] for each in records]
    gone, waiting = ({str(1000 + number) for number in some} for some in (dead, reported))
    answer = None
    if not failure:
        answer = {
            "batchItemFailures": [{"itemIdentifier": str(1000 + number)} for number in reported],
            "rejected": {str(1000 + number): "its reason" for number in dead},
            "started_ns": started,
            "stages_ns": {stage: ms * _MS for stage, ms in _STAGES_MS.items()},
        } | ({} if cold is None else {"cold": cold})
    return Delivery(
        shard_id="shard",
        records=records,
        received_ns=[received] * len(records),
        invoked_ns=invoked,
        answered_ns=ended + 11 * _MS,
        answer=answer,
        failure=failure,
        settled=frozenset(number for number in numbered if number in gone or not (failure or number in waiting)),
        discarded=Discarded([each for each in records if each["SequenceNumber"] in gone], Condition.RETRIES, 3)
        if failure and dead
        else None,
    )


def test_the_way_has_the_functions_stages_between_the_streams():
    assert WAY == ("send", "stream", "queue", "call", "decode", "enrich", "embed", "upsert", "query", "act", "return")


def test_the_parts_of_the_way_are_what_was_measured_and_add_up_to_the_latency():
    timeline = _timeline(1)
    timeline.delivered(_delivery(0, cold=True))
    row = timeline.frame().iloc[0]
    assert {stage: row[f"{stage}_ms"] for stage in WAY} == _PARTS_MS
    assert row.latency_ms == sum(_PARTS_MS.values()) == 109
    assert row.service_ms == 106  # from the call that sent it
    assert row.freshness_ms == 20 + 5 + 7 + 1 + 2 + 4 + 8  # from there until its vector was in the index
    assert (row.event_id, row.user_id, row.outcome) == ("event-0", "user", "answered")
    assert (row.attempts, row.batch, bool(row.cold)) == (1, 1, True)


def test_they_add_up_for_times_of_any_ns():
    generator, timeline = np.random.default_rng(1), _timeline(200)
    for number in range(200):
        timeline.sent(number, int(timeline.due_ns[number] + generator.integers(0, 10**9)))
        at = np.cumsum(generator.integers(1, 10**9, 3)) + timeline.sent_ns[number]
        stages = {stage: int(generator.integers(0, 10**8)) for stage in STAGES}
        started = int(at[2]) + 12_345
        answered = started + sum(stages.values()) + int(generator.integers(0, 10**8))
        answer = {"batchItemFailures": [], "started_ns": started, "stages_ns": stages}
        timeline.delivered(
            Delivery(
                "shard", [_record(number)], [int(at[0])], int(at[1]), answered, answer, settled=frozenset({str(1000 + number)})
            )
        )
    frame = timeline.frame()
    sums = frame[[f"{stage}_ms" for stage in WAY]].sum(axis=1)
    assert np.abs(sums - frame.latency_ms).max() < 1e-6  # ms: less than the clock's ns


def test_a_batchs_events_share_its_stages_and_differ_in_their_waits():
    timeline = _timeline(3)
    timeline.delivered(_delivery(0, 1, 2, received_ms=30))
    frame = timeline.frame()
    assert frame.latency_ms.tolist() == [116, 106, 96]
    assert frame.stream_ms.tolist() == [27, 17, 7]
    assert frame.embed_ms.tolist() == [4, 4, 4] and frame.batch.tolist() == [3, 3, 3]
    assert frame.due_s.tolist() == pytest.approx([0, 0.01, 0.02])


def test_a_retried_event_is_timed_by_the_delivery_that_settled_it():
    timeline = _timeline(2)
    timeline.delivered(_delivery(0, 1, reported=(1,)))
    assert timeline.wait(0) == 1
    timeline.delivered(_delivery(1, received_ms=123))
    assert timeline.wait(0) == 0
    frame = timeline.frame()
    assert frame.outcome.tolist() == ["answered", "answered"]
    assert frame.attempts.tolist() == [1, 2] and frame.batch.tolist() == [2, 1]
    assert frame.latency_ms.tolist() == [109, 199]


def test_a_delivery_whose_function_failed_settles_nothing():
    timeline = _timeline(2)
    timeline.delivered(_delivery(0, 1, failure="ValueError: away"))
    assert timeline.wait(0) == 2
    timeline.delivered(_delivery(0, 1, received_ms=50))
    assert timeline.frame().attempts.tolist() == [2, 2] and timeline.frame().outcome.tolist() == ["answered"] * 2


def test_an_event_that_was_given_up_has_no_latency():
    timeline = _timeline(3)
    timeline.delivered(_delivery(0, 1, dead=(1,)))
    timeline.delivered(_delivery(2, failure="ValueError: away", dead=(2,)))
    assert timeline.wait(0) == 0
    frame = timeline.frame()
    assert frame.outcome.tolist() == ["answered", "dead", "dead"]
    assert frame.latency_ms.isna().tolist() == [False, True, True]
    assert [(record["SequenceNumber"], reason) for record, reason in timeline.dead] == [
        ("1001", "its reason"),
        ("1002", "ValueError: away"),
    ]


def test_what_became_too_old_was_given_up_without_a_call():
    timeline = _timeline(2)
    timeline.expired("shard", Discarded([_record(1), _record(78, b"not an event")], Condition.AGE, 0))
    assert timeline.wait(0) == 1
    assert timeline.frame().outcome.tolist() == ["lost", "dead"]
    assert [reason for _, reason in timeline.dead] == ["RecordAgeExceeded"] * 2


def test_an_aggregated_record_of_which_one_was_rejected_is_given_up_with_that_ones_reason():
    timeline = _timeline(1)
    delivery = _delivery(0)
    timeline.delivered(msgspec.structs.replace(delivery, answer={**delivery.answer, "rejected": {"1000:3": "no event"}}))
    assert [(record["SequenceNumber"], reason) for record, reason in timeline.dead] == [("1000", "no event")]


def test_a_second_delivery_of_an_answered_event_counts_and_changes_nothing_else():
    timeline = _timeline(1)
    timeline.delivered(_delivery(0))
    timeline.delivered(_delivery(0, received_ms=500))
    row = timeline.frame().iloc[0]
    assert (row.attempts, row.latency_ms, row.outcome) == (2, 109, "answered")


def test_a_refused_event_is_settled_without_a_delivery():
    timeline = _timeline(2)
    timeline.refused(1, EventRejected("event-1", "too large"))
    timeline.delivered(_delivery(0))
    assert timeline.wait(0) == 0
    assert timeline.frame().outcome.tolist() == ["answered", "refused"]
    assert timeline.frame().attempts.tolist() == [1, 0]


def test_an_event_that_never_came_back_is_lost():
    timeline = _timeline(3)
    timeline.delivered(_delivery(0, 2))
    assert timeline.wait(0) == 1
    frame = timeline.frame()
    assert frame.outcome.tolist() == ["answered", "lost", "answered"]
    assert np.isnan(frame.latency_ms[1]) and frame.attempts[1] == 0


def test_foreign_and_broken_records_are_no_events_of_the_run_but_are_dead_letters():
    timeline = _timeline(1)
    foreign, broken = _record(77), _record(78, b"not an event")
    timeline.delivered(_delivery(records=[foreign, broken, _record(0)], dead=(77, 78)))
    assert timeline.wait(0) == 0
    assert timeline.frame().outcome.tolist() == ["answered"] and timeline.frame().batch.tolist() == [3]
    assert [record["Data"] for record, _ in timeline.dead] == [foreign["Data"], b"not an event"]


def test_waiting_ends_when_something_is_settled():
    timeline = _timeline(2)
    timer = threading.Timer(0.05, timeline.delivered, args=(_delivery(0),))
    timer.start()
    assert timeline.wait(20) == 1
    timer.join()


def test_what_was_sent_has_its_wait_to_be_sent_whatever_became_of_it():
    timeline = Timeline([_event(number) for number in range(5)], _JSON)
    timeline.due_ns[:] = _START
    for number in range(4):
        timeline.sent(number, _START + (number + 1) * _MS)
    timeline.delivered(_delivery(0))
    timeline.delivered(_delivery(1, dead=(1,)))
    timeline.delivered(_delivery(2, failure="ValueError: away"))
    timeline.refused(4, EventRejected("event-4", "too large"))
    frame = timeline.frame()
    assert frame.outcome.tolist() == ["answered", "dead", "lost", "lost", "refused"]
    assert frame.send_ms.tolist()[:4] == [1, 2, 3, 4] and np.isnan(frame.send_ms[4])
    later = [f"{name}_ms" for name in (*WAY[1:], "latency", "service", "freshness")]
    assert frame[later].isna().all(axis=1).tolist() == [False, True, True, True, True]


def test_records_that_were_taken_one_by_one_are_timed_one_by_one():
    """Three of a batch, 63 ms of work each, 2 ms between them: the wait for one's turn is a wait for the worker."""
    timeline, work = _timeline(3), sum(_STAGES_MS.values())
    delivery = _delivery(0, 1, 2, received_ms=30)
    began = [delivery.answer["started_ns"] + number * (work + 2) * _MS for number in range(3)]
    spent = {stage: ms * _MS for stage, ms in _STAGES_MS.items()}
    records = {str(1000 + number): {"started_ns": began[number], "stages_ns": spent} for number in range(3)}
    summed = {stage: 3 * ns for stage, ns in spent.items()}
    ended = began[2] + (work + 40) * _MS
    timeline.delivered(
        msgspec.structs.replace(delivery, answered_ns=ended, answer=delivery.answer | {"records": records, "stages_ns": summed})
    )
    frame = timeline.frame()
    assert frame.queue_ms.tolist() == [5, 5 + 65, 5 + 130] and frame.stream_ms.tolist() == [27, 17, 7]
    assert {stage: frame[f"{stage}_ms"].tolist() for stage in STAGES} == {stage: [ms] * 3 for stage, ms in _STAGES_MS.items()}
    assert frame.return_ms.tolist() == [0, 0, 0]  # a record's answer is there when its own work is done
    assert frame.latency_ms.tolist() == [30 + 12 + 63, 20 + 12 + 65 + 63, 10 + 12 + 130 + 63]
    assert frame.freshness_ms.tolist() == [27 + 12 + 15, 17 + 12 + 65 + 15, 7 + 12 + 130 + 15]
    assert (frame[[f"{stage}_ms" for stage in WAY]].sum(axis=1) == frame.latency_ms).all()


def test_the_functions_answers_are_kept_in_their_order_without_failures():
    timeline = _timeline(2)
    first, second = _delivery(0), _delivery(1, cold=True)
    for delivery in (first, _delivery(1, failure="ValueError: away"), second):
        timeline.delivered(delivery)
    assert timeline.answers == [first.answer, second.answer]


def test_waiting_for_one_event_ends_when_that_one_is_settled_however():
    timeline = _timeline(4)
    assert not timeline.wait_for(0, 0)
    timeline.delivered(_delivery(1))
    assert timeline.wait_for(1, 0) and not timeline.wait_for(0, 0.01)
    timeline.delivered(_delivery(2, failure="ValueError: away", dead=(2,)))
    timeline.refused(3, EventRejected("event-3", "too large"))
    assert timeline.wait_for(2, 0) and timeline.wait_for(3, 0)
    timer = threading.Timer(0.05, timeline.delivered, args=(_delivery(0),))
    timer.start()
    assert timeline.wait_for(0, 20)
    timer.join()


def test_the_probe_is_told_of_each_event_that_is_sent():
    told = []
    probe = SimpleNamespace(sent=lambda index, ns: told.append((index, ns)))
    timeline = Timeline([_event(number) for number in range(3)], _JSON, probe=probe)
    timeline.sent(2, _START)
    timeline.sent(0, _START + 1)
    assert told == [(2, _START), (0, _START + 1)] and timeline.sent_ns == [_START + 1, 0, _START]
