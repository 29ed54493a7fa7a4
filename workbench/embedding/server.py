"""OpenAI's embeddings protocol, answered by the local model: ``python -m workbench.embedding.server --port N --cache PATH``.

``POST /v1/embeddings`` and ``GET /v1/models`` as OpenAI has them, and ``GET /health``, which needs no key.

The server answers at once. Loading torch and the model takes about 8 s of CPU on two cores, and while it is imported every
other request waits. So if the cache file holds vectors of this model, the model is loaded at the first text that is in
neither memory nor file: a run whose texts are all cached never pays. If the file holds none, the first request is sure to
need the model, and it is loaded from the start, beside what else is starting.
"""

import argparse
import asyncio
import base64
import contextlib
import functools
import hmac
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from workbench.embedding import Embedder
from workbench.embedding.cache import CachedEmbedder
from workbench.embedding.minilm import MiniLM
from workbench.errors import WorkbenchError
from workbench.process import serve_asgi

MAX_INPUTS = 2048  # a request, as OpenAI's
KEY_VARIABLE = "WORKBENCH_API_KEY"
_THREADS = 16  # requests that wait for the model or the file at one time; the model itself takes one after the other
_COUNTS = 50_000  # texts whose number of tokens is remembered

_log = logging.getLogger(__name__)


class LocalModel(Embedder, Protocol):
    """What the server needs of a model besides vectors."""

    loaded: bool

    def load(self) -> None: ...

    def count_tokens(self, text: str) -> int: ...


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    input: str | list[str]
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None  # OpenAI's label for its abuse reports; means nothing here


class _RequestError(Exception):
    """A request that is answered with an error in OpenAI's shape."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.status, self.body = status, {"error": {"message": message, "type": kind, "param": param, "code": code}}


def create_app(embedder: CachedEmbedder, api_key: str) -> Starlette:
    """The application that serves ``embedder``, whose own embedder is a ``LocalModel``, to whoever knows ``api_key``."""
    model: LocalModel = embedder.embedder
    count_tokens = functools.lru_cache(_COUNTS)(model.count_tokens)
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="embed")

    def embed(texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """Vectors and tokens. Runs in a thread. Misses take turns at the model: to join them into batches, join them here."""
        return embedder.embed(texts), sum(map(count_tokens, texts))

    async def embeddings(request: Request) -> Response:
        authorise(request)
        question = _parse(await request.body())
        texts = [question.input] if isinstance(question.input, str) else question.input
        _check(question, texts, model)
        vectors = embedder.lookup(texts)  # microseconds: not worth a thread's hundred
        if vectors is not None:
            tokens = sum(map(count_tokens, texts))
        else:
            vectors, tokens = await asyncio.get_running_loop().run_in_executor(pool, embed, texts)
        encoded = _base64(vectors) if question.encoding_format == "base64" else vectors.tolist()
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(encoded)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return _json({"object": "list", "data": data, "model": model.model, "usage": usage})

    async def models(request: Request) -> Response:
        authorise(request)
        return _json({"object": "list", "data": [{"id": model.model, "object": "model", "created": 0, "owned_by": "workbench"}]})

    async def health(request: Request) -> Response:
        return _json({"status": "ok", "model": model.model, "dimension": model.dimension, "model_loaded": model.loaded})

    def authorise(request: Request) -> None:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {api_key}".encode()):
            message = "Incorrect API key provided." if given else "You didn't provide an API key: send Authorization: Bearer KEY."
            raise _RequestError(401, message, code="invalid_api_key")

    def load_ahead() -> None:
        try:
            model.load()
        except WorkbenchError as error:
            _log.error("%s", error)  # every request that needs the model will say the same

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if not embedder.stored:
            pool.submit(load_ahead)
        yield
        pool.shutdown(wait=False, cancel_futures=True)

    routes = [
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/health", health, methods=["GET"]),
    ]
    handlers = {_RequestError: _refuse, HTTPException: _no_route, WorkbenchError: _failed}
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)


def _parse(body: bytes) -> _Question:
    try:
        return msgspec.json.decode(body, type=_Question)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).replace("`", "'").partition(" - at '$.")
        raise _RequestError(400, f"{reason}{path and f' at {path[:-1]}'}", param=path[:-1] or None) from None
    except msgspec.DecodeError as error:
        raise _RequestError(400, f"The body is not JSON: {error}") from None


def _check(question: _Question, texts: list[str], model: LocalModel) -> None:
    if question.model != model.model:
        message = f"The model '{question.model}' does not exist; this server has '{model.model}'."
        raise _RequestError(404, message, param="model", code="model_not_found")
    if question.dimensions not in (None, model.dimension):
        raise _RequestError(400, f"The model has dimension {model.dimension}, no other.", param="dimensions")
    if not 1 <= len(texts) <= MAX_INPUTS:
        raise _RequestError(400, f"input has {len(texts)} texts; 1 to {MAX_INPUTS:,} are allowed.", param="input")
    if not all(texts):
        raise _RequestError(400, f"input[{texts.index('')}] is an empty string.", param="input")


def _base64(vectors: np.ndarray) -> list[str]:
    return [base64.b64encode(vector).decode() for vector in np.ascontiguousarray(vectors, "<f4")]


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _refuse(request: Request, error: _RequestError) -> Response:
    return _json(error.body, error.status)


def _no_route(request: Request, error: HTTPException) -> Response:
    message = f"{error.detail}: {request.method} {request.url.path}"
    return _refuse(request, _RequestError(error.status_code, message, code="unknown_url"))


def _failed(request: Request, error: WorkbenchError) -> Response:
    return _refuse(request, _RequestError(500, str(error)))


def main() -> None:
    """Serve all-MiniLM-L6-v2 on loopback until the owner ends."""
    parser = argparse.ArgumentParser(prog="python -m workbench.embedding.server", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--cache", type=Path, metavar="PATH", help="keep the vectors in this SQLite file, which may be shared")
    args = parser.parse_args()
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        sys.exit(f"{KEY_VARIABLE} is not set: it is the key that clients must send")
    try:
        with CachedEmbedder(MiniLM(), path=args.cache) as embedder:
            serve_asgi(create_app(embedder, key), args.port)
    except WorkbenchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
