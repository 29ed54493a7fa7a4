"""OpenAI's protocol from the server's side, over real HTTP."""

import base64
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from workbench.embedding.cache import CachedEmbedder
from workbench.embedding.minilm import MiniLM
from workbench.embedding.server import create_app
from workbench.errors import ModelError
from workbench.process import Child

from .conftest import KEY, ROOT
from .letters import LetterEmbedder

AUTH = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def http(server):
    with httpx.Client(base_url=server.url, headers=AUTH, timeout=60, trust_env=False) as client:
        yield client


def _ask(http: httpx.Client, **body: object) -> httpx.Response:
    return http.post("/v1/embeddings", json={"model": MiniLM.model, **body})


def test_a_string_and_a_list_in_both_encodings(http, minilm):
    texts = ["Milk", "Bread, sliced"]
    expected = minilm.embed(texts)
    listed = _ask(http, input=texts).json()
    assert [item["index"] for item in listed["data"]] == [0, 1] and listed["model"] == MiniLM.model
    np.testing.assert_allclose([item["embedding"] for item in listed["data"]], expected, atol=1e-5)
    [item] = _ask(http, input="Milk", encoding_format="base64").json()["data"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(item["embedding"]), "<f4"), expected[0], atol=1e-5)


def test_tokens_are_counted_whether_cached_or_not(http, minilm):
    texts = ["Tokens, counted", "Milk"]
    for _ in range(2):
        usage = _ask(http, input=texts).json()["usage"]
        tokens = sum(map(minilm.count_tokens, texts))
        assert usage == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_models_and_health(http):
    [model] = http.get("/v1/models").json()["data"]
    assert model["id"] == MiniLM.model and model["object"] == "model"
    _ask(http, input="Milk")
    health = httpx.get(str(http.base_url.join("/health")), trust_env=False)  # no key
    assert health.json() == {"status": "ok", "model": MiniLM.model, "dimension": 384, "model_loaded": True}


@pytest.mark.parametrize("given", [None, "Bearer wrong", KEY, "Bearer ключ".encode()])
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/embeddings"), ("GET", "/v1/models")])
def test_without_the_key_there_is_no_answer(server, given, method, path):
    headers = {"Authorization": given} if given else {}
    answer = httpx.request(method, f"{server.url}{path}", headers=headers, json={}, trust_env=False)
    assert answer.status_code == 401
    assert answer.json()["error"] | {"message": ""} == {
        "message": "",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }


@pytest.mark.parametrize(
    ("body", "status", "message", "param"),
    [
        ({"input": []}, 400, "input has 0 texts; 1 to 2,048 are allowed.", "input"),
        ({"input": ["a"] * 2049}, 400, "input has 2049 texts; 1 to 2,048 are allowed.", "input"),
        ({"input": ""}, 400, "input[0] is an empty string.", "input"),
        ({"input": ["a", ""]}, 400, "input[1] is an empty string.", "input"),
        ({"input": [[1, 2]]}, 400, "Expected 'str', got 'array' at input[0]", "input[0]"),
        ({"input": 7}, 400, "Expected 'str | array', got 'int' at input", "input"),
        ({}, 400, "Object missing required field 'input'", None),
        ({"input": "a", "encoding_format": "hex"}, 400, "Invalid enum value 'hex' at encoding_format", "encoding_format"),
        ({"input": "a", "dimensions": 256}, 400, "The model has dimension 384, no other.", "dimensions"),
        ({"input": "a", "colour": 1}, 400, "Object contains unknown field 'colour'", None),
        ({"input": "a", "model": "gpt"}, 404, f"The model 'gpt' does not exist; this server has '{MiniLM.model}'.", "model"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(http, body, status, message, param):
    answer = _ask(http, **body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["message"], error["param"], error["type"]) == (message, param, "invalid_request_error")
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("body", [b"{", b"", b'{"model": "m", "input": "\\ud800"}', b"\xff"])
def test_a_body_that_is_not_json_is_refused(http, body):
    answer = http.post("/v1/embeddings", content=body)
    assert answer.status_code == 400 and answer.json()["error"]["message"].startswith("The body is not JSON")


@pytest.mark.parametrize(("request_line", "status"), [("GET /v2", 404), ("GET /v1/embeddings", 405), ("POST /health", 405)])
def test_another_path_or_method_is_refused_in_the_same_shape(http, request_line, status):
    answer = http.request(*request_line.split())
    assert answer.status_code == status and answer.json()["error"]["code"] == "unknown_url"


def test_requests_at_one_time_all_get_their_own(http, minilm):
    texts = [f"Milk, {number} OZ" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda text: _ask(http, input=text).json()["data"][0]["embedding"], texts)
        np.testing.assert_allclose(list(answers), minilm.embed(texts), atol=1e-5)


class SmallModel(LetterEmbedder):
    """A local model that can be counted on."""

    loaded = False

    def load(self) -> None:
        self.loaded = True

    def count_tokens(self, text: str) -> int:
        return len(text)


def test_the_model_is_loaded_ahead_only_if_nothing_is_stored(tmp_path):
    empty = SmallModel()
    with CachedEmbedder(empty, path=tmp_path / "c") as cache, TestClient(create_app(cache, KEY), headers=AUTH) as client:
        client.post("/v1/embeddings", json={"model": empty.model, "input": "a"})
        assert empty.loaded
    warm = SmallModel()
    with CachedEmbedder(warm, path=tmp_path / "c") as cache, TestClient(create_app(cache, KEY), headers=AUTH) as client:
        answer = client.post("/v1/embeddings", json={"model": warm.model, "input": "a"})
        assert answer.status_code == 200 and answer.json()["usage"]["total_tokens"] == 1
        assert client.get("/health").json()["model_loaded"] is False and warm.calls == []


def test_a_model_that_cannot_be_loaded_is_said_by_each_request_that_needs_it(caplog):
    broken = SmallModel()

    def fail(*args: object) -> None:
        raise ModelError("the weights are damaged")

    broken.load = broken.embed = fail
    with TestClient(create_app(CachedEmbedder(broken), KEY), headers=AUTH) as client:
        answer = client.post("/v1/embeddings", json={"model": broken.model, "input": "a"})
        assert client.get("/health").status_code == 200
    assert answer.status_code == 500
    assert answer.json()["error"] == {"message": "the weights are damaged", "type": "server_error", "param": None, "code": None}


def test_without_a_key_of_its_own_the_server_does_not_start():
    env = {name: value for name, value in os.environ.items() if name != "WORKBENCH_API_KEY"}
    command = [sys.executable, "-m", "workbench.embedding.server"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "WORKBENCH_API_KEY is not set: it is the key that clients must send\n"


def test_a_warm_file_serves_a_new_server_that_ends_with_its_owner(server, http, tmp_path):
    _ask(http, input=["Milk", "Bread"])
    args = ["--cache", str(server.log.parent / "cache.sqlite")]
    env = {"WORKBENCH_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
    child = Child("second server", "workbench.embedding.server", args, log=tmp_path / "log", env=env)
    try:
        with httpx.Client(base_url=child.wait_ready(), headers=AUTH, trust_env=False) as second:
            answer = _ask(second, input=["Milk", "Bread"])
            assert answer.json() == _ask(http, input=["Milk", "Bread"]).json()
            assert second.get("/health").json()["model_loaded"] is False
    finally:
        child.stop()
    assert not child.running and child.log.read_text() == ""
