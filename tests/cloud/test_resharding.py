"""Each test names its rule: of the Kinesis Developer Guide ("Reshard a stream") or of the API reference, by operation."""

import contextlib
import datetime
import hashlib
import importlib.util
import itertools
import json
import random
import time
import uuid
from collections.abc import Callable, Iterator
from types import ModuleType

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from workbench.cloud import resharding
from workbench.cloud.clients import client
from workbench.settings import Endpoints

_LAST_KEY = 2**128 - 1  # API reference, HashKeyRange
_HALF = 2**127
_FIRST, _SECOND, _THIRD = (f"shardId-{number:012d}" for number in range(3))


class Stream:
    """A stream over boto3."""

    def __init__(self, kinesis, shards: int) -> None:
        self.kinesis, self.name = kinesis, f"resharded-{uuid.uuid4().hex[:8]}"
        kinesis.create_stream(StreamName=self.name, ShardCount=shards)

    def shards(self, **chosen: object) -> dict[str, dict]:
        return {shard["ShardId"]: shard for shard in self.kinesis.list_shards(StreamName=self.name, **chosen)["Shards"]}

    def chosen(self, kind: str, **more: object) -> list[str]:
        return list(self.shards(ShardFilter={"Type": kind, **more}))

    def open(self) -> list[dict]:
        """By hash key."""
        return sorted((each for each in self.shards().values() if not _ending(each)), key=_range)

    def put(self, key: int, data: str = "") -> dict:
        return self.kinesis.put_record(StreamName=self.name, PartitionKey="any", ExplicitHashKey=str(key), Data=data or str(key))

    def split(self, shard_id: str, key: int | None = None) -> None:
        first, last = _range(self.shards()[shard_id])
        middle = (first + last + 1) // 2 if key is None else key
        self.kinesis.split_shard(StreamName=self.name, ShardToSplit=shard_id, NewStartingHashKey=str(middle))

    def merge(self, shard_id: str, adjacent: str) -> None:
        self.kinesis.merge_shards(StreamName=self.name, ShardToMerge=shard_id, AdjacentShardToMerge=adjacent)

    def resize(self, count: int) -> dict:
        return self.kinesis.update_shard_count(StreamName=self.name, TargetShardCount=count, ScalingType="UNIFORM_SCALING")

    def iterator(self, shard_id: str, kind: str = "TRIM_HORIZON", **more: object) -> str:
        request = {"StreamName": self.name, "ShardId": shard_id, "ShardIteratorType": kind, **more}
        return self.kinesis.get_shard_iterator(**request)["ShardIterator"]

    def get(self, iterator: str, limit: int = 1000) -> dict:
        return self.kinesis.get_records(ShardIterator=iterator, Limit=limit)

    def read(self, shard_id: str, kind: str = "TRIM_HORIZON", **more: object) -> list[str]:
        return [record["Data"].decode() for record in self.get(self.iterator(shard_id, kind, **more))["Records"]]


def _ending(shard: dict) -> str | None:
    return shard["SequenceNumberRange"].get("EndingSequenceNumber")


def _range(shard: dict) -> tuple[int, int]:
    return int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"])


def _numbers(shard: dict) -> tuple[int, float]:
    ending = _ending(shard)
    return int(shard["SequenceNumberRange"]["StartingSequenceNumber"]), float("inf") if ending is None else int(ending)


@pytest.fixture
def stream(embedded_cloud: Endpoints) -> Iterator[Callable[[int], Stream]]:
    kinesis_client = boto3.client(
        "kinesis",
        endpoint_url=embedded_cloud.aws_url,
        region_name=embedded_cloud.region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),  # a refused limit is tried once
    )
    made = []

    def make(shards: int = 1) -> Stream:
        made.append(Stream(kinesis_client, shards))
        return made[-1]

    yield make
    for each in made:
        each.kinesis.delete_stream(StreamName=each.name)


