"""A server with Pinecone's protocol, asked by a bare HTTP client over one connection; bodies are encoded beforehand."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time

_KEY = "benchmark"
_INDEX = "/indexes/peers"
_HEADERS = {"content-type": "application/json", "api-key": _KEY, "x-pinecone-api-version": "2025-10"}
_START_S = 60.0


class Subject:
    """``options``: kind, "workbench" or "needledb"; m, ef_construction, and for ours sync."""

    def __init__(self, folder, dimension, options):
        self._options, port = options, _free_port()
        command, environment = _command(options, folder / "server", port)
        # Its input ends with this process, and ours ends with it.
        self._server = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, **environment}
        )
        self.pid = self._server.pid
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3_600)
        try:
            self._connect()
            self._call("POST", "/indexes", {"name": "peers", "dimension": dimension, "metric": "cosine", **self._create()})
            self._connection.close()  # encoding takes longer than a server keeps it; the first request opens another
        except BaseException:
            self.close()
            raise

    def batch(self, rows, vectors, metadata):
        records = [
            {"id": str(row), "values": _numbers(vector), "metadata": about}
            for row, vector, about in zip(rows, vectors, metadata, strict=True)
        ]
        return json.dumps({"vectors": records}).encode()

    def insert(self, batch):
        self._send("POST", f"{_INDEX}/vectors/upsert", batch)

    def wait_indexed(self):
        while self._building():
            time.sleep(0.02)

    def tune(self, setting):
        if self._options["kind"] == "needledb":
            self._call("PATCH", _INDEX, {"hnsw": setting})
        else:
            self._call("PATCH", _INDEX, {"tags": {"workbench-index": self._text(setting)}})

    def request(self, vector, conditions):
        operators = {"==": "$eq", "<": "$lt"}
        filter = {field: {operators[operator]: value} for field, operator, value in conditions}
        body = {"vector": _numbers(vector), "topK": 10, "includeMetadata": True}
        return json.dumps({**body, "filter": filter} if filter else body).encode()

    def query(self, request):
        return self._send("POST", f"{_INDEX}/query", request)

    def rows(self, answer):
        return [int(match["id"]) for match in json.loads(answer)["matches"]]

    def close(self):
        self._connection.close()
        self._server.stdin.close()
        self._server.terminate()
        try:
            self._server.wait(60)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def _create(self):
        build = {name: self._options[name] for name in ("m", "ef_construction")}
        if self._options["kind"] == "needledb":
            return {"index_type": "hnsw", "hnsw": build}
        serverless = {"serverless": {"cloud": "aws", "region": "us-east-1"}}
        return {"spec": serverless, "tags": {"workbench-index": self._text({})}}

    def _text(self, setting):
        build = {name: self._options[name] for name in ("m", "ef_construction")}
        return "hnsw:" + ",".join(f"{name}={value}" for name, value in {**build, **setting}.items())

    def _building(self):
        if self._options["kind"] == "needledb":
            return self._call("GET", _INDEX)["status"]["state"] == "Building"
        lines = self._send("GET", "/metrics", None).decode().splitlines()
        (builds,) = (line for line in lines if line.startswith("workbench_vectors_builds{"))
        return float(builds.split()[-1]) > 0

    def _connect(self):
        deadline = time.monotonic() + _START_S
        while True:
            try:
                return self._call("GET", "/health")
            except OSError:
                self._connection.close()
                if self._server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server did not start: {' '.join(self._server.args[1:4])}") from None
                time.sleep(0.05)

    def _call(self, method, path, body=None):
        return json.loads(self._send(method, path, None if body is None else json.dumps(body).encode()))

    def _send(self, method, path, body):
        self._connection.request(method, path, body, _HEADERS)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {answer[:200].decode(errors='replace')}")
        return answer


def _numbers(vector):
    """As short as a float32 can be written: widened to float64, each number would take twice the digits."""
    return [float(text) for text in vector.astype(str)]


def _command(options, folder, port):
    if options["kind"] == "needledb":
        place = ["--data", str(folder), "--port", str(port), "--log-level", "error"]
        return ["-m", "needledb", "serve", *place], {"NEEDLEDB_API_KEY": _KEY}
    place = ["--data", str(folder), "--port", str(port), "--sync", options["sync"]]
    return ["-m", "workbench.vectors.server", *place], {"WORKBENCH_API_KEY": _KEY}


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
