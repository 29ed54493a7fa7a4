"""Exact search against definitions in float64."""

import numpy as np
import pytest

from workbench.vectors.scan import exact, exact_among

from .arithmetic import best_first, reference_scores

ROWS = np.random.default_rng(1).normal(size=(500, 24)).astype(np.float32)
QUERIES = np.random.default_rng(2).normal(size=(40, 24)).astype(np.float32)


@pytest.fixture(params=["dotproduct", "euclidean"])
def metric(request):
    return request.param


def check(metric, scores, rows, allowed, k):
    """``allowed`` rows alone count, by float64's scores."""
    reference = reference_scores(metric, QUERIES, ROWS)
    order = best_first(metric, reference[:, allowed])[:, :k]
    assert rows.tolist() == allowed[order].tolist()
    assert scores == pytest.approx(np.take_along_axis(reference, rows, 1), rel=1e-5, abs=1e-5)


def test_every_row(metric):
    check(metric, *exact(QUERIES, ROWS, 10, euclidean=metric == "euclidean"), np.arange(500), 10)


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_chosen_rows_have_the_scores_that_all_have_to_the_last_bit(metric, share):
    chosen, euclidean = (np.random.default_rng(3).random(500) < share).nonzero()[0], metric == "euclidean"
    scores, rows = exact_among(QUERIES, ROWS, 10, chosen, euclidean=euclidean)
    check(metric, scores, rows, chosen, 10)
    every, order = exact(QUERIES, ROWS, 500, euclidean=euclidean)
    for query in range(40):
        assert np.array_equal(every[query][np.isin(order[query], chosen)][:10], scores[query])


def test_each_query_may_have_its_own_rows(metric):
    chosen = np.stack([np.random.default_rng(query).choice(500, 30, replace=False) for query in range(40)])
    scores, rows = exact_among(QUERIES, ROWS, 5, chosen, euclidean=metric == "euclidean")
    reference = reference_scores(metric, QUERIES, ROWS)
    for query in range(40):
        own = chosen[query]
        assert rows[query].tolist() == own[best_first(metric, reference[query, own])[:5]].tolist()
        assert scores[query] == pytest.approx(reference[query, rows[query]], rel=1e-5, abs=1e-5)


def test_where_fewer_rows_may_be_returned_the_rest_is_minus_one(metric):
    euclidean = metric == "euclidean"
    assert sorted(exact_among(QUERIES[:1], ROWS, 4, np.array([7, 9]), euclidean=euclidean)[1][0]) == [-1, -1, 7, 9]
    ended = np.array([[3, 4, -1, 5]])  # what follows -1 does not count
    assert sorted(exact_among(QUERIES[:1], ROWS, 4, ended, euclidean=euclidean)[1][0]) == [-1, -1, 3, 4]
    assert (exact_among(QUERIES, ROWS, 4, np.empty(0, np.int64), euclidean=euclidean)[1] == -1).all()
