"""OpenAI's protocol from the client's side, against a small server that answers what a test tells it to."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from workbench.embedding import openai
from workbench.embedding.openai import OpenAIEmbedder
from workbench.errors import ModelError, ServiceError, SettingError

KEY = "sk-very-secret"


class Script(ThreadingHTTPServer):
    """Answers each request with the next of ``answers`` (status, body, headers), the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, object, dict]] = []
        self.requests: list[tuple[str, dict, dict]] = []

    def handle_error(self, request: object, address: object) -> None:
        """Silent: a client that gave up waiting leaves its answer without a reader."""

    def say(self, status: int, body: object, **headers: str) -> None:
        self.answers.append((status, body, headers))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.requests.append((self.path, dict(self.headers), body))
        status, answer, headers = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        answer = answer(body) if callable(answer) else answer
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr(openai, "_FIRST_WAIT_S", 0.001)
    server = Script()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(script: Script) -> Iterator[OpenAIEmbedder]:
    with OpenAIEmbedder(url=f"http://127.0.0.1:{script.server_port}/v1", key=KEY, model="m", dimension=2) as embedder:
        yield embedder


def _lengths(body: dict) -> list[list[float]]:
    """(length of the text, 1) of each input."""
    return [[float(len(text)), 1.0] for text in body["input"]]


def _floats(body: dict) -> dict:
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(_lengths(body))]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def _base64_backwards(body: dict) -> dict:
    answer = _floats(body)
    for item in answer["data"]:
        item["embedding"] = base64.b64encode(np.array(item["embedding"], "<f4").tobytes()).decode()
    answer["data"].reverse()
    return answer


def _unit(texts: list[str]) -> np.ndarray:
    rows = np.array([[len(text), 1.0] for text in texts], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("answer", [_floats, _base64_backwards])
def test_both_encodings_are_read_ordered_by_index_and_brought_to_unit_length(script, client, answer):
    script.say(200, answer)
    texts = ["a", "bbb", "cc"]
    rows = client.embed(texts)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, _unit(texts), atol=1e-6)
    [(path, headers, body)] = script.requests
    assert path == "/v1/embeddings" and headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": "m", "input": texts, "encoding_format": "base64"}


def test_more_than_2048_texts_take_several_calls(script, client):
    script.say(200, _base64_backwards)
    texts = ["x" * (1 + number % 7) for number in range(4097)]
    np.testing.assert_allclose(client.embed(texts), _unit(texts), atol=1e-6)
    assert [len(body["input"]) for _, _, body in script.requests] == [2048, 2048, 1]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(script, client, status):
    script.say(status, {"error": {"message": "busy"}}, Retry_After="0")
    script.say(status, b"<html>busy</html>")
    script.say(200, _floats)
    np.testing.assert_allclose(client.embed(["a"]), _unit(["a"]), atol=1e-6)
    assert len(script.requests) == 3


def _refused(client: OpenAIEmbedder, error: type = ServiceError) -> str:
    with pytest.raises(error) as caught:
        client.embed(["a"])
    message = str(caught.value)
    assert "\n" not in message and KEY not in message and client.url in message
    return message


def test_a_server_that_stays_busy_is_given_up(script, client):
    script.say(503, {"error": {"message": "over\nloaded"}})
    assert "status 503: over loaded (tried 4 times)" in _refused(client)
    assert len(script.requests) == 4


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (400, {"error": {"message": f"bad input, {KEY}", "code": None}}, {}, "status 400: bad input, ***"),
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, {}, "status 401: the API key is not accepted"),
        (404, b"nothing here", {}, "status 404: Not Found"),
        (429, {"error": {"message": "pay first", "code": "insufficient_quota"}}, {}, "status 429: pay first"),
        (429, {"error": {"message": "slow down"}}, {"Retry_After": "3600"}, "status 429: slow down; it asks to wait 3600 s"),
        (200, b"{", {}, "the answer is not a list of embeddings"),
        (200, {"data": [{"index": 0, "embedding": "###"}]}, {}, "the answer is not a list of embeddings"),
        (200, {"data": []}, {}, "0 embeddings came back for 1 texts"),
        (200, {"data": [{"index": 1, "embedding": [1.0, 0.0]}]}, {}, "not one for each"),
    ],
)
def test_what_asking_again_cannot_change_is_said_at_once(script, client, status, body, headers, expected):
    script.say(status, body, **headers)
    assert expected in _refused(client)
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("row", "expected"),
    [([1.0, 0.0, 0.0], "gave dimension 3, not the 2 expected"), ([0.0, 0.0], "a vector that is zero or not finite")],
)
def test_vectors_that_cannot_be_the_models_are_refused(script, client, row, expected):
    script.say(200, {"data": [{"index": 0, "embedding": row}]})
    assert expected in _refused(client, ModelError)


def test_no_server_is_said_with_its_url(monkeypatch):
    monkeypatch.setattr(openai, "_FIRST_WAIT_S", 0.001)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with OpenAIEmbedder(url=url, key=KEY, model="m", dimension=2) as client:
        assert "refused (tried 4 times)" in _refused(client)


def test_an_answer_that_does_not_come_is_not_asked_for_again(script):
    done = threading.Event()
    script.say(200, lambda body: done.wait(10) and {})
    url = f"http://127.0.0.1:{script.server_port}/v1"
    with OpenAIEmbedder(url=url, key=KEY, model="m", dimension=2, timeout_s=0.05) as client:
        assert "no answer within 0.05 s" in _refused(client)
    done.set()
    assert len(script.requests) == 1


def test_the_key_is_in_no_repr(client):
    assert KEY not in repr(client) and KEY not in repr(client._client.headers)


def test_openai_itself_is_the_default():
    with OpenAIEmbedder(url=None, key=KEY, model="text-embedding-3-small", dimension=1536) as client:
        assert client.url == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("url", "key", "expected"),
    [
        (None, "", "key = '' is not allowed: an API key"),
        (None, "sk-secret\n", r"key = '\*\*\*' is not allowed"),
        ("api.openai.com/v1", KEY, "url = 'api.openai.com/v1' is not allowed"),
        ("http://me:sk-secret@host/v1", KEY, r"url = '\*\*\*' is not allowed"),
    ],
)
def test_bad_settings_are_refused_without_showing_a_secret(url, key, expected):
    with pytest.raises(SettingError, match=expected) as caught:
        OpenAIEmbedder(url=url, key=key, model="m", dimension=2)
    assert "sk-" not in str(caught.value)
