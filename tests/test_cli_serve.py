"""``workbench serve vectors``: what a person sees who starts the vector server in a terminal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

KEY = "of-the-test"


@pytest.fixture
def start():
    """Starts the command, without an input as a service would be; what still runs is killed."""
    started = []

    def run(*arguments: str, key: str = KEY) -> subprocess.Popen:
        command = [sys.executable, "-m", "workbench", "serve", "vectors", *arguments]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env={**os.environ, "WORKBENCH_API_KEY": key}, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _url(process: subprocess.Popen) -> str:
    line = process.stdout.readline()
    assert line.startswith("vectors: http://127.0.0.1:") and line.endswith(" (Ctrl-C ends it)\n"), process.stderr.read()
    return line.split()[1]


def _index(url: str, method: str, path: str, **body: object) -> dict:
    answer = httpx.request(method, f"{url}{path}", json=body or None, headers={"api-key": KEY}, timeout=30)
    assert answer.is_success, answer.text
    return answer.json()


def test_ctrl_c_ends_it_and_the_next_one_has_everything(start, tmp_path: Path):
    first = start("--data", str(tmp_path / "data"))
    url = _url(first)
    _index(url, "POST", "/indexes", name="a", dimension=2, metric="cosine", spec={"serverless": {"cloud": "aws", "region": "x"}})
    _index(url, "POST", "/indexes/a/vectors/upsert", vectors=[{"id": "v", "values": [1, 0]}, {"id": "w", "values": [0, 1]}])
    first.send_signal(signal.SIGINT)
    assert first.communicate(timeout=30) == ("", "") and first.returncode == 0

    second = start("--data", str(tmp_path / "data"), "--sync", "normal")
    matches = _index(_url(second), "POST", "/indexes/a/query", vector=[0, 3], topK=1)["matches"]
    assert [(match["id"], match["score"]) for match in matches] == [("w", 1.0)]

    third = start("--data", str(tmp_path / "data"))
    out, err = third.communicate(timeout=30)
    assert (third.returncode, out) == (1, "") and err.startswith("workbench: ") and "in use" in err and err.count("\n") == 1

    second.send_signal(signal.SIGTERM)
    _, err = second.communicate(timeout=30)
    assert err.startswith("index a: 2 records in 1 namespaces from ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "key", "words"),
    [
        ((), "", "WORKBENCH_API_KEY = '' is not allowed"),
        (("--index", "tree"), KEY, "index = 'tree' is not allowed: one of flat, hnsw, ivf, hnsw-sq, ivf-pq"),
        (("--sync", "never"), KEY, "sync = 'never' is not allowed: one of full, normal, off"),
        (("--visible-after", "-1"), KEY, "visible_after_s = -1.0 is not allowed: 0 to 3600 seconds"),
        (("--port", "70000"), KEY, "port 70000 on 127.0.0.1 cannot be used"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(start, arguments, key, words):
    process = start(*arguments, key=key)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "") and err.startswith(f"workbench: {words}") and err.count("\n") == 1
