"""The event source: reads every shard, forms batches, calls the function, remembers how far it came.

What it keeps of AWS's rules: one batch of a shard at a time and in order, ``MaximumBatchingWindowInSeconds``, ``BatchSize``,
``MaximumRetryAttempts``, at-least-once delivery. A record that the function reports in ``batchItemFailures`` is tried again
alone while the rest of its batch counts as processed; a batch whose function failed is tried again whole. What is given up
goes to the dead letters.
"""

import threading
import time
from collections.abc import Callable

import msgspec

from workbench.clock import now_ns
from workbench.errors import FunctionFailed, ServiceError
from workbench.stream.checkpoints import Checkpoints
from workbench.stream.dead_letters import DeadLetters
from workbench.stream.invoke import Invoker, kinesis_event

_RECORDS_A_READ = 10_000  # GetRecords' limit
_CHECKPOINT_EVERY_S = 1.0
_BACKOFF_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


class Delivery(msgspec.Struct, frozen=True):
    """One call of the function and what came of it. Times are Unix ns.

    ``answer`` is the function's, or None if it failed (``failure`` says why). ``dead`` has the reason of each record that
    was given up, by sequence number.
    """

    shard_id: str
    records: list[dict]
    received_ns: list[int]  # when GetRecords returned each record
    invoked_ns: int
    answered_ns: int
    answer: dict | None
    failure: str = ""
    dead: dict[str, str] = {}

    @property
    def failed(self) -> set[str]:
        """Sequence numbers that the function reported."""
        return {entry["itemIdentifier"] for entry in (self.answer or {}).get("batchItemFailures", ())}


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How batches form and how often they are tried; names and meaning as in AWS's event source mapping."""

    batch_size: int = 100
    batching_window_s: float = 0.0
    maximum_retry_attempts: int = 2
    poll_interval_s: float = 0.01  # AWS polls a shard once a second


