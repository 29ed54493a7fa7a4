"""The store as a whole, held to a plain dict through any sequence of calls, and to its promises while threads use it."""

import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from workbench.errors import ServiceError, SettingError, VectorError
from workbench.events import Record
from workbench.settings import HNSW, HNSWSQ, IVF, Flat
from workbench.vectors import compaction, kinds, ledger, namespace
from workbench.vectors.store import Store

from .arithmetic import reference_scores

DIMENSION = 4
DELAY_S = 5.0
NAMES = st.sampled_from(["", "b", "c"])
IDS = st.lists(st.integers(0, 25).map("r{}".format), min_size=1, max_size=9)
PLACES = st.integers(0, 6)


class Against(RuleBasedStateMachine):
    """A store on disk, searched exactly."""

    index, metric, on_disk, delay_s = Flat(), "euclidean", True, 0.0

    def __init__(self):
        super().__init__()
        self.patched = pytest.MonkeyPatch()
        for module, name, value in [
            (kinds, "HNSW_MINIMUM", 12),
            (namespace, "_TAIL", 5),
            (namespace, "_INLINE", 10),
            (ledger, "_SPARE", 20),
            (compaction, "_MOST", 8),
            (compaction, "_READ", 3),
        ]:
            self.patched.setattr(module, name, value)
        self.now = 100.0
        if self.delay_s:
            self.patched.setattr(namespace, "monotonic", lambda: self.now)
            self.patched.setattr(ledger, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.folder = tempfile.TemporaryDirectory()
        self.store = None
        self.seed = 0
        self.head: dict[str, dict] = {}  # what was acknowledged: by namespace and id, (values, metadata)
        self.created: set[str] = set()
        self.lsn = 0
        self.history: list[tuple[float, int, dict]] = [(0.0, 0, {})]  # (when, lsn, what was there)

    @initialize()
    def open(self):
        path = Path(self.folder.name) / "s" if self.on_disk else None
        self.store = Store(
            dimension=DIMENSION, metric=self.metric, index=self.index, path=path, sync="off", visible_after_s=self.delay_s
        )

    def teardown(self):
        if self.store is not None:
            self.store.close()
        self.folder.cleanup()
        self.patched.undo()

    def happened(self, *, wrote=True):
        if wrote:
            self.lsn += 1
            self.history.append((self.now, self.lsn, {name: dict(held) for name, held in self.head.items()}))
        assert self.store.lsn == self.lsn

    def visible(self):
        return next(entry for entry in reversed(self.history) if entry[0] + self.delay_s <= self.now or entry[1] == 0)

    def fresh(self, count):
        self.seed += 1
        return np.random.default_rng(self.seed).normal(size=(count, DIMENSION)).astype(np.float32)

    # Writes

    @rule(name=NAMES, ids=IDS, tag=st.sampled_from(["x", "é"]))
    def upsert(self, name, ids, tag):
        values = self.fresh(len(ids))
        batch = [
            Record(id, row, {"place": place % 7, "tag": tag}) for place, (id, row) in enumerate(zip(ids, values, strict=True))
        ]
        assert self.store.upsert(batch, namespace=name) == len(ids)
        self.head.setdefault(name, {}).update({each.id: (each.values.tobytes(), each.metadata) for each in batch})
        self.happened()

    @rule(name=NAMES, first=st.integers(0, 3))
    def upsert_many(self, name, first):
        self.upsert(name, [f"r{n}" for n in range(first, first + 15)], "many")

    @rule(name=NAMES, id=st.integers(0, 25).map("r{}".format), what=st.sampled_from(["values", "metadata", "both"]))
    def update(self, name, id, what):
        held = self.head.get(name, {})
        values = self.fresh(1)[0] if what != "metadata" else None
        metadata = {"more": self.seed} if what != "values" else None
        assert self.store.update(id, values=values, metadata=metadata, namespace=name) == (id in held)
        if id in held:
            before = held[id]
            held[id] = (before[0] if values is None else values.tobytes(), {**before[1], **(metadata or {})})
        self.happened(wrote=id in held)

    @rule(name=NAMES, place=PLACES, dry=st.booleans())
    def update_matching(self, name, place, dry):
        held = self.head.get(name, {})
        matching = [id for id, (_, metadata) in held.items() if metadata["place"] == place]
        self.seed += 1
        assert self.store.update_matching({"place": place}, {"by": self.seed}, namespace=name, dry_run=dry) == len(matching)
        if not dry:
            held.update({id: (held[id][0], {**held[id][1], "by": self.seed}) for id in matching})
        self.happened(wrote=bool(matching) and not dry)

    @rule(name=NAMES, ids=IDS)
    def delete(self, name, ids):
        held = self.head.get(name, {})
        gone = [held.pop(id) for id in dict.fromkeys(ids) if id in held]
        self.store.delete(ids, namespace=name)
        self.happened(wrote=bool(gone))

    @rule(name=NAMES, place=PLACES)
    def delete_matching(self, name, place):
        held = self.head.get(name, {})
        gone = [id for id, (_, metadata) in held.items() if metadata["place"] >= place]
        for id in gone:
            del held[id]
        self.store.delete(namespace=name, filter={"place": {"$gte": place}})
        self.happened(wrote=bool(gone))

    @rule(name=NAMES)
    def empty(self, name):
        there = bool(self.head.pop(name, {}))
        self.store.delete(namespace=name)
        self.happened(wrote=there)

    @rule(name=NAMES)
    def create(self, name):
        if name in self.created or self.head.get(name):
            with pytest.raises(VectorError, match="already exists"):
                self.store.create_namespace(name)
            return
        self.store.create_namespace(name)
        self.created.add(name)
        self.happened()

    @rule(name=NAMES)
    def drop(self, name):
        if name not in self.created and not self.head.get(name):
            with pytest.raises(VectorError, match="does not exist"):
                self.store.drop_namespace(name)
            return
        self.store.drop_namespace(name)
        self.created.discard(name)
        self.head.pop(name, None)
        self.happened()

    @rule()
    def refused(self):
        with pytest.raises(VectorError):
            self.store.upsert([Record("fine", np.ones(DIMENSION), {}), Record("bad", np.zeros(DIMENSION), {})])
        self.happened(wrote=False)

    # Everything else that happens to a store

    @rule()
    def reopen(self):
        if self.on_disk:
            self.store.close()
            self.open()
            assert self.store.recovered.records == sum(map(len, self.head.values()))
            self.history.append((-self.delay_s, self.lsn, self.history[-1][2]))  # all of it is seen at once

    @rule()
    def compact(self):
        if self.on_disk:
            self.store._ledger.upkeep.submit(self.store._ledger._compact)  # where no other pass is under way
            self.store.wait_indexed(30)

    @rule()
    def wait(self):
        self.store.wait_indexed(30)

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, 20.0]))
    def passes(self, seconds):
        self.now += seconds

    # What must hold

    @rule(name=NAMES, k=st.integers(1, 40), place=st.none() | PLACES)
    def query(self, name, k, place):
        held = self.visible()[2].get(name, {})
        if place is not None:
            held = {id: record for id, record in held.items() if record[1]["place"] <= place}
        self.seed += 1
        queries = np.random.default_rng(self.seed).normal(size=(2, DIMENSION)).astype(np.float32)
        found = self.store.query(queries, top_k=k, namespace=name, filter=None if place is None else {"place": {"$lte": place}})
        if not held:
            assert found == [[], []]
            return
        ids = list(held)
        values = np.stack([np.frombuffer(held[id][0], np.float32) for id in ids])
        for line, matches in zip(reference_scores(self.metric, queries, values), found, strict=True):
            own = dict(zip(ids, line, strict=True))
            assert len({match.id for match in matches}) == len(matches) == min(k, len(held))
            assert [match.metadata for match in matches] == [held[match.id][1] for match in matches]
            given = [match.score for match in matches]
            assert given == pytest.approx([own[match.id] for match in matches], rel=1e-4, abs=1e-5)
            assert given == sorted(given, reverse=self.metric != "euclidean")
            if isinstance(self.index, Flat):
                best = np.sort(line) if self.metric == "euclidean" else -np.sort(-line)
                assert given == pytest.approx(best[:k], rel=1e-4, abs=1e-5)

    @invariant()
    def the_same(self):
        if self.store is None:
            return
        _, lsn, expected = self.visible()
        assert self.store.visible_lsn == lsn
        counts = {name: len(held) for name, held in expected.items() if held}
        assert self.store.stats() == counts
        assert self.store.namespaces() == {**dict.fromkeys(self.created, 0), **counts}
        for name in ("", "b", "c"):
            held = expected.get(name, {})
            assert list(self.store.ids(namespace=name)) == sorted(held)
            found = self.store.fetch([f"r{n}" for n in range(26)], namespace=name)
            assert {id: (record.values.tobytes(), record.metadata) for id, record in found.items()} == held


