"""One shard's worker: one thread reads, and one for each key group calls the function, one batch after the other."""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from workbench.clock import now_ns
from workbench.errors import FunctionFailed, FunctionNotReached
from workbench.stream.batch import Batch, Discarded, Part, Settled, pauses
from workbench.stream.invoke import Invoker, kinesis_event
from workbench.stream.lane import Lane, Read, group_of, window_start
from workbench.stream.mapping import EventSourceMapping
from workbench.stream.pattern import compile_pattern
from workbench.stream.progress import Progress
from workbench.stream.reader import ShardReader
from workbench.stream.windows import TumblingWindow

_AHEAD = 2  # batches a key group may have waiting before reading pauses


class Delivery(msgspec.Struct, frozen=True):
    """One call of the function and what came of it. Times are Unix ns.

    ``answer`` is the function's, or None if it failed (``failure`` says why). ``settled`` has the sequence numbers of the
    records that need no other call; ``discarded`` are those among them that were given up.
    """

    shard_id: str
    records: list[dict]
    received_ns: list[int]  # when GetRecords returned each record
    invoked_ns: int
    answered_ns: int
    answer: dict | None
    failure: str = ""
    settled: frozenset[str] = frozenset()
    discarded: Discarded | None = None


class Watcher(Protocol):
    """Is told what a source does, from its threads."""

    def delivered(self, delivery: Delivery) -> None:
        """One call of the function."""

    def expired(self, shard_id: str, discarded: Discarded) -> None:
        """Records that became too old before a call."""


class Consumer(NamedTuple):
    """What is done with a stream's records, whichever shard they are in.

    ``discard`` is told the shard, what was given up, and the function's last error ("" if it was not called).
    """

    mapping: EventSourceMapping
    invoker: Invoker
    function: str
    stream_arn: str
    watcher: Watcher
    discard: Callable[[str, Discarded, str], None]


