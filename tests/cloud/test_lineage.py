"""Evening out, whatever the shards were before: what UpdateShardCount leaves (API reference) of any stream."""

import itertools
import time

from hypothesis import given
from hypothesis import strategies as st

from workbench.cloud import lineage

_KEYS = 2**128
# Anywhere, and close to where even ranges start: splits there leave shards of one hash key.
_CUTS = st.integers(1, _KEYS - 1) | st.builds(
    lambda count, number, off: min(max(number * _KEYS // count + off, 1), _KEYS - 1),
    st.integers(1, 9),
    st.integers(0, 9),
    st.integers(-2, 2),
)


def _stream(cuts: set[int]) -> lineage.Shards:
    starts = [0, *sorted(cuts)]
    return {
        f"shardId-{number:012d}": {
            "records": [number],
            "starting_hash_key": str(first),
            "ending_hash_key": str(following - 1),
            "starting_sequence_number": str(number),
            "parent_shard_id": None,
            "adjacent_parent_shard_id": None,
        }
        for number, (first, following) in enumerate(itertools.pairwise([*starts, _KEYS]))
    }


@given(cuts=st.sets(_CUTS, max_size=9), count=st.integers(1, 9))
def test_any_shards_end_even_and_none_is_forgotten(cuts, count):
    shards = _stream(cuts)
    before, numbers = len(shards), itertools.count(len(shards))
    lineage.even_out(shards, count, lambda: str(next(numbers)))
    ranges = sorted(lineage.hash_keys(shard) for shard in shards.values() if "ending_sequence_number" not in shard)
    assert [first for first, _ in ranges] == [number * _KEYS // count for number in range(count)]
    assert [last + 1 for _, last in ranges] == [number * _KEYS // count for number in range(1, count + 1)]
    assert list(shards) == sorted(shards) and len(shards) == int(max(shards)[-12:]) + 1
    assert [shard["records"] for shard in shards.values()] == [[n] if n < before else [] for n in range(len(shards))]
    for shard_id, shard in shards.items():
        made = sorted((lineage.hash_keys(child), child) for _, child in lineage.children(shards, shard_id))
        if "ending_sequence_number" not in shard:
            assert made == []
            continue
        first, last = lineage.hash_keys(shard)
        ending = int(shard["ending_sequence_number"])
        assert all(int(child["starting_sequence_number"]) > ending for _, child in made)
        assert made[0][0][0] <= first and last <= made[-1][0][1]
        assert all(lower[0][1] + 1 == upper[0][0] for lower, upper in itertools.pairwise(made))


@given(count=st.integers(1, 300))
def test_a_double_and_a_half_are_the_fewest_changes(count):
    """UpdateShardCount: its reference advises doubling and halving; each shard is split once, each pair merged once."""
    shards, numbers = _stream({first for first, _ in lineage.even_ranges(count)} - {0}), itertools.count()
    lineage.even_out(shards, 2 * count, lambda: str(next(numbers)))
    assert len(shards) == 3 * count
    lineage.even_out(shards, count, lambda: str(next(numbers)))
    assert len(shards) == 4 * count


def test_a_sequence_number_tells_its_time_and_none_is_given_twice():
    number = lineage.sequence_numbers()
    before = time.time()
    given_ = [number() for _ in range(1000)]
    after = time.time()
    assert all(int(earlier) < int(later) for earlier, later in itertools.pairwise(given_))
    assert {len(each) for each in given_} == {23}
    for each in given_:
        told = lineage.opened({"starting_sequence_number": each})
        assert before - 0.001 <= told <= after
    assert lineage.closed({}) == float("inf")
    assert lineage.closed({"ending_sequence_number": "17000000000000000000042"}) == 1_700_000_000.0
