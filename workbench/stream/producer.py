"""The producer: sends every event when it is due, whatever the system behind it does.

Kinesis's limits (PutRecords, API reference): 500 records and 5 MiB a call, 1 MiB a record, 1 to 256 characters a key,
and a call that succeeds may still have refused some of its records. One that is out of bounds fails its whole call.
"""

import threading
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from workbench.clock import now_ns
from workbench.codecs import Codec
from workbench.errors import EventRejected, ServiceError
from workbench.events import Event

RECORDS_A_CALL = 500
BYTES_A_CALL = 5 * 1024 * 1024
BYTES_A_RECORD = 1024 * 1024
CHARACTERS_A_KEY = 256
SENDERS = 2
_BACKOFF_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


class Observer(Protocol):
    """Is told what became of each event, from the sender's threads."""

    def sent(self, index: int, ns: int) -> None:
        """The call that carries event ``index`` begins at Unix time ``ns``."""

    def refused(self, index: int, error: EventRejected) -> None:
        """Event ``index`` cannot be a record: it is too large, or its user cannot be a partition key."""


class Producer:
    """Sends events at their times. One user's events always go through the same sender, one call after the other.

    ``linger_ms`` is how long an event may wait for others to share its call (Kafka's linger.ms, KPL's RecordMaxBufferedTime).
    """

    def __init__(self, kinesis, stream: str, codec: Codec, *, observer: Observer, linger_ms: int = 0) -> None:
        self._kinesis, self._stream, self._codec, self._observer = kinesis, stream, codec, observer
        self._linger_ns = linger_ms * 1_000_000

    def send(self, events: Sequence[Event], due_ns: np.ndarray, *, stop: threading.Event) -> None:
        """Send each event at its Unix time ``due_ns``; returns when all are in the stream, or ``stop`` is set.

        Raises:
            ServiceError: the stream refused events for longer than the retries last, or does not answer.
        """
        in_lanes(events, SENDERS, lambda lane: self._run(lane, events, due_ns, stop), stop=stop)

    def _run(self, lane: list[int], events: Sequence[Event], due_ns: np.ndarray, stop: threading.Event) -> None:
        waiting = deque(lane)
        while waiting and not stop.is_set():
            wait_s = (due_ns[waiting[0]] + self._linger_ns - now_ns()) / 1e9
            if wait_s > 0 and stop.wait(wait_s):
                return
            self._put_due(waiting, events, due_ns, stop)

    def _put_due(self, waiting: deque[int], events, due_ns, stop) -> None:
        """Send what is due in one call; what was dealt with is taken out of ``waiting``.

        One record of a key at most: a call may refuse one record and take the next, and they would change places.
        """
        begun = now_ns()
        records, keys, later, size = [], set(), [], 0
        while waiting and len(records) < RECORDS_A_CALL and due_ns[waiting[0]] <= begun:
            index = waiting.popleft()
            if events[index].user_id in keys:
                later.append(index)
                continue
            try:
                record, weight = self._record(events[index])
            except EventRejected as error:
                self._observer.refused(index, error)
                continue
            if size + weight > BYTES_A_CALL:
                waiting.appendleft(index)
                break
            records.append(record)
            keys.add(events[index].user_id)
            self._observer.sent(index, begun)
            size += weight
        waiting.extendleft(reversed(later))
        if records:
            self._put(records, stop)

    def send_one(self, index: int, event: Event, *, stop: threading.Event) -> None:
        """Send one event in a call of its own, now."""
        try:
            record, _ = self._record(event)
        except EventRejected as error:
            self._observer.refused(index, error)
            return
        self._observer.sent(index, now_ns())
        self._put([record], stop)

    def _record(self, event: Event) -> tuple[dict, int]:
        """The record and its number of bytes as Kinesis counts them.

        Raises:
            EventRejected: Kinesis would not take it.
        """
        data, key = self._codec.encode(event), event.user_id
        weight = len(data) + len(key.encode())
        if weight > BYTES_A_RECORD:
            limit = f"{BYTES_A_RECORD:,}, its key included"
            raise EventRejected(event.event_id, f"{weight:,} bytes are more than a Kinesis record may have ({limit})")
        if not 1 <= len(key) <= CHARACTERS_A_KEY:
            raise EventRejected(
                event.event_id, f"a user id of {len(key)} characters is no partition key, which has 1 to {CHARACTERS_A_KEY}"
            )
        return {"Data": data, "PartitionKey": key}, weight

    def _put(self, records: list[dict], stop: threading.Event) -> None:
        for pause_s in (*_BACKOFF_S, None):
            try:
                answer = self._kinesis.put_records(StreamName=self._stream, Records=records)
            except Exception as error:  # boto3 has tried again what can be
                raise ServiceError(f"stream {self._stream} does not take records: {error}") from error
            if not answer["FailedRecordCount"]:
                return
            results = list(zip(records, answer["Records"], strict=True))
            reason = next(result["ErrorCode"] for _, result in results if "ErrorCode" in result)
            records = [record for record, result in results if "ErrorCode" in result]
            if pause_s is None or stop.wait(pause_s):
                raise ServiceError(f"stream {self._stream} refused {len(records)} records to the last try: {reason}")


def in_lanes(events: Sequence[Event], lanes: int, send: Callable[[list[int]], None], *, stop: threading.Event) -> None:
    """Call ``send`` with each lane's event indices, all lanes at once; one user's events are in one lane, in order.

    Raises what the first failing lane raised, once ``stop`` has ended the others.
    """
    indices: list[list[int]] = [[] for _ in range(lanes)]
    for index, event in enumerate(events):
        indices[zlib.crc32(event.user_id.encode(errors="replace")) % lanes].append(index)
    errors: list[BaseException] = []

    def run(lane: list[int]) -> None:
        try:
            send(lane)
        except BaseException as error:  # a thread cannot raise to its starter: hand it over, and stop the others
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=run, args=(lane,), name=f"sender-{number}") for number, lane in enumerate(indices)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
