"""Whether what a store acknowledged survives ``kill -9``, at any moment, while graphs are built and its files are tidied.

Run as a module, this is the process that is killed: it writes to a store and prints the number of each operation once it has
returned. The numbers alone say what was written, so the process that killed it knows what must be there.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from workbench.benchmarks.claim import Baseline, Claim, claim
from workbench.errors import MeasureError
from workbench.events import Record
from workbench.process import end_with_owner
from workbench.settings import HNSW
from workbench.vectors import compaction, kinds, ledger, namespace
from workbench.vectors.log import Sync
from workbench.vectors.store import Store

DIMENSION = 32
_INDEX = HNSW(m=8, ef_construction=40, ef_search=64)
_NAMESPACES = ("", "other")
_IDS = 1_200  # a namespace has at most
_TOP = 10
_QUERIES = 10
_KILLS, _FOLDERS = 200, 10
_LATEST_S = 0.8  # after which the process is killed at the latest, from just before it opens the store on

Contents = dict[str, dict[str, Record]]  # by namespace and id


class Operation(NamedTuple):
    """An upsert of ``records``; or a deletion of ``ids``, of what matches ``filter``, or, with none of these, of everything."""

    namespace: str
    records: list[Record]
    ids: list[str] | None
    below: int | None  # of the filter: records whose place in their batch is less

    @property
    def filter(self) -> dict | None:
        return None if self.below is None else {"place": {"$lt": self.below}}


class Killed(NamedTuple):
    """One kill. ``lost``: acknowledged operations that are not in what is left; ``recall`` of exact search, at 10."""

    acknowledged: int
    lost: int
    graphs: int
    recall: float


def operation(seed: int, number: int) -> Operation:
    """The same for the same numbers, whatever came before."""
    draw = np.random.default_rng([seed, number])
    where, kind = _NAMESPACES[draw.integers(2)], draw.random()
    if kind < 0.75:
        ids = [f"r{each}" for each in draw.integers(_IDS, size=draw.integers(1, 60))]
        values = draw.normal(size=(len(ids), DIMENSION)).astype(np.float32)
        metadata = ({"operation": number, "place": place} for place in range(len(ids)))
        return Operation(where, list(map(Record, ids, values, metadata)), None, None)
    if kind < 0.95:
        return Operation(where, [], [f"r{each}" for each in draw.integers(_IDS, size=draw.integers(1, 40))], None)
    return Operation(where, [], None, int(draw.integers(1, 10)) if kind < 0.99 else None)


def applied(contents: Contents, change: Operation) -> Contents:
    """What is there after the operation; ``contents`` is not changed."""
    held = dict(contents.get(change.namespace, {}))
    held.update((record.id, record) for record in change.records)
    if not change.records:
        gone = list(held) if change.ids is None else change.ids
        for id in gone:
            if change.below is None or held[id].metadata["place"] < change.below:
                held.pop(id, None)
    return {**contents, change.namespace: held}


def write(folder: Path, sync: Sync, seed: int, first: int) -> None:
    """Apply operations from number ``first`` on for ever, printing each that has returned."""
    kinds.HNSW_MINIMUM, namespace._TAIL, ledger._SPARE, compaction._MOST = (
        200,
        100,
        100,
        50,
    )  # so that all happens within a second
    print("opening", flush=True)
    store, number = Store(dimension=DIMENSION, index=_INDEX, path=folder, sync=sync), first
    while True:
        change = operation(seed, number)
        if change.records:
            store.upsert(change.records, namespace=change.namespace)
        else:
            store.delete(change.ids, namespace=change.namespace, filter=change.filter)
        print(number, flush=True)
        number += 1


def kills(folder: Path, count: int, *, sync: Sync, seed: int) -> Iterator[Killed]:
    """Kill that many processes that write to one store, one after another, and look at what is left each time.

    Raises:
        StoreDamaged: the store does not open any more.
        MeasureError: it holds what was never written, or was deleted; or a process ended before it was killed.
    """
    draw = np.random.default_rng(seed)
    contents, first = dict[str, dict[str, Record]](), 0
    for _ in range(count):
        last = _killed_while_writing(folder, sync, seed, first, draw.random() * _LATEST_S)
        states = [(first, contents)]  # (the number of the next operation, what is there before it)
        for number in range(first, last + 2):  # the one under way may be there, too
            states.append((number + 1, applied(states[-1][1], operation(seed, number))))
        with Store(dimension=DIMENSION, index=_INDEX, path=folder, sync=sync) as store:
            found = held(store)
            left = [(number, state) for number, state in reversed(states) if _same(found, state)]
            if not left:
                raise MeasureError(f"after a kill the store is as it never was, about operation {last} of seed {seed}")
            first_again, contents = left[0]
            store.wait_indexed()
            lost, graphs = max(0, last + 1 - first_again), store.recovered.graphs
            yield Killed(last + 1 - first, lost, graphs, _recall(store, contents, draw))
        first = first_again


def survived_kills(name: str) -> Claim:
    """How many acknowledged operations 200 ``kill -9`` lose under load; baseline: none."""
    seen: list[Killed] = []
    for number in range(_FOLDERS):
        with tempfile.TemporaryDirectory() as folder:
            sync = ("normal", "full")[number % 2]
            seen.extend(kills(Path(folder) / "store", _KILLS // _FOLDERS, sync=sync, seed=number))
    acknowledged, recall = sum(kill.acknowledged for kill in seen), min(kill.recall for kill in seen)
    return claim(
        name,
        "operations lost",
        [sum(kill.lost for kill in seen)],
        Baseline("allowed", 0.0),
        interval=(min(kill.lost for kill in seen), max(kill.lost for kill in seen)),
        spread="least and most of a kill",
        runs=len(seen),
        note=f"{acknowledged:,} operations were acknowledged, half with sync=full; least recall@{_TOP} afterwards: {recall:.3f}",
    )


def held(store: Store) -> Contents:
    """Everything that is in the store."""
    return {name: store.fetch(list(store.ids(namespace=name)), namespace=name) for name in store.stats()}


def _killed_while_writing(folder: Path, sync: Sync, seed: int, first: int, after_s: float) -> int:
    """The number of the last operation that was acknowledged, ``first - 1`` if none was."""
    command = [sys.executable, "-m", __name__, str(folder), sync, str(seed), str(first)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        begun = process.stdout.readline()
        time.sleep(after_s)
        ended = process.poll()
        process.kill()
        out, err = process.communicate()
    if not begun or ended is not None:
        raise MeasureError(f"the process that writes ended by itself: {(err.strip() or 'it said nothing').splitlines()[-1]}")
    lines = [line for line in out.splitlines(keepends=True) if line.endswith("\n")]
    return int(lines[-1]) if lines else first - 1


def _same(found: Contents, expected: Contents) -> bool:
    expected = {name: records for name, records in expected.items() if records}
    return found.keys() == expected.keys() and all(
        found[name].keys() == records.keys()
        and all(
            found[name][id].metadata == record.metadata and np.array_equal(found[name][id].values, record.values)
            for id, record in records.items()
        )
        for name, records in expected.items()
    )


def _recall(store: Store, contents: Contents, draw: np.random.Generator) -> float:
    """
    Raises:
        MeasureError: a search finds what is not there, or gives a score that is not that of the record.
    """
    shares = [1.0]
    for name, records in contents.items():
        if not records:
            continue
        queries = draw.normal(size=(_QUERIES, DIMENSION)).astype(np.float32)
        ids, values = list(records), np.stack([record.values for record in records.values()])
        unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, values)]
        scores = unit[0] @ unit[1].T
        for line, matches in zip(scores, store.query(queries, top_k=_TOP, namespace=name), strict=True):
            own = dict(zip(ids, line.tolist(), strict=True))
            if any(match.id not in own or abs(own[match.id] - match.score) > 1e-4 for match in matches):
                raise MeasureError(f"after a kill a search in namespace {name!r} finds what is not there")
            best = set(sorted(own, key=own.__getitem__, reverse=True)[:_TOP])
            shares.append(len(best & {match.id for match in matches}) / len(best))
    return float(np.mean(shares))


if __name__ == "__main__":
    end_with_owner()
    write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
