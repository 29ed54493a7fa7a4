"""The data plane: what is asked of one index. Each handler takes the request and the index, and gives the answer.

Queries run in the event loop as long as they are quick: a hop to a thread and back adds 0.1 ms. What takes longer than some
2 ms, waits for a disk, or waits for another write, runs in a thread.
"""

import contextlib
from collections.abc import Awaitable, Callable

import msgspec

from workbench.errors import VectorError
from workbench.events import Record
from workbench.vectors import records as rules
from workbench.vectors.server import wire
from workbench.vectors.server.indexes import Served
from workbench.vectors.server.request import Answer, Request, in_thread, in_writer, limit, one
from workbench.vectors.server.wire_records import given, parse_fields, parse_query, parse_records, parse_values
from workbench.vectors.view import Hit

Handler = Callable[[Request, Served], Awaitable[Answer]]

_IN_LOOP_BYTES = 64 * 1024  # of an upsert: a larger one takes milliseconds to parse and store
_IN_LOOP_ROWS = 10_000  # compared one by one: 0.3 ms at 384 dimensions
_IN_LOOP_HITS = 100  # encoded with values or metadata
_USAGE = {"readUnits": 1}
_COMMITTED = (b"x-pinecone-request-lsn", b"x-pinecone-lsn-committed")  # each has two names, and older SDKs know the second
_RECONCILED = (b"x-pinecone-max-indexed-lsn", b"x-pinecone-lsn-reconciled")


def inner(namespace: str | None) -> str:
    """A namespace as the store names it."""
    return "" if namespace in (None, wire.DEFAULT_NAMESPACE) else rules.check_namespace(namespace)


def known(served: Served, name: str) -> str:
    """A namespace as the store names it.

    Raises:
        VectorError: 404: there is none of that name. The default one always exists.
    """
    inside = inner(name)
    if inside and not served.store.exists(inside):
        raise VectorError(f"Namespace not found: {inside[:80]!r}", 404)
    return inside


async def written(served: Served, work: Callable[[], dict], size: int = 0) -> Answer:
    """What ``work`` answers, with the number of its write."""
    if served.durable or served.writing or size > _IN_LOOP_BYTES:
        served.writing += 1
        try:
            answer = await in_writer(work)
        finally:
            served.writing -= 1
    else:
        answer = work()
    return Answer(wire.encode(answer), headers=_numbered(_COMMITTED, served.store.lsn))


def _numbered(names: tuple[bytes, bytes], lsn: int) -> tuple[tuple[bytes, bytes], ...]:
    number = b"%d" % lsn
    return (names[0], number), (names[1], number)


async def upsert(request: Request, served: Served) -> Answer:
    """POST /vectors/upsert."""
    body = await request.body()

    def work() -> dict:
        asked = wire.decode(body, wire.Upsert)
        namespace = inner(asked.namespace)
        ids, values, metadata = parse_records(asked.vectors, served.description.dimension)
        served.store.put(ids, values, metadata, namespace=namespace)
        return {"upsertedCount": len(ids)}

    return await written(served, work, len(body))


async def query(request: Request, served: Served) -> Answer:
    """POST /query."""
    asked = wire.decode(await request.body(), wire.Query)
    if asked.sparse_vector is not None:
        raise VectorError("sparseVector is not served here: vector or id is")
    if asked.queries is not None:
        raise VectorError("queries is no longer served: vector or id is, one query a request")
    if asked.scan_factor is not None or asked.max_candidates is not None:
        raise VectorError("scanFactor and maxCandidates are for dedicated read nodes: this index has none")
    if given(asked.vector) == (asked.id is not None):
        raise VectorError("query takes either vector or id")
    rules.check_top_k(asked.top_k)
    namespace, store = inner(asked.namespace), served.store
    id = None if asked.id is None else rules.check_id(asked.id)
    vector = parse_query(asked.vector, served.description.dimension) if id is None else None
    seen = store.visible_lsn  # before the search, which may see more

    def work() -> bytes:
        hits = store.search(
            vector, id=id, top_k=asked.top_k, namespace=namespace, filter=asked.filter, values=asked.include_values
        )
        matches = [_match(hit, asked.include_metadata) for hit in hits]
        return wire.encode({"matches": matches, "namespace": asked.namespace or "", "usage": _USAGE})

    quick = asked.top_k <= _IN_LOOP_HITS and store.scanned(namespace, asked.filter) <= _IN_LOOP_ROWS
    answer = work() if quick else await in_thread(work)
    return Answer(_sendable(answer), headers=_numbered(_RECONCILED, seen))


