"""The vector store through ``pymilvus``: Milvus Lite in a file, or a Milvus cluster, by the same code.

One collection is one index. What a record is kept as::

    key        VARCHAR, primary   NAMESPACE:ID, both as hexadecimal
    namespace  VARCHAR            hexadecimal; the partition key
    metadata   JSON
    vector     FLOAT_VECTOR

A namespace is a value of the partition key: Milvus then keeps and searches namespaces apart, takes any number of them and any
name, where partitions made by hand are 1,024 at most, and their names letters and digits. The namespace stands in the primary
key too, because that is unique in the whole collection.
"""

import copy
import itertools
import re
import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from workbench.errors import VectorError
from workbench.events import Match, Record
from workbench.settings import HNSW, Index
from workbench.vectors import records as rules
from workbench.vectors.filters import Predicate
from workbench.vectors.milvus.collection import (
    METRICS,
    TIMEOUT_S,
    connect,
    disconnect,
    errors,
    load_anew,
    open_collection,
    search_parameters,
)
from workbench.vectors.milvus.expression import hexed, id_of, key_of, unhexed, where

_ROWS = 1_000  # of one call: at most 120 MB, where Milvus takes 256
_MAX_LIMIT = 16_384  # neighbours of one search (milvus.io/docs/limitations.md)


