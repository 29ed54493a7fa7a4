"""The graph of shards: what is read when, in streams that were split and merged."""

import random
import uuid

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from workbench.cloud.clients import client
from workbench.errors import ServiceError
from workbench.stream.shards import Shard, list_shards, parents, passed_over, readable


def _graph(**parents: str) -> list[Shard]:
    """``s2="0 1"``: shard 2 was merged from 0 and 1. Ids are as short as that."""
    return [Shard(name[1:], tuple(of.split())) for name, of in parents.items()]


def _ids(shards: list[Shard]) -> list[str]:
    return [shard.shard_id for shard in shards]


# The figure of KCL's HierarchicalShardSyncer, with its shards numbered a to k: three generations of a stream of six shards.
#   a b c d e f
#   \ / \ / | |
#    g   h  e f
#    \  /   | |\
#     i     e j k
_FIGURE = _graph(sa="", sb="", sc="", sd="", se="", sf="", sg="a b", sh="c d", si="g h", sj="f", sk="f")


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        ("", "a b c d e f"),
        ("a", "b c d e f"),
        ("a b", "c d e f g"),
        ("a b c d", "e f g h"),
        ("a b c d g", "e f h"),
        ("a b c d g h", "e f i"),
        ("f", "a b c d e j k"),
        ("a b c d f g h i j k", "e"),
        ("a b c d e f g h i j k", ""),
    ],
)
def test_a_child_is_read_once_all_its_parents_are_ended(ended, expected):
    assert _ids(readable(_FIGURE, ended.split())) == expected.split()


def test_the_order_is_that_of_the_ids_however_the_shards_are_listed():
    shuffled = random.Random(5).sample(_FIGURE, len(_FIGURE))
    assert shuffled != _FIGURE
    assert _ids(readable(shuffled, {"a", "b"})) == ["c", "d", "e", "f", "g"]
    assert _ids(readable(iter(shuffled), ["a", "b"])) == ["c", "d", "e", "f", "g"]


def test_a_parent_that_is_listed_no_longer_is_not_waited_for():
    assert _ids(readable(_graph(s1="0", s2="0"), ())) == ["1", "2"]
    merged = _graph(s1="", s2="0 1")  # its other parent has left the stream
    assert _ids(readable(merged, ())) == ["1"]
    assert _ids(readable(merged, {"1"})) == ["2"]


def test_what_has_ended_and_is_listed_no_longer_does_not_matter():
    assert _ids(readable(_graph(s7="3"), {"0", "3"})) == ["7"]


def test_the_open_shards_are_nobodys_parents():
    assert _ids(readable(_FIGURE, parents(_FIGURE))) == ["e", "i", "j", "k"]


def test_the_parents_are_the_shards_that_were_split_or_merged_listed_or_not():
    assert parents(_FIGURE) == set("abcdfgh")
    assert parents(_graph(s1="0", s2="")) == {"0"}


@pytest.mark.parametrize(
    ("leased", "expected"),
    [("", ""), ("e", ""), ("g", "ab"), ("ab", ""), ("ih", "abcdg"), ("eijk", "abcdfgh"), ("z", ""), ("abcdefghijk", "")],
)
def test_what_a_consumer_passed_over_are_the_ancestors_of_its_shards(leased, expected):
    assert passed_over(_FIGURE, list(leased)) == set(expected)


@pytest.mark.parametrize("seed", range(50))
def test_in_any_history_each_shard_is_read_once_and_after_its_parents(seed):
    chance = random.Random(seed)
    open_ids, shards = [], []

    def add(*parents: str) -> None:
        open_ids.append(f"{len(shards):012d}")
        shards.append(Shard(open_ids[-1], parents))

    for _ in range(chance.randint(1, 5)):
        add()
    for _ in range(chance.randint(0, 30)):
        if chance.random() < 0.5 or len(open_ids) < 2:
            parent = open_ids.pop(chance.randrange(len(open_ids)))
            add(parent)
            add(parent)
        else:
            add(*(open_ids.pop(chance.randrange(len(open_ids))) for _ in range(2)))
    closed = [shard for shard in shards if shard.shard_id not in open_ids]
    listed = shards[chance.randint(0, len(closed)) :]  # older ones leave the stream first
    parents_of = {shard.shard_id: shard.parents for shard in listed}

    ended: list[str] = []
    while now := readable(chance.sample(listed, len(listed)), ended):
        ended.append(chance.choice(now).shard_id)
    place = {shard_id: number for number, shard_id in enumerate(ended)}
    assert sorted(ended) == sorted(parents_of) and len(place) == len(ended)
    for shard_id, own in parents_of.items():
        assert all(place[parent] < place[shard_id] for parent in own if parent in place)


