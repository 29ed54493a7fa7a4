"""HNSW and IVF against exact search over the contents at that moment: after updates, deletes, filters and while writing."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from workbench.errors import SettingError, VectorError
from workbench.events import Record
from workbench.settings import HNSW, IVF, Flat
from workbench.vectors.store import Store

from .arithmetic import best_first, reference_scores

DIMENSION = 32
INDEXES = [Flat(), HNSW(m=16, ef_construction=80, ef_search=96), IVF(nlist=16, nprobe=10)]


@pytest.fixture(params=INDEXES, ids=["flat", "hnsw", "ivf"])
def index(request):
    return request.param


@pytest.fixture(params=["cosine", "dotproduct", "euclidean"])
def metric(request):
    return request.param


def clustered(count, seed):
    """Rows around a few centres, as embeddings are; of unequal lengths."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(25, DIMENSION))
    rows = centres[rng.integers(25, size=count)] + 0.6 * rng.normal(size=(count, DIMENSION))
    return (rows * rng.uniform(0.8, 1.2, size=(count, 1))).astype(np.float32)


class Mirror:
    """A store and, beside it, what it should contain."""

    def __init__(self, metric, index):
        self.store, self.metric, self.contents = Store(dimension=DIMENSION, metric=metric, index=index), metric, {}

    def upsert(self, first, last, seed):
        records = [
            Record(f"{n}", row, {"n": n, "tenth": n % 10})
            for n, row in zip(range(first, last), clustered(last - first, seed), strict=True)
        ]
        for start in range(0, len(records), 250):
            self.store.upsert(records[start : start + 250])
        self.contents.update((record.id, record) for record in records)

    def delete(self, first, last):
        self.store.delete([f"{n}" for n in range(first, last)])
        for n in range(first, last):
            del self.contents[f"{n}"]

    def recall(self, chosen=lambda record: True, **asked):
        """recall@10 over 50 queries; every score must be that of the record's present values."""
        records = [record for record in self.contents.values() if chosen(record)]
        queries = clustered(50, seed=1234)
        scores = reference_scores(self.metric, queries, [record.values for record in records])
        places = {record.id: place for place, record in enumerate(records)}
        hits = 0
        for found, expected in zip(self.store.query(queries, top_k=10, **asked), scores, strict=True):
            got = [places[match.id] for match in found]  # a dead or filtered id is a KeyError
            assert len(set(got)) == len(got) == min(10, len(records))
            assert [match.score for match in found] == pytest.approx(expected[got], rel=1e-4, abs=1e-4)
            hits += len(set(got) & set(best_first(self.metric, expected)[:10].tolist()))
        return hits / (len(queries) * min(10, len(records)))


def required(index):
    return {Flat: 1.0, HNSW: 0.95, IVF: 0.9}[type(index)]


def test_recall_after_updates_and_deletes(metric, index):
    mirror = Mirror(metric, index)
    mirror.upsert(0, 2500, seed=1)
    assert mirror.recall() >= required(index)  # perhaps before the index is built
    mirror.store.wait_indexed()
    assert mirror.recall() >= required(index)
    mirror.upsert(500, 1000, seed=2)
    mirror.delete(1500, 2200)
    mirror.upsert(2500, 4000, seed=3)
    mirror.store.wait_indexed()
    assert mirror.store.stats() == {"": len(mirror.contents)} == {"": 3300}
    assert mirror.recall() >= required(index)
    mirror.delete(0, 1500)
    mirror.delete(2200, 3900)
    mirror.store.wait_indexed()
    assert mirror.store.stats() == {"": 100}
    assert mirror.recall() == 1  # few enough to be exact again


def test_recall_of_filtered_queries(metric, index):
    mirror = Mirror(metric, index)
    mirror.upsert(0, 3000, seed=1)
    mirror.store.wait_indexed()
    assert mirror.recall(lambda record: record.metadata["n"] < 30, filter={"n": {"$lt": 30}}) == 1  # 1%: exact
    for tenths in (2, 5, 9):
        recall = mirror.recall(lambda record, most=tenths: record.metadata["tenth"] < most, filter={"tenth": {"$lt": tenths}})
        assert recall >= required(index)


