"""A server whose indexes are kept in a folder: what the next server finds, and what it refuses."""

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest

from workbench.errors import IndexNotFound, ServiceError, StoreDamaged, VectorError
from workbench.process import Child
from workbench.settings import HNSW, Flat
from workbench.vectors.server import indexes as server_indexes
from workbench.vectors.server.app import create_app
from workbench.vectors.server.indexes import Indexes
from workbench.vectors.server.wire_control import Description

from .raw import KEY, Caller

SPEC = {"serverless": {"cloud": "aws", "region": "eu-west-1"}}
ROWS = [{"id": id, "values": [n, 1, 0], "metadata": {"n": n}} for n, id in enumerate("abc")]
INDEX = Description(name="kept", dimension=3, metric="cosine", index="hnsw:m=8,ef_construction=50,ef_search=20", tags={"a": "b"})


@pytest.fixture
def serve(tmp_path):
    """Starts servers on one folder: (child, what calls it)."""
    started, callers = [], []

    def start(*arguments):
        log = tmp_path / f"log{len(started)}"
        args = ["--data", str(tmp_path / "data"), *arguments]
        child = Child("vector server", "workbench.vectors.server", args=args, log=log, env={"WORKBENCH_API_KEY": KEY})
        started.append(child)
        callers.append(Caller(child.wait_ready()))
        return child, callers[-1]

    yield start
    for caller in callers:
        caller.close()
    for child in started:
        child.stop()


@pytest.fixture
def folder(tmp_path):
    """A folder with one index of three records."""
    indexes = Indexes(Flat(), tmp_path / "data")
    indexes.create(INDEX).store.put(["a", "b", "c"], _matrix(3), [b'{"n":1}'] * 3, namespace="n")
    indexes.close()
    return tmp_path / "data"


def _matrix(rows):
    return np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)


@pytest.mark.parametrize("ended", ["killed", "stopped"])
@pytest.mark.parametrize("sync", ["full", "normal", "off"])
def test_everything_acknowledged_is_there_again(serve, ended, sync):
    child, call = serve("--sync", sync)
    tags = {"workbench-index": "hnsw:m=8", "team": "x"}
    assert call("POST", "/indexes", {"name": "kept", "dimension": 3, "metric": "euclidean", "spec": SPEC, "tags": tags})[0] == 201
    for name in ("gone", "other"):
        assert call("POST", "/indexes", {"name": name, "dimension": 2, "spec": SPEC})[0] == 201
    assert call("DELETE", "/indexes/gone")[0] == 202
    index = "/indexes/kept"
    assert (
        call("PATCH", index, {"deletion_protection": "enabled", "tags": {"workbench-index": "hnsw:m=8,ef_search=33"}})[0] == 202
    )
    assert call("POST", f"{index}/vectors/upsert", {"vectors": ROWS})[0] == 200
    assert call("POST", f"{index}/vectors/upsert", {"vectors": ROWS[:1], "namespace": "n"})[0] == 200
    assert call("POST", f"{index}/vectors/delete", {"ids": ["b"]})[0] == 200
    assert call("POST", f"{index}/vectors/update", {"id": "c", "setMetadata": {"m": True}})[0] == 200
    schema = {"fields": {"n": {"filterable": True}}}
    assert call("POST", f"{index}/namespaces", {"name": "made", "schema": schema})[0] == 200
    asked = [("GET", "/indexes"), ("GET", f"{index}/vectors/fetch?ids=a&ids=b&ids=c"), ("GET", f"{index}/namespaces")]
    before = [call(*each)[1] for each in asked]
    lsn = int(call.headers.get("x-pinecone-request-lsn", 0))
    child.kill() if ended == "killed" else child.stop()

    child, call = serve("--sync", sync, "--index", "flat")
    after = json.loads(json.dumps([call(*each)[1] for each in asked]).replace(call.url, "URL"))
    assert after == json.loads(json.dumps(before).replace(before[0]["indexes"][0]["host"].partition("/indexes")[0], "URL"))
    assert after[1]["vectors"] == {"a": ROWS[0], "c": {**ROWS[2], "metadata": {"n": 2, "m": True}}}
    said = child.log.read_text().splitlines()
    assert [line.partition(":")[0] for line in said] == ["index kept", "index other"] and "3 records" in said[0]
    assert call("POST", f"{index}/vectors/upsert", {"vectors": ROWS})[0] == 200
    assert int(call.headers["x-pinecone-request-lsn"]) > lsn
    assert call("PATCH", index, {"tags": {"workbench-index": "hnsw:m=9"}})[0] == 400  # built with m=8, whatever --index says


