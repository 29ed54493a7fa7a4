"""Compaction of the log: the store is the same after each of its transactions, whoever writes and reads meanwhile."""

import contextlib
import itertools
import shutil
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import VectorError
from workbench.events import Record
from workbench.settings import Flat
from workbench.vectors import compaction
from workbench.vectors.compaction import compact
from workbench.vectors.log import CREATE, UPSERT
from workbench.vectors.store import Store

DIMENSION = 4
_numbers = itertools.count()


def open_store(folder):
    return Store(dimension=DIMENSION, index=Flat(), path=folder, sync="off")


def contents(store):
    """Everything in it, as something that compares."""
    return {
        name: {
            id: (record.values.tobytes(), record.metadata)
            for id, record in store.fetch(list(store.ids(namespace=name)), namespace=name).items()
        }
        for name in store.namespaces()
    }


def reopened(folder, tmp_path):
    """What a store holds that is opened on a copy of the folder as it is now."""
    copy = tmp_path / f"copy{next(_numbers)}"
    shutil.copytree(folder, copy)
    with open_store(copy) as store:
        return contents(store)


def records(ids, seed):
    values = np.random.default_rng(seed).normal(size=(len(ids), DIMENSION)).astype(np.float32)
    return [Record(id, row, {"seed": seed, "place": place}) for place, (id, row) in enumerate(zip(ids, values, strict=True))]


def worked(store, seed, operations=120):
    """Random writes in several namespaces."""
    draw = np.random.default_rng(seed)
    for number in range(operations):
        name, kind = ("", "b", "c")[draw.integers(3)], draw.random()
        ids = [f"r{n}" for n in draw.integers(60, size=draw.integers(1, 12))]
        if kind < 0.6:
            store.upsert(records(ids, number), namespace=name)
        elif kind < 0.85:
            store.delete(ids, namespace=name)
        elif kind < 0.92:
            store.update_matching({"place": 1}, {"changed": number}, namespace=name)
        elif kind < 0.95:
            store.delete(namespace=name)
        elif name in store.namespaces():
            store.drop_namespace(name)
        else:
            store.create_namespace(name)


def tidied(store, stopping=lambda: False):
    """One pass over the whole log, on this thread."""
    ledger = store._ledger
    return compact(ledger.log, ledger.lsn, ledger._alive, ledger.created.__contains__, stopping)


@pytest.fixture(autouse=True)
def small_entries(monkeypatch):
    monkeypatch.setattr(compaction, "_MOST", 20)
    monkeypatch.setattr(compaction, "_READ", 5)


@pytest.mark.parametrize("seed", range(3))
def test_the_store_is_the_same_after_every_transaction(tmp_path, seed):
    folder = tmp_path / "s"
    with open_store(folder) as store:
        worked(store, seed)
        expected, log, states = contents(store), store._ledger.log, []
        real, before = log.rewrite, log.totals.entries

        def rewrite(gone, written):
            real(gone, written)
            states.append(reopened(folder, tmp_path))

        log.rewrite = rewrite
        living = tidied(store)
        log.rewrite = real
        assert len(states) >= 3 and all(state == expected for state in states)
        assert log.totals.entries < before / 3
        assert living == sum(store.stats().values())
        logged = [entry for entry in log.between(0, store.lsn, 10_000) if entry.kind == UPSERT]
        assert sorted((e.namespace, id) for e in logged for id in e.ids) == sorted(
            (n, id) for n in expected for id in expected[n]
        )
        assert {e.namespace for e in log.between(0, store.lsn, 10_000) if e.kind not in (UPSERT, CREATE)} == set()
        assert contents(store) == expected
        worked(store, seed + 100, 30)  # with new numbers
        expected = contents(store)
        assert reopened(folder, tmp_path) == expected


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), failing=st.integers(0, 12))
def test_a_pass_that_fails_at_any_transaction_leaves_the_store_as_it_was(tmp_path_factory, seed, failing):
    tmp_path = tmp_path_factory.mktemp("failing")
    folder = tmp_path / "s"
    with open_store(folder) as store:
        worked(store, seed, 60)
        expected, log = contents(store), store._ledger.log
        real, done = log.rewrite, itertools.count()

        def rewrite(gone, written):
            if next(done) == failing:
                raise VectorError("the disk is full", 507)
            real(gone, written)

        log.rewrite = rewrite
        with contextlib.suppress(VectorError):
            tidied(store)
        log.rewrite = real
        assert contents(store) == reopened(folder, tmp_path) == expected
        worked(store, seed + 1, 20)
        tidied(store)
        expected = contents(store)
    with open_store(folder) as store:
        assert contents(store) == expected


