"""One batch, from its first attempt until each of its records is processed or discarded. Pure: no thread, clock or network.

The rules are those of Lambda's event source mapping for Kinesis (Lambda developer guide: "How Lambda processes records from
stream and queue-based event sources", "Configuring partial batch response with Kinesis Data Streams and Lambda", "Retain
discarded batch records"):

* A batch whose function failed is tried again whole, ``maximum_retry_attempts`` times; then it is discarded.
* A record that is older than ``maximum_record_age_in_seconds`` is discarded.
* With ``bisect_batch_on_function_error`` a failed batch is split in two instead, which uses up no retry.
* With ``report_batch_item_failures`` what comes before the lowest number that the function reports is processed, and the
  rest is tried again.
* A call that did not reach the function, such as a throttled one, is no attempt.

Where AWS says nothing: the halves of a batch are tried in order; retries belong to a batch and go on counting as it shrinks;
where the lowest number reported is a batch's first, so that splitting there would leave it whole, it is halved; an answer that
is neither empty nor a JSON object is a failure, so that nothing is lost.
"""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from workbench.stream.mapping import EventSourceMapping

_BACKOFF_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)  # AWS says only that it backs off


class Condition(Enum):
    """Why records were discarded, in the words of AWS's on-failure payload."""

    RETRIES = "RetryAttemptsExhausted"
    AGE = "RecordAgeExceeded"


class Part(NamedTuple):
    """What the function is called with: all of a batch, or what is left of it, oldest first."""

    records: list[dict]
    retries: int = 0  # used up
    invocations: int = 0


class Discarded(NamedTuple):
    """Records that were given up together, after so many calls of the function."""

    records: list[dict]
    condition: Condition
    invocations: int


class Settled(NamedTuple):
    """What an attempt came to: the records that need no other, in order, and those among them that were given up."""

    records: list[dict]
    discarded: Discarded | None = None


_NOTHING = Settled([])


class Batch:
    """A batch of at least one record. ``next`` says what to call the function with, ``answered`` or ``failed`` what came of it.

    A call that did not reach the function needs no word: ``next`` gives the same again.
    """

    def __init__(self, records: Sequence[dict], mapping: EventSourceMapping) -> None:
        self._mapping = mapping
        self._parts: deque[Part] = deque([Part(list(records))])

    def next(self) -> Part | None:
        """What is to be tried now; None once every record is settled."""
        return self._parts[0] if self._parts else None

    def expired(self, now_s: float) -> Settled:
        """Discard what has become too old, at Unix time ``now_s``, of the part that would be next."""
        oldest_s, part = self._mapping.maximum_record_age_in_seconds, self._parts[0]
        if oldest_s < 0:
            return _NOTHING
        young = (place for place, each in enumerate(part.records) if now_s - arrived_s(each) <= oldest_s)
        first = next(young, len(part.records))
        if not first:
            return _NOTHING
        self._go_on(part._replace(records=part.records[first:]))
        gone = part.records[:first]
        return Settled(gone, Discarded(gone, Condition.AGE, part.invocations))

    def answered(self, answer: object) -> Settled:
        """The function returned this."""
        part = self._parts[0]
        first = self._first_failure(answer, part.records)
        if first is None:
            self._parts.popleft()
            return Settled(part.records)
        if first == 0:
            return self.failed()
        bisected = self._mapping.bisect_batch_on_function_error
        rest = Part(part.records[first:], part.retries if bisected else part.retries + 1, part.invocations + 1)
        done = Settled(part.records[:first])
        return done if self._tried_again(rest) else self._given_up(rest, done.records)

    def failed(self) -> Settled:
        """The function raised an error, or ended without an answer."""
        part = self._parts[0]
        invocations, count = part.invocations + 1, len(part.records)
        if self._mapping.bisect_batch_on_function_error and count > 1:
            half = (count + 1) // 2
            self._go_on(
                Part(part.records[:half], part.retries, invocations), Part(part.records[half:], part.retries, invocations)
            )
            return _NOTHING
        rest = Part(part.records, part.retries + 1, invocations)
        return _NOTHING if self._tried_again(rest) else self._given_up(rest, [])

    def _tried_again(self, rest: Part) -> bool:
        most = self._mapping.maximum_retry_attempts
        if 0 <= most < rest.retries:
            return False
        self._go_on(rest)
        return True

    def _given_up(self, rest: Part, done: list[dict]) -> Settled:
        self._parts.popleft()
        return Settled(done + rest.records, Discarded(rest.records, Condition.RETRIES, rest.invocations))

    def _go_on(self, *parts: Part) -> None:
        """With these in the place of the part that was next."""
        self._parts.popleft()
        self._parts.extendleft(part for part in reversed(parts) if part.records)

    def _first_failure(self, answer: object, records: list[dict]) -> int | None:
        """The place from which on records are to be tried again; None: all are processed."""
        if self._mapping.tumbling_window_in_seconds and not (isinstance(answer, dict) and isinstance(answer.get("state"), dict)):
            return 0  # "If the response does not contain a state property, Lambda considers this a failed invocation."
        if not self._mapping.report_batch_item_failures or not answer:
            return None
        if not isinstance(answer, dict):
            return 0
        failures = answer.get("batchItemFailures")
        if not failures:
            return None
        places = {record["SequenceNumber"]: place for place, record in reversed(list(enumerate(records)))}
        if not isinstance(failures, list) or not all(isinstance(each, dict) for each in failures):
            return 0
        numbers = [each.get("itemIdentifier") for each in failures]
        if not all(isinstance(number, str) and number in places for number in numbers):
            return 0  # an empty, null or unknown identifier, or one under another key: the whole batch has failed
        return min(places[number] for number in numbers)


def pauses() -> Iterator[float]:
    """Seconds to wait after each call in a row that settled nothing."""
    return itertools.chain(_BACKOFF_S, itertools.repeat(_BACKOFF_S[-1]))


def arrived_s(record: dict) -> float:
    """When Kinesis took a record, Unix seconds."""
    return record["ApproximateArrivalTimestamp"].timestamp()
