"""A request and its answer, as the server's handlers see them: ASGI without a framework, which would cost 0.1 ms a request."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from workbench.errors import VectorError
from workbench.vectors.server import wire

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_WRITERS = ThreadPoolExecutor(8, thread_name_prefix="vector-write")


class Answer(NamedTuple):
    """What goes back: JSON unless ``headers`` say otherwise; no body, no content type."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def send(self, send: Send) -> None:
        """Send it whole."""
        headers = [(b"content-length", b"%d" % len(self.body)), *self.headers]
        if self.body and not any(name == b"content-type" for name, _ in self.headers):
            headers.append(_JSON)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Request:
    """One request. ``argument`` is the variable part of the path within the route, such as a namespace's name."""

    __slots__ = ("_receive", "argument", "host", "method", "path", "query", "version")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("latin-1")
        self.query: bytes = scope["query_string"]
        self.argument = self.version = self.host = ""
        self._receive = receive

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            VectorError: it is too large; what is still to come is not waited for.
            ConnectionResetError: the client left before its end.
        """
        parts, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client left before the end of its request")
            part = message.get("body", b"")
            size += len(part)
            if size > wire.MAX_BODY_BYTES:
                raise VectorError(f"the request body is too large: at most {wire.MAX_BODY_BYTES:,} bytes", 413)
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def parameters(self) -> dict[str, list[str]]:
        """The query string's parameters."""
        return parse_qs(self.query.decode("latin-1"), keep_blank_values=True)


def one(parameters: dict[str, list[str]], name: str) -> str:
    """A parameter that may be given once; "" where it is not.

    Raises:
        VectorError: it is given more than once.
    """
    values = parameters.get(name, [""])
    if len(values) > 1:
        raise VectorError(f"{name} is given {len(values)} times: once is allowed")
    return values[0]


def limit(parameters: dict[str, list[str]], most: int) -> int:
    """How many of a page: the parameter ``limit``, 1 to ``most``, which is also what it is by default.

    Raises:
        VectorError: it is anything else.
    """
    text = one(parameters, "limit")
    if not text:
        return most
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise VectorError(f"limit {text[:40]!r} is not allowed: a whole number from 1 to {most}")
    return int(text)


async def in_thread(work: Callable[..., Any], *arguments: object) -> Any:
    """What ``work`` returns, from another thread: for what would hold up the event loop, and all queries with it."""
    return await asyncio.get_running_loop().run_in_executor(None, functools.partial(work, *arguments))


async def in_writer(work: Callable[[], Any]) -> Any:
    """The same for a write: writes wait for each other and for the disk, and reads shall not wait for their threads."""
    return await asyncio.get_running_loop().run_in_executor(_WRITERS, work)