@pytest.mark.parametrize("asked", [1, 3, 8, 20])
def test_a_pass_that_is_stopped_leaves_the_store_as_it_was(tmp_path, asked):
    with open_store(tmp_path / "s") as store:
        worked(store, 4)
        expected, times = contents(store), itertools.count(1)
        tidied(store, lambda: next(times) >= asked)
        assert reopened(tmp_path / "s", tmp_path) == expected


def test_numbers_are_not_given_twice_after_the_newest_record_is_gone(tmp_path):
    """A graph on disk says which records it has by their numbers: one given twice would put an old vector under a new record."""
    folder = tmp_path / "s"
    with open_store(folder) as store:
        store.upsert(records(["a", "b", "c"], 1))
        store.delete(["c"])
        tidied(store)
        assert reopened(folder, tmp_path)[""].keys() == {"a", "b"}
        lsn = store.lsn
    with open_store(folder) as store:
        assert store.lsn == lsn
        store.upsert(records(["d"], 2))
        assert store.lsn == lsn + 1
        head = store._ledger.head("")
        assert {id: head.rows.versions[row] for id, row in head.find("abd").items()} == {"a": 1, "b": 2, "d": 4}
        store.delete()
        tidied(store)
        assert store._ledger.log.totals.entries == 0
    with open_store(folder) as store:
        store.upsert(records(["e"], 3))
        head = store._ledger.head("")
        assert head.rows.versions[0] == 5 and store.lsn == lsn + 3


def test_the_file_shrinks_by_itself_under_replacements(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.vectors.ledger._SPARE", 100)
    with open_store(tmp_path / "s") as store:
        text = "x" * 2_000
        largest = 0
        for number in range(60):
            store.upsert([Record(f"r{n}", np.ones(DIMENSION), {"text": text, "number": number}) for n in range(50)])
            largest = max(largest, store._ledger.log.totals.entries)
        store.wait_indexed()
        assert largest < 60
        store.upsert([Record("last", np.ones(DIMENSION), {})])
        store.wait_indexed()  # the pass for what was written during the one before
        expected = contents(store)
    size = (tmp_path / "s" / "log.sqlite").stat().st_size
    assert 50 * 2_000 < size < 6 * 50 * 2_000 < 60 * 50 * 2_000
    with open_store(tmp_path / "s") as store:
        assert contents(store) == expected and len(expected[""]) == 51


def test_many_small_writes_become_few_entries(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.vectors.ledger._SPARE", 100)
    with open_store(tmp_path / "s") as store:
        for number in range(400):
            store.upsert(records([f"r{number}"], number))
        store.wait_indexed()
        assert store._ledger.log.totals.entries < 200
        expected = contents(store)
        assert len(expected[""]) == 400
    with open_store(tmp_path / "s") as store:
        assert contents(store) == expected


def test_writers_and_readers_during_passes_lose_nothing(tmp_path):
    folder, failures = tmp_path / "s", []
    with open_store(folder) as store:
        worked(store, 9)
        store.delete()
        store.upsert(records(["kept"], 1), namespace="kept")
        over = threading.Event()
        held: list[dict] = [{}, {}]

        def write(writer):
            draw, mine = np.random.default_rng(writer), held[writer]
            try:
                for number in range(150):
                    ids = [f"w{writer}-{n}" for n in draw.choice(40, size=5, replace=False)]
                    if draw.random() < 0.7:
                        fresh = records(ids, number)
                        store.upsert(fresh)
                        mine.update((record.id, (record.values.tobytes(), record.metadata)) for record in fresh)
                    else:
                        store.delete(ids)
                        for id in ids:
                            mine.pop(id, None)
            except BaseException as error:
                failures.append(error)

        def read():
            try:
                while not over.is_set():
                    assert list(store.fetch(["kept"], namespace="kept")) == ["kept"]
                    store.query(np.ones((1, DIMENSION), np.float32), top_k=5)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=write, args=(writer,)) for writer in (0, 1)]
        reader = threading.Thread(target=read)
        for thread in [*threads, reader]:
            thread.start()
        passes = 0
        while any(thread.is_alive() for thread in threads):
            tidied(store)
            passes += 1
        over.set()
        reader.join()
        assert failures == [] and passes > 2
        expected = {**held[0], **held[1]}
        assert contents(store)[""] == expected
        assert reopened(folder, tmp_path)[""] == expected
        tidied(store)
        assert reopened(folder, tmp_path)[""] == expected
