"""Each kind of index against exact search over the contents at that moment: alone, and in a store that is written to."""

import errno
import functools
import io
import subprocess
import sys
import threading

import numpy as np
import pytest
from msgspec import structs

from workbench.errors import SettingError, StoreDamaged, VectorError
from workbench.events import Record
from workbench.settings import HNSW, HNSWSQ, IVF, IVFPQ, Flat
from workbench.vectors.index import ApproximateIndex, rows_needed
from workbench.vectors.store import Store

from .arithmetic import best_first, reference_scores

DIMENSION = 32
INDEXES = [
    Flat(),
    HNSW(m=16, ef_construction=80, ef_search=96),
    HNSWSQ(m=16, ef_construction=80, ef_search=96),
    IVF(nlist=16, nprobe=10),
]
KINDS = [*INDEXES[1:], IVFPQ(nlist=16, segments=4, nprobe=12, refine=64)]


@pytest.fixture(params=INDEXES, ids=lambda index: index.__struct_config__.tag)
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


def required(index):
    return {Flat: 1.0, HNSW: 0.95, HNSWSQ: 0.95, IVF: 0.9, IVFPQ: 0.9}[type(index)]


# An index alone


def graph_of(settings, metric="cosine", rows=None):
    """An index over all of ``ROWS``, or of others."""
    rows = rows_of(metric) if rows is None else rows
    graph = ApproximateIndex(settings, DIMENSION, euclidean=metric == "euclidean", unit_length=metric == "cosine")
    graph.train(rows)
    for _ in graph.add(rows):
        pass
    return graph


@functools.cache
def rows_of(metric, count=9_984):
    rows = clustered(count, seed=11)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric == "cosine" else rows


@functools.cache
def built(settings, metric):
    return graph_of(settings, metric)


def recall_of(graph, settings, metric, allowed=None, queries=None):
    """recall@10 among allowed rows; every score must be the row's own, and nearer ones come first."""
    rows, queries = rows_of(metric), clustered(40, seed=12) if queries is None else queries
    scores, found, covered = graph.search(queries, 10, allowed, rows, settings)
    assert covered == len(rows) == len(graph) and scores.shape == found.shape == (len(queries), 10)
    reference = reference_scores("euclidean" if metric == "euclidean" else "dotproduct", queries, rows)
    assert scores == pytest.approx(np.take_along_axis(reference, found, 1), rel=1e-4, abs=1e-4)
    assert (np.diff(scores, axis=1) * (1 if metric == "euclidean" else -1) >= 0).all()
    among = np.arange(len(rows)) if allowed is None else allowed.nonzero()[0]
    assert np.isin(found, among).all() and all(len(set(row)) == 10 for row in found.tolist())
    best = among[best_first(metric, reference[:, among])[:, :10]]
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), best.tolist(), strict=True)])


@pytest.fixture(params=KINDS, ids=lambda index: index.__struct_config__.tag)
def kind(request):
    return request.param


def test_an_index_finds_the_nearest_rows_and_scores_them_exactly(kind, metric):
    assert recall_of(built(kind, metric), kind, metric) >= required(kind)


@pytest.mark.parametrize("share", [0.99, 0.5, 0.2, 0.1, 0.05, 0.01])
def test_a_filter_that_is_independent_of_the_vectors_costs_no_recall(kind, metric, share):
    allowed = np.random.default_rng(13).random(len(rows_of(metric))) < share
    assert recall_of(built(kind, metric), kind, metric, allowed) >= required(kind)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2, 0.05])
def test_a_filter_for_what_lies_far_from_the_queries_costs_no_recall(kind, metric, share):
    """The queries come from one cluster, whose rows and those around it are not allowed."""
    rows = rows_of(metric)
    query = clustered(1, seed=14)
    queries = (query + 0.05 * np.random.default_rng(15).normal(size=(20, DIMENSION))).astype(np.float32)
    order = best_first(metric, reference_scores("euclidean" if metric == "euclidean" else "dotproduct", query, rows))[0]
    allowed = np.ones(len(rows), bool)
    allowed[order[: round((1 - share) * len(rows))]] = False
    assert recall_of(built(kind, metric), kind, metric, allowed, queries) >= required(kind)


