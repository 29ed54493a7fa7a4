"""When each event was where: from the moment it was due to the moment its recommendation was in the read model.

All times are Unix ns of ``workbench.clock``, of processes on one machine. Latency counts from the *due* time, so that an
event that could not be sent in time carries its waiting (no coordinated omission).
"""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from workbench.codecs import Codec
from workbench.errors import DecodeError, EventRejected
from workbench.events import Event
from workbench.function.processor import STAGES
from workbench.measure.findable import FindableProbe
from workbench.stream.batch import Discarded
from workbench.stream.worker import Delivery

# The way of an event, in order: each stage ends where the next begins, so they add up to the latency.
WAY = ("send", "stream", "queue", "call", *STAGES, "return")

_UNTIL_FINDABLE = STAGES[: STAGES.index("upsert") + 1]  # the stages after which the event's vector is in the index

# What each part of the way is, for a reader who has not read the code.
PARTS = {
    "send": "wait to be sent (linger)",
    "stream": "Kinesis: put → read",
    "queue": "wait for the worker",
    "call": "call the function",
    "decode": "decode",
    "enrich": "enrich (DynamoDB read)",
    "embed": "embed",
    "upsert": "upsert",
    "query": "query",
    "act": "act (DynamoDB write)",
    "return": "return",
}


class Timeline:
    """Collects what producer and event source report during one run; both call it from their threads."""

    def __init__(self, events: Sequence[Event], codec: Codec, *, foreign: int = 0, probe: FindableProbe | None = None) -> None:
        """``foreign`` is how many records that are no events of this run must be settled, too, before it is over.

        ``probe`` is told of each event that is sent.
        """
        self._events, self._codec = events, codec
        self._index = {event.event_id: number for number, event in enumerate(events)}
        self.due_ns = np.zeros(len(events), np.int64)
        self.sent_ns = [0] * len(events)  # a list is written in half the time of an array
        self._calls: list[_Call] = []
        self._dead: list[tuple[dict, str]] = []
        self._letters: set[str] = set()
        self._expired: set[int] = set()
        self._refused: dict[int, EventRejected] = {}
        self._open = set(range(len(events)))
        self._foreign, self._probe = foreign, probe
        self._changed = threading.Condition()

    def sent(self, index: int, ns: int) -> None:
        """Event ``index`` was handed to a PutRecords call at ``ns``."""
        self.sent_ns[index] = ns
        if self._probe:
            self._probe.sent(index, ns)

    def delivered(self, delivery: Delivery) -> None:
        """One call of the function. What is kept of it is small: the records go as soon as the pipeline is done with them."""
        numbers = [self._number(record) for record in delivery.records]
        sequence_numbers = [record["SequenceNumber"] for record in delivery.records]
        open_still = frozenset(sequence_numbers) - delivery.settled
        done = numbers
        if open_still:
            done = [number for number, each in zip(numbers, sequence_numbers, strict=True) if each not in open_still]
        given_up = _given_up(delivery)
        call = _Call(
            delivery.invoked_ns,
            delivery.answered_ns,
            delivery.answer,
            numbers,
            sequence_numbers,
            delivery.received_ns,
            open_still,
            frozenset(given_up),
        )
        with self._changed:
            self._calls.append(call)
            self._dead += given_up.values()
            self._letters |= given_up.keys() - {record["SequenceNumber"] for record in _discards(delivery)[1:]}
            self._open.difference_update(done)
            self._foreign = max(0, self._foreign - done.count(None))
            self._changed.notify_all()

    def expired(self, shard_id: str, discarded: Discarded) -> None:
        """Records that became too old before they were tried again."""
        numbers = [self._number(record) for record in discarded.records]
        with self._changed:
            self._dead += [(record, discarded.condition.value) for record in discarded.records]
            self._letters.add(discarded.records[0]["SequenceNumber"])
            self._expired.update(number for number in numbers if number is not None)
            self._open.difference_update(numbers)
            self._foreign = max(0, self._foreign - numbers.count(None))
            self._changed.notify_all()

    def refused(self, index: int, error: EventRejected) -> None:
        """Event ``index`` will never arrive: the producer could not put it into the stream."""
        with self._changed:
            self._refused[index] = error
            self._open.discard(index)
            self._changed.notify_all()

    def wait_for(self, index: int, timeout_s: float) -> bool:
        """Wait at most this long; returns whether event ``index`` is settled."""
        with self._changed:
            return self._changed.wait_for(lambda: index not in self._open, timeout_s)

    def wait(self, timeout_s: float) -> int:
        """Wait for progress at most this long; returns how many records are still on their way."""
        with self._changed:
            if self._open or self._foreign:
                self._changed.wait(timeout_s)
            return len(self._open) + self._foreign

    @property
    def last_ns(self) -> int:
        """When the last call was answered, Unix ns."""
        return max(call.answered_ns for call in self._calls)

    @property
    def answers(self) -> list[dict]:
        """What the function answered, call by call."""
        return [call.answer for call in self._calls if call.answer is not None]

    @property
    def letters(self) -> set[str]:
        """The sequence numbers with which this run's dead letters begin: of what was rejected, and of each discarded batch."""
        return set(self._letters)

    @property
    def dead(self) -> list[tuple[dict, str]]:
        """Every record that was given up, the run's own and others', with its reason."""
        return list(self._dead)

    def frame(self) -> pd.DataFrame:
        """One row an event, in the order they were due.

        ``outcome`` is answered, dead, refused or lost. ``latency_ms`` is due → answered; ``<stage>_ms`` for each stage of ``WAY``
        add up to it. ``service_ms`` is sent → answered, ``freshness_ms`` sent → upserted. Of an event that was not answered only
        ``send_ms`` is known, if it was sent. An event that was delivered more than once is timed by the call that settled it;
        ``attempts`` counts them.
        """
        rows = [_unsettled() for _ in self._events]
        for call in self._calls:
            for place, number in enumerate(call.numbers):
                if number is not None:
                    self._settle(rows[number], call, place)
        for number in self._expired:
            rows[number]["outcome"] = "dead"
        for number in self._refused:
            rows[number]["outcome"] = "refused"
        frame = pd.DataFrame(rows)
        sent_ns = np.array(self.sent_ns)
        frame["send_ms"] = np.where(sent_ns > 0, (sent_ns - self.due_ns) / 1e6, np.nan)
        frame.insert(0, "event_id", [event.event_id for event in self._events])
        frame.insert(1, "user_id", [event.user_id for event in self._events])
        frame["due_s"] = (self.due_ns - self.due_ns.min()) / 1e9
        return frame

    def _settle(self, row: dict, call: "_Call", place: int) -> None:
        row["attempts"] += 1
        number, sequence_number, received_ns = call.numbers[place], call.sequence_numbers[place], call.received_ns[place]
        if row["outcome"] == "answered" or sequence_number in call.open_still:
            return
        row["outcome"] = "dead" if sequence_number in call.dead else "answered"
        row["batch"] = len(call.numbers)
        if row["outcome"] == "dead":
            return
        served, due_ns, sent_ns = _served(call, sequence_number), self.due_ns[number], self.sent_ns[number]
        turn_ns = served.began_ns - call.answer["started_ns"]  # what the records before it took
        findable_ns = served.began_ns + sum(served.stages_ns[name] for name in _UNTIL_FINDABLE)
        row |= {
            "latency_ms": (served.answered_ns - due_ns) / 1e6,
            "service_ms": (served.answered_ns - sent_ns) / 1e6,
            "freshness_ms": (findable_ns - sent_ns) / 1e6,
            "cold": bool(call.answer.get("cold")),
            "stream_ms": (received_ns - sent_ns) / 1e6,
            "queue_ms": (call.invoked_ns - received_ns + turn_ns) / 1e6,
            "call_ms": (call.answer["started_ns"] - call.invoked_ns) / 1e6,
            **{f"{name}_ms": ns / 1e6 for name, ns in served.stages_ns.items()},
            "return_ms": (served.answered_ns - served.began_ns - sum(served.stages_ns.values())) / 1e6,
        }

    def _number(self, record: dict) -> int | None:
        """Which of the run's events a record is; None for a foreign or broken one."""
        try:
            return self._index.get(self._codec.decode(record["Data"]).event_id)
        except DecodeError:
            return None


