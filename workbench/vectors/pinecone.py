"""The vector store through the official ``pinecone`` SDK: the real service, or the local server that speaks its protocol.

No FAISS here: the deployed function carries this module. The SDK is imported with the first store (0.1 to 0.2 s), and only
its REST client, never its gRPC parts.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from workbench.errors import ServiceError, SettingError, VectorError
from workbench.events import Match, Record
from workbench.settings import Index, index_text
from workbench.vectors import records as rules
from workbench.vectors.filters import compile_filter

_SERVICE = "https://api.pinecone.io"
_DEFAULT_NAMESPACE = "__default__"
_INDEX_TAG = "workbench-index"  # how the local server builds the index; the service keeps it as it keeps any tag
_MAX_RECORDS = 1_000  # ids or records of one request (docs.pinecone.io/reference/api/database-limits)
_MAX_BYTES = 2 * 1024 * 1024 - 1024  # of one upsert, less its envelope
_MAX_URL = 16 * 1024  # ids of a fetch travel in the URL, and proxies allow some 60 KB of it
_FLOAT_BYTES = 25  # the longest float32 as JSON, with its comma: "-1.1754943508222875e-38,"
# Queries in flight. Against the local server 2 do as well (10 queries: 27 ms one by one, 17 with 2 and with 10, on 2 cores),
# but a query to the real service mostly waits for the network.
_THREADS = 10


class PineconeStore:
    """One index of Pinecone, created (serverless, aws us-east-1) if it does not exist. Any number of threads may use it.

    The real service is eventually consistent: a write that returned may take a moment to be visible. The local server's
    writes are visible at once. The SDK itself repeats a call three times on 408, 429, 5xx and on a lost connection.

    Args:
        url: of the local server; None is the real service.
        key: the API key.
        name: of the index: 1 to 45 lower-case letters, digits and hyphens.
        dimension: of every vector.
        metric: "cosine", "dotproduct" or "euclidean".
        index: how the local server is to build the index; None leaves it to the server. The real service builds its own, and
            only remembers this one.

    Raises:
        SettingError: the key is empty.
        VectorError: the store refused, or the index exists with another dimension, metric or ``index``; ``status`` is its
            HTTP status.
        ServiceError: nothing answers at ``url``.
    """

    def __init__(
        self, *, url: str | None, key: str, name: str, dimension: int, metric: str = "cosine", index: Index | None = None
    ) -> None:
        if not key:
            raise SettingError("key", key, "the vector store's API key, not empty")
        import pinecone

        self.dimension, self.metric = dimension, metric
        self._url = url or _SERVICE
        # The control plane is done with here; what stays open is the index's own connection pool.
        with self._errors(), pinecone.Pinecone(api_key=key, host=self._url) as client:
            model = _described(client, name) or _created(client, name, dimension, metric, index)
            field = model.schema.fields.get("_values") if model.schema else None
            if field is None or (field.dimension, field.metric) != (dimension, metric):
                held = "no dense _values" if field is None else f"dimension {field.dimension} and metric {field.metric}"
                raise VectorError(f"index {name!r} exists with {held}, not with dimension {dimension} and metric {metric}", 409)
            built = (model.tags or {}).get(_INDEX_TAG, "an index of the server's choice")
            if index is not None and built != index_text(index):
                raise VectorError(f"index {name!r} exists as {built}, not as {index_text(index)}", 409)
            self._index = client.index(host=model.host)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="pinecone-query")

    def upsert(self, records: Sequence[Record], *, namespace: str = "") -> int:
        """Insert or replace by id; returns how many records were given.

        Every record is checked before the first is sent. A call beyond 1,000 records or 2 MB is sent in parts: if the
        connection fails between them some are stored; repeating the call completes it.
        """
        rules.check_namespace(namespace)
        if not records:
            return 0
        rules.check_ids(record.id for record in records)
        rows = rules.record_matrix(records, self.dimension).tolist()
        metadata = [rules.encode_metadata(record.metadata, record.id) for record in records]
        wire = [
            {"id": record.id, "values": values, **({"metadata": record.metadata} if record.metadata else {})}
            for record, values in zip(records, rows, strict=True)
        ]
        # An upper bound, so that nothing is encoded twice; an id's characters may each need six (\\u001f).
        fixed = self.dimension * _FLOAT_BYTES + 64
        sizes = [fixed + 6 * len(record.id) + len(about) for record, about in zip(records, metadata, strict=True)]
        with self._errors():
            for part in _parts(wire, sizes, _MAX_BYTES):
                self._index.upsert(vectors=part, namespace=namespace)
        return len(records)

    def query(self, vectors: np.ndarray, *, top_k: int, namespace: str = "", filter: dict | None = None) -> list[list[Match]]:
        """The ``top_k`` nearest to each row of float32[n, d], nearest first, with metadata."""
        rules.check_namespace(namespace)
        queries = rules.query_matrix(vectors, self.dimension, self.metric).tolist()
        rules.check_top_k(top_k)
        if filter is not None:
            compile_filter(filter)  # names what is wrong, where the SDK would only say that it cannot encode

        def one(vector: list[float]) -> list[Match]:
            answer = self._index.query(vector=vector, top_k=top_k, namespace=namespace, filter=filter, include_metadata=True)
            return [Match(match.id, match.score, match.metadata or {}) for match in answer.matches]

        with self._errors():
            return [one(vector) for vector in queries] if len(queries) < 2 else list(self._pool.map(one, queries))

    def fetch(self, ids: Sequence[str], *, namespace: str = "") -> dict[str, Record]:
        """The records that exist, by id, values as float32[d]."""
        ids = rules.check_ids(ids)
        rules.check_namespace(namespace)
        found = {}
        with self._errors():
            for part in _parts(ids, [3 * len(id) + 5 for id in ids], _MAX_URL):
                for id, vector in self._index.fetch(ids=part, namespace=namespace).vectors.items():
                    found[id] = Record(id, np.asarray(vector.values, np.float32), vector.metadata or {})
        return found

    def update(self, id: str, *, values: object = None, metadata: dict | None = None, namespace: str = "") -> bool:
        """Replace the values, merge the metadata into what is there; False, and nothing, for an unknown id.

        The protocol's update is silent about unknown ids, so the record is fetched first.
        """
        changes = {}
        if values is not None:
            changes["values"] = rules.record_matrix([Record(id, values)], self.dimension)[0].tolist()
        if metadata:
            changes["set_metadata"] = rules.check_metadata(metadata, id)
        if id not in self.fetch([id], namespace=namespace):
            return False
        if changes:
            with self._errors():
                self._index.update(id=id, namespace=namespace, **changes)
        return True

    def delete(self, ids: Iterable[str] | None = None, *, namespace: str = "", filter: dict | None = None) -> None:
        """Delete these ids, or what matches the filter, or (with neither) the whole namespace. Unknown ids are ignored."""
        rules.check_namespace(namespace)
        ids = rules.check_selection(ids, filter)
        if ids is not None:
            requests = [{"ids": part} for part in _parts(ids, [0] * len(ids), 1)]
        else:
            if filter is not None:
                compile_filter(filter)
            requests = [{"filter": filter} if filter is not None else {"delete_all": True}]
        for request in requests:
            with _unless_empty(), self._errors():
                self._index.delete(namespace=namespace, **request)

    def ids(self, *, prefix: str = "", namespace: str = "") -> Iterator[str]:
        """Every id that begins with ``prefix``."""
        rules.check_namespace(namespace)
        return self._listed(rules.check_id(prefix) if prefix else None, namespace)

    def _listed(self, prefix: str | None, namespace: str) -> Iterator[str]:
        with _unless_empty(), self._errors():
            for page in self._index.list(prefix=prefix, namespace=namespace):
                yield from (item.id for item in page.vectors)

    def stats(self) -> dict[str, int]:
        """How many records each namespace holds."""
        with self._errors():
            namespaces = self._index.describe_index_stats().namespaces
        counts = {name: summary.vector_count for name, summary in namespaces.items() if summary.vector_count}
        return dict(sorted(("" if name == _DEFAULT_NAMESPACE else name, count) for name, count in counts.items()))

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        self._index.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """The SDK's errors as the workbench's."""
        from pinecone import errors

        try:
            yield
        except errors.ApiError as error:
            raise VectorError(error.message, error.status_code) from error
        except (errors.PineconeConnectionError, errors.PineconeTimeoutError) as error:
            reason = error.message.partition("; request to")[0]
            raise ServiceError(f"the vector store at {self._url} does not answer: {reason}") from error
        except errors.PineconeError as error:
            raise VectorError(str(error)) from error


@contextlib.contextmanager
def _unless_empty() -> Iterator[None]:
    """Nothing happens where the service answers 404 for a namespace that holds nothing; a missing index names the index."""
    try:
        yield
    except VectorError as error:
        if error.status != 404 or "namespace" not in str(error).lower():
            raise


def _described(client, name: str):
    from pinecone.errors import NotFoundError

    try:
        return client.indexes.describe(name)
    except NotFoundError:
        return None


def _created(client, name: str, dimension: int, metric: str, index: Index | None):
    from pinecone.errors import ConflictError

    with contextlib.suppress(ConflictError):  # another process was faster
        # The reserved field name _values makes it an index that the vectors API serves.
        client.indexes.create(
            name=name,
            schema={"fields": {"_values": {"type": "dense_vector", "dimension": dimension, "metric": metric}}},
            deployment={"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"},
            tags=None if index is None else {_INDEX_TAG: index_text(index)},
        )
    return client.indexes.describe(name)


def _parts(items: Sequence, sizes: Sequence[int], most: int) -> Iterator[list]:
    """Runs of at most 1,000 items and ``most`` bytes (an item that is larger alone goes alone)."""
    part, total = [], 0
    for item, size in zip(items, sizes, strict=True):
        if part and (len(part) == _MAX_RECORDS or total + size > most):
            yield part
            part, total = [], 0
        part.append(item)
        total += size
    if part:
        yield part
