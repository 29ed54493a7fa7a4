"""OpenAI's embeddings API as an embedder: OpenAI itself, this workbench's own server, or any other that speaks the protocol.

The protocol: https://platform.openai.com/docs/api-reference/embeddings/create
"""

import base64
import binascii
import random
import time
from collections.abc import Sequence
from typing import Self

import httpx
import msgspec
import numpy as np

from workbench.embedding.texts import check_texts
from workbench.errors import ModelError, ServiceError, SettingError

OPENAI_URL = "https://api.openai.com/v1"
MAX_INPUTS = 2048  # a call, by the API reference
_ATTEMPTS = 4
_FIRST_WAIT_S = 0.25  # doubles with each attempt
_LONGEST_WAIT_S = 20.0  # a server that asks for more is reported at once, not waited for
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Item(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Answer(msgspec.Struct):
    data: list[_Item]


class _Reason(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None


class _Refusal(msgspec.Struct):
    error: _Reason


# Made at import: msgspec 0.22 crashes the process if the first calls of decode(..., type=) come from several threads at once.
_ANSWER, _REFUSAL = msgspec.json.Decoder(_Answer), msgspec.json.Decoder(_Refusal)


class OpenAIEmbedder:
    """Embeds by ``POST {url}/embeddings``; ``url`` ends in ``/v1`` as OpenAI's does, and None is OpenAI itself.

    ``dimension`` is what ``model`` gives and is checked against each answer. One HTTP client serves all calls and threads;
    make the embedder once. An answer is waited for up to ``timeout_s`` seconds. 429, 5xx and failed connections are tried
    four times in all, after 0.25, 0.5 and 1 s or what the server's Retry-After asks for.

    Raises:
        SettingError: no key, or a URL that is not one.
    """

    def __init__(self, *, url: str | None, key: str, model: str, dimension: int, timeout_s: float = 60.0) -> None:
        self.url = (url or OPENAI_URL).rstrip("/")
        self.model, self.dimension = model, dimension
        host = _host(self.url)
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            allowed = "an API key: OpenAI's (OPENAI_API_KEY) or the local server's (WORKBENCH_API_KEY)"
            raise SettingError("key", "***" if key else key, allowed)
        self._key = key
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            verify=self.url.startswith("https:"),  # certificates take 20 ms to read and plain HTTP needs none
            trust_env=host not in _LOOPBACK,  # a proxy cannot reach this machine's own servers
        )

    def __repr__(self) -> str:
        return f"OpenAIEmbedder(url={self.url!r}, model={self.model!r}, dimension={self.dimension})"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, dimension], rows of unit length, in the order of the texts; a call for every 2,048 of them.

        Raises:
            TypeError, ValueError: a text that is not a string, or is empty.
            ModelError: the answer's vectors are of another dimension, not finite, or zero.
            ServiceError: the server refused, could not be reached, or did not answer as the protocol says.
        """
        texts = check_texts(texts)
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for start in range(0, len(texts), MAX_INPUTS):
            part = texts[start : start + MAX_INPUTS]
            body = {"model": self.model, "input": part, "encoding_format": "base64"}
            vectors[start : start + len(part)] = self._vectors(self._post(msgspec.json.encode(body)), len(part))
        return vectors

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _post(self, body: bytes) -> bytes:
        """The body of a 200 answer."""
        for attempt in range(1, _ATTEMPTS + 1):
            wait = _FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # spread, so that clients do not return in step
            try:
                answer = self._client.post(f"{self.url}/embeddings", content=body)
            except httpx.ReadTimeout:
                # Asked again, the server would do the same long work once more.
                raise ServiceError(f"{self.url}: no answer within {self._client.timeout.read:g} s") from None
            except httpx.TransportError as error:
                problem = self._hide(str(error)) or type(error).__name__
            else:
                if answer.status_code == 200:
                    return answer.content
                problem, final = self._problem(answer)
                if final:
                    raise ServiceError(f"{self.url}: {problem}")
                wait = _retry_after(answer, wait)
                if wait > _LONGEST_WAIT_S:
                    raise ServiceError(f"{self.url}: {problem}; it asks to wait {wait:g} s")
            if attempt < _ATTEMPTS:
                time.sleep(wait)
        raise ServiceError(f"{self.url}: {problem} (tried {_ATTEMPTS} times)")

    def _problem(self, answer: httpx.Response) -> tuple[str, bool]:
        """What an answer other than 200 says, and whether asking again is useless."""
        if answer.status_code == 401:
            return "status 401: the API key is not accepted", True
        try:
            reason = _REFUSAL.decode(answer.content).error
        except msgspec.DecodeError:
            reason = _Reason(answer.reason_phrase)
        text = " ".join(self._hide(reason.message or answer.reason_phrase).split())[:300]
        retriable = (answer.status_code == 429 and reason.code != "insufficient_quota") or answer.status_code >= 500
        return f"status {answer.status_code}: {text}", not retriable

    def _vectors(self, content: bytes, count: int) -> np.ndarray:
        try:
            data = _ANSWER.decode(content).data
            rows = [_row(item.embedding) for item in sorted(data, key=lambda item: item.index)]
        except (msgspec.DecodeError, binascii.Error, ValueError) as error:
            raise ServiceError(f"{self.url}: the answer is not a list of embeddings ({error})") from None
        if sorted(item.index for item in data) != list(range(count)):
            raise ServiceError(f"{self.url}: {len(data)} embeddings came back for {count} texts, or not one for each")
        for row in rows:
            if len(row) != self.dimension:
                raise ModelError(f"{self.url}: {self.model} gave dimension {len(row)}, not the {self.dimension} expected")
        vectors = np.stack(rows)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and lengths.all()):
            raise ModelError(f"{self.url}: {self.model} gave a vector that is zero or not finite")
        return vectors / lengths  # OpenAI's are of unit length, other servers' need not be

    def _hide(self, text: str) -> str:
        return text.replace(self._key, "***")


def _host(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query:
        raise SettingError("url", "***" if parsed.userinfo else url, "http(s)://host[:port]/v1, without a user or a query")
    return parsed.host


def _row(embedding: str | list[float]) -> np.ndarray:
    """float32[d], from base64 of little-endian float32 or, where a server does not know that encoding, from numbers."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    return np.array(embedding, np.float32)


def _retry_after(answer: httpx.Response, default_s: float) -> float:
    """Seconds to wait; the header's other form, a date, is not used by this API and is passed over."""
    try:
        return max(default_s, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        return default_s
