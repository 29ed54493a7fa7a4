"""A stream, its checkpoints and its dead letters on the embedded cloud, for one test each."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from workbench.cloud.clients import client
from workbench.settings import Endpoints
from workbench.stream.batch import Discarded
from workbench.stream.invoke import Inline, Invoker
from workbench.stream.leases import Leases
from workbench.stream.mapping import EventSourceMapping
from workbench.stream.source import EventSource
from workbench.stream.worker import Consumer, Delivery

FUNCTION = "process"


class Wired:
    """What a source needs, on a stream of its own. It is what every source of it tells what it did.

    ``deliveries`` are the calls, ``aged`` what was too old for one, ``discards`` what went to the on-failure destination.
    """

    def __init__(self, endpoints: Endpoints, until: Callable[..., None], *, shards: int) -> None:
        self.kinesis, self._dynamodb = (client(service, endpoints) for service in ("kinesis", "dynamodb"))
        self._until = until
        self.name = f"stream-{uuid.uuid4().hex[:8]}"
        self.kinesis.create_stream(StreamName=self.name, ShardCount=shards)
        self.kinesis.get_waiter("stream_exists").wait(StreamName=self.name, WaiterConfig={"Delay": 1})
        self.arn = self.kinesis.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]["StreamARN"]
        self._dynamodb.create_table(
            TableName=self.name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "shard_id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "shard_id", "KeyType": "HASH"}],
        )
        self.deliveries: list[Delivery] = []
        self.aged: list[Discarded] = []
        self.discards: list[tuple[str, Discarded, str]] = []

    def close(self) -> None:
        self._dynamodb.delete_table(TableName=self.name)
        if self.name in self.kinesis.list_streams()["StreamNames"]:
            self.kinesis.delete_stream(StreamName=self.name)

    def delivered(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def expired(self, shard_id: str, discarded: Discarded) -> None:
        self.aged.append(discarded)

    def discard(self, shard_id: str, discarded: Discarded, failure: str) -> None:
        self.discards.append((shard_id, discarded, failure))

    def put(self, *data: str, key: str = "user") -> list[str]:
        """Each text as a record, in order; returns their sequence numbers."""
        records = [{"Data": text.encode(), "PartitionKey": key} for text in data]
        return [put["SequenceNumber"] for put in self.kinesis.put_records(StreamName=self.name, Records=records)["Records"]]

    def leases(self, worker: str = "", *, consumer: str = FUNCTION, **options) -> Leases:
        worker = worker or f"worker-{uuid.uuid4().hex[:8]}"
        return Leases(self._dynamodb, self.name, consumer=consumer, worker=worker, **options)

    def source(
        self,
        function: Callable[[dict], dict],
        *,
        invoker: Invoker | None = None,
        kinesis=None,
        discard=None,
        leases: Leases | None = None,
        poll_interval_s: float = 0.01,
        **rules,
    ) -> EventSource:
        consumer = Consumer(
            mapping=EventSourceMapping(**rules),
            invoker=invoker or Inline(function),
            function=FUNCTION,
            stream_arn=self.arn,
            watcher=self,
            discard=discard or self.discard,
        )
        return EventSource(
            kinesis or self.kinesis,
            self.name,
            consumer=consumer,
            leases=leases or self.leases(),
            poll_interval_s=poll_interval_s,
        )

    def checkpoint(self) -> str | None:
        """Of the only shard, as the table has it."""
        (lease,) = self.leases().all(self.contents())
        return lease.checkpoint

    def contents(self) -> dict[str, list[dict]]:
        """Every record of the stream, by shard."""
        found = {}
        for shard in self.kinesis.list_shards(StreamName=self.name)["Shards"]:
            begin = self.kinesis.get_shard_iterator(
                StreamName=self.name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            found[shard["ShardId"]] = self.kinesis.get_records(ShardIterator=begin["ShardIterator"], Limit=10_000)["Records"]
        return found

    def calls(self) -> list[list[str]]:
        """The texts of each call of the function."""
        return [[record["Data"].decode() for record in delivery.records] for delivery in self.deliveries]

    def until_delivered(self, calls: int) -> None:
        self._until(lambda: len(self.deliveries) >= calls, f"the function was called {calls} times")


@pytest.fixture
def wired(embedded_cloud: Endpoints, until: Callable[..., None]) -> Iterator[Wired]:
    """One shard."""
    made = Wired(embedded_cloud, until, shards=1)
    yield made
    made.close()


@pytest.fixture
def two_shards(embedded_cloud: Endpoints, until: Callable[..., None]) -> Iterator[Wired]:
    made = Wired(embedded_cloud, until, shards=2)
    yield made
    made.close()
