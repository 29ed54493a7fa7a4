"""A stream, its checkpoints and its dead letters on the embedded cloud, for one test each."""

import json
import uuid
from collections.abc import Callable, Iterator

import pytest

from workbench.cloud.clients import client
from workbench.settings import Endpoints
from workbench.stream.checkpoints import Checkpoints
from workbench.stream.dead_letters import DeadLetters
from workbench.stream.invoke import Inline
from workbench.stream.source import Delivery, EventSource, Rules

FUNCTION = "process"


class Wired:
    """What a source needs, on a stream of its own. ``deliveries`` collects what every source of it did."""

    def __init__(self, endpoints: Endpoints, until: Callable[..., None], *, shards: int) -> None:
        self.kinesis, self._dynamodb, self._sqs = (client(service, endpoints) for service in ("kinesis", "dynamodb", "sqs"))
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
        self.checkpoints = Checkpoints(self._dynamodb, self.name, consumer=FUNCTION)
        self._queue = self._sqs.create_queue(QueueName=self.name, Attributes={"VisibilityTimeout": "2"})["QueueUrl"]
        self.dead_letters = DeadLetters(self._sqs, self._queue, function=FUNCTION, stream_arn=self.arn)
        self.deliveries: list[Delivery] = []

    def close(self) -> None:
        self._sqs.delete_queue(QueueUrl=self._queue)
        self._dynamodb.delete_table(TableName=self.name)
        if self.name in self.kinesis.list_streams()["StreamNames"]:
            self.kinesis.delete_stream(StreamName=self.name)

    def put(self, *data: str, key: str = "user") -> list[str]:
        """Each text as a record, in order; returns their sequence numbers."""
        records = [{"Data": text.encode(), "PartitionKey": key} for text in data]
        return [put["SequenceNumber"] for put in self.kinesis.put_records(StreamName=self.name, Records=records)["Records"]]

    def source(self, function: Callable[[dict], dict], *, kinesis=None, dead_letters=None, **rules) -> EventSource:
        return EventSource(
            kinesis or self.kinesis,
            self.name,
            invoker=Inline(function),
            checkpoints=self.checkpoints,
            dead_letters=dead_letters or self.dead_letters,
            rules=Rules(**rules),
            function=FUNCTION,
            stream_arn=self.arn,
            delivered=self.deliveries.append,
        )

    def contents(self) -> dict[str, list[dict]]:
        """Every record of the stream, by shard."""
        found = {}
        for shard in self.kinesis.list_shards(StreamName=self.name)["Shards"]:
            begin = self.kinesis.get_shard_iterator(
                StreamName=self.name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            found[shard["ShardId"]] = self.kinesis.get_records(ShardIterator=begin["ShardIterator"], Limit=10_000)["Records"]
        return found

    def delivered(self) -> list[list[str]]:
        """The texts of each call of the function."""
        return [[record["Data"].decode() for record in delivery.records] for delivery in self.deliveries]

    def until_delivered(self, calls: int) -> None:
        self._until(lambda: len(self.deliveries) >= calls, f"the function was called {calls} times")

    def dead(self, number: int) -> list[dict]:
        """The dead letters, which must be so many."""
        bodies: list[dict] = []

        def receive() -> bool:
            for message in self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", ()):
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
                bodies.append(json.loads(message["Body"]))
            return len(bodies) >= number

        self._until(receive, f"there are {number} dead letters")
        receive()
        assert len(bodies) == number
        return sorted(bodies, key=lambda body: int(body["KinesisBatchInfo"]["startSequenceNumber"]))


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