@pytest.fixture
def kinesis() -> ModuleType:
    """MiniStack's module in this process, a copy that nothing else sees, for what takes a day."""
    spec = importlib.util.find_spec("ministack.services.kinesis")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    resharding.install(module)
    return module


# The developer guide, "After resharding": data routing, data persistence and shard state.


def test_a_split_shard_stays_listed_with_its_ending_sequence_number(stream):
    """SequenceNumberRange: open shards have no ending sequence number. Closed ones persist with their records."""
    made = stream()
    before = made.put(1)
    made.split(_FIRST)
    described = made.kinesis.describe_stream(StreamName=made.name)["StreamDescription"]["Shards"]
    assert described == list(made.shards().values())
    parent, *children = described
    assert (parent["ShardId"], _range(parent)) == (_FIRST, (0, _LAST_KEY))
    assert int(_ending(parent)) > int(before["SequenceNumber"])
    assert [_ending(child) for child in children] == [None, None]
    assert made.read(_FIRST) == ["1"]


def test_the_children_of_a_split(stream):
    """SplitShard: NewStartingHashKey and what is above go to one child, what is below to the other; the parent is named."""
    made = stream()
    made.split(_FIRST, 1000)
    parent, low, high = made.shards().values()
    assert [child["ShardId"] for child in (low, high)] == [_SECOND, _THIRD]
    assert [child["ParentShardId"] for child in (low, high)] == [_FIRST, _FIRST]
    assert not any("AdjacentParentShardId" in child for child in (low, high))
    assert (_range(low), _range(high)) == ((0, 999), (1000, _LAST_KEY))
    assert all(_numbers(child)[0] > _numbers(parent)[1] for child in (low, high))


@pytest.mark.parametrize("order", [(_FIRST, _SECOND), (_SECOND, _FIRST)])
def test_the_child_of_a_merge(stream, order):
    """MergeShards: the child has all hash keys of both; Shard: ParentShardId, and the AdjacentParentShardId beside it."""
    made = stream(2)
    made.put(0), made.put(_HALF)
    made.merge(*order)
    first, second, child = made.shards().values()
    assert child["ShardId"] == _THIRD and _range(child) == (0, _LAST_KEY) and _ending(child) is None
    assert (child["ParentShardId"], child["AdjacentParentShardId"]) == order
    assert _numbers(child)[0] > max(_numbers(first)[1], _numbers(second)[1])
    assert (made.read(_FIRST), made.read(_SECOND), made.read(_THIRD)) == (["0"], [str(_HALF)], [])


def test_records_go_to_the_open_shards_by_hash_key(stream):
    """Developer guide: records that were flowing to the parent are routed to the children, by the hash key."""
    made = stream()
    made.split(_FIRST, 1000)
    assert [made.put(key)["ShardId"] for key in (0, 999, 1000, _LAST_KEY)] == [_SECOND, _SECOND, _THIRD, _THIRD]
    hashed = int(hashlib.md5(b"user-1").hexdigest(), 16)  # PutRecord: the MD5 of the partition key is its hash key
    made.split(_THIRD, hashed)
    records = [{"PartitionKey": "user-1", "Data": "a"}, {"PartitionKey": "x", "ExplicitHashKey": str(hashed - 1), "Data": "b"}]
    put = made.kinesis.put_records(StreamName=made.name, Records=records)["Records"]
    assert [each["ShardId"] for each in put] == ["shardId-000000000004", "shardId-000000000003"]
    assert (made.read(_FIRST), made.read(_SECOND), made.read(_THIRD)) == ([], ["0", "999"], ["1000", str(_LAST_KEY)])


