"""The vector store in this process: namespaces of records over FAISS, in memory, and on disk if it is given a folder."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from workbench.errors import SettingError, VectorError
from workbench.events import Match, Record
from workbench.settings import HNSW, Index, same_build
from workbench.vectors import records as rules
from workbench.vectors.filters import Node, parse_filter
from workbench.vectors.index import check_index
from workbench.vectors.ledger import Ledger
from workbench.vectors.log import Sync
from workbench.vectors.recovery import Recovery
from workbench.vectors.space import Space
from workbench.vectors.view import Hit, View, decoded


class Store:
    """Vectors of one dimension under one metric, in namespaces. Any number of threads may read and write.

    A namespace is searched exactly until it has the rows its index needs (HNSW 1,000; IVF 39 per list); the index is then
    built, extended and renewed on a thread of its own, while what it does not cover yet is still searched exactly.

    Args:
        dimension: of every vector, 1 to 20,000.
        metric: "cosine" and "dotproduct" score higher for nearer, "euclidean" gives the squared distance.
        index: its kind, with build and query settings.
        path: a folder that keeps everything, made if need be; one process at a time has it. None: memory only.
        sync: what a write that returned survives: "full" a power cut, "normal" and "off" ``kill -9``; see ``log``.
        visible_after_s: how long a write stays invisible to reads, as on a store that is eventually consistent.

    Raises:
        VectorError: the dimension or metric is not allowed, or another process has the folder (409).
        StoreDamaged: a file in it is not what was written.
        SettingError: the index settings contradict themselves, or another setting is out of range.
    """

    def __init__(
        self,
        *,
        dimension: int,
        metric: str = "cosine",
        index: Index = HNSW(),  # noqa: B008 (a frozen value)
        path: Path | None = None,
        sync: Sync = "full",
        visible_after_s: float = 0.0,
    ) -> None:
        self._space = Space(dimension, metric, index, visible_after_s)
        self.dimension, self.metric = dimension, metric
        self._ledger = Ledger(self._space, path, sync)

    # Writes

    def upsert(self, records: Sequence[Record], *, namespace: str = "") -> int:
        """Insert or replace by id; returns how many records were given. All of them are stored, or none.

        Raises:
            VectorError: an id, a vector or metadata is not allowed (the message names it), or the disk is full (507).
        """
        rules.check_namespace(namespace)
        if not records:
            return 0
        ids = rules.check_ids(record.id for record in records)
        vectors = rules.record_matrix(records, self.dimension)
        metadata = [rules.encode_metadata(record.metadata, record.id) for record in records]
        self.put(ids, vectors, metadata, namespace=namespace)
        return len(records)

    def put(self, ids: list[str], vectors: np.ndarray, metadata: list[bytes], *, namespace: str = "") -> int:
        """``upsert`` of checked records: float32[n, d] that nobody changes any more, JSON objects. Returns the lsn."""
        with self._space.writing:
            return self._ledger.upsert(namespace, ids, vectors, metadata)

    def update(
        self, id: str, *, values: Sequence[float] | None = None, metadata: dict | None = None, namespace: str = ""
    ) -> bool:
        """Replace a record's values, or merge into its metadata, or both; False if there is no such record.

        Raises:
            VectorError: the values or the merged metadata are not allowed.
        """
        rules.check_namespace(namespace)
        rules.check_id(id)
        vector = None if values is None else rules.record_matrix([Record(id, values)], self.dimension)
        with self._space.writing:
            view = self._ledger.head(namespace)
            row = view.find([id]).get(id) if view else None
            if row is None:
                return False
            vector = view.rows.values(row)[None] if vector is None else vector
            self._ledger.upsert(namespace, [id], vector, [_merged(view, row, metadata or {})])
        return True

    def update_matching(self, filter: dict, metadata: dict, *, namespace: str = "", dry_run: bool = False) -> int:
        """Merge into the metadata of all records that match; how many there are. ``dry_run`` only counts them.

        Raises:
            VectorError: the filter or the merged metadata is not allowed; nothing was changed.
        """
        rules.check_namespace(namespace)
        node = parse_filter(filter)
        rules.encode_metadata(metadata, "the update")
        with self._space.writing:
            view = self._ledger.head(namespace)
            rows = view.matching(node).nonzero()[0].tolist() if view else []
            if rows and not dry_run:
                changed = [_merged(view, row, metadata) for row in rows]
                vectors = np.stack([view.rows.values(row) for row in rows])
                self._ledger.upsert(namespace, [view.rows.ids[row] for row in rows], vectors, changed)
        return len(rows)

    def delete(self, ids: Iterable[str] | None = None, *, namespace: str = "", filter: dict | None = None) -> None:
        """Delete these ids, or what matches the filter, or (with neither) the whole namespace. Unknown ids are ignored.

        Raises:
            VectorError: both ids and a filter, or an empty filter, which would delete everything by accident.
        """
        rules.check_namespace(namespace)
        ids = rules.check_selection(ids, filter)
        node = None if filter is None else parse_filter(filter)
        with self._space.writing:
            view = self._ledger.head(namespace)
            if view is None:
                return
            if ids is None and node is None:
                self._ledger.empty(namespace)
                return
            rows = view.find(ids).values() if node is None else view.matching(node).nonzero()[0].tolist()
            self._ledger.delete(namespace, [view.rows.ids[row] for row in rows])

    def create_namespace(self, name: str) -> None:
        """Make a namespace that exists though it is empty; ``VectorError`` 409 if there is one."""
        with self._space.writing:
            if self.exists(name):
                raise VectorError(f"namespace {name!r} already exists", 409)
            self._ledger.create(name)

    def drop_namespace(self, name: str) -> None:
        """Delete a namespace and everything in it; ``VectorError`` 404 if there is none."""
        with self._space.writing:
            if not self.exists(name):
                raise VectorError(f"namespace {name!r} does not exist", 404)
            self._ledger.empty(name, drop=True)

    # Reads

    def query(self, vectors: np.ndarray, *, top_k: int, namespace: str = "", filter: dict | None = None) -> list[list[Match]]:
        """The ``top_k`` nearest to each row of float32[n, d], nearest first. An unknown namespace has no matches.

        Raises:
            VectorError: wrong shape, NaN or infinity, a zero vector under cosine, a bad filter, ``top_k`` not in 1..10,000.
        """
        node, view = _parsed(filter), self._view(namespace)
        queries = rules.query_matrix(vectors, self.dimension, self.metric)
        rules.check_top_k(top_k)
        if view is None:
            return [[] for _ in queries]
        found = view.hits(self._space, queries, top_k, node)
        return [[Match(hit.id, hit.score, decoded(hit.metadata)) for hit in hits] for hits in found]

    def search(
        self,
        vector: Sequence[float] | np.ndarray | None = None,
        *,
        id: str | None = None,
        top_k: int,
        namespace: str = "",
        filter: dict | None = None,
        values: bool = False,
    ) -> list[Hit]:
        """As ``query``, of one float32[d], or of the record ``id`` (nothing, if there is no such record), as they are stored."""
        node, view = _parsed(filter), self._view(namespace)
        rules.check_top_k(top_k)
        if id is not None:
            row = view.find([rules.check_id(id)]).get(id) if view else None
            if row is None:
                return []
            vector = view.rows.values(row)
        queries = rules.query_matrix([vector], self.dimension, self.metric)
        return view.hits(self._space, queries, top_k, node, values=values)[0] if view else []

    def fetch(self, ids: Sequence[str], *, namespace: str = "") -> dict[str, Record]:
        """The records that exist, by id, values as float32[d]."""
        ids, view = rules.check_ids(ids), self._view(namespace)
        return {id: view.record(row) for id, row in view.find(ids).items()} if view else {}

    def fetch_matching(
        self, filter: dict | None, *, limit: int, after: str | None = None, namespace: str = ""
    ) -> tuple[dict[str, Record], str | None]:
        """Up to ``limit`` records that match, in the order of their ids, from behind ``after`` on; and where to go on."""
        node, view = _parsed(filter), self._view(namespace)
        if view is None:
            return {}, None
        rows = {view.rows.ids[row]: row for row in view.matching(node).nonzero()[0].tolist()}
        page = heapq.nsmallest(limit + 1, (id for id in rows if after is None or id > after))
        return {id: view.record(rows[id]) for id in page[:limit]}, page[limit - 1] if len(page) > limit else None

    def ids(self, *, prefix: str = "", namespace: str = "") -> Iterator[str]:
        """Every id with the prefix, in order, as they are at the first one."""
        view = self._view(namespace)
        return iter(sorted(view.ids(prefix)) if view else ())

    def page(self, *, prefix: str = "", limit: int = 100, after: str | None = None, namespace: str = "") -> list[str]:
        """Up to ``limit`` ids with the prefix, in order, from behind ``after`` on."""
        view = self._view(namespace)
        return heapq.nsmallest(limit, (id for id in view.ids(prefix) if after is None or id > after)) if view else []

    def exists(self, namespace: str) -> bool:
        """Whether a namespace was created, or holds any record."""
        return rules.check_namespace(namespace) in self._ledger.created or self._ledger.head(namespace) is not None

    def stats(self) -> dict[str, int]:
        """How many records each namespace holds that holds any."""
        counts = ((name, namespace.view.count) for name, namespace in sorted(self._ledger.namespaces.copy().items()))
        return {name: count for name, count in counts if count}

    def namespaces(self) -> dict[str, int]:
        """The same, with those that were created and hold none."""
        return dict(sorted({**dict.fromkeys(self._ledger.created.copy(), 0), **self.stats()}.items()))

    # Upkeep

    @property
    def index(self) -> Index:
        return self._space.index

    def tune(self, index: Index) -> None:
        """Search with other query settings from now on.

        Raises:
            SettingError: the build settings are others, too.
        """
        if not same_build(index, self.index):
            raise SettingError("index", index, f"the build settings of {self.index}: only query settings can change")
        self._space.index = check_index(index, self.dimension)

    @property
    def lsn(self) -> int:
        """The number of the last acknowledged write."""
        return self._ledger.lsn

    @property
    def visible_lsn(self) -> int:
        """The number of the last write that reads see."""
        return self._ledger.visible_lsn

    @property
    def recovered(self) -> Recovery | None:
        """What opening the folder found; None without one."""
        return self._ledger.recovered

    @property
    def building(self) -> int:
        """How many jobs of upkeep are waiting or under way."""
        return len(self._ledger.upkeep)

    def log_bytes(self) -> int:
        """Size of the log on disk; 0 without one."""
        return self._ledger.log.size() if self._ledger.log is not None else 0

    def scanned(self, namespace: str = "", filter: dict | None = None) -> int:
        """How many rows a search would read one by one: what no index covers, or all for a filter on fields never asked for."""
        view, node = self._view(namespace), _parsed(filter)
        return 0 if view is None else view.size if node is not None and not view.ready(node) else view.size - view.covered

    def wait_indexed(self, timeout_s: float = 600.0) -> None:
        """Return once no index is being built: before measuring recall or latency.

        Raises:
            ServiceError: it still is after ``timeout_s`` seconds.
        """
        self._ledger.upkeep.wait(timeout_s)

    def close(self) -> None:
        """End what is being built; with a folder, write what is not there yet and let it go."""
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _view(self, namespace: str) -> View | None:
        return self._ledger.view(rules.check_namespace(namespace))


def _parsed(filter: dict | None) -> Node | None:
    """None where everything matches, which is searched without asking about every record."""
    return None if filter is None or filter == {} else parse_filter(filter)


def _merged(view: View, row: int, metadata: dict) -> bytes:
    return rules.encode_metadata({**decoded(view.rows.metadata[row]), **metadata}, view.rows.ids[row])