def test_two_servers_on_one_folder(serve, tmp_path):
    serve()
    with pytest.raises(ServiceError, match="in use by another vector server"):
        serve()
    assert len((tmp_path / "log1").read_text().splitlines()) == 1


def test_a_folder_is_free_again_after_its_server(tmp_path):
    first = Indexes(Flat(), tmp_path)
    with pytest.raises(ServiceError, match="in use"):
        Indexes(Flat(), tmp_path)
    first.close()
    first.close()
    Indexes(Flat(), tmp_path).close()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "kept" / "index.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "kept" / "index.json").write_bytes(b'{"format": 1'), "damaged"),
        (lambda folder: (folder / "kept" / "index.json").write_bytes(b'{"format": 2, "description": {}}'), "damaged|format"),
        (lambda folder: (folder / "kept").rename(folder / "renamed"), "renamed"),
        (lambda folder: (folder / "stray").mkdir(), "stray"),
    ],
)
def test_a_damaged_index_is_refused_in_one_line(folder, damage, says):
    damage(folder)
    with pytest.raises(StoreDamaged, match=says):
        Indexes(Flat(), folder)
    command = [sys.executable, "-m", "workbench.vectors.server", "--data", str(folder)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "WORKBENCH_API_KEY": KEY})
    assert ended.returncode == 1 and ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1 and ended.stderr.startswith("workbench.vectors.server: ")


def test_a_damaged_log_is_refused_in_one_line(folder):
    logs = [path for path in (folder / "kept").iterdir() if path.is_file() and path.name not in ("index.json", "lock")]
    for path in logs:
        path.write_bytes(b"\0" * 5000)
    assert logs
    with pytest.raises(StoreDamaged):
        Indexes(Flat(), folder)


def test_what_was_being_made_or_removed_does_not_count(folder):
    for name in (".draft-half", ".gone-kept"):
        (folder / name).mkdir()
        (folder / name / "index.json").write_text("{")
    indexes = Indexes(Flat(), folder)
    assert [served.description for served in indexes] == [INDEX]
    assert indexes.find("kept").store.stats() == {"n": 3}
    indexes.close()
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "kept"]


def test_an_index_may_be_named_as_any_file_of_ours(tmp_path):
    indexes = Indexes(Flat(), tmp_path)
    for name in ("lock", "index", "draft", "gone", "log"):
        indexes.create(msgspec.structs.replace(INDEX, name=name))
    indexes.close()
    again = Indexes(Flat(), tmp_path)
    assert [served.description.name for served in again] == ["draft", "gone", "index", "lock", "log"]
    again.close()


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="cannot be used"):
        Indexes(Flat(), tmp_path / "file")


def test_an_index_is_created_whole_or_not_at_all(tmp_path, monkeypatch):
    indexes = Indexes(Flat(), tmp_path)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(server_indexes.os, "fsync", full)
        with pytest.raises(VectorError, match="the disk is full") as refused:
            indexes.create(INDEX)
    assert refused.value.status == 507
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    served = indexes.create(INDEX)
    with monkeypatch.context() as patch:
        patch.setattr(server_indexes.os, "fsync", full)
        with pytest.raises(VectorError, match="the disk is full"):
            indexes.change(served, lambda before: msgspec.structs.replace(before, tags={}))
    assert served.description == INDEX
    with pytest.raises(VectorError, match="already exists") as refused:
        indexes.create(INDEX)
    assert refused.value.status == 409
    indexes.close()


def test_the_name_of_an_index_is_taken_until_its_folder_is_gone(tmp_path):
    indexes = Indexes(HNSW(), tmp_path)
    served = indexes.create(INDEX)
    indexes.leave(served)
    with pytest.raises(IndexNotFound):
        indexes.find("kept")
    with pytest.raises(IndexNotFound):
        indexes.leave(served)
    with pytest.raises(VectorError, match="already exists"):
        indexes.create(INDEX)
    indexes.discard(served)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert indexes.create(INDEX).store.stats() == {}
    indexes.close()


def test_a_write_that_finds_the_disk_full_says_so(tmp_path, monkeypatch):
    indexes = Indexes(Flat(), tmp_path)
    served = indexes.create(INDEX)

    def full(*_, **__):
        raise VectorError("the log cannot be written: the disk is full; nothing was stored", 507)

    monkeypatch.setattr(served.store, "put", full)
    sent = asyncio.run(_asked(create_app(KEY, indexes), "/indexes/kept/vectors/upsert", {"vectors": ROWS}))
    assert sent[0]["status"] == 507 and json.loads(sent[1]["body"])["code"] == 8
    indexes.close()