class _Call(NamedTuple):
    """What is kept of one call of the function, its records by place."""

    invoked_ns: int
    answered_ns: int
    answer: dict | None
    numbers: list[int | None]  # which of the run's events each is; None for a foreign or broken one
    sequence_numbers: list[str]
    received_ns: list[int]
    open_still: frozenset[str]  # sequence numbers of what will be tried again
    dead: frozenset[str]  # of what was given up


def _given_up(delivery: Delivery) -> dict[str, tuple[dict, str]]:
    """What the call gave up: the function's own rejects and what was discarded. Record and reason by sequence number."""
    rejected = delivery.answer.get("rejected", {}) if isinstance(delivery.answer, dict) else {}
    reasons: dict[str, str] = {}
    for place, reason in rejected.items():
        reasons.setdefault(place.partition(":")[0], reason)  # of an aggregated record's, the first
    reason = delivery.failure or "the function reported it, or one before it, to the last try"
    reasons |= {record["SequenceNumber"]: reason for record in _discards(delivery)}
    return {
        number: (record, reasons[number])
        for record in delivery.records
        if (number := record["SequenceNumber"]) in reasons and number in delivery.settled
    }


def _discards(delivery: Delivery) -> list[dict]:
    return delivery.discarded.records if delivery.discarded is not None else []


class _Served(NamedTuple):
    """One record's part of a call's work."""

    began_ns: int
    answered_ns: int
    stages_ns: dict[str, int]


def _served(call: _Call, sequence_number: str) -> _Served:
    """A batch is served as one; a function that takes its records one by one says so of each, and it is answered at its end."""
    one = call.answer.get("records", {}).get(sequence_number)
    if one is None:
        return _Served(call.answer["started_ns"], call.answered_ns, call.answer["stages_ns"])
    return _Served(one["started_ns"], one["started_ns"] + sum(one["stages_ns"].values()), one["stages_ns"])


def _unsettled() -> dict:
    times = dict.fromkeys(("latency_ms", "service_ms", "freshness_ms"), np.nan)
    return {"outcome": "lost", "attempts": 0, "batch": 0, **times, "cold": False} | {f"{stage}_ms": np.nan for stage in WAY}
