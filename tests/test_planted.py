"""Planted faults under a clock that only they and the test move."""

import base64
import dataclasses
import threading

import numpy as np
import pytest

from workbench import planted
from workbench.codecs import codec
from workbench.errors import FunctionFailed
from workbench.events import Event, Match, Record
from workbench.planted import Outage, Poisoned, SlowQueries, Stalled
from workbench.vectors.store import Store


class Clock:
    """Stands for the module ``time``. A look at it costs ``tick_s``; sleeping passes the time, or ``wakes_after_s`` of it."""

    def __init__(self, *, tick_s: float = 0.0, wakes_after_s: float | None = None) -> None:
        self.now_s, self.slept = 100.0, []
        self._tick_s, self._wakes_after_s = tick_s, wakes_after_s

    def monotonic(self) -> float:
        self.now_s += self._tick_s
        return self.now_s

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds if self._wakes_after_s is None else self._wakes_after_s


def clocked(monkeypatch, **options) -> Clock:
    clock = Clock(**options)
    monkeypatch.setattr(planted, "time", clock)
    return clock


def batch(size: int) -> dict:
    return {"Records": [{"number": number} for number in range(size)]}


def test_the_call_that_brings_the_first_record_too_many_waits_and_no_call_after_it(monkeypatch):
    clock, seen = clocked(monkeypatch), []
    stalled = Stalled(lambda event: seen.append((event, clock.now_s)) or {"of": len(seen)}, after=10, stall_s=2.0)
    events = [batch(size) for size in (4, 4, 2, 3, 5, 100)]
    assert [stalled(event) for event in events] == [{"of": number} for number in range(1, 7)]
    assert [event for event, _ in seen] == events, "every event goes on as it was"
    assert [at for _, at in seen] == [100.0, 100.0, 100.0, 102.0, 102.0, 102.0] and clock.slept == [2.0]


def test_a_call_that_comes_during_the_stall_waits_for_its_end_only(monkeypatch):
    """Another shard's worker: here each sleep is over after half a second, and the next call comes then."""
    clock = clocked(monkeypatch, wakes_after_s=0.5)
    stalled = Stalled(lambda event: {}, after=0, stall_s=2.0)
    for _ in range(6):
        stalled(batch(1))
    assert clock.slept == [2.0, 1.5, 1.0, 0.5]


def test_empty_batches_wake_the_function_and_stall_nothing(monkeypatch):
    clock = clocked(monkeypatch)
    stalled = Stalled(lambda event: {}, after=0, stall_s=2.0)
    for _ in range(5):
        stalled(batch(0))
    assert clock.slept == []


def test_all_workers_stand_still_together():
    """With the real clock: four threads call at once, and none is through before the stall is over."""
    through, together = [], threading.Barrier(4)
    stalled = Stalled(lambda event: through.append(planted.time.monotonic()) or {}, after=0, stall_s=0.3)
    begun = planted.time.monotonic()

    def call() -> None:
        together.wait()
        stalled(batch(1))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(through) == 4 and min(through) >= begun + 0.3


def test_what_the_function_raises_is_raised_on():
    def function(event: dict) -> dict:
        raise LookupError("of the function")

    with pytest.raises(LookupError, match="of the function"):
        Stalled(function, after=10, stall_s=1.0)(batch(1))


@dataclasses.dataclass
class TimedStore:
    """A store whose query takes 3 s of the clock; notes how it was asked."""

    clock: Clock
    asked: list = dataclasses.field(default_factory=list)

    def query(self, vectors: np.ndarray, **options) -> list[list[Match]]:
        self.clock.now_s += 3.0
        self.asked.append((vectors.tolist(), options))
        return [[Match("a", 1.0, {})]]


@pytest.mark.parametrize("times", [1.0, 1.2, 2.0, 10.0])
def test_a_query_takes_that_many_times_as_long(monkeypatch, times):
    clock = clocked(monkeypatch, tick_s=0.001)
    store = TimedStore(clock)
    found = SlowQueries(store, times).query(np.eye(1), top_k=5, namespace="n")
    took_s = clock.now_s - 100.0
    assert 3.0 * times <= took_s <= (3.0 + 0.001) * times + 3 * 0.001  # no longer than by the looks at the clock
    assert found == [[Match("a", 1.0, {})]] and store.asked == [([[1.0]], {"top_k": 5, "namespace": "n"})]
    assert clock.slept == [], "the processor is busy meanwhile"


def test_answers_are_the_stores_and_everything_else_passes_through():
    vectors = np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32)
    store = Store(dimension=6)
    slow = SlowQueries(store, 3.0)
    assert slow.upsert([Record(f"r{n}", row, {"even": n % 2 == 0}) for n, row in enumerate(vectors)], namespace="n") == 40
    asked = {"top_k": 7, "namespace": "n", "filter": {"even": True}}
    assert slow.query(vectors[:5], **asked) == store.query(vectors[:5], **asked)
    assert slow.stats() == store.stats() == {"n": 40}
    assert slow.fetch(["r3"], namespace="n")["r3"].values.tolist() == vectors[3].tolist()
    slow.delete(["r3"], namespace="n")
    assert store.fetch(["r3"], namespace="n") == {} and (slow.dimension, slow.metric) == (6, "cosine")
    with pytest.raises(AttributeError, match="no_such_call"):
        slow.no_such_call()


def test_an_outage_begins_with_the_first_record_too_many_and_ends_once(monkeypatch):
    clock, seen = clocked(monkeypatch), []
    outage = Outage(lambda event: seen.append(event) or {"of": len(seen)}, after=10, outage_s=2.0)
    assert outage(batch(10)) == {"of": 1}
    for at in (100.0, 101.0, 101.9):
        clock.now_s = at
        with pytest.raises(FunctionFailed, match="the vector store does not answer"):
            outage(batch(1))
    clock.now_s = 102.0
    assert outage(batch(1)) == {"of": 2} and outage(batch(100)) == {"of": 3}
    assert [len(event["Records"]) for event in seen] == [10, 1, 100]


def test_a_poisoned_event_fails_every_batch_that_it_is_in_and_no_other():
    json_codec = codec("json")

    def records(*ids: str) -> dict:
        events = [Event(event_id=id, user_id="u", product_id="p", timestamp_ms=1, trace_id="t") for id in ids]
        return {"Records": [{"kinesis": {"data": base64.b64encode(json_codec.encode(event)).decode()}} for event in events]}

    poisoned = Poisoned(lambda event: {"of": len(event["Records"])}, {"bad"}, json_codec)
    assert poisoned(records("a", "b")) == {"of": 2}
    for _ in range(3):
        with pytest.raises(FunctionFailed, match=r"^KeyError: event bad \(planted\)$"):
            poisoned(records("a", "bad"))
    no_event = {"Records": [{"kinesis": {"data": "%%%"}}, {"kinesis": {"data": base64.b64encode(b"junk").decode()}}]}
    assert poisoned(no_event) == {"of": 2}, "what is no event is for the function to say"
