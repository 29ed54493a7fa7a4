"""The shards of a stream as a graph: which there are, and which may be read. Pure, but for the one call that lists them.

A split or a merge closes its shards: they keep their records and take no more, and new records go to their children. So a key's
records come in order only if a child is read after its parents. A closed shard is listed until its last record has left the
stream. Source: "Consider data routing, data persistence, and shard state after a reshard" (Kinesis Data Streams developer guide).
"""

from collections.abc import Collection, Iterable, Iterator

import msgspec

from workbench.errors import ServiceError


class Shard(msgspec.Struct, frozen=True):
    """A shard, and the ids of those whose keys it took over: none, one after a split, two after a merge.

    A parent may be listed no longer.
    """

    shard_id: str
    parents: tuple[str, ...] = ()


def list_shards(kinesis, stream: str) -> list[Shard]:
    """Every shard that the stream has, open or closed.

    Raises:
        ServiceError: the stream does not exist, is being created or deleted, or Kinesis does not answer (boto3 has tried again).
    """
    try:
        return [_shard(each) for page in _pages(kinesis, stream) for each in page]
    except kinesis.exceptions.ResourceNotFoundException as error:
        raise ServiceError(f"stream {stream} does not exist") from error
    except kinesis.exceptions.ResourceInUseException as error:
        raise ServiceError(f"stream {stream} is being created or deleted") from error
    except Exception as error:  # refused, or no answer: boto3 has tried again what can be
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ServiceError(f"the shards of stream {stream} cannot be listed: {reason}") from error


def _pages(kinesis, stream: str) -> Iterator[list[dict]]:
    # Not boto3's paginator: it sends the stream's name with the token, which AWS refuses (boto/botocore issue 2009).
    asked = {"StreamName": stream}
    while asked:
        answer = kinesis.list_shards(**asked)
        yield answer["Shards"]
        asked = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}


def _shard(described: dict) -> Shard:
    parents = (described.get("ParentShardId"), described.get("AdjacentParentShardId"))
    return Shard(described["ShardId"], tuple(parent for parent in parents if parent))


def readable(shards: Iterable[Shard], ended: Collection[str]) -> list[Shard]:
    """The shards that are to be read now, by shard id: not ended themselves, their parents all ended or listed no longer.

    ``ended`` are the ids of shards that were read to their end and whose records are all dealt with.
    """
    by_id = {shard.shard_id: shard for shard in shards}
    waited_for = by_id.keys() - set(ended)
    return [by_id[shard_id] for shard_id in sorted(waited_for) if waited_for.isdisjoint(by_id[shard_id].parents)]


def parents(shards: Iterable[Shard]) -> set[str]:
    """The ids of all shards that were split or merged: those are closed."""
    return {parent for shard in shards for parent in shard.parents}


def passed_over(shards: Iterable[Shard], leased: Collection[str]) -> set[str]:
    """Shards without a lease whose children, or theirs, have one: a consumer that began at LATEST never reads them."""
    by_id = {shard.shard_id: shard for shard in shards}
    found: set[str] = set()
    left = [parent for shard_id in leased if shard_id in by_id for parent in by_id[shard_id].parents]
    while left:
        shard_id = left.pop()
        if shard_id in by_id and shard_id not in found:
            found.add(shard_id)
            left += by_id[shard_id].parents
    return found - set(leased)
