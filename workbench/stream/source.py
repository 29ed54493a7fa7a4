"""The event source: one worker of a consumer. It leases shards, has each read and processed, and writes down how far it came.

It behaves as Lambda's event source mapping for Kinesis does, over any Kinesis endpoint; ``batch``, ``lane`` and ``windows`` say
by which rules. Delivery is at least once, and in order for each partition key: a shard is read once its parents are dealt
with, by the one worker that holds its lease, from behind its checkpoint.
"""

import functools
import logging
import threading
import time

from workbench.errors import LeaseLost, ServiceError
from workbench.stream.leases import Lease, Leases, Start
from workbench.stream.reader import ShardReader
from workbench.stream.shards import Shard, list_shards, parents, passed_over, readable
from workbench.stream.worker import Consumer, ShardWorker

_KEEP_S = 1.0  # between two checkpoints of a shard: a crash repeats what was done meanwhile
_SHARE_S = 2.0  # between two looks at which shards there are and who has them
_RENEWALS = 3  # of a lease in the time that it lasts

_log = logging.getLogger(__name__)


class EventSource:
    """A worker that takes its share of a stream's shards: all of them while it is the only one.

    Args:
        kinesis: the boto3 client.
        stream: its name.
        consumer: what is done with the records, and how.
        leases: of this worker.
        poll_interval_s: how long a shard that has been read to its tip is left alone. AWS polls once a second.
    """

    def __init__(self, kinesis, stream: str, *, consumer: Consumer, leases: Leases, poll_interval_s: float) -> None:
        self._kinesis, self._stream, self._consumer, self._leases = kinesis, stream, consumer, leases
        self._poll_interval_s = poll_interval_s
        mapping = consumer.mapping
        self._start = Start(mapping.starting_position, mapping.starting_position_timestamp)
        self._workers: dict[str, ShardWorker] = {}
        self._left: list[ShardWorker] = []  # whose leases are lost, and who may still be in mid-call
        self._written: dict[str, str | None] = {}  # checkpoints in the table
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-source", daemon=True)
        self._errors: list[Exception] = []

    def start(self) -> None:
        """Take what is free, and begin behind its checkpoints. Returns once the shards taken are being read.

        Raises:
            ServiceError: the stream or the table of leases is not there, or does not answer.
        """
        try:
            self._share()
        except BaseException:
            self.stop()
            raise
        self._thread.start()

    def check(self) -> None:
        """
        Raises:
            ServiceError: a shard can no longer be read or processed; one line says why.
        """
        if self._errors:
            raise ServiceError(f"reading stream {self._stream} failed: {self._errors[0]}") from self._errors[0]

    def stop(self) -> None:
        """Finish the batches under way, write the checkpoints, leave the shards to others. ``check`` says what failed."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        for worker in self._workers.values():
            worker.stop()
        for worker in self._left:
            worker.join()
        for shard_id, worker in self._workers.items():
            worker.join()
            self._collect(worker)
            try:
                self._keep(shard_id, worker)
                self._leases.release(shard_id)
            except LeaseLost as lost:
                _log.warning("%s: what it did last may be done again", lost)
            except ServiceError as error:
                self._errors.append(error)
        self._workers.clear()
        self._left.clear()

    def __enter__(self) -> "EventSource":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        renewed = shared = time.monotonic()
        while not self._stop.wait(_KEEP_S):
            try:
                now = time.monotonic()
                if now - renewed >= self._leases.duration_s / _RENEWALS:
                    renewed = now
                    for shard_id in self._leases.renew():
                        self._leave(shard_id)
                ended = self._keep_all()
                if ended or now - shared >= _SHARE_S:
                    shared = now
                    self._share()
            except ServiceError as error:
                for shard_id in self._leases.lapsed():  # others may have taken it by now
                    self._leave(shard_id)
                    self._errors.append(error)
            except Exception as error:  # a thread cannot raise to its starter: check() does
                self._errors.append(error)
                for shard_id in list(self._workers):  # nobody renews their leases any more
                    self._leave(shard_id)
                return

    # Shards and leases

    def _share(self) -> None:
        """Take those shards that are due to this worker."""
        shards = list_shards(self._kinesis, self._stream)
        ids = [shard.shard_id for shard in shards]
        leases = self._leases.all(ids)
        if self._lease_new(shards, leases):
            leases = self._leases.all(ids)
        for lease in self._leases.due(leases):
            taken = self._leases.acquire(lease)
            if taken is not None:
                self._begin(taken)

    def _lease_new(self, shards: list[Shard], leases: list[Lease]) -> bool:
        """Make a lease for each shard that may be read by now and has none; whether there was any."""
        leased = {lease.shard_id for lease in leases}
        ended = {lease.shard_id for lease in leases if lease.ended} | passed_over(shards, leased)
        if not leased and self._start.position == "LATEST":
            ended |= parents(shards)  # closed by now: nothing new comes into them
        new = [shard for shard in readable(shards, ended) if shard.shard_id not in leased]
        for shard in new:
            # Who has read the parents to their end wants all of their children.
            begin = Start("TRIM_HORIZON") if leased.intersection(shard.parents) else self._start
            self._leases.create(shard.shard_id, begin)
        return bool(new)

    def _begin(self, lease: Lease) -> None:
        reader = functools.partial(
            ShardReader,
            self._kinesis,
            self._stream,
            lease.shard_id,
            after=lease.checkpoint,
            start=lease.start,
            poll_interval_s=self._poll_interval_s,
        )
        worker = ShardWorker(self._consumer, reader, shard_id=lease.shard_id, checkpoint=lease.checkpoint)
        self._workers[lease.shard_id], self._written[lease.shard_id] = worker, lease.checkpoint
        worker.start()

    def _leave(self, shard_id: str) -> None:
        """Another worker has the lease, or may have it: begin nothing more."""
        worker = self._workers.pop(shard_id, None)
        if worker is not None:
            worker.stop()
            self._left = [each for each in (*self._left, worker) if each.alive]
            self._collect(worker)

    def _keep_all(self) -> bool:
        """Write every checkpoint that moved; whether a shard came to its end."""
        ended = False
        for shard_id, worker in list(self._workers.items()):
            self._collect(worker)
            try:
                self._keep(shard_id, worker)
                if worker.finished:
                    self._leases.end(shard_id)
                    del self._workers[shard_id]
                    ended = True
            except LeaseLost:
                self._leave(shard_id)
        return ended

    def _keep(self, shard_id: str, worker: ShardWorker) -> None:
        checkpoint = worker.checkpoint
        if checkpoint != self._written[shard_id]:
            self._leases.checkpoint(shard_id, checkpoint)
            self._written[shard_id] = checkpoint

    def _collect(self, worker: ShardWorker) -> None:
        if worker.error is not None and worker.error not in self._errors:
            _log.error("shard %s is no longer processed: %s", worker.shard_id, worker.error)
            self._errors.append(worker.error)