class InMemory(Against):
    index, metric, on_disk = Flat(), "cosine", False


class WithGraphs(Against):
    index, metric = HNSW(m=4, ef_construction=20, ef_search=40), "cosine"


class Eventually(Against):
    delay_s, metric = DELAY_S, "dotproduct"


class EventuallyWithGraphs(Against):
    index, delay_s, on_disk = HNSW(m=4, ef_construction=20, ef_search=40), DELAY_S, False


for machine in (Against, InMemory, WithGraphs, Eventually, EventuallyWithGraphs):
    machine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)

TestAgainst = Against.TestCase
TestInMemory = InMemory.TestCase
TestWithGraphs = WithGraphs.TestCase
TestEventually = Eventually.TestCase
TestEventuallyWithGraphs = EventuallyWithGraphs.TestCase


# Threads


@pytest.mark.parametrize(
    "index", [HNSW(m=8, ef_construction=40), HNSWSQ(m=8, ef_construction=40), IVF(nlist=4, nprobe=4), Flat()]
)
def test_readers_see_whole_batches_and_nothing_that_was_deleted(tmp_path, monkeypatch, index):
    """Each batch writes one number into 20 records; whoever reads sees one number in all of them, never an older one."""
    for module, name, value in [
        (kinds, "HNSW_MINIMUM", 150),
        (namespace, "_TAIL", 40),
        (ledger, "_SPARE", 100),
        (compaction, "_MOST", 50),
    ]:
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(kinds, "MINIMUM_PER_CENTROID", 2)
    dimension, failures, over = 16, [], threading.Event()
    acknowledged, gone = [0], [0]  # the last batch that returned; records g0 … g(n-1) whose deletion returned
    vectors = np.random.default_rng(0).normal(size=(600, dimension)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    with Store(dimension=dimension, index=index, path=tmp_path / "s", sync="off") as store:
        store.upsert([Record(f"g{n}", vectors[n], {"row": n}) for n in range(300)])
        store.upsert([Record(f"b{n}", vectors[300 + n], {"batch": 0, "row": 300 + n}) for n in range(20)])

        def guarded(work):
            def run():
                try:
                    work()
                except BaseException as error:
                    failures.append(error)
                finally:
                    if work in (write, remove):
                        done.release()

            return threading.Thread(target=run)

        def write():
            for number in range(1, 120):
                rows = np.random.default_rng(number).integers(600, size=20)
                store.upsert([Record(f"b{n}", vectors[row], {"batch": number, "row": int(row)}) for n, row in enumerate(rows)])
                acknowledged[0] = number

        def remove():
            for n in range(250):
                store.delete([f"g{n}"])
                gone[0] = n + 1

        def search():
            draw = np.random.default_rng(7)
            while not over.is_set():
                query = draw.normal(size=dimension).astype(np.float32)
                deleted = gone[0]
                matches = store.query(query[None], top_k=15)[0]
                assert len(matches) == 15 == len({match.id for match in matches})
                scores = [float(unit[match.metadata["row"]] @ query / np.linalg.norm(query)) for match in matches]
                assert [match.score for match in matches] == pytest.approx(scores, abs=1e-5)
                numbers = [int(match.id[1:]) for match in matches if match.id.startswith("g")]
                assert all(number >= deleted for number in numbers)

        def look():
            while not over.is_set():
                before = acknowledged[0]
                for found in (
                    store.fetch([f"b{n}" for n in range(20)]).values(),
                    store.query(vectors[:1], top_k=20, filter={"batch": {"$gte": 0}})[0],
                ):
                    batches = {record.metadata["batch"] for record in found}
                    assert len(found) == 20 and len(batches) == 1 and batches.pop() >= before
                assert store.visible_lsn <= store.lsn

        done = threading.Semaphore(0)
        threads = [guarded(work) for work in (write, remove, search, search, look)]
        for thread in threads:
            thread.start()
        for _ in (write, remove):
            done.acquire(timeout=60)
        over.set()
        for thread in threads:
            thread.join()
        assert failures == []
        store.wait_indexed()
        assert store.stats() == {"": 70}
    with Store(dimension=dimension, index=index, path=tmp_path / "s") as store:
        assert store.stats() == {"": 70}
        assert {record.metadata["batch"] for record in store.fetch([f"b{n}" for n in range(20)]).values()} == {119}


def test_readers_of_a_store_that_is_eventually_consistent_never_go_back():
    """Several readers uncover what has become visible at the same time; none may put an older state over a newer one."""
    failures, over = [], threading.Event()
    with Store(dimension=2, index=Flat(), visible_after_s=0.002) as store:

        def look():
            try:
                last = -1
                while not over.is_set():
                    seen = store.visible_lsn
                    found = store.fetch(["x"])
                    number = found["x"].metadata["n"] if found else 0
                    assert number >= seen and number >= last
                    last = number
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(1, 1_500):
            store.upsert([Record("x", np.ones(2), {"n": number})])
        over.set()
        for thread in threads:
            thread.join()
        assert failures == []


# Single calls


@pytest.mark.parametrize(
    ("values", "query"),
    [([3e38, 3e38], [3e38, 3e38]), ([-3e38, -3e38], [3e38, 3e38]), ([3e38, -3e38], [3e38, 3e38])],
)
@pytest.mark.parametrize("metric", ["dotproduct", "euclidean"])
def test_scores_beyond_float32_are_refused_and_no_other_record_is_given(metric, values, query):
    with Store(dimension=2, metric=metric, index=Flat()) as store:
        store.upsert([Record("large", values, {})])
        if metric == "euclidean" and values == query:
            assert store.query(np.array([query], np.float32), top_k=1)[0][0].score == 0
            return
        with pytest.raises(VectorError, match="too large for float32"):
            store.query(np.array([query], np.float32), top_k=1)
        store.upsert([Record("small", [1e-30, 1e-30], {}), Record("fine", [1e-30, 1e-29], {})])
        store.delete(["large"])
        assert {match.id for match in store.query(np.ones((1, 2), np.float32), top_k=5)[0]} == {"small", "fine"}


def test_a_record_is_seen_and_then_not_though_it_was_deleted_before_it_was_seen(monkeypatch):
    now = [10.0]
    monkeypatch.setattr(namespace, "monotonic", lambda: now[0])
    monkeypatch.setattr(ledger, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with Store(dimension=2, index=Flat(), visible_after_s=2.0) as store:
        store.upsert([Record("x", [1, 1], {})])
        now[0] = 11.0
        store.delete(["x"])
        assert (store.lsn, store.visible_lsn, store.stats()) == (2, 0, {})
        now[0] = 12.0
        assert (store.visible_lsn, store.stats()) == (1, {"": 1})
        now[0] = 13.0
        assert (store.visible_lsn, store.stats()) == (2, {})


def test_pages_of_ids_and_of_records():
    with Store(dimension=2, index=Flat()) as store:
        store.upsert([Record(f"{'ab'[n % 2]}{n:02}", [1, n + 1], {"n": n}) for n in range(30)])
        assert store.page(prefix="a", limit=3) == ["a00", "a02", "a04"]
        assert store.page(prefix="a", limit=3, after="a04") == ["a06", "a08", "a10"]
        assert store.page(prefix="a", after="a28") == []
        seen, after, pages = [], None, 0
        while True:
            found, after = store.fetch_matching({"n": {"$lt": 20}}, limit=6, after=after)
            seen, pages = seen + list(found), pages + 1
            if after is None:
                break
        assert pages == 4 and seen == sorted(f"{'ab'[n % 2]}{n:02}" for n in range(20))
        assert store.fetch_matching({"n": 3}, limit=1)[1] is None


def test_other_query_settings_and_no_other_build_settings():
    with Store(dimension=2, index=HNSW(m=8)) as store:
        store.tune(HNSW(m=8, ef_search=9))
        assert store.index == HNSW(m=8, ef_search=9)
        for index in (HNSW(m=9), Flat(), HNSW(m=8, ef_construction=7)):
            with pytest.raises(SettingError, match="only query settings"):
                store.tune(index)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dimension": 0}, "dimension 0 is not allowed"),
        ({"dimension": 2, "metric": "manhattan"}, "cosine, dotproduct, euclidean"),
        ({"dimension": 2, "visible_after_s": -1.0}, "visible_after_s"),
        ({"dimension": 2, "visible_after_s": float("nan")}, "visible_after_s"),
    ],
)
def test_settings_that_are_refused(options, says):
    with pytest.raises((SettingError, VectorError), match=says):
        Store(**options)


def test_waiting_for_an_index_ends(monkeypatch):
    with Store(dimension=2, index=Flat()) as store:
        blocked = threading.Event()
        store._ledger.upkeep.submit(lambda stopping: blocked.wait(20))
        assert store.building == 1
        with pytest.raises(ServiceError, match="still being built"):
            store.wait_indexed(0.01)
        blocked.set()
        store.wait_indexed(20)
        assert store.building == 0