class EventSource:
    """Reads a stream with one thread a shard. ``delivered`` is called after each call of the function, from that thread."""

    def __init__(
        self,
        kinesis,
        stream: str,
        *,
        invoker: Invoker,
        checkpoints: Checkpoints,
        dead_letters: DeadLetters,
        rules: Rules,
        function: str,
        stream_arn: str,
        delivered: Callable[[Delivery], None],
    ) -> None:
        self._kinesis, self._stream, self._stream_arn = kinesis, stream, stream_arn
        self._invoker, self._function = invoker, function
        self._checkpoints, self._dead_letters, self._rules, self._delivered = checkpoints, dead_letters, rules, delivered
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._errors: list[Exception] = []

    def start(self) -> None:
        """Begin behind the checkpoints, or with a shard's oldest record without one. Returns when every shard is being read."""
        for shard_id in self._shards():
            shard = _Shard(shard_id, self._checkpoints.read(shard_id))
            shard.iterator = self._iterator(shard)
            thread = threading.Thread(target=self._work, args=(shard,), name=f"source-{shard_id}", daemon=True)
            self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """
        Raises:
            ServiceError: a shard can no longer be read; one line says why.
        """
        if self._errors:
            raise ServiceError(f"reading stream {self._stream} failed: {self._errors[0]}") from self._errors[0]

    def stop(self) -> None:
        """Finish the batches under way, write the checkpoints, end the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> "EventSource":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _shards(self) -> list[str]:
        pages = self._kinesis.get_paginator("list_shards").paginate(StreamName=self._stream)
        return [shard["ShardId"] for page in pages for shard in page["Shards"]]

    def _iterator(self, shard: "_Shard") -> str:
        start = (
            {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": shard.read_to}
            if shard.read_to
            else {"ShardIteratorType": "TRIM_HORIZON"}  # not LATEST: it would skip what a reader left that never got so far
        )
        return self._kinesis.get_shard_iterator(StreamName=self._stream, ShardId=shard.shard_id, **start)["ShardIterator"]

    def _work(self, shard: "_Shard") -> None:
        try:
            while not self._stop.is_set() and shard.iterator:
                self._poll(shard)
                while not self._stop.is_set() and (batch := shard.due(self._rules, now_ns())):
                    self._process(shard, batch)
                    self._checkpoint(shard, every_s=_CHECKPOINT_EVERY_S)
            self._checkpoint(shard, every_s=0.0)
        except Exception as error:  # a thread cannot raise to its starter: check() does
            self._errors.append(error)

    def _poll(self, shard: "_Shard") -> None:
        wait_s = shard.next_poll - time.monotonic()
        if wait_s > 0:
            self._stop.wait(wait_s)
        shard.next_poll = time.monotonic() + self._rules.poll_interval_s
        try:
            answer = self._kinesis.get_records(ShardIterator=shard.iterator, Limit=_RECORDS_A_READ)
        except self._kinesis.exceptions.ExpiredIteratorException:
            shard.iterator = self._iterator(shard)
            return
        shard.iterator = answer.get("NextShardIterator")
        received = now_ns()
        for record in answer["Records"]:
            shard.waiting.append((record, received))
            shard.read_to = record["SequenceNumber"]
        if answer.get("MillisBehindLatest"):
            shard.next_poll = 0.0  # as AWS does: no pause while records remain

    def _process(self, shard: "_Shard", batch: list[tuple[dict, int]]) -> None:
        attempts = 1 + self._rules.maximum_retry_attempts
        for attempt in range(1, attempts + 1):
            delivery = self._deliver(shard, batch, last=attempt == attempts)
            if delivery.answer is not None and len(batch) > 1:
                failed = [entry for entry in batch if entry[0]["SequenceNumber"] in delivery.failed]
                if not all(self._process_alone(shard, entry, attempts - attempt) for entry in failed):
                    return
                break
            if delivery.answer is not None and not delivery.failed:
                break
            if attempt < attempts and self._stop.wait(_BACKOFF_S[min(attempt, len(_BACKOFF_S)) - 1]):
                return  # neither processed nor given up: the next reader finds it behind the checkpoint
        shard.done_to = batch[-1][0]["SequenceNumber"]

    def _process_alone(self, shard: "_Shard", entry: tuple[dict, int], attempts: int) -> bool:
        """The retries of a record that the function reported; returns whether it was dealt with before the source was stopped."""
        for attempt in range(1, attempts + 1):
            if self._stop.is_set():
                return False
            delivery = self._deliver(shard, [entry], last=attempt == attempts)
            if delivery.answer is not None and not delivery.failed:
                break
        return True

    def _deliver(self, shard: "_Shard", batch: list[tuple[dict, int]], *, last: bool) -> Delivery:
        """Call the function once; what still fails at the last attempt is given up."""
        records = [record for record, _ in batch]
        event = kinesis_event(records, shard_id=shard.shard_id, stream_arn=self._stream_arn, function=self._function)
        invoked, answer, failure = now_ns(), None, ""
        try:
            answer = self._invoker(event)
        except FunctionFailed as error:
            failure = str(error)
        answered = now_ns()
        delivery = Delivery(shard.shard_id, records, [at for _, at in batch], invoked, answered, answer, failure)
        if last:
            delivery = msgspec.structs.replace(delivery, dead=self._give_up(shard, delivery))
        self._delivered(delivery)
        return delivery

    def _give_up(self, shard: "_Shard", delivery: Delivery) -> dict[str, str]:
        reasons = (delivery.answer or {}).get("rejected", {})
        dead = {}
        for record in delivery.records:
            number = record["SequenceNumber"]
            if delivery.answer is None or number in delivery.failed:
                dead[number] = delivery.failure or reasons.get(number, "the function reported this record without a reason")
                attempts = 1 + self._rules.maximum_retry_attempts
                self._dead_letters.send(shard.shard_id, record, reason=dead[number], attempts=attempts)
        return dead

    def _checkpoint(self, shard: "_Shard", *, every_s: float) -> None:
        """Not after every batch: a crash repeats at most a second's batches, which at-least-once delivery allows."""
        if shard.done_to != shard.written and time.monotonic() - shard.written_at >= every_s:
            self._checkpoints.write(shard.shard_id, shard.done_to)
            shard.written, shard.written_at = shard.done_to, time.monotonic()


class _Shard:
    """One shard's reader: its place in the stream, and what was read and waits for a batch."""

    def __init__(self, shard_id: str, checkpoint: str | None) -> None:
        self.shard_id = shard_id
        self.iterator: str | None = None
        self.read_to = self.done_to = self.written = checkpoint
        self.written_at = time.monotonic()
        self.next_poll = 0.0
        self.waiting: list[tuple[dict, int]] = []

    def due(self, rules: Rules, now: int) -> list[tuple[dict, int]]:
        """The next batch if it is full or its window is over, else nothing."""
        if not self.waiting:
            return []
        over = (now - self.waiting[0][1]) / 1e9 >= rules.batching_window_s
        if len(self.waiting) < rules.batch_size and not over:
            return []
        batch, self.waiting = self.waiting[: rules.batch_size], self.waiting[rules.batch_size :]
        return batch
