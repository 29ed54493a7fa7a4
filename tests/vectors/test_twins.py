"""Equal vectors: one node for all of them, and every row of it in the answers."""

import functools
import io
import threading

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import StoreDamaged
from workbench.settings import HNSW, HNSWSQ, IVF, IVFPQ
from workbench.vectors.index import ApproximateIndex
from workbench.vectors.twins import Twins

from .arithmetic import reference_scores

DIMENSION = 32
KINDS = [HNSW(), HNSWSQ(), IVF(nlist=16, nprobe=16), IVFPQ(nlist=16, segments=4, nprobe=16, refine=256)]


@pytest.fixture(params=KINDS, ids=lambda index: index.__struct_config__.tag)
def kind(request):
    return request.param


def same(kind, found, expected):
    """The first of equal rows in ascending order, if a graph was asked, or as many of them."""
    if isinstance(kind, HNSW | HNSWSQ):
        return list(found) == list(expected[: len(found)])
    return len(set(found)) == len(found) and set(found) <= set(expected)


# Rows and nodes


def rows_like(*numbers):
    """A row for each number, equal for equal ones."""
    return np.random.default_rng(5).normal(size=(100, 3)).astype(np.float32)[list(numbers)]


def twins_of(*parts):
    twins = Twins()
    for part in parts:
        twins.add(twins.arriving(rows_like(*part)))
    return twins


def test_nodes_are_numbered_by_their_first_rows():
    twins = twins_of([7, 7, 3])
    arrival = twins.arriving(rows_like(3, 9, 7, 9, 1))
    assert (arrival.nodes, arrival.new) == ([1, 2, 0, 2, 3], [1, 4]) and len(arrival.digests) == 2 * 16
    assert len(twins) == 3  # nothing was taken
    twins.add(arrival)
    assert len(twins) == 8


def test_equal_is_bit_for_bit():
    zeros = np.array([[0.0, 1], [-0.0, 1], [0, 1], [1, 0], [np.nextafter(np.float32(1), np.float32(2)), 0]], np.float32)
    assert Twins().arriving(zeros).nodes == [0, 1, 0, 2, 3]


def test_the_lead_of_a_node_is_its_first_row_that_is_allowed():
    twins = twins_of([4, 5, 4], [6, 5, 4])  # nodes 0 0, 1 1 and so on: rows 0 2 5, 1 4, 3
    nodes = np.array([[0, 1, 2, -1], [2, 2, 0, 1]])
    assert twins.leads(nodes, None).tolist() == [[0, 1, 3, -1], [3, 3, 0, 1]]
    allowed = np.array([0, 0, 0, 0, 1, 1], bool)
    assert twins.leads(nodes, allowed).tolist() == [[5, 4, -1, -1], [-1, -1, 5, 4]]
    assert twins.leads(nodes, allowed[:5]).tolist() == [[-1, 4, -1, -1], [-1, -1, -1, 4]]  # a reader of five rows


def test_a_lead_stands_for_the_rows_of_its_node_that_may_be_returned():
    twins = twins_of([4, 5, 4], [6, 5, 4])
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.3, 0.2]], np.float32)

    def expanded(leads, *reader):
        near, rows = twins.expanded(scores, np.array(leads), *reader)
        return list(zip(near.round(1).tolist(), rows.tolist(), strict=True))

    every = expanded([[1, 0, 3, -1], [3, -1, -1, -1]], 6, None)
    assert every[0][1] == [1, 4, 0, 2] and every[0][0] == pytest.approx([0.9, 0.9, 0.8, 0.8])
    assert every[1][1] == [3, -1, -1, -1] and every[1][0][0] == pytest.approx(0.5)
    assert [rows for _, rows in expanded([[1, 0, 3, -1]] * 2, 4, None)] == [[1, 0, 2, 3]] * 2  # a reader of four rows
    few = np.array([0, 1, 1, 1, 1, 0], bool)
    assert [rows for _, rows in expanded([[2, 3, 1, -1], [4, 2, -1, -1]], 6, few)] == [[2, 3, 1, 4], [1, 4, 2, -1]]
    assert scores[0].round(1).tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6])  # the caller's own stay


