"""One namespace in memory: when its rows are moved and indexed, and what is written to disk of that."""

import threading

import numpy as np
import pytest

from workbench.settings import HNSW, Flat
from workbench.vectors import kinds, namespace
from workbench.vectors.namespace import Namespace
from workbench.vectors.space import Space

DIMENSION = 4


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(kinds, "HNSW_MINIMUM", 50)
    monkeypatch.setattr(namespace, "_TAIL", 20)
    monkeypatch.setattr(namespace, "_INLINE", 30)


class World:
    """A namespace whose upkeep is done when the test says so, with what it wrote to disk."""

    def __init__(self, index, delay_s=0.0):
        self.space = Space(DIMENSION, "euclidean", index, delay_s)
        self.jobs, self.kept, self.version = [], [], 0
        self.namespace = Namespace(self.space, self.jobs.append, self.keep)

    def keep(self, versions, graph):
        self.kept.append((versions.tolist(), len(graph)))

    def upsert(self, ids):
        ids = list(ids)
        with self.space.writing:
            self.namespace.reserve(len(ids))
            versions = np.arange(self.version + 1, self.version + 1 + len(ids))
            vectors = np.stack([vector(version) for version in versions])
            self.namespace.upsert(ids, vectors, [b"{}"] * len(ids), versions)
            self.version += len(ids)

    def delete(self, ids):
        with self.space.writing:
            self.namespace.delete(ids)

    def work(self):
        while self.jobs:
            self.jobs.pop(0)(lambda: False)

    def nearest(self, version):
        (hits,) = self.namespace.view.hits(self.space, vector(version)[None], 1, None)
        return hits[0].id, hits[0].score


def vector(version):
    return np.random.default_rng([77, int(version)]).normal(size=DIMENSION).astype(np.float32)


def test_dead_rows_of_a_small_namespace_go_within_the_write():
    world = World(Flat())
    for _ in range(40):
        world.upsert(["a", "b"])
        assert world.namespace.head.size <= 2 * 2 + namespace._SPARE_DEAD + 2 and world.namespace.head.count == 2
    assert world.jobs == [] and not world.namespace.busy
    assert world.nearest(79)[0] == "a" and world.nearest(80)[0] == "b"


def test_dead_rows_of_a_larger_one_go_on_another_thread():
    world = World(Flat())
    for _ in range(3):
        world.upsert(f"r{n}" for n in range(40))
    assert len(world.jobs) == 1 and world.namespace.busy
    world.work()
    assert (world.namespace.head.size, world.namespace.head.count, world.namespace.busy) == (40, 40, False)
    assert world.namespace.head.rows.versions[:40].tolist() == list(range(81, 121))


def test_a_graph_is_built_extended_and_kept_as_it_grows():
    world = World(HNSW(m=8))
    world.upsert(f"r{n}" for n in range(49))
    assert world.jobs == []
    world.upsert(["r49"])
    world.work()
    assert len(world.namespace.view.graph) == 50 and world.kept == [(list(range(1, 51)), 50)]
    world.upsert(f"s{n}" for n in range(19))
    assert world.jobs == []
    world.upsert(["s19"])
    world.work()
    assert len(world.namespace.view.graph) == 70 and world.kept[1:] == [(list(range(1, 71)), 70)]  # at least 1.25 of 50
    world.upsert(f"t{n}" for n in range(21))
    world.work()
    assert len(world.namespace.view.graph) == 91 and len(world.kept) == 3
    world.upsert(f"u{n}" for n in range(20))
    world.work()
    assert len(world.namespace.view.graph) == 111 and len(world.kept) == 3  # less than 1.25 of 91
    world.namespace.keep_last()
    world.namespace.keep_last()
    assert world.kept[3:] == [(list(range(1, 112)), 111)]
    assert all(world.nearest(version)[1] == 0 for version in range(1, 112))