def test_a_keys_sequence_numbers_go_on_rising(stream):
    """Developer guide, sequence numbers: those of a partition key generally increase over time; a child's follow its parents'."""
    made = stream()
    numbers = [made.put(7)["SequenceNumber"]]
    for change in (lambda: made.split(_FIRST), lambda: made.merge(_SECOND, _THIRD), lambda: made.resize(2)):
        change()
        numbers.append(made.put(7)["SequenceNumber"])
    assert [int(each) for each in numbers] == sorted({int(each) for each in numbers})
    assert all(each == str(int(each)) for each in numbers)  # API reference: 0|([1-9]\d{0,128})
    owned = [_numbers(shard) for shard in made.shards().values() if _range(shard)[0] == 0]
    assert [sum(first < int(each) < last for first, last in owned) for each in numbers] == [1] * 4  # each of one shard only


def test_only_open_shards_are_counted(stream):
    """DescribeStreamSummary: OpenShardCount is the number of open shards."""
    made = stream(2)
    made.split(_FIRST)
    made.split(_SECOND)
    summary = made.kinesis.describe_stream_summary(StreamName=made.name)["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["StreamStatus"], len(made.shards())) == (4, "ACTIVE", 6)


def test_a_closed_shard_expires_with_its_last_record(kinesis, monkeypatch):
    """Developer guide: after the retention period a closed shard is EXPIRED; ListShards does not list it."""
    kinesis._create_stream({"StreamName": "s"})
    kinesis._split_shard({"StreamName": "s", "ShardToSplit": _FIRST, "NewStartingHashKey": str(_HALF)})
    started = time.time()

    def listed(*, hours: float, kind: str = "FROM_TRIM_HORIZON") -> list[str]:
        monkeypatch.setattr("time.time", lambda: started + hours * 3600)
        answer = kinesis._list_shards({"StreamName": "s", "ShardFilter": {"Type": kind}})
        return [shard["ShardId"] for shard in json.loads(answer[2])["Shards"]]

    assert listed(hours=23.9, kind="AT_TRIM_HORIZON") == [_FIRST]
    assert listed(hours=23.9) == [_FIRST, _SECOND, _THIRD]
    assert listed(hours=24.1) == [_SECOND, _THIRD]
    assert listed(hours=24.1, kind="AT_TRIM_HORIZON") == [_SECOND, _THIRD]
    status, _, body = kinesis._get_shard_iterator({"StreamName": "s", "ShardId": _FIRST, "ShardIteratorType": "LATEST"})
    assert (status, json.loads(body)["__type"]) == (400, "ResourceNotFoundException")
    kinesis._split_shard({"StreamName": "s", "ShardToSplit": _SECOND, "NewStartingHashKey": "1000"})
    assert listed(hours=24.1)[-1] == "shardId-000000000004"  # ids go on where they were


def test_sequence_numbers_rise_though_the_clock_is_set_back(kinesis, monkeypatch):
    first = kinesis._next_sequence_number()
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)
    assert int(kinesis._next_sequence_number()) == int(first) + 1


# GetRecords and GetShardIterator