@given(st.lists(st.lists(st.integers(0, 99), max_size=40), max_size=12))
def test_nodes_and_rows_are_those_of_plain_python(parts):
    twins, numbers = twins_of(*parts), [number for part in parts for number in part]
    first = list(dict.fromkeys(numbers))
    for again in (twins, Twins.read(io.BytesIO(bytes_of(twins)), len(first))):
        assert len(again) == len(numbers)
        assert again.arriving(rows_like(*numbers)).nodes == [first.index(number) for number in numbers]
        for node, number in enumerate(first):
            rows = [row for row, other in enumerate(numbers) if other == number]
            assert again.leads(np.array([[node]]), None).tolist() == [[rows[0]]]
            padded = np.array([[rows[0]] + [-1] * 99])
            found = again.expanded(np.zeros((1, 100), np.float32), padded, len(numbers), None)[1][0]
            assert found[found >= 0].tolist() == rows[:100] if len(first) < len(numbers) else [rows[0]]


def test_many_nodes_are_told_apart():
    """Through several tables of digests."""
    draw, twins = np.random.default_rng(6), Twins()
    rows = draw.integers(6_000, size=20_000).astype(np.float32)[:, None]
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    expected = np.argsort(np.argsort(first))[inverse.ravel()]
    for start in range(0, len(rows), 300):
        arrival = twins.arriving(rows[start : start + 300])
        assert arrival.nodes == expected[start : start + 300].tolist()
        twins.add(arrival)


def bytes_of(twins):
    file = io.BytesIO()
    twins.write(file)
    return file.getvalue()


def test_what_does_not_fit_the_nodes_is_refused():
    data = bytes_of(twins_of([4, 5, 4, 6]))
    assert bytes_of(Twins.read(io.BytesIO(data), 3)) == data
    for nodes in (2, 4, 5):
        with pytest.raises(StoreDamaged, match="the index cannot be read: it"):
            Twins.read(io.BytesIO(data), nodes)
    for length in range(len(data)):
        with pytest.raises(StoreDamaged, match=r"\d+ bytes are left where \d+ should follow"):
            Twins.read(io.BytesIO(data[:length]), 3)
    for wrong in ([1, 0, 0, 2], [0, 2, 1, 0], [0, 1, -1, 2], [0, 1, 3, 2], [0, 0, 0, 1]):
        with pytest.raises(StoreDamaged, match="its rows are not those of its nodes"):
            Twins.read(io.BytesIO(data[:8] + np.array(wrong, "<i4").tobytes() + data[24:]), 3)
    for size in (2**31, 2**63):
        with pytest.raises(StoreDamaged, match=f"it has {size} rows and 3 nodes"):
            Twins.read(io.BytesIO(size.to_bytes(8, "little") + data[8:]), 3)


def test_where_equal_rows_are_not_sought_each_row_is_a_node():
    twins = Twins(sought=False)
    for _ in range(2):
        arrival = twins.arriving(rows_like(7, 7, 3))
        twins.add(arrival)
    assert list(arrival.nodes) == [3, 4, 5] and list(arrival.new) == [0, 1, 2]
    assert len(twins) == len(Twins.read(io.BytesIO(bytes_of(twins)), 6, sought=False)) == 6
    nodes = np.array([[5, 0, -1]])
    assert twins.leads(nodes, None) is nodes and twins.leads(nodes, np.ones(5, bool)).tolist() == [[-1, 0, -1]]
    for wrong in (5, 7):
        with pytest.raises(StoreDamaged, match=f"it has 6 rows and {wrong} nodes"):
            Twins.read(io.BytesIO(bytes_of(twins)), wrong, sought=False)


# An index over equal vectors