def _sendable(answer: bytes) -> bytes:
    if len(answer) > wire.MAX_ANSWER_BYTES:
        raise VectorError(f"the answer takes {len(answer):,} bytes, at most {wire.MAX_ANSWER_BYTES:,} are sent: lower topK")
    return answer


def _match(hit: Hit, with_metadata: bool) -> dict:
    values = [] if hit.values is None else hit.values
    if with_metadata and hit.metadata != b"{}":
        return {"id": hit.id, "score": hit.score, "values": values, "metadata": wire.spliced(hit.metadata)}
    return {"id": hit.id, "score": hit.score, "values": values}


async def fetch(request: Request, served: Served) -> Answer:
    """GET /vectors/fetch."""
    parameters = request.parameters()
    ids, namespace = parameters.get("ids", []), one(parameters, "namespace")
    if not 1 <= len(ids) <= wire.MAX_BATCH:
        raise VectorError(f"fetch takes 1 to {wire.MAX_BATCH:,} ids, not {len(ids):,}")

    def work() -> bytes:
        found = served.store.fetch(ids, namespace=inner(namespace))
        return wire.encode({"vectors": _vectors(found), "namespace": namespace, "usage": _USAGE})

    return Answer(await in_thread(work) if len(ids) > _IN_LOOP_HITS else work())


async def fetch_by_metadata(request: Request, served: Served) -> Answer:
    """POST /vectors/fetch_by_metadata."""
    asked = wire.decode(await request.body(), wire.FetchByMetadata)
    namespace, after = inner(asked.namespace), wire.page_start(asked.pagination_token)

    def work() -> bytes:
        found, last = served.store.fetch_matching(asked.filter, limit=asked.limit, after=after, namespace=namespace)
        page = {"vectors": _vectors(found), "namespace": asked.namespace or "", "usage": _USAGE}
        return wire.encode(page if last is None else {**page, "pagination": {"next": wire.page_token(last)}})

    return Answer(await in_thread(work))


def _vectors(found: dict[str, Record]) -> dict[str, dict]:
    return {
        id: {"id": id, "values": record.values, **({"metadata": record.metadata} if record.metadata else {})}
        for id, record in found.items()
    }


async def update(request: Request, served: Served) -> Answer:
    """POST /vectors/update: one record by its id, or the metadata of all that match."""
    asked = wire.decode(await request.body(), wire.Update)
    store, namespace = served.store, inner(asked.namespace)
    if asked.sparse_values is not None:
        raise VectorError("sparseValues are not served here: values are")
    if (asked.id is None) == (asked.filter is None):
        raise VectorError("update takes either id or filter")
    if not given(asked.values) and not given(asked.set_metadata) and not asked.dry_run:
        raise VectorError("update takes values, setMetadata or both: neither is there")
    if asked.filter is not None:
        if given(asked.values):
            raise VectorError("update by filter takes setMetadata: values are for one id")
        metadata = parse_fields(asked.set_metadata, "the update") if given(asked.set_metadata) else {}

        def work() -> dict:
            matched = store.update_matching(asked.filter, metadata, namespace=namespace, dry_run=asked.dry_run)
            return {"matchedRecords": matched}

        return await written(served, work, _IN_LOOP_BYTES + 1)
    id = rules.check_id(asked.id)
    values = parse_values(asked.values, served.description.dimension, id) if given(asked.values) else None
    metadata = parse_fields(asked.set_metadata, id) if given(asked.set_metadata) else None

    def work_on_one() -> dict:
        store.update(id, values=values, metadata=metadata, namespace=namespace)  # the service says nothing of an unknown id
        return {}

    return await written(served, work_on_one)


