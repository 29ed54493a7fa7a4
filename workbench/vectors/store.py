"""The vector store in this process: namespaces of records over FAISS, kept in memory."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from workbench.errors import ServiceError, VectorError
from workbench.events import Match, Record
from workbench.settings import HNSW, Index
from workbench.vectors import records as rules
from workbench.vectors.filters import Predicate, compile_filter
from workbench.vectors.index import check_index
from workbench.vectors.namespace import Namespace


class Store:
    """Vectors of one dimension under one metric, in namespaces. Any number of threads may read and write.

    A namespace is searched exactly until it has the rows its index needs (HNSW 1,000; IVF 39 per list); the index is then
    built, extended and renewed on a thread of its own, while what it does not cover yet is still searched exactly.

    Args:
        dimension: of every vector, 1 to 20,000.
        metric: "cosine" and "dotproduct" score higher for nearer, "euclidean" gives the squared distance.
        index: Flat, HNSW or IVF with their build and query settings.

    Raises:
        VectorError: the dimension or metric is not allowed.
        SettingError: the index settings contradict themselves.
    """

    def __init__(self, *, dimension: int, metric: str = "cosine", index: Index = HNSW()) -> None:  # noqa: B008 (a frozen value)
        if type(dimension) is not int or not 1 <= dimension <= rules.MAX_DIMENSION:
            raise VectorError(f"dimension {dimension!r} is not allowed: a whole number from 1 to {rules.MAX_DIMENSION:,}")
        if metric not in rules.METRICS:
            raise VectorError(f"metric {metric!r} is not allowed: {', '.join(rules.METRICS)}")
        self.dimension, self.metric, self.index = dimension, metric, check_index(index)
        self._namespaces: dict[str, Namespace] = {}
        self._opening = threading.Lock()  # guards the dictionary, not what is in it
        self._one_build = threading.Semaphore()  # builds are long and fill a core: one at a time leaves the rest for queries

    def upsert(self, records: Sequence[Record], *, namespace: str = "") -> int:
        """Insert or replace by id; returns how many records were given. All of them are stored, or none.

        Raises:
            VectorError: an id, a vector or metadata is not allowed; the message names the record.
        """
        rules.check_namespace(namespace)
        if not records:
            return 0
        ids = rules.check_ids(record.id for record in records)
        values = rules.record_matrix(records, self.dimension)
        metadata = [rules.check_metadata(record.metadata, record.id) for record in records]
        while not self._open(namespace).upsert(ids, values, metadata):
            pass  # the namespace was deleted between the two steps: write to its successor
        return len(records)

    def query(self, vectors: np.ndarray, *, top_k: int, namespace: str = "", filter: dict | None = None) -> list[list[Match]]:
        """The ``top_k`` nearest to each row of float32[n, d], nearest first. An unknown namespace has no matches.

        Raises:
            VectorError: wrong shape, NaN or infinity, a zero vector under cosine, a bad filter, ``top_k`` not in 1..10,000.
        """
        found, predicate = self._namespaces.get(rules.check_namespace(namespace)), _predicate(filter)
        queries = rules.query_matrix(vectors, self.dimension, self.metric)
        rules.check_top_k(top_k)
        if found is None:
            return [[] for _ in queries]
        view, scores, rows = found.query(queries, top_k, predicate)
        if not np.isfinite(scores).all():
            raise VectorError("a score is too large for float32: scale the vectors down")
        ids, metadata, copy = view.ids, view.metadata, rules.copy_metadata
        return [
            [Match(ids[row], score, copy(metadata[row])) for row, score in zip(near, values, strict=True)]
            for near, values in zip(rows.tolist(), scores.tolist(), strict=True)
        ]

    def fetch(self, ids: Sequence[str], *, namespace: str = "") -> dict[str, Record]:
        """The records that exist, by id, values as float32[d]."""
        ids = rules.check_ids(ids)
        found = self._namespaces.get(rules.check_namespace(namespace))
        if found is None:
            return {}
        return {id: Record(id, values, rules.copy_metadata(metadata)) for id, (values, metadata) in found.fetch(ids).items()}

    def delete(self, ids: Iterable[str] | None = None, *, namespace: str = "", filter: dict | None = None) -> None:
        """Delete these ids, or what matches the filter, or (with neither) the whole namespace. Unknown ids are ignored.

        Raises:
            VectorError: both ids and a filter, or an empty filter, which would delete everything by accident.
        """
        rules.check_namespace(namespace)
        if ids is not None and filter is not None:
            raise VectorError("delete takes ids or a filter, not both")
        if filter == {}:
            raise VectorError("delete with an empty filter is not allowed: give neither ids nor filter to delete a namespace")
        if ids is None and filter is None:
            self._drop(namespace, lambda _: True)
            return
        ids, predicate = None if ids is None else rules.check_ids(ids), _predicate(filter)
        if (found := self._namespaces.get(namespace)) is not None:
            found.delete(ids, predicate)
            if not len(found):
                self._drop(namespace, lambda it: len(it) == 0)

    def stats(self) -> dict[str, int]:
        """How many records each namespace holds; an empty namespace does not exist."""
        with self._opening:
            return {name: len(namespace) for name, namespace in sorted(self._namespaces.items()) if len(namespace)}

    def wait_indexed(self, timeout_s: float = 600.0) -> None:
        """Return once no index is being built: before measuring recall or latency.

        Raises:
            ServiceError: it still is after ``timeout_s`` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while any(namespace.building for namespace in list(self._namespaces.values())):
            if time.monotonic() > deadline:
                raise ServiceError(f"an index was still being built after {timeout_s:g} s")
            time.sleep(0.005)

    def _open(self, name: str) -> Namespace:
        with self._opening:
            if name not in self._namespaces:
                self._namespaces[name] = Namespace(self.dimension, self.metric, self.index, self._spawn)
            return self._namespaces[name]

    def _drop(self, name: str, condition: Callable[[Namespace], bool]) -> None:
        with self._opening:
            if name in self._namespaces and self._namespaces[name].drop_if(condition):
                del self._namespaces[name]

    def _spawn(self, build: Callable[[], None]) -> None:
        def run() -> None:
            with self._one_build:
                build()

        # Not a daemon: one that the interpreter kills inside FAISS can take the process down. Builds watch for the exit.
        threading.Thread(target=run, name="index-build").start()


def _predicate(filter: dict | None) -> Predicate | None:
    """None where everything matches, which is searched without asking about every record."""
    return None if filter is None or filter == {} else compile_filter(filter)
