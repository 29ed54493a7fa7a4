"""What readers see: rows that nobody changes any more, the newest of each id, and scores by definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.settings import HNSW, HNSWSQ, Flat
from workbench.vectors.filters import parse_filter
from workbench.vectors.index import ApproximateIndex
from workbench.vectors.space import Space
from workbench.vectors.view import Rows, View, decoded

from .arithmetic import best_first, reference_scores

DIMENSION = 8


def rows_of(ids, vectors=None, capacity=0):
    rows = Rows(len(vectors[0]) if vectors is not None else DIMENSION, capacity)
    if vectors is None:
        vectors = np.random.default_rng(0).normal(size=(len(ids), DIMENSION)).astype(np.float32)
    for row, id in enumerate(ids):
        rows.reserve(row + 1)
        rows.append([id], vectors[row : row + 1], [None], [b'{"n":%d}' % row], np.array([row + 1]))
    return rows


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=30))
def test_every_view_finds_what_was_newest_when_it_was_made(changes):
    """Against a dict kept for each moment: an id is inserted, replaced or deleted."""
    rows, live, newest, moments = Rows(2), [], {}, [(0, np.empty(0, bool), {})]
    for number, (id, stays) in enumerate(changes):
        if id in newest:
            live[newest[id]] = False
        if stays:
            rows.reserve(len(live) + 1)
            rows.append([id], np.ones((1, 2), np.float32), [None], [b"{}"], np.array([number]))
            newest[id] = len(live)
            live.append(True)
        else:
            newest.pop(id, None)
        moments.append((len(live), np.array(live, bool), dict(newest)))
    for size, alive, expected in moments:
        view = View(rows, alive, len(expected))
        assert view.size == size
        assert view.find("abcde") == expected
        assert view.living().tolist() == sorted(expected.values())
        assert sorted(view.ids()) == sorted(expected)


def test_growing_keeps_what_was_written_and_views_keep_what_they_saw():
    rows = rows_of(["a", "b", "c"])
    view, before = View(rows, np.ones(3, bool), 3), rows.matrix[:3].copy()
    rows.reserve(1_000)
    rows.append(
        [f"x{n}" for n in range(997)], np.zeros((997, DIMENSION), np.float32), [None] * 997, [b"{}"] * 997, np.arange(997)
    )
    assert np.array_equal(rows.matrix[:3], before)
    assert rows.versions[:3].tolist() == [1, 2, 3] and rows.previous[:3].tolist() == [-1] * 3
    assert list(view.ids()) == ["a", "b", "c"] and view.find(["x5"]) == {}


def test_prefixes_and_records():
    rows = rows_of(["ab", "a", "b"])
    view = View(rows, np.array([True, False, True]), 2)
    assert list(view.ids("a")) == ["ab"] and list(view.ids("")) == ["ab", "b"]
    record = view.record(2)
    assert (record.id, record.metadata) == ("b", {"n": 2}) and np.array_equal(record.values, rows.matrix[2])
    record.values[:] = 0  # the caller's own
    assert rows.matrix[2].all()


def test_values_come_back_as_they_were_given_under_cosine():
    given = np.array([3, 4], np.float32)
    rows = Rows(2, 1)
    rows.append(["a"], given[None] / 5, [given], [b"{}"], np.array([1]))
    assert rows.values(0).tolist() == [3, 4]
    assert decoded(b'{"a":[1,2.5,"x"]}') == {"a": [1, 2.5, "x"]}


@pytest.mark.parametrize("metric", ["cosine", "dotproduct", "euclidean"])
@pytest.mark.parametrize("dead", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("filter", [None, {"n": {"$lt": 120}}, {"n": {"$gte": 390}}])
def test_search_without_a_graph_is_exact(metric, dead, filter):
    draw = np.random.default_rng(4)
    vectors = draw.normal(size=(400, DIMENSION)).astype(np.float32)
    space = Space(DIMENSION, metric, Flat(), 0.0)
    rows = rows_of([f"r{n}" for n in range(400)], space.scaled(vectors)[0])
    live = draw.random(400) >= dead
    view, queries = View(rows, live, int(live.sum())), draw.normal(size=(20, DIMENSION)).astype(np.float32)
    among = live.copy()
    if filter is not None:
        among &= np.arange(400) < 120 if "$lt" in filter["n"] else np.arange(400) >= 390
    chosen = among.nonzero()[0]
    expected = reference_scores(metric, queries, vectors[chosen])
    found = view.hits(space, queries, 10, None if filter is None else parse_filter(filter), values=True)
    for line, hits in zip(expected, found, strict=True):
        order = best_first(metric, line)[:10]
        assert [hit.id for hit in hits] == [f"r{chosen[n]}" for n in order]
        assert [hit.score for hit in hits] == pytest.approx(line[order], rel=1e-4, abs=1e-5)
        assert all(np.array_equal(hit.values, rows.values(int(hit.id[1:]))) for hit in hits)


@pytest.mark.parametrize("metric", ["cosine", "dotproduct", "euclidean"])
@pytest.mark.parametrize("index", [HNSW(m=16, ef_search=400), HNSWSQ(m=16, ef_search=400, refine=16)])
@pytest.mark.parametrize("covered", [100, 399, 400])
def test_a_graph_and_the_rows_behind_it_are_one_answer(metric, index, covered):
    """The graph covers the first rows, the rest is scanned; rows beyond the view, which the graph may have, are not seen."""
    draw = np.random.default_rng(5)
    space = Space(DIMENSION, metric, index, 0.0)
    vectors = draw.normal(size=(500, DIMENSION)).astype(np.float32)
    vectors[400:] = draw.normal(size=(100, DIMENSION)) / 100 + vectors[:100]  # beside what is asked for
    scaled = space.scaled(vectors)[0]
    graph = ApproximateIndex(index, DIMENSION, euclidean=space.euclidean, unit_length=space.cosine)
    graph.train(scaled[:covered])
    for _ in graph.add(scaled[: covered if covered < 400 else 500]):
        pass
    rows = rows_of([f"r{n}" for n in range(500)], scaled)
    for live in (np.ones(400, bool), draw.random(400) < 0.7):
        view, queries = View(rows, live, int(live.sum()), graph), vectors[:10] + 0.01
        chosen = live.nonzero()[0]
        expected = reference_scores(metric, queries, vectors[chosen])
        for line, hits in zip(expected, view.hits(space, queries, 5, None), strict=True):
            order = best_first(metric, line)[:5]
            assert [hit.id for hit in hits] == [f"r{chosen[n]}" for n in order]
            assert [hit.score for hit in hits] == pytest.approx(line[order], rel=1e-4, abs=1e-5)


def test_nothing_to_find():
    space = Space(DIMENSION, "cosine", Flat(), 0.0)
    view = View(rows_of(["a"]), np.ones(1, bool), 1)
    assert view.hits(space, np.ones((2, DIMENSION), np.float32), 5, parse_filter({"n": 9})) == [[], []]
    assert view.hits(space, np.empty((0, DIMENSION), np.float32), 5, None) == []


def test_scaling_under_cosine():
    space = Space(3, "cosine", Flat(), 0.0)
    vectors = np.array([[1, 0, 0], [3, 4, 0], [1e-30, 0, 0], [3e38, 3e38, 3e38], [0.6, 0.8, 0]], np.float32)
    scaled, given = space.scaled(vectors)
    assert np.linalg.norm(scaled.astype(np.float64), axis=1) == pytest.approx(1, abs=1e-6)
    assert scaled[1] == pytest.approx([0.6, 0.8, 0]) and scaled[2].tolist() == [1, 0, 0]
    assert [row is None for row in given] == [True, False, False, False, True]
    assert given[1].tolist() == [3, 4, 0] and np.array_equal(given[3], vectors[3])
    assert Space(3, "dotproduct", Flat(), 0.0).scaled(vectors)[0] is vectors