class ShardWorker:
    """Reads and processes one shard from behind its checkpoint until ``stop``, or to the end of a closed shard.

    ``stop`` finishes the batches under way; what waits is left to the next worker. ``checkpoint`` is how far everything is
    dealt with; whoever owns the lease writes it down.
    """

    def __init__(
        self,
        consumer: Consumer,
        reader: Callable[..., ShardReader],  # is given ``pause``
        *,
        shard_id: str,
        checkpoint: str | None,
    ) -> None:
        mapping = consumer.mapping
        self._consumer, self.shard_id = consumer, shard_id
        self._matches = [compile_pattern(text) for text in mapping.filters]
        self._lanes = [Lane(mapping) for _ in range(mapping.parallelization_factor)]
        self._progress = Progress(checkpoint)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._reader = reader(pause=self._stop.wait)
        self._caught_up_s = 0.0  # Unix: all that was in the shard by then has been read
        self._busy = 0  # key groups with a batch under way
        self._read_out = False
        self._errors: list[Exception] = []
        names = ("read", *(f"call-{number}" for number in range(len(self._lanes))))
        work = (self._read, *(lambda lane=lane: self._call(lane) for lane in self._lanes))
        self._threads = [
            threading.Thread(target=self._guarded, args=(each,), name=f"{shard_id}-{name}", daemon=True)
            for name, each in zip(names, work, strict=True)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask every thread to end; ``join`` waits for it."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    @property
    def checkpoint(self) -> str | None:
        with self._changed:
            return self._progress.checkpoint

    @property
    def alive(self) -> bool:
        """Whether any of its threads still runs."""
        return any(thread.is_alive() for thread in self._threads)

    @property
    def finished(self) -> bool:
        """Whether the shard was read to its end, and everything in it is dealt with."""
        return self._read_out and not self.alive and not self._progress

    @property
    def error(self) -> Exception | None:
        """What ended a thread of it."""
        return self._errors[0] if self._errors else None

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # a thread cannot raise to its starter
            self._errors.append(error)
            self.stop()

    # Reading

    def _read(self) -> None:
        most = _AHEAD * self._consumer.mapping.batch_size * len(self._lanes)
        while not self._stop.is_set() and not self._reader.ended:
            asked_s = now_ns() / 1e9
            records = self._reader.read()
            with self._changed:
                self._take(records)
                if not self._reader.behind:
                    self._caught_up_s = asked_s
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._stop.is_set() or self._ready(most))
        with self._changed:
            self._read_out = self._reader.ended
            self._changed.notify_all()

    def _ready(self, most: int) -> bool:
        """Whether what would be read now could be begun: else it waits as well in the stream, and the poll costs both sides."""
        return self._busy < len(self._lanes) and sum(map(len, self._lanes)) < most

    def _take(self, records: Sequence[dict]) -> None:
        at_ns = now_ns()
        self._progress.read([record["SequenceNumber"] for record in records])
        for record in records:
            if self._matches and not any(matches(record["Data"]) for matches in self._matches):
                self._progress.done([record["SequenceNumber"]])
            else:
                self._lanes[group_of(record["PartitionKey"], len(self._lanes))].add(Read(record, at_ns))

    # Calling

    def _call(self, lane: Lane) -> None:
        consumer = self._consumer
        windows = None
        if consumer.mapping.tumbling_window_in_seconds:
            windows = TumblingWindow(consumer.mapping, shard_id=self.shard_id, stream_arn=consumer.stream_arn)
        while (batch := self._due(lane, windows)) is not None:
            if windows is not None:
                self._windowed(windows, batch)
            else:
                self._process(batch)
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _due(self, lane: Lane, windows: TumblingWindow | None) -> list[Read] | None:
        """The next batch; an empty one if the open window is over; None when there is no more to do."""
        with self._changed:
            while not self._stop.is_set():
                wait_s = lane.wait_s(now_ns())
                if windows is not None and windows.start is not None and self._over(windows, lane):
                    self._busy += 1
                    return []
                if wait_s == 0 or (wait_s is not None and self._read_out):
                    self._busy += 1
                    return lane.take()
                if wait_s is None and self._read_out:
                    return None
                self._changed.wait(wait_s)
        return None

    def _over(self, windows: TumblingWindow, lane: Lane) -> bool:
        """Whether nothing more can come into the open window."""
        following = lane.first()
        if following is not None:
            return window_start(following.record, self._consumer.mapping) > windows.start  # arrival times may step back a little
        return self._read_out or self._caught_up_s >= windows.end

    def _process(self, reads: list[Read], windows: TumblingWindow | None = None) -> bool:
        """One batch, until it is dealt with; False if the source was stopped before."""
        received = {read.record["SequenceNumber"]: read.at_ns for read in reads}
        batch = Batch([read.record for read in reads], self._consumer.mapping)
        backoff = pauses()
        while part := batch.next():
            if self._stop.is_set():
                return False
            expired = batch.expired(now_ns() / 1e9)
            if expired.records:
                self._settle(expired, "", windows)
                self._consumer.watcher.expired(self.shard_id, expired.discarded)
                continue
            settled = self._deliver(batch, part, received, windows)
            if settled is not None and settled.records:
                backoff = pauses()
            elif self._stop.wait(next(backoff)):
                return False
        return True

    def _deliver(self, batch: Batch, part: Part, received: dict[str, int], windows: TumblingWindow | None) -> Settled | None:
        """Call the function once; None if it was not reached, which is no attempt."""
        answer, failure = None, ""
        event = self._event(part.records)
        invoked = now_ns()
        try:
            answer = self._consumer.invoker(event if windows is None else windows.event(event))
        except FunctionNotReached:
            return None
        except FunctionFailed as error:
            failure = str(error)
        answered = now_ns()
        settled = batch.failed() if failure else batch.answered(answer)
        if windows is not None and isinstance(answer, dict) and isinstance(answer.get("state"), dict):
            windows.keep(answer["state"])
        self._settle(settled, failure, windows)
        numbers = [record["SequenceNumber"] for record in part.records]
        delivery = Delivery(
            self.shard_id,
            part.records,
            [received[number] for number in numbers],
            invoked,
            answered,
            answer,
            failure,
            frozenset(record["SequenceNumber"] for record in settled.records),
            settled.discarded,
        )
        self._consumer.watcher.delivered(delivery)
        return settled

    def _event(self, records: list[dict]) -> dict:
        consumer = self._consumer
        return kinesis_event(records, shard_id=self.shard_id, stream_arn=consumer.stream_arn, function=consumer.function)

    def _settle(self, settled: Settled, failure: str, windows: TumblingWindow | None) -> None:
        """What was given up is sent away before it counts as dealt with."""
        if settled.discarded is not None:
            self._consumer.discard(self.shard_id, settled.discarded, failure)
        numbers = [record["SequenceNumber"] for record in settled.records]
        if windows is not None:
            windows.numbers += numbers
            return
        with self._changed:
            self._progress.done(numbers)
            self._changed.notify_all()

    # Tumbling windows

    def _windowed(self, windows: TumblingWindow, reads: list[Read]) -> None:
        if not reads:
            self._end_window(windows)
            return
        start = window_start(reads[0].record, self._consumer.mapping)
        if windows.start is None:
            windows.open(start)
        if self._process(reads, windows) and windows.overfull:
            self._end_window(windows)

    def _end_window(self, windows: TumblingWindow) -> None:
        """The final call, until it succeeds: "Lambda function suspends further processing until a successful invocation"."""
        for pause_s in pauses():
            try:
                self._consumer.invoker(windows.event({"Records": []}, final=True))
                break
            except FunctionFailed:
                if self._stop.wait(pause_s):
                    return
        with self._changed:
            self._progress.done(windows.close())
            self._changed.notify_all()
