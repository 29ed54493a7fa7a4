"""Which worker reads which shard, and how far it is dealt with: leases in DynamoDB, by which workers share a stream.

The model is the lease table of the Kinesis Client Library (KCL; github.com/awslabs/amazon-kinesis-client, "Leases and Lease
Lifecycle" and DynamoDBLeaseTaker):

* Every write raises a lease's counter. A lease whose counter stands still for ``duration_s`` on the clock of the worker that
  looks is free: its owner is dead. No two machines' clocks are compared.
* Every write is conditional. A lease is taken as it was seen, so one of many takers gets it; only its owner moves its
  checkpoint, so a worker that lost it, and does not know yet, cannot.
* A worker takes free leases up to its fair share. When none is free, it steals one from the worker that has the most.

What differs: several consumers share one table, so a key is CONSUMER/SHARD. KCL scans its table; here the caller knows the
shards, and BatchGetItem reads these and no others: a look costs the same however many consumers there are, and however many
shards they left behind.
"""

import hashlib
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal

import msgspec

from workbench.clock import now_ns
from workbench.errors import LeaseLost, ServiceError

_KEYS_A_READ = 100  # BatchGetItem, DynamoDB API reference
_BACKOFF_S = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)  # for keys that BatchGetItem left unprocessed; boto3 does not ask again

_MINE = "lease_owner = :me"
_FREED = " REMOVE lease_owner"
# Numbers of DynamoDB have 38 digits, sequence numbers 56: these are texts, and of two the one with more digits is the greater.
_AHEAD = (
    "(attribute_not_exists(checkpoint) OR size(checkpoint) < :digits OR (size(checkpoint) = :digits AND checkpoint <= :number))"
)


class Start(msgspec.Struct, frozen=True):
    """Where a shard without a checkpoint is begun, in AWS's words; ``timestamp_s`` is Unix time, with AT_TIMESTAMP only."""

    position: Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]
    timestamp_s: float | None = None


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """One shard's lease as it was read. ``start`` is never LATEST; ``checkpoint`` is a sequence number.

    ``ended``: the shard was read to its end, and all that was in it is dealt with.
    """

    shard_id: str
    owner: str | None
    checkpoint: str | None
    counter: int
    ended: bool
    start: Start


