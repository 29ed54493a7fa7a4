"""A store as it was: the log replayed, and each graph on disk put back over the records that it was built from."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from workbench.vectors.log import CREATE, DELETE, DROP, EMPTY, UPSERT, Entry, Log
from workbench.vectors.namespace import Namespace
from workbench.vectors.snapshots import Snapshot, Snapshots
from workbench.vectors.space import Space
from workbench.vectors.view import Rows

_BATCH = 10_000  # records


class Recovery(NamedTuple):
    """What opening a store found. ``dropped`` says of each graph that was not taken why; it is built anew."""

    records: int
    namespaces: int
    operations: int
    graphs: int
    dropped: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        found = (
            f"{self.records:,} records in {self.namespaces:,} namespaces from {self.operations:,} log entries, "
            f"{self.graphs} graphs, in {self.seconds:.2f} s"
        )
        return "; ".join([found, *(f"rebuilding {reason}" for reason in self.dropped)])


class Recovered(NamedTuple):
    """What the log said."""

    report: Recovery
    created: set[str]
    logged: int  # records in the log, living or not


_Contents = dict[str, tuple[Entry, int]]  # id → the entry that wrote it last, and its place in there


def recover(log: Log, snapshots: Snapshots, space: Space, opened: Callable[[str], Namespace]) -> Recovered:
    """Fill the namespaces that ``opened`` gives, by their names.

    Raises:
        StoreDamaged: the log is damaged. No namespace was touched.
    """
    begun = time.perf_counter()
    contents: dict[str, _Contents] = {}
    created: set[str] = set()
    operations = logged = 0
    for entry in log.replay():
        operations += 1
        held = contents.setdefault(entry.namespace, {})
        if entry.kind == UPSERT:
            logged += len(entry.ids)
            held.update((id, (entry, position)) for position, id in enumerate(entry.ids))
        elif entry.kind == DELETE:
            for id in entry.ids:
                held.pop(id, None)
        elif entry.kind in (EMPTY, DROP):
            held.clear()
        if entry.kind == CREATE:
            created.add(entry.namespace)
        elif entry.kind == DROP:
            created.discard(entry.namespace)
    contents = {name: held for name, held in contents.items() if held}
    graphs, dropped = _graphs(snapshots, contents)
    for batch in _batches(contents):
        _restore(space, batch, graphs, opened)
    records = sum(map(len, contents.values()))
    spent = time.perf_counter() - begun
    report = Recovery(records, len(contents.keys() | created), operations, len(graphs), dropped, spent)
    return Recovered(report, created, logged)


def _graphs(snapshots: Snapshots, contents: dict[str, _Contents]) -> tuple[dict[str, Snapshot], tuple[str, ...]]:
    graphs, dropped = {}, []
    for found in snapshots.read():
        if isinstance(found, str):
            dropped.append(found)
        elif found.namespace in contents:
            graphs[found.namespace] = found
        else:  # the namespace was deleted
            snapshots.remove(found.namespace)
    return graphs, tuple(dropped)


def _batches(contents: dict[str, _Contents]) -> Iterator[dict[str, _Contents]]:
    """Many small namespaces at once: most of what one costs is the same for a thousand."""
    batch, records = {}, 0
    for name, held in contents.items():
        batch[name] = held
        records += len(held)
        if records >= _BATCH:
            yield batch
            batch, records = {}, 0
    yield batch


def _restore(space: Space, batch: dict[str, _Contents], graphs: dict[str, Snapshot], opened: Callable[[str], Namespace]) -> None:
    places = [place for held in batch.values() for place in held.values()]
    if not places:
        return
    versions = np.array([entry.versions[position] for entry, position in places], np.int64)
    metadata = [entry.metadata[position] for entry, position in places]
    vectors, given = space.scaled(np.stack([entry.vectors[position] for entry, position in places]))
    end = 0
    for name, held in batch.items():
        start, end = end, end + len(held)
        part, snapshot = slice(start, end), graphs.get(name)
        parts = (list(held), vectors[part], given[part], metadata[part], versions[part])
        if snapshot is None:
            rows, live, graph = Rows(space.dimension, len(held)), np.ones(len(held), bool), None
        else:
            parts, live = _behind_graph(snapshot.versions, *parts)
            rows, graph = Rows(space.dimension, len(live)), snapshot.graph
        rows.append(*parts)
        opened(name).restore(rows, live, graph)


def _behind_graph(
    graphed: np.ndarray, ids: list[str], vectors: np.ndarray, given: list, metadata: list[bytes], versions: np.ndarray
) -> tuple[tuple, np.ndarray]:
    """The same with a row for each of the graph's first, in its order, and which of them live."""
    order = np.argsort(versions)
    at = np.minimum(np.searchsorted(versions[order], graphed), len(ids) - 1)
    source = order[at]  # of each graph row: where its record is, if it lives still
    living = versions[source] == graphed
    rest = np.setdiff1d(np.arange(len(ids)), source[living])
    source = np.concatenate([np.where(living, source, -1), rest])
    live = source >= 0
    placed = vectors[source]
    placed[~live] = 0  # a dead row is walked through, by the graph's own copy of its vector, but never compared here
    parts = (
        [ids[place] if place >= 0 else "" for place in source],
        placed,
        [given[place] if place >= 0 else None for place in source],
        [metadata[place] if place >= 0 else b"{}" for place in source],
        np.where(live, versions[source], -1),
    )
    return parts, live
