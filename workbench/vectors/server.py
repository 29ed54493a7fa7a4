"""The local vector server: our FAISS store behind Pinecone's REST protocol, on loopback, one port for every index.

``python -m workbench.vectors.server --port N`` with the API key in ``WORKBENCH_API_KEY``. Everything is in memory and ends
with the process.
"""

import argparse
import hmac
import os
import sys

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from workbench.errors import IndexNotFound, SettingError, VectorError, WorkbenchError
from workbench.process import serve_asgi
from workbench.settings import HNSW, Index, parse_index
from workbench.vectors import wire
from workbench.vectors.store import Store

_ASSUMED_VERSION = "2026-04"  # without a version header: the default that the OpenAPI files give
_ANSWER_LIMIT = 4 * 1024 * 1024  # bytes of a query's answer, as the service has it
_IN_LOOP = 64 * 1024  # bytes: a larger upsert takes milliseconds to parse and store


def create_app(api_key: str, index: Index = HNSW()) -> Starlette:  # noqa: B008 (a frozen value)
    """The server as an ASGI application. ``index`` is what every index it creates is built with.

    Raises:
        SettingError: the key is empty.
    """
    if not api_key:
        raise SettingError("WORKBENCH_API_KEY", api_key, "the server's API key, not empty")
    return Starlette(
        routes=_Server(index).routes(),
        middleware=[Middleware(_Guard, api_key=api_key)],
        exception_handlers={VectorError: _refused, HTTPException: _unrouted, ClientDisconnect: _gone, Exception: _failed},
    )


class _Guard:
    """Lets through what carries the API key and a known version; ``/health`` needs neither."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app, self._key = app, api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            headers = dict(scope["headers"])
            version = headers.get(b"x-pinecone-api-version", _ASSUMED_VERSION.encode()).decode("latin-1")
            if not hmac.compare_digest(headers.get(b"api-key", b""), self._key):  # takes as long wherever the keys differ
                answer = _error(scope["path"], "Invalid API key", 401)
            elif version not in wire.VERSIONS:
                message = f"API version {version[:40]!r} is not served here: {', '.join(wire.VERSIONS)}"
                answer = _error(scope["path"], message, 400)
            else:
                scope["pinecone_version"] = version
                answer = self._app
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _Server:
    """The indexes and what can be asked of them."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._indexes: dict[str, tuple[wire.Description, Store]] = {}

    def routes(self) -> list[Route]:
        data = {
            "describe_index_stats": (self._stats, ["GET", "POST"]),
            "query": (self._query, ["POST"]),
            "vectors/upsert": (self._upsert, ["POST"]),
            "vectors/fetch": (self._fetch, ["GET"]),
            "vectors/delete": (self._delete, ["POST"]),
        }
        return [
            Route("/health", _health, methods=["GET"]),
            Route("/indexes", self._list, methods=["GET"]),
            Route("/indexes", self._create, methods=["POST"]),
            Route("/indexes/{name}", self._describe, methods=["GET"]),
            Route("/indexes/{name}", self._configure, methods=["PATCH"]),
            Route("/indexes/{name}", self._drop, methods=["DELETE"]),
            *(Route(f"/indexes/{{name}}/{path}", handler, methods=methods) for path, (handler, methods) in data.items()),
            Route("/indexes/{name}/{rest:path}", self._unserved, methods=["GET", "POST", "PATCH", "DELETE"]),
        ]

    # Control plane

    async def _create(self, request: Request) -> Response:
        version = request.scope["pinecone_version"]
        description = wire.described(wire.decode(await _body(request), wire.Create), version)
        if description.name in self._indexes:
            raise VectorError(f"index {description.name!r} already exists", 409)
        store = Store(dimension=description.dimension, metric=description.metric, index=self._index)
        self._indexes[description.name] = (description, store)
        return _answer(self._model(request, description), 201)

    async def _list(self, request: Request) -> Response:
        return _answer({"indexes": [self._model(request, description) for description, _ in self._indexes.values()]})

    async def _describe(self, request: Request) -> Response:
        return _answer(self._model(request, self._find(request)[0]))

    async def _configure(self, request: Request) -> Response:
        changes = wire.decode(await _body(request), wire.Configure)
        description, store = self._find(request)
        tags = {**(description.tags or {}), **(changes.tags or {})}
        changed = msgspec.structs.replace(
            description,
            deletion_protection=changes.deletion_protection or description.deletion_protection,
            tags={key: value for key, value in tags.items() if value},  # an empty value removes a tag
        )
        self._indexes[changed.name] = (changed, store)
        return _answer(self._model(request, changed))

    async def _drop(self, request: Request) -> Response:
        description, _ = self._find(request)
        if description.deletion_protection == "enabled":
            raise VectorError(f"index {description.name!r} is protected: set deletion_protection to disabled first", 403)
        del self._indexes[description.name]
        return Response(status_code=202)

    # Data plane

    async def _upsert(self, request: Request) -> Response:
        body = await _body(request)
        _, store = self._find(request)

        def work() -> int:
            upsert = wire.decode(body, wire.Upsert)
            return store.upsert(wire.records(upsert), namespace=_inner(upsert.namespace))

        count = await run_in_threadpool(work) if len(body) > _IN_LOOP else work()
        return _answer({"upsertedCount": count})

    async def _query(self, request: Request) -> Response:
        # In the event loop on purpose: a query takes about a millisecond, and a hop to a thread and back adds 0.1 to 0.2.
        query = wire.decode(await _body(request), wire.Query)
        _, store = self._find(request)
        namespace = _inner(query.namespace)
        if query.sparse_vector is not None:
            raise VectorError("sparseVector is not served here: vector or id is")
        if (query.vector is None) == (query.id is None):
            raise VectorError("query takes either vector or id")
        vector = query.vector
        if query.id is not None:
            known = store.fetch([query.id], namespace=namespace).get(query.id)
            vector = None if known is None else known.values
        matches = [] if vector is None else store.query([vector], top_k=query.top_k, namespace=namespace, filter=query.filter)[0]
        values = None
        if query.include_values:
            values = store.fetch([match.id for match in matches], namespace=namespace)
            matches = [match for match in matches if match.id in values]  # deleted by another thread in between
        shown = [wire.match(match, values, query.include_metadata) for match in matches]
        answer = wire.encode({"matches": shown, "namespace": query.namespace, "usage": {"readUnits": 1}})
        if len(answer) > _ANSWER_LIMIT:
            raise VectorError(f"the answer takes {len(answer):,} bytes, at most {_ANSWER_LIMIT:,} are sent: lower topK")
        return Response(answer, media_type="application/json")

    async def _fetch(self, request: Request) -> Response:
        _, store = self._find(request)
        ids, namespace = request.query_params.getlist("ids"), request.query_params.get("namespace", "")
        if not 1 <= len(ids) <= wire.MAX_BATCH:
            raise VectorError(f"fetch takes 1 to {wire.MAX_BATCH:,} ids, not {len(ids):,}")
        found = store.fetch(ids, namespace=_inner(namespace))
        vectors = {id: wire.record(record) for id, record in found.items()}
        return _answer({"vectors": vectors, "namespace": namespace, "usage": {"readUnits": 1}})

    async def _delete(self, request: Request) -> Response:
        delete = wire.decode(await _body(request), wire.Delete)
        _, store = self._find(request)
        if (delete.ids is not None) + (delete.filter is not None) + delete.delete_all != 1:
            raise VectorError("delete takes exactly one of ids, filter and deleteAll")
        store.delete(delete.ids, namespace=_inner(delete.namespace), filter=delete.filter)
        return _answer({})

    async def _stats(self, request: Request) -> Response:
        body = await _body(request)
        asked = wire.decode(body, wire.Stats) if body else wire.Stats()
        description, store = self._find(request)
        if asked.filter:
            raise VectorError("stats by filter are not served here, as on the service's serverless indexes")
        counts = store.stats()
        return _answer(
            {
                "namespaces": {name or wire.DEFAULT_NAMESPACE: {"vectorCount": count} for name, count in counts.items()},
                "dimension": description.dimension,
                "indexFullness": 0,
                "totalVectorCount": sum(counts.values()),
                "metric": description.metric,
                "vectorType": "dense",
            }
        )

    async def _unserved(self, request: Request) -> Response:
        self._find(request)
        raise VectorError(f"{request.method} /{request.path_params['rest'][:80]} is not served here", 501)

    def _find(self, request: Request) -> tuple[wire.Description, Store]:
        name = request.path_params["name"]
        if name not in self._indexes:
            raise IndexNotFound(name[:80])
        return self._indexes[name]

    @staticmethod
    def _model(request: Request, description: wire.Description) -> dict:
        host = f"{str(request.base_url).rstrip('/')}/indexes/{description.name}"
        return wire.index_model(description, host, request.scope["pinecone_version"])


