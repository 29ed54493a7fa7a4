"""What a store keeps when its process is killed, its disk is full, or its folder is another's."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from workbench.benchmarks.kills import Killed, Operation, applied, held, kills, operation
from workbench.errors import StoreDamaged, VectorError
from workbench.events import Record
from workbench.settings import HNSW, Flat
from workbench.vectors.store import Store


def some(count, seed=0, dimension=8):
    values = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return [Record(f"r{n}", row, {"n": n}) for n, row in enumerate(values)]


# kill -9


@pytest.mark.parametrize("sync", ["normal", "full"])
def test_what_was_acknowledged_survives_kill_9(tmp_path, sync):
    seen = list(kills(tmp_path / "store", 4, sync=sync, seed=5))
    assert [kill.lost for kill in seen] == [0] * 4
    assert sum(kill.acknowledged for kill in seen) > 0
    assert all(kill.recall >= 0.9 for kill in seen)  # HNSW of 200 to 1,200 rows at ef_search 64


def test_operations_are_the_same_for_the_same_numbers_and_have_every_kind():
    for number in range(50):
        one, other = operation(3, number), operation(3, number)
        assert [record.id for record in one.records] == [record.id for record in other.records]
        assert one[2:] == other[2:] and one.namespace == other.namespace
        assert all(np.array_equal(a.values, b.values) for a, b in zip(one.records, other.records, strict=True))
    kinds = {(bool(o.records), o.ids is not None, o.below is not None) for o in (operation(3, n) for n in range(500))}
    assert kinds == {(True, False, False), (False, True, False), (False, False, True), (False, False, False)}


def test_the_model_of_what_must_be_there():
    a, b = some(2)
    first = applied({}, Operation("x", [Record("r0", a.values, {"place": 0}), Record("r1", b.values, {"place": 1})], None, None))
    assert set(first["x"]) == {"r0", "r1"}
    assert set(applied(first, Operation("x", [], ["r0", "unknown"], None))["x"]) == {"r1"}
    assert set(applied(first, Operation("x", [], None, 1))["x"]) == {"r1"}
    assert applied(first, Operation("x", [], None, None))["x"] == {}
    assert set(first["x"]) == {"r0", "r1"}  # as it was


def test_the_claim_adds_up_what_was_lost(monkeypatch):
    from workbench.benchmarks import kills as module

    asked = []

    def few(folder, count, *, sync, seed):
        asked.append((count, sync, seed))
        return [Killed(100, seed == 3, 1, 0.99 - seed / 100)] * count

    monkeypatch.setattr(module, "kills", few)
    claim = module.survived_kills("survived_kills")
    assert (claim.value, claim.low, claim.high, claim.runs) == (20, 0, 1, 200)
    assert claim.note.startswith("20,000 operations") and claim.note.endswith("0.900")
    assert {sync for _, sync, _ in asked} == {"normal", "full"} and sum(count for count, *_ in asked) == 200


# Ctrl-C

_INTERRUPTED = """
import signal, sys
import numpy as np
from workbench.settings import Flat
from workbench.vectors.store import Store

store = Store(dimension=4, index=Flat(), path=__import__("pathlib").Path(sys.argv[1]), sync="full")
interrupts = 0
signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
number = 0
while number < 1500 and interrupts < 60:
    try:
        number += 1
        store.put([f"r{number % 40}", "same"], np.full((2, 4), number, np.float32), [b"{}"] * 2)
        if number % 7 == 0:
            store.delete([f"r{number % 40}"])
    except KeyboardInterrupt:
        interrupts += 1
signal.setitimer(signal.ITIMER_REAL, 0)
rows = store.fetch(list(store.ids()))
print(interrupts, store.lsn, {id: float(row.values[0]) for id, row in rows.items()})
store.close()
again = Store(dimension=4, index=Flat(), path=__import__("pathlib").Path(sys.argv[1]))
print(interrupts, again.lsn, {id: float(row.values[0]) for id, row in again.fetch(list(again.ids())).items()})
"""


def test_ctrl_c_leaves_memory_and_log_the_same(tmp_path):
    done = subprocess.run([sys.executable, "-c", _INTERRUPTED, str(tmp_path / "s")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.splitlines()
    assert before == after
    assert int(before.split()[0]) > 0


def test_ctrl_c_during_a_write_is_heard_after_it(tmp_path):
    with Store(dimension=8, index=Flat(), path=tmp_path / "s") as store:
        real = store._ledger.log.append

        def slow(entry):
            signal.raise_signal(signal.SIGINT)
            real(entry)

        store._ledger.log.append = slow
        with pytest.raises(KeyboardInterrupt):
            store.upsert(some(3))
        assert store.stats() == {"": 3}
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        store._ledger.log.append = real
        store.upsert(some(1, seed=2), namespace="other")
    with Store(dimension=8, index=Flat(), path=tmp_path / "s") as store:
        assert store.stats() == {"": 3, "other": 1}


# A full disk


def test_a_full_disk_refuses_writes_and_nothing_else(tmp_path):
    with Store(dimension=8, index=Flat(), path=tmp_path / "s", sync="off") as store:
        store.upsert(some(20))
        database = store._ledger.log._database
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        most = database.execute("PRAGMA max_page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        before, lsn = held(store), store.lsn
        large = [Record(f"large{n}", row.values, {"text": "x" * 30_000}) for n, row in enumerate(some(20, seed=1))]
        for name in ("", "new"):
            with pytest.raises(VectorError, match="disk is full; nothing was stored") as refused:
                store.upsert(large, namespace=name)
            assert refused.value.status == 507 and "\n" not in str(refused.value)
        assert store.lsn == lsn
        assert store.namespaces() == {"": 20}
        assert set(store.fetch([record.id for record in large])) == set()
        assert [m.id for m in store.query(some(20)[3].values[None], top_k=1)[0]] == ["r3"]
        database.execute(f"PRAGMA max_page_count = {most}")
        store.upsert(large)
        assert store.stats() == {"": 40} and store.lsn == lsn + 1
    with Store(dimension=8, index=Flat(), path=tmp_path / "s") as store:
        assert store.stats() == {"": 40}
        found = store.fetch(list(before[""]))
        assert all(np.array_equal(found[id].values, record.values) for id, record in before[""].items())


_LIMITED = """
import resource, signal, sys, pathlib
import numpy as np
from workbench.errors import VectorError
from workbench.settings import Flat
from workbench.vectors.store import Store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = pathlib.Path(sys.argv[1])
store = Store(dimension=64, index=Flat(), path=path)
store.put(["kept"], np.ones((1, 64), np.float32), [b"{}"])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
stored = 0
try:
    while True:
        store.put([f"r{stored}-{n}" for n in range(100)], np.ones((100, 64), np.float32), [b"{}"] * 100)
        stored += 1