def test_everything_is_found_where_everything_is_asked_for(index):
    mirror = Mirror("cosine", index)
    mirror.upsert(0, 1500, seed=1)
    mirror.store.wait_indexed()
    for top_k in (300, 1500, 10_000):
        assert len(mirror.store.query(clustered(1, seed=8), top_k=top_k)[0]) == min(top_k, 1500)


def test_queries_during_writes_see_whole_batches(index):
    store = Store(dimension=DIMENSION, index=index)
    rows = clustered(200, seed=4)

    def batch(version):
        return [Record(f"{n}", row, {"version": version}) for n, row in enumerate(rows)]

    store.upsert([Record(f"other{n}", row) for n, row in enumerate(clustered(1500, seed=5))])
    store.upsert(batch(0))
    done, wrong = threading.Event(), []

    def read():
        while not done.is_set():
            found = store.query(rows[:1], top_k=10_000)[0]
            versions = {match.metadata["version"] for match in found if match.metadata}
            if len(found) != 1700 or len(versions) != 1 or len({match.id for match in found}) != 1700:
                wrong.append((len(found), versions))
            store.query(rows[:3], top_k=5)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for version in range(1, 25):
            store.upsert(batch(version))
    finally:
        done.set()
        for reader in readers:
            reader.join()
    store.wait_indexed()
    assert wrong == []
    assert {record.metadata["version"] for record in store.fetch([f"{n}" for n in range(200)]).values()} == {24}


def test_writers_of_one_namespace_lose_nothing():
    store = Store(dimension=DIMENSION)
    rows = clustered(100, seed=6)

    def write(writer):
        for n, row in enumerate(rows):
            store.upsert([Record(f"{writer}-{n}", row)], namespace="shared")
            store.upsert([Record("one", row)], namespace=f"brief{n}")
            store.delete(["one"], namespace=f"brief{n}")

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.stats()["shared"] == 400


def test_a_namespace_that_is_rewritten_for_ever_stays_small():
    store = Store(dimension=DIMENSION)
    row = clustered(1, seed=7)[0]
    for n in range(1000):
        store.upsert([Record("user", row, {"n": n})], namespace="u")
    assert store.query(row[None, :], top_k=5, namespace="u")[0][0].metadata == {"n": 999}
    assert store._namespaces["u"]._view.size < 30


def test_close_vectors_far_from_the_origin_keep_their_distances():
    rows = (10_000 + np.arange(50)[:, None] * np.ones(DIMENSION)).astype(np.float32)
    store = Store(dimension=DIMENSION, metric="euclidean")
    store.upsert([Record(f"{n}", row) for n, row in enumerate(rows)])
    for query, found in zip(rows, store.query(rows, top_k=1), strict=True):
        assert (found[0].score, rows[int(found[0].id), 0]) == (0, query[0])


def test_tiny_and_huge_vectors_have_a_direction():
    store = Store(dimension=2)
    store.upsert([Record("tiny", [1e-30, 0]), Record("huge", [0, 1e38])])
    assert [(m.id, m.score) for m in store.query(np.array([[3e38, 0]]), top_k=2)[0]] == [("tiny", 1), ("huge", 0)]


def test_scores_beyond_float32_are_an_error():
    store = Store(dimension=2, metric="dotproduct")
    store.upsert([Record("huge", [1e38, 1])])
    with pytest.raises(VectorError, match="too large"):
        store.query(np.array([[1e38, 1]]), top_k=1)


def test_settings_that_contradict_themselves_are_refused():
    with pytest.raises(SettingError, match="nlist"):
        Store(dimension=2, index=IVF(nlist=4, nprobe=5))
    for wrong in ({"dimension": 0}, {"dimension": 20_001}, {"dimension": 2.0}, {"dimension": 2, "metric": "l2"}):
        with pytest.raises(VectorError, match="not allowed"):
            Store(**wrong)


def test_exit_during_a_build_is_clean():
    program = (
        "import numpy as np; from workbench.vectors.store import Store; from workbench.events import Record\n"
        "rows = np.random.default_rng(0).normal(size=(20_000, 128)).astype('f4')\n"
        "Store(dimension=128).upsert([Record(str(n), row) for n, row in enumerate(rows)])"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")
