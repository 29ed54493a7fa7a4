"""Recall by its definition: hand-made scores, and brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.tasks import recall
from workbench.tasks.recall import kth_scores, tie_aware


def _by_scores(scores: list[list[float]], found: list[list[int]], k: int) -> list[float]:
    """Each text's score is one dimension of the query, so that a text is a unit vector."""
    queries, vectors = np.array(scores, np.float32), np.eye(len(scores[0]), dtype=np.float32)
    return tie_aware(queries, vectors, found, kth_scores(queries, vectors, k), k).tolist()


def test_a_neighbour_that_is_as_near_as_the_last_counts():
    assert _by_scores([[0.9, 0.5, 0.5, 0.5, 0.1], [0.1, 0.2, 0.3, 0.4, 0.5]], [[0, 3], [4, 2]], 2) == [1.0, 0.5]
    assert _by_scores([[0.9, 0.5, 0.5], [0.9, 0.5, 0.5]], [[0], []], 2) == [0.5, 0.0]
    assert _by_scores([[1.0, 0.5, 0.4999995]], [[0, 2]], 2) == [1.0]
    assert _by_scores([[1.0, 0.5, 0.4999]], [[0, 2]], 2) == [0.5]


def test_a_row_named_twice_counts_once_and_one_behind_the_kth_not_at_all():
    assert _by_scores([[0.9, 0.8, 0.1]], [[0, 0]], 2) == [0.5]
    assert _by_scores([[0.9, 0.8, 0.1]], [[2, 0, 1]], 2) == [0.5]


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(3, 15))
def test_the_kth_score_is_that_of_brute_force(seed, k, rows):
    draw = np.random.default_rng(seed)
    queries, vectors = draw.normal(size=(4, 3)).astype(np.float32), draw.normal(size=(rows, 3)).astype(np.float32)
    expected = [sorted(vectors @ query, reverse=True)[min(k, rows) - 1] for query in queries]
    assert kth_scores(queries, vectors, k).tolist() == pytest.approx(expected, abs=1e-6)


def test_blocks_give_what_one_block_gives(monkeypatch):
    draw = np.random.default_rng(1)
    queries, vectors = draw.normal(size=(7, 3)).astype(np.float32), draw.normal(size=(20, 3)).astype(np.float32)
    whole = kth_scores(queries, vectors)
    monkeypatch.setattr(recall, "_BLOCK_BYTES", 4 * 20 * 2)
    assert kth_scores(queries, vectors).tolist() == pytest.approx(whole.tolist())