def test_an_error_of_our_own_is_a_500_without_a_word_of_it(monkeypatch, caplog):
    indexes = Indexes(Flat())
    served = indexes.create(INDEX)
    monkeypatch.setattr(served.store, "put", lambda *_, **__: 1 / 0)
    sent = asyncio.run(_asked(create_app(KEY, indexes), "/indexes/kept/vectors/upsert", {"vectors": ROWS}))
    answer = json.loads(sent[1]["body"])
    assert (sent[0]["status"], answer["code"]) == (500, 13) and "division" not in answer["message"]
    assert "ZeroDivisionError" in caplog.text
    indexes.close()


async def _asked(app, path, body):
    sent = []
    scope = {"type": "http", "method": "POST", "raw_path": path.encode(), "query_string": b"", "server": ("127.0.0.1", 1)}

    async def receive():
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message):
        sent.append(message)

    await app({**scope, "headers": [(b"api-key", KEY.encode())]}, receive, send)
    return sent


def test_what_is_under_way_ends_before_the_server_does(serve):
    child, call = serve()
    assert call("POST", "/indexes", {"name": "kept", "dimension": 3, "spec": SPEC})[0] == 201
    body = json.dumps({"vectors": ROWS}).encode()
    head = f"POST /indexes/kept/vectors/upsert HTTP/1.1\r\nhost: x\r\napi-key: {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    url = urlsplit(call.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(head.encode() + body[:20])
        assert call("GET", "/health", key=None)[0] == 200  # the half of it has arrived, too
        os.kill(child.pid, signal.SIGTERM)
        connection.sendall(body[20:])
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    child.stop()
    _, call = serve()
    assert call("GET", "/indexes/kept/describe_index_stats")[1]["totalVectorCount"] == 3


def _written_and_asked(call):
    """The number of a write, and a query for it: (write, how far the query sees, ids found)."""
    query = {"topK": 3, "vector": [1, 0, 0]}
    assert call("POST", "/indexes", {"name": "kept", "dimension": 3, "metric": "dotproduct", "spec": SPEC})[0] == 201
    assert call("POST", "/indexes/kept/vectors/upsert", {"vectors": ROWS})[0] == 200
    written = int(call.headers["x-pinecone-request-lsn"])
    while True:
        found = call("POST", "/indexes/kept/query", query)[1]["matches"]
        yield written, int(call.headers["x-pinecone-max-indexed-lsn"]), [match["id"] for match in found]


def test_reads_see_a_write_when_the_query_says_so(serve):
    _, call = serve("--visible-after", "0.1")
    found = next(ids for written, seen, ids in _written_and_asked(call) if seen >= written)
    assert found == ["c", "b", "a"]


def test_reads_do_not_see_a_write_before(serve):
    _, call = serve("--visible-after", "3600")
    assert next(_written_and_asked(call)) == (1, 0, [])


def test_an_index_can_be_deleted_while_it_is_written_and_searched(serve):
    _, call = serve()
    stop, statuses = threading.Event(), set()

    def use(path, body):
        caller = Caller(call.url)
        while not stop.is_set():
            statuses.add(caller("POST", f"/indexes/kept/{path}", body)[0])
        caller.close()

    users = [
        threading.Thread(target=use, args=("vectors/upsert", {"vectors": ROWS})),
        threading.Thread(target=use, args=("query", {"topK": 3, "vector": [1, 0, 0]})),
    ]
    for user in users:
        user.start()
    for _ in range(10):
        assert call("POST", "/indexes", {"name": "kept", "dimension": 3, "spec": SPEC})[0] == 201
        assert call("DELETE", "/indexes/kept")[0] == 202
    stop.set()
    for user in users:
        user.join()
    assert statuses <= {200, 404}


@pytest.mark.parametrize(
    "arguments", [["--index", "tree"], ["--port", "70000"], ["--port", "x"], ["--sync", "never"], ["--visible-after", "-1"]]
)
def test_bad_command_lines_end_in_one_line(arguments):
    command = [sys.executable, "-m", "workbench.vectors.server", *arguments]
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, env={"WORKBENCH_API_KEY": "k", "PATH": ""}, timeout=30
    )
    assert ended.returncode != 0 and ended.stdout == "" and "Traceback" not in ended.stderr