def test_what_is_written_while_a_graph_is_renewed_is_there_afterwards(monkeypatch):
    """Replaced, deleted and new records between the start of a build and its end, and readers all the while."""
    world, real = World(HNSW(m=8)), Namespace._fill

    def filled(self, graph, matrix, size, stopping):
        real(self, graph, matrix, size, stopping)
        world.upsert(["r0", "r1", "new"])  # versions 61 to 63
        world.delete(["r2", "r1"])
        assert world.nearest(61) == ("r0", 0) and world.namespace.head.count == 59
        monkeypatch.setattr(Namespace, "_fill", real)

    monkeypatch.setattr(Namespace, "_fill", filled)
    world.upsert(f"r{n}" for n in range(60))
    world.work()
    head = world.namespace.head
    assert (head.count, head.size, len(head.graph)) == (59, 62, 60)
    assert world.kept == [(list(range(1, 61)), 60)]
    expected = {**{f"r{n}": n + 1 for n in range(3, 60)}, "r0": 61, "new": 63}
    assert {id: int(head.rows.versions[row]) for id, row in head.find([*expected, "r1", "r2"]).items()} == expected
    for id, version in expected.items():
        assert world.nearest(version) == (id, 0)
    for version in (1, 2, 3, 62):  # replaced or deleted
        assert world.nearest(version)[1] > 0


@pytest.mark.parametrize("again", [0, 10, 80])
def test_a_graph_whose_namespace_was_emptied_meanwhile_is_never_laid_over_other_records(monkeypatch, again):
    """What is kept of it names the records it was built from, not those that are there by then."""
    world, real = World(HNSW(m=8)), Namespace._fill

    def filled(self, graph, matrix, size, stopping):
        real(self, graph, matrix, size, stopping)
        monkeypatch.setattr(Namespace, "_fill", real)
        with world.space.writing:
            world.namespace.empty()
        if again:
            world.upsert(f"other{n}" for n in range(again))

    monkeypatch.setattr(Namespace, "_fill", filled)
    world.upsert(f"r{n}" for n in range(60))
    world.work()
    assert world.namespace.head.count == again
    for versions, size in world.kept:
        assert versions in (list(range(1, 61)), list(range(61, 61 + again))) and len(versions) == size
    for version in range(61, 61 + again):
        assert world.nearest(version) == (f"other{version - 61}", 0)


def test_most_of_a_graph_deleted_ends_the_graph():
    world = World(HNSW(m=8))
    world.upsert(f"r{n}" for n in range(60))
    world.work()
    world.delete([f"r{n}" for n in range(10, 60)])
    world.work()
    head = world.namespace.head
    assert (head.count, head.size, head.graph) == (10, 10, None)


def test_a_build_that_is_stopped_changes_nothing():
    world = World(HNSW(m=8))
    world.upsert(f"r{n}" for n in range(60))
    before = world.namespace.head
    world.jobs.pop()(lambda: True)
    assert world.namespace.head is before and world.kept == []


def test_a_build_that_fails_is_tried_again_at_the_next_write(monkeypatch):
    world = World(HNSW(m=8))
    world.upsert(f"r{n}" for n in range(60))
    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(Namespace, "_fill", lambda *_: (_ for _ in ()).throw(MemoryError()))
        world.work()
    assert not world.namespace.busy
    world.upsert(["one more"])
    world.work()
    assert len(world.namespace.view.graph) == 61


def test_writes_become_visible_after_the_delay_and_in_order(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(namespace, "monotonic", lambda: now[0])
    world = World(Flat(), delay_s=3.0)
    world.upsert(["a"])
    now[0] = 52.0
    world.upsert(["b", "c"])
    world.delete(["a"])
    assert (world.namespace.head.count, world.namespace.view.count, world.namespace.forgettable) == (2, 0, False)
    now[0] = 53.0
    assert list(world.namespace.view.ids()) == ["a"]
    now[0] = 55.0
    assert list(world.namespace.view.ids()) == ["b", "c"]
    with world.space.writing:
        world.namespace.empty()
    assert not world.namespace.forgettable
    now[0] = 58.0
    assert world.namespace.view.count == 0 and world.namespace.forgettable


def test_readers_go_on_while_rows_are_moved():
    world, over, failures = World(Flat()), threading.Event(), []
    world.upsert(f"r{n}" for n in range(40))

    def read():
        while not over.is_set():
            view = world.namespace.view
            if len(view.find([f"r{n}" for n in range(40)])) != 40:
                failures.append(view)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(60):
        world.upsert(f"r{n}" for n in range(40))
        world.work()
    over.set()
    reader.join()
    assert failures == []