def clustered(count, seed):
    """Rows of length 1 around a few centres, as embeddings are."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(25, DIMENSION))
    rows = centres[rng.integers(25, size=count)] + 0.6 * rng.normal(size=(count, DIMENSION))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@functools.cache
def catalogue(seed=1):
    """5,000 rows, of which 3,000 share their vector with 1 to 299 others, in random order."""
    sizes = [300, 250, 200, 150, 150, 100, 100, 100, *[60] * 10, *[30] * 15, *[10] * 30, *[2] * 150]
    sizes += [1] * (5_000 - sum(sizes))
    assert sum(size for size in sizes if size > 1) == 3_000
    rows = np.repeat(clustered(len(sizes), seed), sizes, axis=0)
    return rows[np.random.default_rng(seed).permutation(len(rows))]


@functools.cache
def some_queries():
    draw = np.random.default_rng(3)
    chosen = catalogue()[draw.integers(5_000, size=500)]
    return (chosen + 0.02 * draw.normal(size=chosen.shape)).astype(np.float32)


def empty(kind):
    graph = ApproximateIndex(kind, DIMENSION, euclidean=False, unit_length=True)
    graph.train(catalogue() if not isinstance(kind, IVFPQ) else clustered(9_984, 8))
    return graph


def extend(graph, rows):
    for _ in graph.add(rows):
        pass
    return graph


@functools.cache
def of_catalogue(kind):
    return extend(empty(kind), catalogue())


def recalls(found, rows, queries):
    """recall@10 of each query: a row counts when it is as near as the tenth."""
    scores = reference_scores("dotproduct", queries, rows)
    tenth = np.sort(scores, axis=1)[:, -10]
    return (np.take_along_axis(scores, found, 1) >= tenth[:, None] - 1e-6).mean(axis=1)


@pytest.mark.parametrize("kind", [HNSW(), HNSWSQ()])
def test_a_graph_with_a_node_for_each_row_misses_whole_queries_and_ours_does_not(kind):
    rows, queries = catalogue(), some_queries()
    plain = (
        faiss.IndexHNSWSQ(DIMENSION, faiss.ScalarQuantizer.QT_8bit, kind.m, faiss.METRIC_INNER_PRODUCT)
        if isinstance(kind, HNSWSQ)
        else faiss.IndexHNSWFlat(DIMENSION, kind.m, faiss.METRIC_INNER_PRODUCT)
    )
    plain.hnsw.efConstruction, plain.hnsw.efSearch = kind.ef_construction, kind.ef_search
    plain.train(rows)
    plain.add(rows)
    missed = recalls(plain.search(queries, 10)[1], rows, queries)
    assert (missed == 0).sum() >= 5 and missed.mean() < 0.99
    scores, found, covered = of_catalogue(kind).search(queries, 10, None, rows, kind)
    ours = recalls(found, rows, queries)
    assert covered == 5_000 and ours.mean() >= 0.99 and ours.min() > 0
    assert scores == pytest.approx(np.take_along_axis(reference_scores("dotproduct", queries, rows), found, 1), abs=2e-6)
    assert all(len(set(line)) == 10 for line in found.tolist())


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_filters_cost_no_recall_either(kind, share):
    rows, queries = catalogue(), some_queries()[:100]
    allowed = np.random.default_rng(4).random(len(rows)) < share
    _, found, _ = of_catalogue(kind).search(queries, 10, allowed, rows, kind)
    assert allowed[found].all() and all(len(set(line)) == 10 for line in found.tolist())
    place = np.cumsum(allowed) - 1
    assert recalls(place[found], rows[allowed], queries).mean() >= 0.99


@functools.cache
def largest():
    """The rows of the vector that 300 share."""
    rows = catalogue()
    _, inverse, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    return (inverse.ravel() == counts.argmax()).nonzero()[0]


def test_of_300_twins_k_are_found_those_that_are_allowed_and_the_only_one(kind):
    rows, twins, graph = catalogue(), largest(), of_catalogue(kind)
    query = rows[twins[:1]]
    for k in (1, 10, 300):
        scores, found, _ = graph.search(query, k, None, rows, kind)
        assert same(kind, found[0], twins) and scores == pytest.approx(np.ones((1, k)), abs=1e-6)
    allowed = np.ones(len(rows), bool)
    allowed[twins[:200]] = False  # deleted, the first among them
    found = graph.search(query, 50, allowed, rows, kind)[1][0]
    assert set(found) <= set(twins[200:]) and len(set(found)) == 50
    found = graph.search(query, 150, allowed, rows, kind)[1][0]
    assert set(twins[200:]) <= set(found) and len(set(found)) == 150 and allowed[found].all()
    allowed[twins] = False
    allowed[twins[150]] = True
    found = graph.search(query, 10, allowed, rows, kind)[1][0]
    assert found[0] == twins[150] and not np.isin(found[1:], twins).any()
    allowed[:] = False
    allowed[twins[150]] = True
    assert graph.search(query, 3, allowed, rows, kind)[1].tolist() == [[twins[150], -1, -1]]


def test_only_rows_that_are_allowed_are_read(kind):
    """Of dead ones a store that was opened again has no values."""
    rows, twins = catalogue().copy(), largest()
    query = rows[twins[:1]].copy()
    allowed = np.ones(len(rows), bool)
    allowed[twins[:-20]] = False
    rows[~allowed] = 0
    scores, found, _ = of_catalogue(kind).search(query, 20, allowed, rows, kind)
    assert sorted(found[0]) == twins[-20:].tolist() and scores == pytest.approx(np.ones((1, 20)), abs=1e-6)


def test_without_twins_the_answers_are_those_of_faiss_bit_for_bit():
    rows, queries = clustered(3_000, 7), clustered(50, 8)
    for kind in (HNSW(), IVF(nlist=16, nprobe=4)):
        graph = extend(empty(kind), rows)
        if isinstance(kind, HNSW):
            plain = faiss.IndexHNSWFlat(DIMENSION, kind.m, faiss.METRIC_INNER_PRODUCT)
            plain.hnsw.efConstruction, plain.hnsw.efSearch = kind.ef_construction, kind.ef_search
        else:
            plain = faiss.IndexIVFFlat(
                faiss.IndexFlat(DIMENSION, faiss.METRIC_INNER_PRODUCT), DIMENSION, kind.nlist, faiss.METRIC_INNER_PRODUCT
            )
            plain.cp.spherical, plain.nprobe = True, kind.nprobe
            plain.train(catalogue())
        faiss.omp_set_num_threads(1)
        for start in range(0, len(rows), 256):
            plain.add(rows[start : start + 256])
        scores, found, covered = graph.search(queries, 10, None, rows, kind)
        expected = plain.search(queries, 10)
        assert np.array_equal(scores, expected[0]) and np.array_equal(found, expected[1]) and covered == 3_000


def test_many_small_additions_are_one_large_one(kind):
    rows, graph, draw = catalogue(), empty(kind), np.random.default_rng(9)
    start = 0
    while start < len(rows):
        end = start + int(draw.integers(1, 60))
        extend(graph, rows[start:end])
        start = end
        if start % 20 == 0:
            graph.search(rows[:1], 1, None, rows, kind)  # from now on in small chunks
    assert len(graph) == 5_000
    _, found, covered = graph.search(some_queries(), 10, None, rows, kind)
    assert covered == 5_000 and recalls(found, rows, some_queries()).mean() >= 0.99


def test_an_index_that_was_read_knows_its_rows(kind):
    rows, graph, file = catalogue(), of_catalogue(kind), io.BytesIO()
    graph.write(file)
    file.write(b"what follows")
    file.seek(0)
    again = ApproximateIndex.read(file, kind, DIMENSION, euclidean=False, unit_length=True)
    assert file.read() == b"what follows" and len(again) == 5_000
    for ours, theirs in zip(*(one.search(some_queries(), 10, None, rows, kind) for one in (graph, again)), strict=True):
        assert np.array_equal(ours, theirs)
    single = next(row for row in range(5_000) if (rows == rows[row]).all(axis=1).sum() == 1)
    more = np.vstack([rows[single], rows[largest()[0]], rows[single]])
    rows = np.vstack([rows, more])
    extend(again, more)
    assert len(again) == 5_003
    assert same(kind, again.search(more[:1], 3, None, rows, kind)[1][0], [single, 5_000, 5_002])
    assert same(kind, again.search(more[1:2], 301, None, rows, kind)[1][0], [*largest(), 5_001])


def test_a_file_that_is_cut_among_its_rows_is_refused(kind):
    file = io.BytesIO()
    of_catalogue(kind).write(file)
    data = file.getvalue()
    behind = bytes_of(of_catalogue(kind)._twins)
    assert data.endswith(behind)
    assert isinstance(kind, HNSW | HNSWSQ) or len(behind) == 8
    for left in {0, 7, min(len(behind) - 1, 20_008), len(behind) - 1}:
        cut = io.BytesIO(data[: len(data) - len(behind) + left])
        with pytest.raises(StoreDamaged, match=r"the index cannot be read: [^\n]+$"):
            ApproximateIndex.read(cut, kind, DIMENSION, euclidean=False, unit_length=True)


def test_a_reader_of_fewer_rows_sees_no_later_twin(kind):
    rows, twins, graph = catalogue(), largest(), of_catalogue(kind)
    size = int(twins[100])  # of the 300 twins this reader knows 100
    _, found, covered = graph.search(rows[twins[:1]], 120, np.ones(size, bool), rows, kind)
    assert covered == 5_000 and found.max() < size and found.min() >= 0
    assert set(twins[:100]) <= set(found[0]) and len(set(found[0])) == 120


def test_searches_while_twins_are_added_find_all_that_is_covered(kind):
    """Each answer has all twins among the rows that it says are covered, and no others."""
    rows, twins = catalogue(), largest()
    graph = extend(empty(kind), rows[: twins[20]])
    done, wrong = threading.Event(), []
    query = rows[twins[:1]]

    def search(filtered):
        while not done.is_set():
            allowed = np.ones(len(rows), bool) if filtered else None
            before = len(graph)
            scores, found, covered = graph.search(query, 200, allowed, rows, kind)
            expected = twins[twins < covered][:200].tolist()
            if not (before <= covered <= len(graph)):
                wrong.append((before, covered))
            near = found[0][scores[0] > 1 - 1e-5].tolist()
            if near != expected and sorted(near) != expected:
                wrong.append((near, expected))

    threads = [threading.Thread(target=search, args=(filtered,)) for filtered in (False, True)]
    for thread in threads:
        thread.start()
    try:
        extend(graph, rows[twins[20] : twins[20] + 1_500])
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []


@functools.cache
def trained(kind, euclidean):
    """An index without rows, as bytes."""
    graph, file = ApproximateIndex(kind, 4, euclidean=euclidean, unit_length=False), io.BytesIO()
    graph.train(np.random.default_rng(2).normal(size=(9_984, 4)).astype(np.float32))
    graph.write(file)
    return file.getvalue()


EXHAUSTIVE = [HNSW(), HNSWSQ(refine=16), IVF(nlist=4, nprobe=4), IVFPQ(nlist=4, segments=2, nprobe=4, refine=256)]


@pytest.mark.parametrize("kind", EXHAUSTIVE, ids=lambda index: index.__struct_config__.tag)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_exhaustive_search_is_exact(kind, data):
    """Among random rows of a few vectors, of which some are allowed; ``ef_search`` and ``nprobe`` cover all."""
    euclidean = data.draw(st.booleans())
    vectors = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(12, 4)).astype(np.float32)
    rows = vectors[data.draw(st.lists(st.integers(0, 11), min_size=1, max_size=60))]
    graph = ApproximateIndex.read(io.BytesIO(trained(kind, euclidean)), kind, 4, euclidean=euclidean, unit_length=False)
    cut = data.draw(st.integers(0, len(rows)))
    extend(extend(graph, rows[:cut]), rows[cut:])
    masks = st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))
    allowed = data.draw(st.none() | masks.map(lambda mask: np.array(mask, bool)))
    k = data.draw(st.integers(1, len(rows)))
    queries = np.vstack([rows[:2], np.ones((1, 4), np.float32)])
    scores, found, covered = graph.search(queries, k, allowed, rows, kind)
    assert covered == len(rows)
    reference = reference_scores("euclidean" if euclidean else "dotproduct", queries, rows)
    among = np.arange(len(rows)) if allowed is None else allowed.nonzero()[0]
    count = min(k, len(among))
    assert (found[:, count:] == -1).all() and np.isin(found[:, :count], among).all()
    assert all(len(set(line)) == count for line in found[:, :count].tolist())
    best = np.sort(reference[:, among] if euclidean else -reference[:, among], axis=1)[:, :count]
    assert scores[:, :count] == pytest.approx(best if euclidean else -best, abs=1e-4)
    assert np.take_along_axis(reference, found[:, :count], 1) == pytest.approx(scores[:, :count], abs=1e-4)