def test_the_end_of_a_closed_shard(stream):
    """GetRecords: NextShardIterator is null at the end of a closed shard, and ChildShards are given there and only there."""
    made = stream()
    made.put(1), made.put(2)
    made.split(_FIRST, 1000)
    middle = made.get(made.iterator(_FIRST), limit=1)
    assert [record["Data"] for record in middle["Records"]] == [b"1"]
    assert "ChildShards" not in middle
    end = made.get(middle["NextShardIterator"], limit=1)
    assert [record["Data"] for record in end["Records"]] == [b"2"]
    assert "NextShardIterator" not in end
    assert end["MillisBehindLatest"] == 0
    assert end["ChildShards"] == [
        {"ShardId": _SECOND, "ParentShards": [_FIRST], "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "999"}},
        {
            "ShardId": _THIRD,
            "ParentShards": [_FIRST],
            "HashKeyRange": {"StartingHashKey": "1000", "EndingHashKey": str(_LAST_KEY)},
        },
    ]


def test_the_end_of_merged_shards_names_both_parents(stream):
    """ChildShard: ParentShards are the shards that the child was made of."""
    made = stream(2)
    made.merge(_FIRST, _SECOND)
    for parent in (_FIRST, _SECOND):
        end = made.get(made.iterator(parent))
        assert "NextShardIterator" not in end and end["Records"] == []
        assert [(child["ShardId"], child["ParentShards"]) for child in end["ChildShards"]] == [(_THIRD, [_FIRST, _SECOND])]


def test_a_reader_at_the_tip_learns_that_its_shard_was_closed(stream):
    """Developer guide: an iterator from before the reshard reads what is left, and then the shard's end."""
    made = stream()
    tip = made.get(made.iterator(_FIRST, "LATEST"))
    assert "ChildShards" not in tip
    made.put(1)
    made.split(_FIRST)
    made.put(2)
    end = made.get(tip["NextShardIterator"])
    assert [record["Data"] for record in end["Records"]] == [b"1"]
    assert "NextShardIterator" not in end and len(end["ChildShards"]) == 2


@pytest.mark.parametrize("closed", [False, True])
def test_where_each_type_of_iterator_starts(stream, closed):
    """GetShardIterator: ShardIteratorType. Closed shards give iterators as well."""
    made = stream()
    first = made.put(1)
    time.sleep(0.02)
    between = datetime.datetime.now(datetime.UTC)
    time.sleep(0.02)
    second = made.put(2)
    if closed:
        made.split(_FIRST)
    shard = made.shards()[_FIRST]
    assert made.read(_FIRST, "TRIM_HORIZON") == ["1", "2"]
    assert made.read(_FIRST, "LATEST") == []
    assert made.read(_FIRST, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=first["SequenceNumber"]) == ["1", "2"]
    assert made.read(_FIRST, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=first["SequenceNumber"]) == ["2"]
    assert made.read(_FIRST, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=second["SequenceNumber"]) == []
    starting = shard["SequenceNumberRange"]["StartingSequenceNumber"]
    assert made.read(_FIRST, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=starting) == ["1", "2"]
    assert made.read(_FIRST, "AT_TIMESTAMP", Timestamp=between) == ["2"]
    assert made.read(_FIRST, "AT_TIMESTAMP", Timestamp=between - datetime.timedelta(hours=1)) == ["1", "2"]
    latest = made.get(made.iterator(_FIRST, "LATEST"))
    assert ("NextShardIterator" in latest, len(latest.get("ChildShards", ()))) == ((False, 2) if closed else (True, 0))
    if closed:
        assert made.read(_FIRST, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=_ending(shard)) == []


def test_a_sequence_number_of_another_shard_is_refused(stream):
    """GetShardIterator: StartingSequenceNumber is that of a record in the shard; InvalidArgumentException."""
    made = stream()
    parents = made.put(1)["SequenceNumber"]
    made.split(_FIRST)
    childs = made.put(1)["SequenceNumber"]
    for shard_id, number in ((_SECOND, parents), (_FIRST, childs), (_SECOND, "none"), (_SECOND, None)):
        more = {} if number is None else {"StartingSequenceNumber": number}
        message = f"StartingSequenceNumber {number} is not of {shard_id}, which has "
        with _refused("InvalidArgumentException", message):
            made.iterator(shard_id, "AFTER_SEQUENCE_NUMBER", **more)


# ListShards


def test_a_shard_filter_chooses_by_state(stream):
    """ShardFilter: AT_LATEST the open shards, AT_TRIM_HORIZON those open then, FROM_TRIM_HORIZON all within the retention."""
    made = stream(2)
    made.split(_FIRST)
    everything = [f"shardId-{number:012d}" for number in range(4)]
    assert made.chosen("AT_LATEST") == everything[1:]
    assert made.chosen("AT_TRIM_HORIZON") == everything[:2]
    assert made.chosen("FROM_TRIM_HORIZON") == list(made.shards()) == everything
    assert made.chosen("AFTER_SHARD_ID", ShardId=_SECOND) == everything[2:]
    assert list(made.shards(ExclusiveStartShardId=_SECOND)) == everything[2:]


def test_a_shard_filter_chooses_by_time(stream):
    """ShardFilter: AT_TIMESTAMP what was open then, FROM_TIMESTAMP what was not closed before then."""

    def moment() -> datetime.datetime:
        time.sleep(0.02)
        now = datetime.datetime.now(datetime.UTC)
        time.sleep(0.02)
        return now

    moments = [moment()]
    made = stream()
    moments.append(moment())
    made.split(_FIRST)
    moments.append(moment())
    made.merge(_SECOND, _THIRD)
    moments.append(moment())
    fourth = "shardId-000000000003"
    assert [made.chosen("AT_TIMESTAMP", Timestamp=each) for each in moments] == [[], [_FIRST], [_SECOND, _THIRD], [fourth]]
    from_then = [made.chosen("FROM_TIMESTAMP", Timestamp=each) for each in moments]
    everything = [_FIRST, _SECOND, _THIRD, fourth]
    assert from_then == [everything, everything, everything[1:], everything[3:]]


@pytest.mark.parametrize(("kind", "expected"), [(None, [0, 1, 2, 3, 4, 5]), ("AT_LATEST", [2, 3, 4, 5])])
def test_pages_of_shards(stream, kind, expected):
    """ListShards: MaxResults a page; NextToken is given while there are more."""
    made = stream(2)
    made.split(_FIRST), made.split(_SECOND)
    request = {"StreamName": made.name, "MaxResults": 3} | ({"ShardFilter": {"Type": kind}} if kind else {})
    first = made.kinesis.list_shards(**request)
    second = made.kinesis.list_shards(**request, NextToken=first["NextToken"])
    assert "NextToken" not in second
    assert [shard["ShardId"] for shard in first["Shards"]] == [f"shardId-{number:012d}" for number in expected[:3]]
    assert [shard["ShardId"] for shard in second["Shards"]] == [f"shardId-{number:012d}" for number in expected[3:]]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"Type": "OPEN"}, "Type OPEN of ShardFilter"),
        ({"Type": "AT_TIMESTAMP"}, "Timestamp is missing"),
        ({"Type": "AFTER_SHARD_ID"}, "ShardId is missing"),
    ],
)
def test_a_wrong_shard_filter_is_refused(stream, chosen, said):
    """ShardFilter: Type is one of six; ShardId and Timestamp come with the types that need them."""
    made = stream()
    with _refused("ValidationException", said):
        made.shards(ShardFilter=chosen)


