"""One run of a benchmark of the event source: a process that does one task on a stream, and prints what it saw as JSON."""

import gc
import json
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from workbench.clock import now_ns
from workbench.cloud.clients import client
from workbench.codecs import codec
from workbench.errors import MeasureError
from workbench.events import Event
from workbench.measure.tally import Tally
from workbench.settings import Endpoints
from workbench.stream.invoke import Inline
from workbench.stream.leases import Leases
from workbench.stream.mapping import EventSourceMapping
from workbench.stream.producer import RECORDS_A_CALL, Producer
from workbench.stream.reader import RECORDS_A_READ
from workbench.stream.schedule import schedule
from workbench.stream.source import EventSource
from workbench.stream.worker import Consumer, Delivery

RATE, SHARDS, POLL_MS = 100.0, 2, 10
_USERS = 500
_HEAD_START_NS = 200_000_000  # between now and the first event that is due: threads are up by then
_PATIENCE_S = 60.0  # without anything being processed
_CODEC = codec("json")


def main(task: str, url: str, stream: str, count: str) -> None:
    """One run: a task's name, the cloud's address, the stream, the number of events."""
    gc.collect()
    gc.freeze()  # as in every replay: what was imported would stop the source for 0.1 s
    print(json.dumps(_TASKS[task](Endpoints(cloud="embedded", aws_url=url), stream, int(count))))


def delays(endpoints: Endpoints, stream: str, count: int) -> dict[str, list[float]]:
    """How long each event took to the function's start, ms, in the order in which they were due.

    ``due``: from the time when it was due; ``sent``: from PutRecords' call; ``read``: from GetRecords' answer.
    """
    events, seen = _events(count), _Seen(count)
    with _source(endpoints, stream, seen) as source:
        due_ns = schedule(count, rate=RATE, arrivals="poisson", seed=0) + now_ns() + _HEAD_START_NS
        producer = Producer(client("kinesis", endpoints), stream, _CODEC, observer=seen)
        producer.send(events, due_ns, stop=threading.Event())
        _await(seen, source)
    found = {}
    for delivery in seen.deliveries:
        for record, received_ns in zip(delivery.records, delivery.received_ns, strict=True):
            number, started_ns = int(_CODEC.decode(record["Data"]).event_id), delivery.answer["started_ns"]
            since = {"due": int(due_ns[number]), "sent": seen.sent_ns[number], "read": received_ns}
            found[number] = {part: (started_ns - ns) / 1e6 for part, ns in since.items()}
    return {part: [found[number][part] for number in range(count)] for part in ("due", "sent", "read")}


def calls(endpoints: Endpoints, stream: str, count: int) -> dict[str, list[float]]:
    """How long PutRecords with one event and then GetRecords of its shard take, ms, at the same times."""
    kinesis, iterators, spent = client("kinesis", endpoints), _iterators(endpoints, stream), []
    due_ns = schedule(count, rate=RATE, arrivals="poisson", seed=0) + now_ns() + _HEAD_START_NS
    for at_ns, record in zip(due_ns.tolist(), _records(count), strict=True):
        time.sleep(max(0.0, (at_ns - now_ns()) / 1e9))
        begun = now_ns()
        (put,) = kinesis.put_records(StreamName=stream, Records=[record])["Records"]
        got = kinesis.get_records(ShardIterator=iterators[put["ShardId"]], Limit=RECORDS_A_READ)
        spent.append((now_ns() - begun) / 1e6)
        if [each["SequenceNumber"] for each in got["Records"]] != [put["SequenceNumber"]]:
            raise MeasureError(f"GetRecords gave {len(got['Records'])} records where the one that was just put was due")
        iterators[put["ShardId"]] = got["NextShardIterator"]
    return {"sent": spent}


def drain(endpoints: Endpoints, stream: str, count: int) -> float:
    """Seconds from the source's start to the last of ``count`` records that lie in the stream being processed."""
    tally = Tally(count)
    source = _source(endpoints, stream, tally)
    begun = now_ns()
    with source:
        _await(tally, source)
    return (tally.last_ns - begun) / 1e9


