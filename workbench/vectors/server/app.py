"""The server as an ASGI application, its routes, and what runs it."""

import hmac
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from workbench.errors import SettingError, VectorError
from workbench.process import serve_asgi
from workbench.settings import parse_index
from workbench.vectors.log import check_sync
from workbench.vectors.server import control, data, namespaces, wire
from workbench.vectors.server.indexes import Indexes
from workbench.vectors.server.metrics import CONTENT_TYPE, Metrics
from workbench.vectors.server.request import Answer, Receive, Request, Scope, Send, in_thread
from workbench.vectors.space import check_delay

_ASSUMED_VERSION = b"2026-04"  # without a version header: the default that the OpenAPI files give
_MOST_PARTS = 8  # of a path that can be routed
_SWITCH_S = 0.0005  # how long a thread that parses an upsert may hold up a query: Python's own 5 ms would be its slowest part
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")

_log = logging.getLogger(__name__)

# Routes by path, with * for one variable segment: what follows /indexes/NAME/ is the data plane.
_DATA: dict[str, dict[str, data.Handler]] = {
    "query": {"POST": data.query},
    "vectors/upsert": {"POST": data.upsert},
    "vectors/fetch": {"GET": data.fetch},
    "vectors/fetch_by_metadata": {"POST": data.fetch_by_metadata},
    "vectors/update": {"POST": data.update},
    "vectors/delete": {"POST": data.delete},
    "vectors/list": {"GET": data.list_ids},
    "describe_index_stats": {"GET": data.stats, "POST": data.stats},
    "namespaces": {"GET": namespaces.list_all, "POST": namespaces.create},
    "namespaces/*": {"GET": namespaces.describe, "DELETE": namespaces.delete},
    "records/namespaces/*/search": {"POST": data.search},
}
_CONTROL: dict[str, dict[str, control.Handler]] = {
    "indexes": {"GET": control.list_all, "POST": control.create},
    "indexes/*": {"GET": control.describe, "PATCH": control.configure, "DELETE": control.delete},
}
# What the service has and this server has not.
_ELSEWHERE = re.compile(
    "/(collections|backups|backup-schedules|restore-jobs|embed|rerank|models)(/.*)?"
    "|/indexes/(create-for-model|[^/]+/(backups|backup-schedules|bulk/imports(/.*)?|records/.*|namespaces/[^/]+/documents/.*))"
)
_CONTROL_OF_INDEX = ("backups", "backup-schedules")  # below /indexes/NAME/, and yet not of the data plane


def create_app(api_key: str, indexes: Indexes) -> "Application":
    """The server as an ASGI application.

    Raises:
        SettingError: the key is empty.
    """
    if not api_key:
        raise SettingError("WORKBENCH_API_KEY", api_key, "the server's API key, not empty")
    return Application(api_key, indexes)