class Leases:
    """One consumer's leases, as one of its workers sees and takes them. One thread at a time uses it.

    Args:
        dynamodb: the boto3 client.
        table: has the string ``shard_id`` as its only key.
        consumer: the function's name; leases of other consumers in the same table are not seen.
        worker: a name that no other worker has or ever had.
        duration_s: how long an owner may not be heard of before its leases are free. It must renew several times as often.
        clock: seconds that only go forward.

    Every method that reaches DynamoDB raises ServiceError, in one line, if the table is missing or the service does not
    answer; boto3 has tried again what can be.
    """

    def __init__(
        self,
        dynamodb,
        table: str,
        *,
        consumer: str,
        worker: str,
        duration_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dynamodb, self._table, self._consumer, self._worker = dynamodb, table, consumer, worker
        self.duration_s, self._clock = duration_s, clock
        self._held: dict[str, float] = {}  # shards leased to this worker, and when the last write that said so began
        self._seen: dict[str, tuple[str | None, int, float]] = {}  # owner and counter of each lease, and since when it has them

    def create(self, shard_id: str, start: Start) -> bool:
        """Make a shard's lease, unless there is one; whether this call made it.

        To be called once the shard may be read, that is when its parents are ended; children of a resharding begin at
        TRIM_HORIZON. LATEST is kept as the time at which the lease was made: a reader that dies before its first checkpoint
        leaves to the next one what came meanwhile.
        """
        # Kinesis says to the millisecond when a record arrived: one of this very millisecond is not before it.
        at_s = now_ns() // 1_000_000 / 1000 if start.position == "LATEST" else start.timestamp_s
        item = {**self._key(shard_id), "lease_counter": {"N": "0"}}
        if at_s is not None:
            item["starts_at"] = {"N": str(at_s)}
        try:
            self._dynamodb.put_item(TableName=self._table, Item=item, ConditionExpression="attribute_not_exists(shard_id)")
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        except Exception as error:
            raise self._unanswered(error) from error
        return True

    def all(self, shard_ids: Iterable[str]) -> list[Lease]:
        """The leases of these shards, in this order, as they are now; a shard without one is left out."""
        wanted = list(dict.fromkeys(shard_ids))
        keys, found = iter(wanted), {}
        while slice_ := [self._key(shard_id) for shard_id in islice(keys, _KEYS_A_READ)]:
            found.update((lease.shard_id, lease) for lease in map(_lease, self._read(slice_)))
        leases = [found[shard_id] for shard_id in wanted if shard_id in found]
        now = self._clock()  # after the answer: an owner's time begins before its write, so it is over first
        for lease in leases:
            if self._seen.get(lease.shard_id, ())[:2] != (lease.owner, lease.counter):
                self._seen[lease.shard_id] = (lease.owner, lease.counter, now)
        return leases

    def due(self, leases: Sequence[Lease]) -> list[Lease]:
        """Which of all leases, as ``all`` gave them, this worker should now try to acquire: ``plan`` has the rules."""
        now, free, overdue = self._clock(), set(), set()
        for lease in leases:
            if lease.shard_id in self._held:
                continue
            free_s = now - self._seen[lease.shard_id][2] - (self.duration_s if lease.owner else 0.0)
            if free_s >= 0:
                free.add(lease.shard_id)
            if free_s >= self.duration_s:
                overdue.add(lease.shard_id)
        return plan(leases, worker=self._worker, free=free, overdue=overdue)

    def acquire(self, lease: Lease) -> Lease | None:
        """Take a lease, as it is now; None if anybody, its owner too, has written it since it was seen.

        A worker from whom it is stolen knows when it next renews it or writes a checkpoint. What it has under way by then may
        be done twice.
        """
        seen = {":counter": {"N": str(lease.counter)}} | ({":owner": {"S": lease.owner}} if lease.owner else {})
        owned = "lease_owner = :owner" if lease.owner else "attribute_not_exists(lease_owner)"
        began = self._clock()
        written, now = self._write(lease.shard_id, ", lease_owner = :me", f"lease_counter = :counter AND {owned}", seen)
        # Refused, and yet this worker's: the first answer was lost, and boto3 asked again.
        if not written and (now is None or (now.owner, now.counter) != (self._worker, lease.counter + 1)):
            return None
        self._held[lease.shard_id] = began
        return now

    def renew(self) -> set[str]:
        """Say of each lease that this worker still holds it; returns the shards whose lease it has lost.

        After a ServiceError some may be renewed and the others not: ``lapsed`` says when others may take these.
        """
        lost = {shard_id for shard_id in self._held if not self._write(shard_id, "", _MINE)[0]}
        for shard_id in lost:
            del self._held[shard_id]
        return lost

    def lapsed(self) -> set[str]:
        """Give up what could not be renewed for ``duration_s``, as others may have taken it by now; returns those shards.

        They are free once their counters have stood still, for this worker too.
        """
        latest = self._clock() - self.duration_s
        lapsed = {shard_id for shard_id, written in self._held.items() if written <= latest}
        for shard_id in lapsed:
            del self._held[shard_id]
        return lapsed

    def checkpoint(self, shard_id: str, number: str) -> None:
        """All up to this sequence number is dealt with; renews the lease. A number behind the one in the table says nothing new.

        Raises:
            LeaseLost: this worker does not hold the lease. The checkpoint is where its owner left it.
        """
        values = {":number": {"S": number}, ":digits": {"N": str(len(number))}}
        written, now = self._write(shard_id, ", checkpoint = :number", f"{_MINE} AND {_AHEAD}", values)
        if not written and (now is None or now.owner != self._worker):
            self._held.pop(shard_id, None)
            raise LeaseLost(shard_id, now and now.owner)

    def end(self, shard_id: str) -> None:
        """The shard was read to its end, and all of it is dealt with: nobody needs to lease it again.

        Raises:
            LeaseLost: this worker does not hold the lease.
        """
        written, now = self._write(shard_id, f", ended = :true{_FREED}", _MINE, {":true": {"BOOL": True}})
        self._held.pop(shard_id, None)
        if not written and (now is None or not now.ended):
            raise LeaseLost(shard_id, now and now.owner)

    def release(self, shard_id: str) -> None:
        """Leave the shard to others at once. A lease that is lost already is left as it is."""
        self._write(shard_id, _FREED, _MINE)
        self._held.pop(shard_id, None)

    def forget(self, shard_id: str) -> None:
        """Remove a lease: nothing of this shard is dealt with, and whoever held the lease has lost it."""
        try:
            self._dynamodb.delete_item(TableName=self._table, Key=self._key(shard_id))
        except Exception as error:
            raise self._unanswered(error) from error
        self._held.pop(shard_id, None)

    def _write(self, shard_id: str, change: str, condition: str, values: dict | None = None) -> tuple[bool, Lease | None]:
        """Change a lease if the condition holds. Whether it did, and the lease as it is now, None if there is none."""
        began = self._clock()
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=self._key(shard_id),
                UpdateExpression=f"SET lease_counter = lease_counter + :one{change}",
                ConditionExpression=condition,
                ExpressionAttributeValues={":one": {"N": "1"}, ":me": {"S": self._worker}, **(values or {})},
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            item = error.response.get("Item")
            return False, _lease(item) if item else None
        except Exception as error:
            raise self._unanswered(error) from error
        if shard_id in self._held:
            self._held[shard_id] = began
        return True, _lease(answer["Attributes"])

    def _read(self, keys: list[dict]) -> Iterator[dict]:
        for pause_s in (*_BACKOFF_S, None):
            try:
                answer = self._dynamodb.batch_get_item(RequestItems={self._table: {"Keys": keys, "ConsistentRead": True}})
            except Exception as error:
                raise self._unanswered(error) from error
            yield from answer["Responses"].get(self._table, ())
            keys = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
            if not keys:
                return
            if pause_s is not None:
                time.sleep(random.uniform(0, pause_s))
        raise ServiceError(f"table {self._table} is throttled: {len(keys)} leases could not be read to the last try")

    def _key(self, shard_id: str) -> dict:
        return {"shard_id": {"S": f"{self._consumer}/{shard_id}"}}

    def _unanswered(self, error: Exception) -> ServiceError:
        return ServiceError(f"the leases in table {self._table} cannot be read or written: {error}")


def plan(leases: Sequence[Lease], *, worker: str, free: Collection[str], overdue: Collection[str] = frozenset()) -> list[Lease]:
    """Which leases a worker should try to acquire. Pure.

    The workers are those that own a lease that is not free, and this one; a fair share is shards / workers, rounded up.
    It takes free leases up to its share, and beyond that those that nobody came for (``overdue``). If none is free, it
    steals one from the worker with the most, where that one has at least 2 more than itself. So loads that differ by at most
    1 stay, and the greatest load falls with every round of steals, even where several steal from one.

    Args:
        leases: of all shards of the consumer.
        free: shard ids of leases that have no owner, or a dead one.
        overdue: those that were free for so long that the workers with room for them do not seem to take any.
    """
    # Workers that look at the same time do not all begin with the same lease.
    left = sorted((lease for lease in leases if not lease.ended), key=lambda lease: _rank(worker, lease.shard_id))
    available = [lease for lease in left if lease.shard_id in free]
    loads = Counter({worker: 0})
    loads.update(lease.owner for lease in left if lease.shard_id not in free)
    if available:
        room = max(0, math.ceil(len(left) / len(loads)) - loads[worker])
        return available[:room] + [lease for lease in available[room:] if lease.shard_id in overdue]
    busiest, most = max(loads.items(), key=lambda load: (load[1], _rank(worker, load[0])))
    if most < loads[worker] + 2:
        return []
    return [next(lease for lease in left if lease.owner == busiest)]


def _rank(worker: str, name: str) -> bytes:
    return hashlib.blake2b(f"{worker}/{name}".encode()).digest()


def _lease(item: dict) -> Lease:
    start = Start("AT_TIMESTAMP", float(item["starts_at"]["N"])) if "starts_at" in item else Start("TRIM_HORIZON")
    return Lease(
        shard_id=item["shard_id"]["S"].rpartition("/")[2],
        owner=item["lease_owner"]["S"] if "lease_owner" in item else None,
        checkpoint=item["checkpoint"]["S"] if "checkpoint" in item else None,
        counter=int(item["lease_counter"]["N"]),
        ended="ended" in item,
        start=start,
    )
