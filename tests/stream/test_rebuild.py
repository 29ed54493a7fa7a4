"""A stream read anew from its beginning to its tip, on the embedded cloud."""

import collections
import itertools

import pytest

from workbench.errors import FunctionFailed, ServiceError, SettingError
from workbench.stream.invoke import Inline
from workbench.stream.rebuild import Rebuilt, rebuild


class Noted:
    """A function that notes the sequence numbers of each call, by partition key and by call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.keys: dict[str, list[str]] = collections.defaultdict(list)

    def __call__(self, event: dict) -> dict:
        numbers = [record["kinesis"]["sequenceNumber"] for record in event["Records"]]
        self.calls.append((event["Records"][0]["eventID"].partition(":")[0], numbers))
        for record in event["Records"]:
            self.keys[record["kinesis"]["partitionKey"]].append(record["kinesis"]["sequenceNumber"])
        return {"batchItemFailures": []}


def again(wired, function, **options) -> Rebuilt:
    return rebuild(wired.kinesis, wired.name, Inline(function), stream_arn=wired.arn, function="process", **options)


def test_everything_is_read_once_in_order_in_batches_of_one_shard(two_shards):
    for number in range(60):
        two_shards.put(str(number), key=f"user-{number % 9}")
    noted, contents = Noted(), two_shards.contents()
    told = again(two_shards, noted, batch_size=8)
    for shard_id, records in contents.items():
        batches = [numbers for each, numbers in noted.calls if each == shard_id]
        full, rest = divmod(len(records), 8)
        assert [len(batch) for batch in batches] == [8] * full + [rest] * (rest > 0)
        assert list(itertools.chain(*batches)) == [record["SequenceNumber"] for record in records]
    last = {shard_id: records[-1]["SequenceNumber"] for shard_id, records in contents.items()}
    assert told == Rebuilt(60, len(noted.calls), last)


def test_a_shard_is_read_after_its_parents(two_shards):
    put: dict[str, list[str]] = collections.defaultdict(list)
    for count in (4, 2, None):
        for number in range(40):
            put[f"user-{number % 13}"] += two_shards.put("x", key=f"user-{number % 13}")
        if count:
            two_shards.kinesis.update_shard_count(
                StreamName=two_shards.name, TargetShardCount=count, ScalingType="UNIFORM_SCALING"
            )
    noted = Noted()
    assert again(two_shards, noted).records == 120
    assert noted.keys == put


def test_what_is_resharded_meanwhile_is_read_to_the_end(wired):
    """The children that appear while the parent is read belong to the stream, too."""
    noted, put = Noted(), wired.put("a", "b", "c")

    def function(event: dict) -> dict:
        if not noted.calls:
            wired.kinesis.update_shard_count(StreamName=wired.name, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
            put.extend(wired.put("d"))
        return noted(event)

    told = again(wired, function)
    assert noted.keys["user"] == put and told.records == 4 and len(told.checkpoints) == 2


def test_an_empty_stream_is_rebuilt_to_nothing(wired):
    assert again(wired, Noted()) == Rebuilt(0, 0, {})


def test_a_consumer_goes_on_behind_the_checkpoints_and_the_leases_are_as_they_were(wired):
    put = wired.put("a", "b")
    with wired.source(lambda event: {}):
        wired.until_delivered(1)
    told = again(wired, Noted())
    assert told.checkpoints == {"shardId-000000000000": put[-1]} and wired.checkpoint() == put[-1]
    place = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": put[-1]}
    begin = wired.kinesis.get_shard_iterator(StreamName=wired.name, ShardId="shardId-000000000000", **place)
    wired.put("c")
    records = wired.kinesis.get_records(ShardIterator=begin["ShardIterator"])["Records"]
    assert [record["Data"] for record in records] == [b"c"]


def test_a_function_that_fails_ends_it(wired):
    (number,) = wired.put("a")
    with pytest.raises(FunctionFailed, match=r"^ZeroDivisionError: division by zero$"):
        again(wired, lambda event: {"n": 1 / 0})
    failures = {"batchItemFailures": [{"itemIdentifier": number}]}
    with pytest.raises(FunctionFailed, match=rf"^of a batch of shardId-000000000000 it reported .*{number}"):
        again(wired, lambda event: failures)


def test_what_cannot_be_rebuilt_is_refused_in_one_line(wired):
    with pytest.raises(SettingError, match=r"^batch_size = 0 is not allowed: 1 or more$"):
        again(wired, Noted(), batch_size=0)
    wired.kinesis.delete_stream(StreamName=wired.name)
    with pytest.raises(ServiceError, match=rf"^stream {wired.name} does not exist$"):
        again(wired, Noted())