def test_one_batch_may_have_queries_near_to_and_far_from_what_is_allowed(kind):
    rows = rows_of("cosine")
    order = np.argsort(-(rows @ rows[0]))
    allowed = np.zeros(len(rows), bool)
    allowed[order[: len(rows) // 2]] = True
    assert recall_of(built(kind, "cosine"), kind, "cosine", allowed, rows[order[[0, 5, -1, 1, -2]]]) >= required(kind)


def test_rows_behind_those_that_a_reader_knows_of_are_not_allowed(kind):
    rows, graph = rows_of("cosine"), built(kind, "cosine")
    allowed = np.ones(5_000, bool)  # the index was extended meanwhile
    _, found, covered = graph.search(rows[6_000:6_020], 10, allowed, rows, kind)
    assert covered == len(rows) and found.min() >= 0 and found.max() < 5_000


def test_where_too_few_rows_are_allowed_the_rest_is_minus_one(kind):
    rows = rows_of("cosine")
    for some in ([], [17, 9_000]):
        allowed = np.zeros(len(rows), bool)
        allowed[some] = True
        _, found, _ = built(kind, "cosine").search(rows[:3], 4, allowed, rows, kind)
        assert [sorted(row) for row in found.tolist()] == [[-1] * (4 - len(some)) + some] * 3


@pytest.mark.parametrize(
    ("build", "name", "values"),
    [
        (HNSW(m=8, ef_construction=40), "ef_search", [10, 40, 400]),
        (HNSWSQ(m=8, ef_construction=40), "ef_search", [10, 40, 400]),
        (IVF(nlist=64, nprobe=1), "nprobe", [1, 4, 64]),
        (IVFPQ(nlist=64, segments=4, refine=64), "nprobe", [1, 4, 64]),
        (IVFPQ(nlist=16, segments=4, nprobe=16), "refine", [1, 4, 64]),
    ],
)
def test_query_settings_buy_recall_from_the_same_build(build, name, values):
    graph = built(build, "dotproduct")
    recalls = [recall_of(graph, structs.replace(build, **{name: value}), "dotproduct") for value in values]
    assert recalls == sorted(recalls) and recalls[0] < recalls[-1] - 0.03 and recalls[-1] > 0.95


def test_every_cell_and_no_code_is_exact_search():
    assert recall_of(built(IVF(nlist=64, nprobe=1), "euclidean"), IVF(nlist=64, nprobe=64), "euclidean") == 1


def written(graph):
    file = io.BytesIO()
    graph.write(file)
    return file.getvalue()


def read(data, settings, metric="cosine", dimension=DIMENSION):
    file = data if isinstance(data, io.BytesIO) else io.BytesIO(data)
    euclidean = metric == "euclidean"
    return ApproximateIndex.read(file, settings, dimension, euclidean=euclidean, unit_length=metric == "cosine")


def test_one_thread_builds_the_same_index_each_time(kind):
    assert written(graph_of(kind)) == written(built(kind, "cosine"))


def test_what_was_written_is_read(kind, metric):
    graph = built(kind, metric)
    file = io.BytesIO(written(graph) + b"what follows")
    again = read(file, kind, metric)
    assert file.read() == b"what follows" and len(again) == len(graph)
    queries, rows = clustered(20, seed=16), rows_of(metric)
    for ours, theirs in zip(
        graph.search(queries, 10, None, rows, kind), again.search(queries, 10, None, rows, kind), strict=True
    ):
        assert np.array_equal(ours, theirs)


def test_an_index_that_was_read_can_be_extended(kind):
    more = clustered(300, seed=17)
    rows = np.vstack([rows_of("dotproduct"), more])
    graph = read(written(built(kind, "dotproduct")), kind, "dotproduct")
    for _ in graph.add(more):
        pass
    _, found, covered = graph.search(more, 10, None, rows, kind)
    best = best_first("dotproduct", reference_scores("dotproduct", more, rows))[:, :10]
    assert covered == len(rows) and np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, best, strict=True)]) >= 0.9


def test_an_index_of_another_build_is_refused(kind):
    data = written(built(kind, "cosine"))
    others = [HNSW(m=8), HNSWSQ(m=8), IVF(nlist=32, nprobe=1), IVFPQ(nlist=32, segments=4), IVFPQ(nlist=16, segments=8, nprobe=1)]
    others += [HNSW(ef_construction=9), *(other for other in KINDS if other != kind)]
    for other in others:
        with pytest.raises(StoreDamaged, match="the index was built as"):
            read(data, other)
    for wrong in ({"metric": "euclidean"}, {"dimension": 2 * DIMENSION}):
        with pytest.raises(StoreDamaged, match="the index was built as"):
            read(data, kind, **wrong)