except VectorError as error:
    print(error.status, str(error).count(chr(10)), store.stats()[""] == 1 + 100 * stored, stored > 0)
try:
    store.delete(["kept"])
    store.put(["small"], np.ones((1, 64), np.float32), [b"{}"])
    stored_small = True
except VectorError as error:
    stored_small = False
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.put(["after"], np.ones((1, 64), np.float32), [b"{}"])
ids = sorted(store.ids())
store.close()
again = Store(dimension=64, index=Flat(), path=path)
print(sorted(again.ids()) == ids, "after" in ids)
"""


def test_a_file_system_that_takes_no_more_bytes(tmp_path):
    done = subprocess.run([sys.executable, "-c", _LIMITED, str(tmp_path / "s")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["507 0 True True", "True True"]


def test_a_graph_that_cannot_be_written_costs_nothing_but_a_build(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("workbench.vectors.kinds.HNSW_MINIMUM", 200)
    with Store(dimension=8, index=HNSW(), path=tmp_path / "s", sync="off") as store:

        def full(*_):
            raise OSError(28, "No space left on device")

        store._ledger._snapshots.write = full
        store.upsert(some(400))
        store.wait_indexed()
        assert store.scanned() == 0  # indexed all the same
    assert all(not record.exc_info for record in caplog.records)  # a line, no traceback
    assert any("No space left" in record.getMessage() for record in caplog.records)
    with Store(dimension=8, index=HNSW(), path=tmp_path / "s") as store:
        assert store.recovered.graphs == 0 and store.stats() == {"": 400}


# Whose folder it is


def test_a_folder_has_one_store(tmp_path):
    with Store(dimension=8, index=Flat(), path=tmp_path / "s") as store:
        store.upsert(some(2))
        with pytest.raises(VectorError, match="in use by another store") as refused:
            Store(dimension=8, index=Flat(), path=tmp_path / "s")
        assert refused.value.status == 409
        store.upsert(some(4))
    with Store(dimension=8, index=Flat(), path=tmp_path / "s") as store:
        assert store.stats() == {"": 4}


def test_the_folder_is_free_after_a_refusal(tmp_path):
    Store(dimension=8, index=Flat(), path=tmp_path / "s").close()
    with pytest.raises(StoreDamaged, match="dimension 8, not 9"):
        Store(dimension=9, index=Flat(), path=tmp_path / "s")
    Store(dimension=8, index=Flat(), path=tmp_path / "s").close()


@pytest.mark.parametrize("where", ["file", "file/below", "lock", "graphs", "log"])
def test_a_folder_that_cannot_be_used_is_named_in_one_line(tmp_path, where):
    path = tmp_path / where if where.startswith("file") else tmp_path / "s"
    if where.startswith("file"):
        (tmp_path / "file").write_text("something else")
    else:
        path.mkdir()
        {
            "lock": lambda: (path / "lock").mkdir(),
            "graphs": lambda: (path / "graphs").write_text("something else"),
            "log": lambda: (path / "log.sqlite").mkdir(),
        }[where]()
    with pytest.raises(VectorError, match=str(tmp_path)) as refused:
        Store(dimension=8, index=Flat(), path=path)
    assert refused.value.status == 507 and "\n" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    (tmp_path / "s").mkdir(mode=0o500)
    with pytest.raises(VectorError, match="Permission denied") as refused:
        Store(dimension=8, index=Flat(), path=tmp_path / "s")
    assert refused.value.status == 507


def test_a_closed_store_takes_no_writes_and_its_threads_are_gone(tmp_path):
    store = Store(dimension=8, index=Flat(), path=tmp_path / "s")
    store.upsert(some(2))
    store.close()
    store.close()
    with pytest.raises(VectorError, match="closed") as refused:
        store.upsert(some(3))
    assert not isinstance(refused.value, StoreDamaged)
    assert store.stats() == {"": 2}
    assert not [thread for thread in threading.enumerate() if thread.name == "vector-upkeep"]
    with contextlib.closing(Store(dimension=8, index=Flat(), path=Path(tmp_path / "s"))) as again:
        assert again.stats() == {"": 2}
