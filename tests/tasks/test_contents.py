"""Recall over contents that change: states that a query may have seen, by hand and against a plain model."""

import itertools

import numpy as np
import pytest

from workbench.tasks.contents import Contents, Write, recalls

_EYE = np.eye(4, dtype=np.float32)  # text t scores the query's component t


class _Fixed(Contents):
    """As many records as there are given texts; -1: not in the index."""

    def __init__(self, rows: list[int]) -> None:
        self._rows = rows

    def at_first(self) -> np.ndarray:
        return np.array(self._rows)


def _one(rows, writes, sent, answered, found, query=(0.9, 0.8, 0.7, 0.6)):
    made = [Write(called, acknowledged, np.array(ids), np.array(texts)) for called, acknowledged, ids, texts in writes]
    recall, stale = recalls([(sent, answered, found)], made, _Fixed(rows), _EYE, np.array([query], np.float32))
    return recall.tolist()[0], stale.tolist()[0]


def test_a_query_sees_what_was_acknowledged_before_it_was_sent():
    gone = (10, 20, [0], [-1])
    assert _one([0, 1], [gone], 30, 40, [1]) == (1.0, 0)
    assert _one([0, 1], [gone], 30, 40, [1, 0]) == (1.0, 1)  # record 0 was deleted before
    assert _one([0, 1], [gone], 2, 5, [0, 1]) == (1.0, 0)  # and is there before it is deleted
    assert _one([0, 1], [gone], 2, 5, [1]) == (0.5, 0)


@pytest.mark.parametrize("found", [[0, 1], [1]])
def test_a_write_under_way_may_count_or_not(found):
    assert _one([0, 1], [(10, 20, [0], [-1])], 15, 16, found) == (1.0, 0)
    assert _one([0, 1], [(10, 20, [0], [-1])], 5, 12, found) == (1.0, 0)


def test_of_a_write_under_way_all_is_seen_or_nothing():
    """Half of it is neither state: of the two records that are inserted together one was found."""
    insert = (10, 20, [2, 3], [2, 3])
    assert _one([0, 1, -1, -1], [insert], 15, 16, [0, 1]) == (1.0, 0)
    assert _one([0, 1, -1, -1], [insert], 15, 16, [0, 1, 2, 3]) == (1.0, 0)
    assert _one([0, 1, -1, -1], [insert], 15, 16, [0, 2]) == (0.5, 0)


def test_a_replaced_record_is_as_near_as_its_new_text():
    replaced = (10, 20, [0], [3])
    many = [0, 1] + [2] * 9  # the tenth best scores 0.7
    assert _one(many, [replaced], 30, 40, [0, *range(1, 10)]) == (0.9, 0)  # record 0 now scores 0.6
    assert _one(many, [replaced], 5, 8, [0, *range(1, 10)]) == (1.0, 0)


def test_queries_in_any_order_see_the_writes_before_them():
    writes = [Write(10, 20, np.array([0]), np.array([-1])), Write(30, 40, np.array([1]), np.array([-1]))]
    asked = [(50, 51, [2]), (25, 26, [1, 2]), (1, 2, [0, 1, 2])]
    query = np.tile(np.array([[0.9, 0.8, 0.7, 0.6]], np.float32), (3, 1))
    recall, stale = recalls(asked, writes, _Fixed([0, 1, 2]), _EYE, query)
    assert recall.tolist() == [1.0, 1.0, 1.0] and stale.tolist() == [0, 0, 0]


def test_writes_keep_the_number_of_records_and_no_two_have_one_text():
    contents = Contents(60, 12, seed=4)
    rows = contents.at_first()
    assert rows.tolist() == [*range(48), *[-1] * 12]
    for kind, ids, texts in itertools.islice(contents.writes(4), 300):
        assert len(set(ids.tolist())) == 4
        live = rows[ids] >= 0
        assert live.all() if kind in ("replace", "delete") else not live.any()
        rows[ids] = texts
        held = rows[rows >= 0]
        assert len(set(held.tolist())) == len(held) == (48 if kind == "delete" else 52)


def test_the_same_seed_gives_the_same_writes():
    first, again, other = (
        [ids.tolist() for _, ids, _ in itertools.islice(Contents(60, 12, seed=seed).writes(4), 9)] for seed in (1, 1, 2)
    )
    assert first == again != other