def test_an_index_that_is_cut_short_is_refused(kind):
    data = written(built(kind, "cosine"))
    lengths = {0, 1, 4, 20, 40, len(data) - 1, *np.random.default_rng(18).integers(len(data), size=30).tolist()}
    for length in lengths:
        with pytest.raises(StoreDamaged, match=r"the index cannot be read: [^\n]+$"):
            read(data[:length], kind)


def test_a_file_of_something_else_is_refused(kind):
    for data in (b"\0" * 1_000, b"SQLite format 3\0" * 100, bytes(range(256)) * 10):
        with pytest.raises(StoreDamaged):
            read(data, kind)


def test_a_full_disk_and_an_unreadable_one_say_so():
    class Disk(io.RawIOBase):
        def write(self, part):
            raise OSError(errno.ENOSPC, "No space left on device")

        def read(self, size=-1):
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="No space left"):
        built(HNSW(), "cosine").write(Disk())
    with pytest.raises(OSError, match="Input/output"):
        ApproximateIndex.read(Disk(), HNSW(), DIMENSION, euclidean=False, unit_length=True)


def test_two_threads_build_as_good_an_index(kind):
    rows = rows_of("cosine")
    graph = ApproximateIndex(kind, DIMENSION, euclidean=False, unit_length=True)
    graph.train(rows, threads=2)
    for _ in graph.add(rows, threads=2):
        pass
    assert recall_of(graph, kind, "cosine") >= required(kind)


def test_training_with_as_many_rows_as_are_needed_warns_of_nothing(kind, capfd):
    rows = rows_of("cosine")[: rows_needed(kind)]
    assert len(graph_of(kind, rows=rows)) == rows_needed(kind)
    assert capfd.readouterr() == ("", "")


def test_chunks_are_small_as_soon_as_somebody_searches():
    rows = rows_of("cosine")

    def chunks(graph, count, **how):
        return sum(1 for _ in graph.add(rows[:count], **how))

    graph = graph_of(HNSW(), rows=rows[:1_000])
    assert chunks(graph, 256) == 1
    graph.search(rows[:1], 1, None, rows, HNSW())
    assert chunks(graph, 16) == 4
    assert chunks(graph, 256, threads=2) == 1  # whoever gives it two threads expects no queries
    adding = graph.add(rows[:512], threads=2)
    next(adding)
    graph.search(rows[:1], 1, None, rows, HNSW())
    assert sum(1 for _ in adding) == 64 and len(graph) == 1_000 + 256 + 16 + 256 + 512


def test_writing_waits_for_no_query_and_no_query_for_writing(kind):
    """While a file takes its bytes, queries are answered."""
    rows, graph, answers = rows_of("cosine"), built(kind, "cosine"), []

    class Slow(io.BytesIO):
        def write(self, part):
            answers.append(graph.search(rows[:1], 1, None, rows, kind)[2])
            return super().write(part)

    slow = Slow()
    graph.write(slow)
    assert answers and set(answers) == {len(rows)} and slow.getvalue() == written(graph)


def test_searches_while_rows_are_added_find_whole_rows(kind):
    rows = rows_of("cosine")
    graph = graph_of(kind, rows=rows[:9_984]) if isinstance(kind, IVFPQ) else graph_of(kind, rows=rows[:4_000])
    rows = np.vstack([rows[: len(graph)], clustered(600, seed=19)])
    done, wrong = threading.Event(), []

    def search():
        while not done.is_set():
            scores, found, covered = graph.search(rows[:5], 10, None, rows, kind)
            expected = np.take_along_axis(rows[:5] @ rows[:covered].T, found, 1)
            if not np.allclose(scores, expected, atol=1e-4):
                wrong.append((scores, expected))

    searching = [threading.Thread(target=search) for _ in range(2)]
    for thread in searching:
        thread.start()
    try:
        for _ in graph.add(rows[len(graph) :]):
            pass
    finally:
        done.set()
        for thread in searching:
            thread.join()
    assert wrong == [] and len(graph) == len(rows)


# In a store


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
    store.wait_indexed()
    assert store._ledger.namespaces["u"].head.size < 30


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