class Application:
    """Checks the key and the version, finds the handler, and turns what it raises into an error of the right shape."""

    def __init__(self, api_key: str, indexes: Indexes) -> None:
        self._key, self._indexes, self._metrics = api_key.encode(), indexes, Metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        begun = time.perf_counter()
        request = Request(scope, receive)
        route, answer = await self._answer(request, scope)
        await answer.send(send)
        self._metrics.count(route, answer.status, time.perf_counter() - begun)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()  # the server has answered what was under way
        await in_thread(self._indexes.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, request: Request, scope: Scope) -> tuple[str, Answer]:
        """The route's name, for the metrics, and what it answers."""
        if request.method == "GET" and request.path == "/health":
            return "health", Answer(b'{"status":"ok"}')
        if request.method == "GET" and request.path == "/metrics":
            text = await in_thread(self._metrics.text, self._indexes)
            return "metrics", Answer(text, headers=((b"content-type", CONTENT_TYPE),))
        parts = request.path[1:].split("/")
        on_data = len(parts) > 2 and parts[0] == "indexes" and parts[2] not in _CONTROL_OF_INDEX
        route = None
        try:
            self._admit(request, scope)
            route, request.argument = _routed(_DATA, parts[2:]) if on_data else _routed(_CONTROL, parts)
            if on_data:
                return route, await self._on_data(request, unquote(parts[1]), route)
            return route, await _handler(_CONTROL, request, route)(request, self._indexes)
        except Exception as error:
            return route or "unknown", _refused(error, control=not on_data)

    async def _on_data(self, request: Request, name: str, route: str | None) -> Answer:
        served = self._indexes.find(name)
        served.active += 1
        try:
            return await _handler(_DATA, request, route)(request, served)
        finally:
            served.active -= 1

    def _admit(self, request: Request, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if not hmac.compare_digest(headers.get(b"api-key", b""), self._key):  # takes as long wherever the keys differ
            raise VectorError("Invalid API key", 401)
        request.version = headers.get(b"x-pinecone-api-version", _ASSUMED_VERSION).decode("latin-1")
        if request.version not in wire.VERSIONS:
            raise VectorError(f"API version {request.version[:40]!r} is not served here: {', '.join(wire.VERSIONS)}")
        host = headers.get(b"host", b"").decode("latin-1")
        request.host = host if _HOST.fullmatch(host) else "{}:{}".format(*scope["server"])


def _routed(table: dict[str, dict], parts: list[str]) -> tuple[str | None, str]:
    """The path's key in the table, None if there is none, and what stands for its star."""
    path = "/".join(parts)
    if path in table:
        return path, ""
    if len(parts) <= _MOST_PARTS:
        for place, part in enumerate(parts):
            starred = "/".join([*parts[:place], "*", *parts[place + 1 :]])
            if part and starred in table:
                return starred, unquote(part)
    return None, ""


def _handler(table: dict[str, dict], request: Request, route: str | None) -> Callable:
    methods = table.get(route, {})
    if request.method in methods:
        return methods[request.method]
    asked = f"{request.method} {request.path[:80]}"
    if _ELSEWHERE.fullmatch(request.path):
        less = "there are no collections, backups, imports and documents here, and no inference"
        raise VectorError(f"{asked} is not served: {less}", 501)
    if route is None:
        raise VectorError(f"{asked}: there is no such path", 404)
    raise _NotAllowed(f"{asked} is not allowed: {', '.join(methods)}", tuple(methods))


def _refused(error: Exception, *, control: bool) -> Answer:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    match error:
        case VectorError():
            message, status = str(error), error.status
        case SettingError():
            message, status = str(error), 400
        case ConnectionResetError():
            message, status = "the request body is incomplete", 400  # nobody reads it
        case _:
            _log.error("a request failed", exc_info=error)
            message, status = "internal error: see the server's log", 500
    if isinstance(error, _NotAllowed):
        headers = ((b"allow", ", ".join(error.methods).encode()),)
    return Answer(wire.error_body(message, status, control=control), status, headers)


class _NotAllowed(VectorError):
    def __init__(self, message: str, methods: tuple[str, ...]) -> None:
        super().__init__(message, 405)
        self.methods = methods


def serve(
    port: int = 0,
    data: Path | None = None,
    index: str = "hnsw",
    sync: str = "full",
    visible_after_s: float = 0.0,
    *,
    say: Callable[[str], None] | None = None,
) -> None:
    """Serve on loopback until SIGTERM or SIGINT, with the key in ``WORKBENCH_API_KEY``.

    Args:
        port: 0 takes a free one.
        data: the folder that keeps the indexes; None keeps them in memory.
        index: how indexes are built and searched, as in ``hnsw:m=32,ef_search=64``.
        sync: what an acknowledged write survives: full, normal or off.
        visible_after_s: how long a write is not seen by reads.
        say: is told the URL; without it the server is a child, which tells its owner and ends with it.

    Raises:
        SettingError: a setting is not allowed.
        ServiceError: the port or the folder is in use.
        StoreDamaged: an index in the folder is damaged.
    """
    key = os.environ.get("WORKBENCH_API_KEY", "")
    check_sync(sync)
    check_delay(visible_after_s)
    sys.setswitchinterval(_SWITCH_S)
    app = create_app(key, indexes := Indexes(parse_index(index), data, sync, visible_after_s))
    try:
        for served in indexes:
            if served.store.recovered is not None:
                print(f"index {served.description.name}: {served.store.recovered}", file=sys.stderr, flush=True)
        serve_asgi(app, port, say=say)
    finally:
        indexes.close()
