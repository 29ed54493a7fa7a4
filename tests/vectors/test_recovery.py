"""A store that opens again is the one that was closed, with its graphs where they are whole and without them where not."""

import shutil

import numpy as np
import pytest

from workbench.errors import StoreDamaged
from workbench.events import Record
from workbench.settings import HNSW, HNSWSQ, IVF, IVFPQ, Flat
from workbench.vectors.recovery import Recovery
from workbench.vectors.store import Store

from .arithmetic import best_first, reference_scores

DIMENSION = 16
GRAPH = HNSW(m=8, ef_construction=60, ef_search=200)
QUERIES = np.random.default_rng(99).normal(size=(8, DIMENSION)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_graphs(monkeypatch):
    monkeypatch.setattr("workbench.vectors.kinds.HNSW_MINIMUM", 200)
    monkeypatch.setattr("workbench.vectors.namespace._TAIL", 100)


def open_store(folder, index=GRAPH, metric="cosine"):
    return Store(dimension=DIMENSION, metric=metric, index=index, path=folder, sync="off")


def records(first, last, seed=0):
    values = np.random.default_rng([seed, first]).normal(size=(last - first, DIMENSION)).astype(np.float32) * 3
    return [Record(f"r{first + n}", row, {"n": first + n, "seed": seed}) for n, row in enumerate(values)]


def same(store, expected, metric="cosine", namespace=""):
    """Whether the store holds exactly ``expected`` (by id), to the last bit, and search finds the nearest of it."""
    assert store.stats().get(namespace, 0) == len(expected)
    found = store.fetch(list(store.ids(namespace=namespace)), namespace=namespace)
    assert found.keys() == expected.keys()
    for id, record in expected.items():
        assert found[id].values.tobytes() == np.asarray(record.values, np.float32).tobytes()
        assert found[id].metadata == record.metadata
    ids = list(expected)
    scores = reference_scores(metric, QUERIES, np.stack([record.values for record in expected.values()]))
    for line, matches in zip(scores, store.query(QUERIES, top_k=10, namespace=namespace), strict=True):
        assert [match.id for match in matches] == [ids[row] for row in best_first(metric, line)[:10]]
        assert [match.score for match in matches] == pytest.approx(
            np.sort(line * (-1 if metric != "euclidean" else 1))[:10] * (-1 if metric != "euclidean" else 1), rel=1e-4, abs=1e-5
        )


def filled(folder, index=GRAPH, metric="cosine"):
    """A store of 600 records with a graph on disk over most of them, a tail behind it, replaced and deleted ones in it."""
    with open_store(folder, index, metric) as store:
        expected = {}
        for first in range(0, 500, 50):
            store.upsert(records(first, first + 50))
            expected.update((record.id, record) for record in records(first, first + 50))
        store.wait_indexed()
        for change in (records(20, 60, seed=1), records(500, 600)):
            store.upsert(change)
            expected.update((record.id, record) for record in change)
        gone = [f"r{n}" for n in range(100, 160)] + ["r20", "r599"]
        store.delete(gone)
        for id in gone:
            del expected[id]
        store.wait_indexed()
    return expected


@pytest.mark.parametrize("metric", ["cosine", "dotproduct", "euclidean"])
def test_a_graph_is_taken_back(tmp_path, metric):
    expected = filled(tmp_path / "s", metric=metric)
    with open_store(tmp_path / "s", metric=metric) as store:
        found = store.recovered
        assert (found.records, found.namespaces, found.graphs, found.dropped) == (len(expected), 1, 1, ())
        assert store.scanned() < 150  # the graph covers the rest
        same(store, expected, metric)
        store.upsert(records(700, 900))
        expected.update((record.id, record) for record in records(700, 900))
        store.wait_indexed()
        same(store, expected, metric)
        store.delete(list(expected)[:400])
        expected = dict(list(expected.items())[400:])
        store.wait_indexed()
        same(store, expected, metric)
    with open_store(tmp_path / "s", metric=metric) as store:
        same(store, expected, metric)


@pytest.mark.parametrize("index", [Flat(), IVF(nlist=4, nprobe=4), HNSWSQ(), IVFPQ(nlist=4, nprobe=4, segments=8, refine=256)])
def test_other_kinds_are_taken_back(tmp_path, index, monkeypatch):
    monkeypatch.setattr("workbench.vectors.kinds._PQ_CENTROIDS", 4)
    monkeypatch.setattr("workbench.vectors.namespace._GROWTH", 1.0)
    expected = filled(tmp_path / "s", index)
    with open_store(tmp_path / "s", index) as store:
        assert store.recovered.dropped == ()
        store.wait_indexed()
        same(store, expected)


@pytest.mark.parametrize("harm", ["missing", "folder", "damaged", "cut", "empty", "of another store"])
def test_a_graph_that_cannot_be_taken_is_built_anew_and_the_answers_stay(tmp_path, harm):
    expected = filled(tmp_path / "s")
    (graph,) = (tmp_path / "s" / "graphs").iterdir()
    whole = graph.read_bytes()
    if harm == "of another store":
        filled(tmp_path / "t", HNSW(m=9))
        shutil.copy(next(iter((tmp_path / "t" / "graphs").iterdir())), graph)
    if harm == "missing":
        graph.unlink()
    if harm == "folder":
        shutil.rmtree(graph.parent)
    if harm == "damaged":
        graph.write_bytes(whole[:999] + bytes([whole[999] ^ 1]) + whole[1000:])
    if harm == "cut":
        graph.write_bytes(whole[:-1])
    if harm == "empty":
        graph.write_bytes(b"")
    with open_store(tmp_path / "s") as store:
        assert store.recovered.graphs == 0
        text = str(store.recovered)
        assert "\n" not in text and text.startswith(f"{len(expected)} records in 1 namespaces from ")
        if harm in ("missing", "folder"):
            assert store.recovered.dropped == ()
        else:
            assert len(store.recovered.dropped) == 1 and f"rebuilding {graph.name}: " in text
        same(store, expected)
        store.wait_indexed()
        assert store.scanned() < 100
        same(store, expected)
    with open_store(tmp_path / "s") as store:
        assert store.recovered.graphs == 1
        same(store, expected)


def test_a_graph_of_other_settings_is_built_anew(tmp_path):
    expected = filled(tmp_path / "s")
    with open_store(tmp_path / "s", HNSW(m=9, ef_search=200)) as store:
        assert len(store.recovered.dropped) == 1 and "hnsw:m=9" in store.recovered.dropped[0]
        store.wait_indexed()
        same(store, expected)
    with open_store(tmp_path / "s", HNSW(m=9, ef_search=300)) as store:  # only the query is another
        assert store.recovered.graphs == 1 and store.recovered.dropped == ()
        same(store, expected)
    with open_store(tmp_path / "s", Flat()) as store:
        assert store.recovered.graphs == 0
        same(store, expected)


def test_a_graph_from_before_its_records_were_replaced(tmp_path):
    """An old graph says which records it was built from: of those that are gone it keeps the ways and gives no answers."""
    folder = tmp_path / "s"
    expected = filled(folder)
    (graph,) = (folder / "graphs").iterdir()
    old = graph.read_bytes()
    with open_store(folder) as store:
        changed = records(0, 300, seed=7)
        store.upsert(changed)
        expected.update((record.id, record) for record in changed)
        store.wait_indexed()
    graph.write_bytes(old)
    with open_store(folder) as store:
        assert store.recovered.graphs == 1
        same(store, expected)
        store.wait_indexed()
        same(store, expected)


def test_a_graph_of_a_namespace_that_was_emptied_and_filled_again(tmp_path):
    folder = tmp_path / "s"
    filled(folder)
    (graph,) = (folder / "graphs").iterdir()
    old = graph.read_bytes()
    with open_store(folder) as store:
        store.delete()
        fresh = records(0, 250, seed=3)
        store.upsert(fresh)
        store.wait_indexed()
    graph.write_bytes(old)
    with open_store(folder) as store:
        same(store, {record.id: record for record in fresh})
        store.wait_indexed()
        same(store, {record.id: record for record in fresh})


def test_a_graph_of_a_namespace_that_is_gone_is_removed(tmp_path):
    folder = tmp_path / "s"
    filled(folder)
    with open_store(folder) as store:
        store.delete()
    with open_store(folder) as store:
        assert (store.recovered.graphs, store.recovered.dropped, store.stats()) == (0, (), {})
    assert list((folder / "graphs").iterdir()) == []


def test_a_lost_log_is_no_empty_store(tmp_path):
    filled(tmp_path / "s")
    (tmp_path / "s" / "log.sqlite").unlink()
    with pytest.raises(StoreDamaged, match="missing or empty"):
        open_store(tmp_path / "s")
    assert len(list((tmp_path / "s" / "graphs").iterdir())) == 1
    with pytest.raises(StoreDamaged, match="missing or empty"):  # nor at the second attempt
        open_store(tmp_path / "s")


def test_a_refused_log_leaves_the_graphs(tmp_path):
    filled(tmp_path / "s")
    log = tmp_path / "s" / "log.sqlite"
    log.write_bytes(log.read_bytes()[:-5000])
    with pytest.raises(StoreDamaged):
        open_store(tmp_path / "s")
    assert len(list((tmp_path / "s" / "graphs").iterdir())) == 1


def test_many_small_namespaces(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.vectors.recovery._BATCH", 50)
    with open_store(tmp_path / "s") as store:
        for n in range(120):
            store.upsert(records(n, n + 3), namespace=f"n{n}")
        store.create_namespace("empty")
        store.upsert(records(0, 5), namespace="gone")
        store.drop_namespace("gone")
    with open_store(tmp_path / "s") as store:
        assert store.stats() == {f"n{n}": 3 for n in range(120)}
        assert store.namespaces() == {"empty": 0, **store.stats()}
        assert (store.recovered.records, store.recovered.namespaces) == (360, 121)
        for n in (0, 17, 119):
            same(store, {record.id: record for record in records(n, n + 3)}, namespace=f"n{n}")


def test_what_recovery_says():
    said = Recovery(1_200, 3, 45, 2, ("a.graph: it is damaged",), 0.126)
    assert (
        str(said) == "1,200 records in 3 namespaces from 45 log entries, 2 graphs, in 0.13 s; rebuilding a.graph: it is damaged"
    )
