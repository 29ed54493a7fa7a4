"""The shards of one stream as resharding leaves them: which are open, which hash keys each has, who descends from whom. Pure.

A shard is MiniStack's dict: ``records``, ``starting_hash_key``, ``ending_hash_key``, ``starting_sequence_number``,
``parent_shard_id`` and ``adjacent_parent_shard_id`` (both None in a new stream). A closed one has ``ending_sequence_number``
besides. ``shards`` are all of a stream by their ids, oldest first. A range is the first and the last of its hash keys.
"""

import bisect
import functools
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator

_HASH_KEYS = 2**128  # of a stream: 0 to 2^128 - 1, divided between its open shards
_PER_MS = 10**10  # sequence numbers in a millisecond

Shards = dict[str, dict]
Range = tuple[int, int]


def sequence_numbers() -> Callable[[], str]:
    """Each greater than the one before, even when the clock is set back, and without the leading zeros that AWS' never have.

    A number is the milliseconds since the epoch times 10^10, plus a count: it tells when a shard was opened and closed. All have
    23 digits until the year 2286, so that MiniStack may go on comparing them as texts.
    """
    lock, last = threading.Lock(), 0

    def following() -> str:
        nonlocal last
        with lock:
            last = max(last + 1, int(time.time() * 1000) * _PER_MS)
            return str(last)

    return following


def even_ranges(count: int) -> list[Range]:
    """Those of ``count`` shards. Where one starts, one of ``2 * count`` starts, too."""
    starts = [number * _HASH_KEYS // count for number in range(count + 1)]
    return [(start, following - 1) for start, following in itertools.pairwise(starts)]


def hash_keys(shard: dict) -> Range:
    return int(shard["starting_hash_key"]), int(shard["ending_hash_key"])


def opened(shard: dict) -> float:
    """When, in seconds since the epoch."""
    return int(shard["starting_sequence_number"]) // _PER_MS / 1000


def closed(shard: dict) -> float:
    """When, in seconds since the epoch; infinity while it is open."""
    return int(shard["ending_sequence_number"]) // _PER_MS / 1000 if "ending_sequence_number" in shard else math.inf


def parents(shard: dict) -> list[str]:
    return [parent for parent in (shard["parent_shard_id"], shard["adjacent_parent_shard_id"]) if parent]


def children(shards: Shards, shard_id: str) -> Iterator[tuple[str, dict]]:
    return ((each, shard) for each, shard in shards.items() if shard_id in parents(shard))


def by_hash_key(shards: Shards) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Starting hash keys, ascending, and ids of the open shards."""
    found = sorted((hash_keys(shard)[0], each) for each, shard in shards.items() if closed(shard) == math.inf)
    return tuple(zip(*found, strict=True))


def replace(shards: Shards, replaced: list[str], ranges: list[Range], number: Callable[[], str]) -> list[str]:
    """Close the one or two shards that are replaced, and open a child of theirs for each of ``ranges``.

    Args:
        shards: changed in place.
        number: gives the next sequence number of the stream.

    Returns:
        the children's ids.
    """
    for parent in replaced:
        shards[parent]["ending_sequence_number"] = number()
    newest = int(next(reversed(shards)).rpartition("-")[2])  # ids ascend, and the newest shard is there: open ones stay
    made = [f"shardId-{newest + place:012d}" for place in range(1, len(ranges) + 1)]
    for child, (first, last) in zip(made, ranges, strict=True):
        shards[child] = {
            "records": [],
            "starting_hash_key": str(first),
            "ending_hash_key": str(last),
            "starting_sequence_number": number(),
            "parent_shard_id": replaced[0],
            "adjacent_parent_shard_id": replaced[1] if len(replaced) > 1 else None,
        }
    return made


def even_out(shards: Shards, count: int, number: Callable[[], str]) -> None:
    """Leave ``count`` open shards of even ranges: split shards where a range starts, then merge what is within one.

    Doubling splits each shard once, halving merges each pair once. Arguments as of ``replace``.
    """
    starts = [first for first, _ in even_ranges(count)]

    def split(shard_id: str) -> Iterator[str]:
        first, last = hash_keys(shards[shard_id])
        for start in starts[bisect.bisect_right(starts, first) : bisect.bisect_right(starts, last)]:
            part, shard_id = replace(shards, [shard_id], [(first, start - 1), (start, last)], number)
            yield part
            first = start
        yield shard_id

    def merge(lower: str, upper: str) -> str:
        return replace(shards, [lower, upper], [(hash_keys(shards[lower])[0], hash_keys(shards[upper])[1])], number)[0]

    pieces = [piece for shard_id in by_hash_key(shards)[1] for piece in split(shard_id)]
    for _, within in itertools.groupby(pieces, lambda piece: bisect.bisect_right(starts, hash_keys(shards[piece])[0])):
        functools.reduce(merge, within)