async def delete(request: Request, served: Served) -> Answer:
    """POST /vectors/delete."""
    asked = wire.decode(await request.body(), wire.Delete)
    if (asked.ids is not None) + (asked.filter is not None) + asked.delete_all != 1:
        raise VectorError("delete takes exactly one of ids, filter and deleteAll")

    def work() -> dict:
        namespace = known(served, asked.namespace or "")
        served.store.delete(asked.ids, namespace=namespace, filter=asked.filter)
        if namespace:  # an empty one is still there, as on the service
            with contextlib.suppress(VectorError):
                served.store.create_namespace(namespace)
        return {}

    return await written(served, work, 0 if asked.ids is not None else _IN_LOOP_BYTES + 1)


async def list_ids(request: Request, served: Served) -> Answer:
    """GET /vectors/list."""
    parameters = request.parameters()
    prefix, namespace = one(parameters, "prefix"), one(parameters, "namespace")
    most, after = limit(parameters, wire.MAX_PAGE), wire.page_start(one(parameters, "paginationToken"))
    inside = inner(namespace)
    # One more than asked for tells whether there is another page.
    ids = await in_thread(lambda: served.store.page(prefix=prefix, limit=most + 1, after=after, namespace=inside))
    page = {"vectors": [{"id": id} for id in ids[:most]], "namespace": namespace, "usage": _USAGE}
    return Answer(wire.encode({**page, **next_page(ids, most)}))


def next_page(names: list[str], most: int) -> dict:
    """Where a page goes on, if there are more names than it shows."""
    return {"pagination": {"next": wire.page_token(names[most - 1])}} if len(names) > most else {}


async def stats(request: Request, served: Served) -> Answer:
    """GET or POST /describe_index_stats."""
    body = await request.body()
    if body and wire.decode(body, wire.Stats).filter:
        raise VectorError("stats by filter are not served here, as on the service's serverless indexes")
    counts, description = served.store.stats(), served.description
    answer = {
        "namespaces": {name or wire.DEFAULT_NAMESPACE: {"vectorCount": count} for name, count in counts.items()},
        "dimension": description.dimension,
        "indexFullness": 0,
        "totalVectorCount": sum(counts.values()),
        "metric": description.metric,
        "vectorType": "dense",
    }
    return Answer(wire.encode(answer))


async def search(request: Request, served: Served) -> Answer:
    """POST /records/namespaces/NAMESPACE/search, with a vector or an id."""
    asked = wire.decode(await request.body(), wire.Search)
    wanted, namespace = asked.query, inner(request.argument)
    if wanted.inputs is not None or wanted.match_terms is not None or asked.rerank is not None:
        raise VectorError("inputs, match_terms and rerank need integrated inference, which is not served here", 501)
    if (wanted.vector is None) == (wanted.id is None):
        raise VectorError("search takes either vector or id")
    id, vector = wanted.id if wanted.id is None else rules.check_id(wanted.id), None
    if isinstance(wanted.vector, list):
        vector = parse_query(msgspec.Raw(wire.encode(wanted.vector)), served.description.dimension)
    elif wanted.vector is not None:
        if wanted.vector.sparse_indices is not None or wanted.vector.sparse_values is not None:
            raise VectorError("sparse_indices and sparse_values are not served here: values are")
        vector = parse_query(wanted.vector.values, served.description.dimension)

    def work() -> bytes:
        hits = served.store.search(vector, id=id, top_k=wanted.top_k, namespace=namespace, filter=wanted.filter)
        found = [{"_id": hit.id, "_score": hit.score, "fields": _fields(hit.metadata, asked.fields)} for hit in hits]
        return wire.encode({"result": {"hits": found}, "usage": {"read_units": 1}})

    return Answer(_sendable(await in_thread(work)))


def _fields(metadata: bytes, wanted: list[str] | None) -> object:
    if wanted is None:
        return wire.spliced(metadata)
    fields = msgspec.json.decode(metadata)
    return {name: fields[name] for name in wanted if name in fields}