class MilvusStore:
    """One collection of Milvus, created if it does not exist. Any number of threads may use it; one process, if it is a file.

    A write that returned is visible to the next read (consistency level Strong). Lite has Milvus' FLAT, HNSW and IVF_FLAT, over
    FAISS as here; until a segment is full (128 MB) or flushed it is searched exactly: see ``wait_indexed``.

    Args:
        uri: a file that ends in .db (Milvus Lite, in this process), or http://host:port of a cluster.
        name: of the collection: up to 255 letters, digits and underscores, no digit first.
        dimension: of every vector, 1 to 20,000.
        metric: "cosine", "dotproduct" or "euclidean".
        index: Flat, HNSW or IVF, with build and query settings.
        token: "user:password" or an API key of the cluster; "" for none.

    Raises:
        SettingError: the uri or the index settings are not allowed.
        VectorError: Milvus refused, or the collection exists with another dimension, metric or index (status 409).
        ServiceError: nothing answers at ``uri``, or another process has the file open.
    """

    def __init__(
        self,
        *,
        uri: str,
        name: str,
        dimension: int,
        metric: str = "cosine",
        index: Index = HNSW(),  # noqa: B008 (a frozen value)
        token: str = "",
    ) -> None:
        if not re.fullmatch(r"[A-Za-z_]\w{0,254}", name, re.ASCII):
            raise VectorError(f"collection {name[:60]!r} is not allowed: up to 255 letters, digits and _, no digit first")
        if type(dimension) is not int or not 1 <= dimension <= rules.MAX_DIMENSION:
            raise VectorError(f"dimension {dimension!r} is not allowed: a whole number from 1 to {rules.MAX_DIMENSION:,}")
        if metric not in METRICS:
            raise VectorError(f"metric {metric!r} is not allowed: {', '.join(METRICS)}")
        self.dimension, self.metric, self.index = dimension, metric, index
        self._uri, self._name = uri, name
        self._updating = threading.Lock()
        self._closed = False
        self._client = connect(uri, token)
        try:
            with errors(uri):
                open_collection(self._client, name, dimension, metric, index)
        except BaseException:
            disconnect(self._client, uri)
            raise

    def upsert(self, records: Sequence[Record], *, namespace: str = "") -> int:
        """Insert or replace by id; returns how many records were given.

        Every record is checked before the first is sent. A call of more than 1,000 is sent in parts: if the connection fails
        between them some are stored; repeating the call completes it.
        """
        rules.check_namespace(namespace)
        if not records:
            return 0
        rules.check_ids(record.id for record in records)
        values = rules.record_matrix(records, self.dimension)
        metadata = [rules.check_metadata(record.metadata, record.id) for record in records]
        rows = {}  # of one id the last: Milvus would keep both
        for record, vector, about in zip(records, values, metadata, strict=True):
            key = key_of(namespace, record.id)
            rows[key] = {"key": key, "namespace": hexed(namespace), "metadata": about, "vector": vector}
        with errors(self._uri):
            for part in _parts(rows.values()):
                self._client.upsert(self._name, part, timeout=TIMEOUT_S)
        return len(records)

    def query(self, vectors: np.ndarray, *, top_k: int, namespace: str = "", filter: dict | None = None) -> list[list[Match]]:
        """The ``top_k`` nearest to each row of float32[n, d], nearest first, with metadata.

        Where the index gives fewer than were asked for, or the filter leaves too few of what it gave, everything that
        matches is read and compared here: exact, but slow for a filter that Milvus cannot narrow (``milvus_expression``).
        """
        rules.check_namespace(namespace)
        queries = rules.query_matrix(vectors, self.dimension, self.metric)
        rules.check_top_k(top_k)
        expression, matches = where(namespace, filter)
        if not len(queries):
            return []
        limit = top_k
        with errors(self._uri):
            while True:
                found = self._search(queries, limit, expression)
                kept = [[match for match in row if matches(match.metadata)][:top_k] for row in found]
                if all(len(row) == top_k for row in kept):
                    return kept
                if limit == _MAX_LIMIT or any(len(row) < limit for row in found):
                    return self._exact(queries, top_k, namespace, expression, matches)
                limit = min(8 * limit, _MAX_LIMIT)

    def fetch(self, ids: Sequence[str], *, namespace: str = "") -> dict[str, Record]:
        """The records that exist, by id, values as float32[d]."""
        ids = rules.check_ids(ids)
        rules.check_namespace(namespace)
        found = {}
        with errors(self._uri):
            for part in _parts(dict.fromkeys(ids)):
                keys = ", ".join(f'"{key_of(namespace, id)}"' for id in part)
                fields = ["key", "metadata", "vector"]
                for row in self._client.query(self._name, f"key in [{keys}]", output_fields=fields, timeout=TIMEOUT_S):
                    id = id_of(row["key"])
                    found[id] = Record(id, np.asarray(row["vector"], np.float32), row["metadata"])
        return found

    def update(self, id: str, *, values: object = None, metadata: dict | None = None, namespace: str = "") -> bool:
        """Replace the values, merge the metadata into what is there; False, and nothing, for an unknown id.

        The record is read, merged and written back: of two processes that update one record at once, one may be lost.
        """
        rules.check_id(id)
        if values is not None:
            rules.record_matrix([Record(id, values)], self.dimension)
        changes = {} if metadata is None else rules.check_metadata(metadata, id)
        with self._updating:
            held = self.fetch([id], namespace=namespace).get(id)
            if held is None:
                return False
            merged = Record(id, held.values if values is None else values, {**held.metadata, **changes})
            self.upsert([merged], namespace=namespace)
        return True

    def delete(self, ids: Iterable[str] | None = None, *, namespace: str = "", filter: dict | None = None) -> None:
        """Delete these ids, or what matches the filter, or (with neither) the whole namespace. Unknown ids are ignored."""
        rules.check_namespace(namespace)
        ids = rules.check_selection(ids, filter)
        expression, matches = where(namespace, filter)
        with errors(self._uri):
            if ids is None and filter is None:
                self._client.delete(self._name, filter=expression, timeout=TIMEOUT_S)
                return
            if ids is None:
                ids = [id for id, metadata in self._read(expression, metadata=True) if matches(metadata)]
            for part in _parts(ids):
                self._client.delete(self._name, ids=[key_of(namespace, id) for id in part], timeout=TIMEOUT_S)

    def ids(self, *, prefix: str = "", namespace: str = "") -> Iterator[str]:
        """Every id that begins with ``prefix``."""
        expression, _ = where(rules.check_namespace(namespace), None)
        if prefix:
            expression += f' and key like "{key_of(namespace, rules.check_id(prefix))}%"'
        return (id for id, _ in self._read(expression))

    def stats(self) -> dict[str, int]:
        """How many records each namespace holds."""
        counts: dict[str, int] = {}
        with errors(self._uri):
            while True:  # ask for the namespaces that are not known yet: reading every record for them would take long
                known = ", ".join(f'"{name}"' for name in counts)
                others = f"namespace not in [{known}]" if counts else ""
                rows = self._client.query(self._name, others, output_fields=["namespace"], limit=_ROWS, timeout=TIMEOUT_S)
                if not rows:
                    return dict(sorted((unhexed(name), count) for name, count in counts.items() if count))
                for name in {row["namespace"] for row in rows}:
                    only, count = f'namespace == "{name}"', "count(*)"
                    counts[name] = self._client.query(self._name, only, output_fields=[count], timeout=TIMEOUT_S)[0][count]

    def wait_indexed(self, timeout_s: float = 600.0) -> None:
        """Return once everything written so far is in the index: before measuring recall or latency.

        Raises:
            ServiceError: it is not after ``timeout_s`` seconds.
        """
        with errors(self._uri):
            self._client.flush(self._name, timeout=timeout_s)
            load_anew(self._client, self._name, timeout_s)

    def close(self) -> None:
        """Close the connection; the last store of a file closes the file."""
        with self._updating:
            if not self._closed:
                self._closed = True
                disconnect(self._client, self._uri)

    def _search(self, queries: np.ndarray, limit: int, expression: str) -> list[list[Match]]:
        parameters = search_parameters(self.index, limit)
        found = []
        for part in _parts(queries, max(1, _MAX_LIMIT // limit)):
            found += self._client.search(
                self._name,
                data=part,
                limit=limit,
                filter=expression,
                output_fields=["metadata"],
                search_params={"params": parameters},
                anns_field="vector",
                timeout=TIMEOUT_S,
            )
        return [
            [Match(id_of(hit["key"]), self._bounded(hit["distance"]), hit["entity"]["metadata"]) for hit in row] for row in found
        ]

    def _exact(self, queries: np.ndarray, top_k: int, namespace: str, expression: str, matches: Predicate) -> list[list[Match]]:
        """The same by comparing every record that matches."""
        ids = [id for id, metadata in self._read(expression, metadata=True) if matches(metadata)]
        records = list(self.fetch(ids, namespace=namespace).values())
        if not records:
            return [[] for _ in queries]
        values = np.stack([record.values for record in records]).astype(np.float64)
        answers = []
        for query in queries.astype(np.float64):
            match self.metric:
                case "euclidean":
                    scores = ((values - query) ** 2).sum(axis=1)
                case "dotproduct":
                    scores = values @ query
                case "cosine":
                    scores = values @ query / (np.linalg.norm(values, axis=1) * np.linalg.norm(query))
            order = np.argsort(scores if self.metric == "euclidean" else -scores, kind="stable")[:top_k]
            nearest = [(records[row], self._bounded(scores[row])) for row in order]
            answers.append([Match(record.id, score, copy.deepcopy(record.metadata)) for record, score in nearest])
        return answers

    def _bounded(self, score: float) -> float:
        """A cosine is at most 1 by definition; what rounding puts beyond is none."""
        return float(min(1.0, max(-1.0, score))) if self.metric == "cosine" else float(score)

    def _read(self, expression: str, *, metadata: bool = False) -> Iterator[tuple[str, dict]]:
        """Every (id, metadata) that the expression lets through; the metadata empty if it was not asked for."""
        fields = ["key", "metadata"] if metadata else ["key"]
        with errors(self._uri):
            pages = self._client.query_iterator(
                self._name, batch_size=_ROWS, filter=expression, output_fields=fields, timeout=TIMEOUT_S
            )
            try:
                while page := pages.next():
                    yield from ((id_of(row["key"]), row.get("metadata", {})) for row in page)
            finally:
                pages.close()


def _parts(items: Iterable, most: int = _ROWS) -> Iterator[list]:
    remaining = iter(items)
    while part := list(itertools.islice(remaining, most)):
        yield part