def reads(endpoints: Endpoints, stream: str, count: int) -> float:
    """Seconds that GetRecords alone takes to read them, all shards at once.

    Raises:
        MeasureError: they are not there.
    """
    kinesis = client("kinesis", endpoints)
    begun = now_ns()
    iterators = _iterators(endpoints, stream)

    def read(iterator: str) -> int:
        found, behind = 0, True
        while behind:
            answer = kinesis.get_records(ShardIterator=iterator, Limit=RECORDS_A_READ)
            found, iterator = found + len(answer["Records"]), answer["NextShardIterator"]
            behind = answer["MillisBehindLatest"] > 0
        return found

    with ThreadPoolExecutor(len(iterators)) as pool:
        found = sum(pool.map(read, iterators.values()))
    if found != count:
        raise MeasureError(f"{found:,} records were read of {count:,}")
    return (now_ns() - begun) / 1e9


_TASKS = {task.__name__: task for task in (delays, calls, drain, reads)}


class _Seen(Tally):
    """Keeps when each event was sent, and every call of the function."""

    def __init__(self, events: int) -> None:
        super().__init__(events)
        self.sent_ns = [0] * events
        self.deliveries: list[Delivery] = []

    def sent(self, index: int, ns: int) -> None:
        self.sent_ns[index] = ns

    def delivered(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        super().delivered(delivery)


def _await(tally: Tally, source: EventSource) -> None:
    """Until every record is processed.

    Raises:
        ServiceError: the source failed.
        MeasureError: nothing moved for a minute.
    """
    left, moved = tally.wait(0.0), time.monotonic()
    while now_left := tally.wait(0.5):
        source.check()
        if now_left < left:
            left, moved = now_left, time.monotonic()
        elif time.monotonic() - moved > _PATIENCE_S:
            raise MeasureError(f"{left:,} records were not processed, and none was for {_PATIENCE_S:.0f} s")


def _source(endpoints: Endpoints, stream: str, watcher: Tally) -> EventSource:
    """Of a consumer that has read nothing yet."""
    kinesis = client("kinesis", endpoints)
    arn = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    consumer = Consumer(EventSourceMapping(), Inline(_nothing), "benchmark", arn, watcher, _unexpected)
    leases = Leases(client("dynamodb", endpoints), stream, consumer=uuid.uuid4().hex, worker="benchmark")
    return EventSource(kinesis, stream, consumer=consumer, leases=leases, poll_interval_s=POLL_MS / 1000)


def _nothing(event: dict) -> dict:
    """The empty function."""
    return {"started_ns": now_ns()}


def _unexpected(*_: object) -> None:
    raise MeasureError("a record was given up, though no function failed")


def _events(count: int) -> Sequence[Event]:
    numbers = ((str(number), f"user-{number % _USERS}") for number in range(count))
    return [Event(event_id=each, user_id=user, product_id="p1", timestamp_ms=0, trace_id=each) for each, user in numbers]


def _records(count: int) -> list[dict]:
    return [{"Data": _CODEC.encode(event), "PartitionKey": event.user_id} for event in _events(count)]


def _iterators(endpoints: Endpoints, stream: str) -> dict[str, str]:
    """At the beginning of each shard."""
    kinesis = client("kinesis", endpoints)
    shards = [shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"]]
    at = {"StreamName": stream, "ShardIteratorType": "TRIM_HORIZON"}
    return {shard: kinesis.get_shard_iterator(ShardId=shard, **at)["ShardIterator"] for shard in shards}


def make_stream(endpoints: Endpoints) -> str:
    """The name of a new stream, and of the table of its leases."""
    name, kinesis = f"benchmark-{uuid.uuid4().hex}", client("kinesis", endpoints)
    kinesis.create_stream(StreamName=name, ShardCount=SHARDS)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    client("dynamodb", endpoints).create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "shard_id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "shard_id", "KeyType": "HASH"}],
    )
    return name


def fill(endpoints: Endpoints, stream: str, count: int) -> None:
    """Put so many events into the stream."""
    kinesis, records = client("kinesis", endpoints), _records(count)
    for start in range(0, count, RECORDS_A_CALL):
        answer = kinesis.put_records(StreamName=stream, Records=records[start : start + RECORDS_A_CALL])
        if answer["FailedRecordCount"]:
            raise MeasureError(f"stream {stream} refused {answer['FailedRecordCount']} records")


if __name__ == "__main__":
    main(*sys.argv[1:])