# UpdateShardCount


@pytest.mark.parametrize(
    ("before", "after", "closed"),
    [
        (1, 2, 1),
        (2, 4, 2),
        (3, 6, 3),  # a double: each shard is split once
        (6, 3, 6),  # a half: each pair is merged once
        (14, 7, 14),
        (4, 2, 4),
        (2, 1, 2),
        (3, 3, 0),
        (2, 3, 4),  # both are split, and the two in the middle merged
        (4, 3, 8),  # the two in the middle are split, and three pairs merged
        (5, 3, None),
        (7, 11, None),
    ],
)
def test_uniform_scaling_ends_in_even_ranges(stream, before, after, closed):
    """UpdateShardCount: UNIFORM_SCALING makes shards of equal size by splits and merges, so that no record is lost."""
    made = stream(before)
    keys = [number * 2**128 // 64 for number in range(64)]
    for key in keys:
        made.put(key)
    answer = made.resize(after)
    assert (answer["CurrentShardCount"], answer["TargetShardCount"], answer["StreamName"]) == (before, after, made.name)
    ranges = [_range(shard) for shard in made.open()]
    assert [first for first, _ in ranges] == [number * 2**128 // after for number in range(after)]
    assert [last + 1 for _, last in ranges] == [first for first, _ in ranges[1:]] + [2**128]
    shards = made.shards()
    assert closed is None or len(shards) == after + closed
    assert sorted(int(data) for shard in shards for data in made.read(shard)) == keys
    _check_lineage(shards)


def test_uniform_scaling_evens_out_what_splits_made_uneven(stream):
    """UpdateShardCount: all open shards end of equal size, those as well that were not."""
    made = stream()
    made.split(_FIRST, 1000)
    made.split(_SECOND, 500)
    made.resize(2)
    assert [_range(shard) for shard in made.open()] == [(0, _HALF - 1), (_HALF, _LAST_KEY)]
    _check_lineage(made.shards())


@pytest.mark.parametrize(
    ("shards", "target", "allowed"), [(2, 5, "1 to 4"), (4, 1, "2 to 8"), (5, 2, "3 to 10"), (1, 10_001, "1 to 2")]
)
def test_one_call_no_more_than_doubles_or_halves(stream, shards, target, allowed):
    """UpdateShardCount's limits: at most double, at least half of the open shards; LimitExceededException."""
    made = stream(shards)
    before = made.shards()
    with _refused("LimitExceededException", f"TargetShardCount {target} must be {allowed}, half to double the {shards} open"):
        made.resize(target)
    assert made.shards() == before


def test_closed_shards_do_not_count_towards_the_limit(stream):
    """UpdateShardCount's limits are of the current shard count, which the open ones make."""
    made = stream()
    made.split(_FIRST)
    with _refused("LimitExceededException", "half to double the 2 open shards"):
        made.resize(5)
    assert made.resize(4)["CurrentShardCount"] == 2


@pytest.mark.parametrize(
    "wrong", [{"TargetShardCount": 0}, {"TargetShardCount": "2"}, {"ScalingType": "EVEN"}, {"ScalingType": None}]
)
def test_wrong_arguments_of_an_update_are_refused(stream, wrong):
    """UpdateShardCount: TargetShardCount is an integer of at least 1, ScalingType is UNIFORM_SCALING; both are required."""
    made = stream()
    request = {"StreamName": made.name, "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING", **wrong}
    with _refused("ValidationException", next(iter(wrong))):
        made.kinesis.update_shard_count(**{name: value for name, value in request.items() if value is not None})


# Errors of SplitShard and MergeShards


@pytest.mark.parametrize("key", ["0", "1", str(_HALF - 1), str(_HALF), "-3", "many"])
def test_a_split_outside_of_the_shard_is_refused(stream, key):
    """SplitShard: NewStartingHashKey must be in the shard's range; InvalidArgumentException."""
    made = stream(2)
    before = made.shards()
    message = f"NewStartingHashKey {key} must be greater than 1 and less than {_HALF - 1} to split {_FIRST}"
    with _refused("InvalidArgumentException", message):
        made.kinesis.split_shard(StreamName=made.name, ShardToSplit=_FIRST, NewStartingHashKey=key)
    assert made.shards() == before
    made.split(_FIRST, 2), made.split("shardId-000000000003", _HALF - 2)  # the first and the last that are allowed


def test_a_closed_shard_is_neither_split_nor_merged(stream):
    """Developer guide: only open shards are resharded; InvalidArgumentException."""
    made = stream(2)
    made.split(_FIRST)
    said = f"Shard {_FIRST} of stream {made.name} is closed"
    with _refused("InvalidArgumentException", said):
        made.split(_FIRST, 1000)
    with _refused("InvalidArgumentException", said):
        made.merge(_FIRST, _SECOND)
    with _refused("InvalidArgumentException", said):
        made.merge(_SECOND, _FIRST)
    assert len(made.shards()) == 4


def test_shards_that_are_not_adjacent_are_not_merged(stream):
    """MergeShards: the union of both ranges has no gap; InvalidArgumentException."""
    made = stream(3)
    for pair in ((_FIRST, _THIRD), (_THIRD, _FIRST), (_SECOND, _SECOND)):
        with _refused("InvalidArgumentException", f"{pair[0]} and {pair[1]} of stream {made.name} are not adjacent"):
            made.merge(*pair)


def test_what_does_not_exist_is_not_resharded(stream):
    """SplitShard, MergeShards, UpdateShardCount: ResourceNotFoundException for a stream or a shard that is not there."""
    made = stream(2)
    missing = "shardId-000000000009"
    for change in (
        lambda: made.kinesis.split_shard(StreamName=made.name, ShardToSplit=missing, NewStartingHashKey="5"),
        lambda: made.merge(_FIRST, missing),
        lambda: made.merge(missing, _FIRST),
    ):
        with _refused("ResourceNotFoundException", f"Shard {missing} of stream {made.name} not found"):
            change()
    with _refused("ResourceNotFoundException", "Stream nowhere not found"):
        made.kinesis.update_shard_count(StreamName="nowhere", TargetShardCount=2, ScalingType="UNIFORM_SCALING")


@pytest.mark.parametrize(
    ("call", "request_", "missing"),
    [
        ("split_shard", {"ShardToSplit": _FIRST}, "NewStartingHashKey"),
        ("split_shard", {"NewStartingHashKey": "5"}, "ShardToSplit"),
        ("merge_shards", {"ShardToMerge": _FIRST}, "AdjacentShardToMerge"),
        ("update_shard_count", {"ScalingType": "UNIFORM_SCALING"}, "TargetShardCount"),
    ],
)
def test_a_missing_argument_is_named(stream, call, request_, missing):
    """The members that each operation requires; ValidationException."""
    made = stream(2)
    with _refused("ValidationException", f"{missing} is missing"):
        getattr(made.kinesis, call)(StreamName=made.name, **request_)


def test_a_stream_on_demand_is_not_resharded_by_hand(embedded_cloud):
    """SplitShard, MergeShards, UpdateShardCount: only for provisioned streams; ValidationException."""
    kinesis, name = client("kinesis", embedded_cloud), f"on-demand-{uuid.uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=name, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    try:
        with pytest.raises(kinesis.exceptions.ValidationException, match=f"{name} is in on-demand mode"):
            kinesis.update_shard_count(StreamName=name, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    finally:
        kinesis.delete_stream(StreamName=name)


# All together


class Reader:
    """Reads every shard once its parents are read to the end, as a consumer on AWS must."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.records = stream, []
        self._iterators: dict[str, str] = {}
        self._done: set[str] = set()
        self._start()

    def _start(self) -> None:
        for shard_id, shard in self.stream.shards().items():
            parents = {shard.get("ParentShardId"), shard.get("AdjacentParentShardId")} - {None}
            if parents <= self._done and shard_id not in self._done | set(self._iterators):
                self._iterators[shard_id] = self.stream.iterator(shard_id)

    def poll(self, shard_id: str, limit: int) -> int:
        answer = self.stream.get(self._iterators.pop(shard_id), limit)
        self.records += [(record["Data"].decode(), int(record["SequenceNumber"]), shard_id) for record in answer["Records"]]
        if "NextShardIterator" in answer:
            assert "ChildShards" not in answer
            self._iterators[shard_id] = answer["NextShardIterator"]
        else:
            self._done.add(shard_id)
            children = [each for each, shard in self.stream.shards().items() if shard_id in _parents(shard)]
            assert [child["ShardId"] for child in answer["ChildShards"]] == children != []
            self._start()
        return len(answer["Records"])

    def some(self, chance: random.Random) -> None:
        self.poll(chance.choice(sorted(self._iterators)), chance.randint(1, 30))

    def drain(self) -> None:
        further = True
        while further:
            readable = sorted(self._iterators)
            records = sum(self.poll(shard_id, 1000) for shard_id in readable)
            further = records or sorted(self._iterators) != readable
        assert self._done | set(self._iterators) == set(self.stream.shards())


@pytest.mark.parametrize("seed", range(3))
def test_no_record_is_lost_doubled_or_out_of_order_whatever_is_resharded(stream, seed):
    """Developer guide: reading parents before their children gives each key's records in the order in which they were put."""
    chance, made = random.Random(seed), stream(1 + seed)
    reader, keys = Reader(made), [f"user-{number}" for number in range(40)]
    put: dict[str, list[str]] = {key: [] for key in keys}
    for number in range(400):
        shards = made.open()
        match chance.choices(["put", "read", "split", "merge", "resize"], [60, 25, 7, 6, 2])[0]:
            case "put":
                chosen = chance.choices(keys, k=chance.randint(1, 20))
                records = [{"PartitionKey": key, "Data": f"{key}/{number}.{place}"} for place, key in enumerate(chosen)]
                answer = made.kinesis.put_records(StreamName=made.name, Records=records)
                assert {each["ShardId"] for each in answer["Records"]} <= {shard["ShardId"] for shard in shards}
                for record in records:
                    put[record["PartitionKey"]].append(record["Data"])
            case "read":
                reader.some(chance)
            case "split" if len(shards) < 12:
                shard = chance.choice(shards)
                first, last = _range(shard)
                if last - first > 4:
                    made.split(shard["ShardId"], chance.randint(first + 2, last - 1))
            case "merge" if len(shards) > 1:
                lower, upper = chance.choice(list(itertools.pairwise(shards)))
                made.merge(lower["ShardId"], upper["ShardId"])
            case "resize":
                made.resize(chance.randint(-(-len(shards) // 2), min(2 * len(shards), 12)))
    reader.drain()
    read: dict[str, list[tuple[str, int]]] = {key: [] for key in keys}
    for data, number, _ in reader.records:
        read[data.partition("/")[0]].append((data, number))
    assert {key: [data for data, _ in found] for key, found in read.items()} == put
    assert all(number < later for found in read.values() for (_, number), (_, later) in itertools.pairwise(found))
    shards = made.shards()
    assert len(shards) > 20
    _check_lineage(shards)
    for data, number, shard_id in reader.records:
        first, last = _range(shards[shard_id])
        assert first <= int(hashlib.md5(data.partition("/")[0].encode()).hexdigest(), 16) <= last
        assert _numbers(shards[shard_id])[0] < number < _numbers(shards[shard_id])[1]


def _parents(shard: dict) -> list[str]:
    return [shard[name] for name in ("ParentShardId", "AdjacentParentShardId") if name in shard]


def _check_lineage(shards: dict[str, dict]) -> None:
    """Closed shards' hash keys are their children's, sequence numbers follow, and the open shards share all hash keys."""
    for shard_id, shard in shards.items():
        children = sorted((child for child in shards.values() if shard_id in _parents(child)), key=_range)
        assert (len(children) in (1, 2)) == (_ending(shard) is not None)
        assert all(_numbers(child)[0] > _numbers(shard)[1] for child in children)
        if len(children) == 2:  # split: in two, without a gap
            (first, end), (start, last) = map(_range, children)
            assert (first, last) == _range(shard) and end + 1 == start
        parents = sorted(_range(shards[parent]) for parent in _parents(shard))
        if len(parents) == 2:  # merged: of two, without a gap
            assert (parents[0][0], parents[1][1]) == _range(shard) and parents[0][1] + 1 == parents[1][0]
    ranges = sorted(_range(shard) for shard in shards.values() if _ending(shard) is None)
    assert (ranges[0][0], ranges[-1][1]) == (0, _LAST_KEY)
    assert all(lower[1] + 1 == upper[0] for lower, upper in itertools.pairwise(ranges))


@contextlib.contextmanager
def _refused(error: str, said: str) -> Iterator[None]:
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == error
    assert said in caught.value.response["Error"]["Message"]