def _inner(namespace: str) -> str:
    return "" if namespace == wire.DEFAULT_NAMESPACE else namespace


async def _body(request: Request) -> bytes:
    """The request's body, given up on as soon as it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > wire.MAX_BODY_BYTES:
            raise VectorError(f"the request body is too large: at most {wire.MAX_BODY_BYTES:,} bytes", 413)
    return bytes(body)


def _answer(content: object, status: int = 200) -> Response:
    return Response(wire.encode(content), status, media_type="application/json")


async def _health(request: Request) -> Response:
    return _answer({"status": "ok"})


def _error(path: str, message: str, status: int) -> Response:
    control = not path.startswith("/indexes/") or path.count("/") == 2
    return Response(wire.error_body(message, status, control=control), status, media_type="application/json")


async def _refused(request: Request, error: VectorError) -> Response:
    return _error(request.scope["path"], str(error), error.status)


async def _unrouted(request: Request, error: HTTPException) -> Response:
    path = request.scope["path"]
    return _error(path, f"{request.method} {path[:80]}: {error.detail}", error.status_code)


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    # Nobody reads it: the connection ended before the body did.
    return _error(request.scope["path"], "the request body is incomplete", 400)


async def _failed(request: Request, error: Exception) -> Response:
    return _error(request.scope["path"], "internal error: see the server's log", 500)  # Starlette logs the traceback


def main() -> None:
    """Serve on loopback until SIGTERM or the owner's end."""
    parser = argparse.ArgumentParser(prog="python -m workbench.vectors.server", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 (default) takes a free one")
    parser.add_argument("--index", default="hnsw", help="flat, hnsw or ivf with settings, as in hnsw:m=32,ef_search=64")
    options = parser.parse_args()
    try:
        serve_asgi(create_app(os.environ.get("WORKBENCH_API_KEY", ""), parse_index(options.index)), options.port)
    except WorkbenchError as error:
        sys.exit(f"workbench.vectors.server: {error}")


if __name__ == "__main__":
    main()