@pytest.fixture
def kinesis(embedded_cloud):
    return client("kinesis", embedded_cloud)


def test_the_shards_of_a_new_stream_have_no_parents(kinesis):
    name = f"shards-{uuid.uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=name, ShardCount=3)
    try:
        assert list_shards(kinesis, name) == [Shard(f"shardId-{number:012d}") for number in range(3)]
    finally:
        kinesis.delete_stream(StreamName=name)
    with pytest.raises(ServiceError, match=f"^stream {name} does not exist$"):
        list_shards(kinesis, name)


class _Answering:
    """Kinesis whose ListShards answers with these pages, and refuses what AWS refuses: a stream's name together with a token."""

    def __init__(self, kinesis, *pages: list[dict]) -> None:
        self.exceptions, self._pages, self.asked = kinesis.exceptions, pages, []

    def list_shards(self, **asked: object) -> dict:
        self.asked.append(asked)
        if len(asked) != 1:
            raise _refused(self, "InvalidArgumentException", "NextToken and StreamName cannot be provided together.")
        number = int(asked.get("NextToken", 0))
        following = {"NextToken": str(number + 1)} if number + 1 < len(self._pages) else {}
        return {"Shards": self._pages[number], **following}


def _refused(kinesis, code: str, message: str) -> ClientError:
    refusal = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return getattr(kinesis.exceptions, code, ClientError)(refusal, "ListShards")


def test_both_parents_of_a_merged_shard_are_told_apart_from_the_one_of_a_split_shard(kinesis):
    answering = _Answering(
        kinesis,
        [
            {"ShardId": "0"},
            {"ShardId": "1", "ParentShardId": "0"},
            {"ShardId": "2", "ParentShardId": "0"},
            {"ShardId": "3", "ParentShardId": "1", "AdjacentParentShardId": "2"},
        ],
    )
    assert list_shards(answering, "s") == _graph(s0="", s1="0", s2="0", s3="1 2")


def test_every_page_is_read_by_its_token_alone(kinesis):
    answering = _Answering(kinesis, [{"ShardId": "0"}, {"ShardId": "1"}], [], [{"ShardId": "2"}])
    assert _ids(list_shards(answering, "s")) == ["0", "1", "2"]
    assert answering.asked == [{"StreamName": "s"}, {"NextToken": "1"}, {"NextToken": "2"}]


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("ResourceNotFoundException", "stream s does not exist"),
        ("ResourceInUseException", "stream s is being created or deleted"),
        (
            "AccessDeniedException",
            "the shards of stream s cannot be listed: An error occurred (AccessDeniedException) when calling the ListShards "
            "operation: first line",
        ),
    ],
)
def test_a_refusal_is_told_in_one_line(kinesis, code, line):
    class Refusing(_Answering):
        def list_shards(self, **_: object) -> dict:
            raise _refused(self, code, "first line\nsecond line")

    with pytest.raises(ServiceError) as told:
        list_shards(Refusing(kinesis), "s")
    assert str(told.value) == line


def test_a_kinesis_that_does_not_answer_is_told_in_one_line(kinesis):
    class Away(_Answering):
        def list_shards(self, **_: object) -> dict:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1/")

    with pytest.raises(ServiceError) as told:
        list_shards(Away(kinesis), "s")
    assert str(told.value) == (
        'the shards of stream s cannot be listed: Could not connect to the endpoint URL: "http://127.0.0.1:1/"'
    )
