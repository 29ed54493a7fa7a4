"""Pinecone's client against servers that refuse, differ or are not there, and what it sends to one that only listens."""

import http.server
import json
import socket
import subprocess
import sys
import threading
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from workbench.errors import ServiceError, SettingError, VectorError
from workbench.events import Record
from workbench.settings import HNSW, IVF, Flat
from workbench.vectors.pinecone import PineconeStore

from .conftest import KEY


def test_a_client_without_a_key_is_refused_before_it_asks():
    with pytest.raises(SettingError, match="API key"):
        PineconeStore(url="http://127.0.0.1:1", key="", name="x", dimension=4)


def test_the_client_says_what_the_server_refused(server_url):
    with pytest.raises(VectorError, match="Invalid API key") as caught:
        PineconeStore(url=server_url, key="wrong", name="client", dimension=4)
    assert caught.value.status == 401
    with pytest.raises(VectorError, match="name"):
        PineconeStore(url=server_url, key=KEY, name="No Good", dimension=4)


def test_an_index_of_another_shape_is_not_used(server_url):
    first = PineconeStore(url=server_url, key=KEY, name="shaped", dimension=4)
    first.upsert([Record("a", np.ones(4))])
    again = PineconeStore(url=server_url, key=KEY, name="shaped", dimension=4)
    assert again.stats() == {"": 1}
    for store in (first, again):
        store.close()
    with pytest.raises(VectorError, match="dimension 4 and metric cosine") as caught:
        PineconeStore(url=server_url, key=KEY, name="shaped", dimension=5)
    assert caught.value.status == 409


def test_nothing_there_is_a_service_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: a port where nothing answers
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServiceError, match=url):
            PineconeStore(url=url, key="k", name="x", dimension=4)


def test_the_client_needs_no_faiss():
    program = (
        "import sys; sys.modules['faiss'] = None\n"
        "import workbench.vectors.pinecone, pinecone\n"
        "pinecone.Pinecone(api_key='k').close()\n"
        "assert not any('grpc' in name for name in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


class Listener:
    """Answers as Pinecone does, from ``answers`` by "METHOD /path" (a list: one after another); keeps what it was sent."""

    def __init__(self):
        self.answers, self.asked = {}, []
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _answer(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                url = urlsplit(self.path)
                what = f"{self.command} {url.path}"
                listener.asked.append((what, json.loads(body) if body else None, parse_qs(url.query)))
                status, answer = listener.answer(what)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815 (http.server's names)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def answer(self, what):
        answer = self.answers.get(what, (404, {"error": {"code": "NOT_FOUND", "message": f"{what}: not here"}, "status": 404}))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        return answer

    def index(self, tags=None):
        """The description of an index of this server."""
        return {
            "name": "kept",
            "host": f"{self.url}/data",
            "status": {"ready": True, "state": "Ready"},
            "deletion_protection": "disabled",
            "schema": {"fields": {"_values": {"type": "dense_vector", "dimension": 4, "metric": "cosine"}}},
            "deployment": {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"},
            "read_capacity": {"mode": "OnDemand", "status": {"state": "Ready"}},
            **({} if tags is None else {"tags": tags}),
        }

    def sent(self, what):
        return [(body, query) for name, body, query in self.asked if name == what]

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def opened(listener):
    """A store of an index that exists already."""
    listener.answers["GET /indexes/kept"] = 200, listener.index()
    store = PineconeStore(url=listener.url, key="k", name="kept", dimension=4)
    yield store
    store.close()


NOT_FOUND = 404, {"error": {"code": "NOT_FOUND", "message": "no such index"}, "status": 404}


@pytest.mark.parametrize(
    ("index", "tags"),
    [
        (None, None),
        (Flat(), {"workbench-index": "flat"}),
        (HNSW(m=8, ef_search=32), {"workbench-index": "hnsw:m=8,ef_construction=100,ef_search=32"}),
    ],
)
def test_how_the_index_is_to_be_built_is_sent_as_a_tag(listener, index, tags):
    listener.answers["GET /indexes/kept"] = [NOT_FOUND, (200, listener.index(tags))]
    listener.answers["POST /indexes"] = 201, listener.index(tags)
    PineconeStore(url=listener.url, key="k", name="kept", dimension=4, index=index).close()
    ((body, _),) = listener.sent("POST /indexes")
    assert body.get("tags") == tags
    assert body["schema"] == {"fields": {"_values": {"type": "dense_vector", "dimension": 4, "metric": "cosine"}}}


def test_an_index_that_is_built_otherwise_is_not_used(listener):
    for tags in (None, {"workbench-index": "flat"}):
        listener.answers["GET /indexes/kept"] = 200, listener.index(tags)
        with pytest.raises(VectorError, match="not as ivf:nlist=128,nprobe=16") as caught:
            PineconeStore(url=listener.url, key="k", name="kept", dimension=4, index=IVF())
        assert caught.value.status == 409
        PineconeStore(url=listener.url, key="k", name="kept", dimension=4).close()  # who does not mind gets what is there
    PineconeStore(url=listener.url, key="k", name="kept", dimension=4, index=Flat()).close()


def test_ids_follow_the_pages(listener, opened):
    pages = [({"vectors": [{"id": "a1"}, {"id": "a2"}], "pagination": {"next": "t"}}), {"vectors": [{"id": "a3"}]}]
    listener.answers["GET /data/vectors/list"] = [(200, page) for page in pages]
    assert list(opened.ids(prefix="a", namespace="n")) == ["a1", "a2", "a3"]
    first, second = (query for _, query in listener.sent("GET /data/vectors/list"))
    assert (first["prefix"], first["namespace"], first.get("paginationToken")) == (["a"], ["n"], None)
    assert (second["prefix"], second["namespace"], second["paginationToken"]) == (["a"], ["n"], ["t"])


def test_a_namespace_that_the_service_does_not_know_is_empty(listener, opened):
    unknown = 404, {"code": 5, "message": "Namespace not found", "details": []}
    listener.answers["GET /data/vectors/list"] = unknown
    listener.answers["POST /data/vectors/delete"] = unknown
    assert list(opened.ids(namespace="n")) == []
    opened.delete(namespace="n")
    gone = 404, {"code": 5, "message": "index kept not found", "details": []}
    listener.answers["GET /data/vectors/list"] = gone
    with pytest.raises(VectorError, match="kept"):
        list(opened.ids())


def test_an_update_sends_only_what_changes(listener, opened):
    held = {"id": "a", "values": [1, 2, 3, 4], "metadata": {"n": 1}}
    listener.answers["GET /data/vectors/fetch"] = 200, {"vectors": {"a": held}, "namespace": "n"}
    listener.answers["POST /data/vectors/update"] = 200, {}
    assert opened.update("a", metadata={"m": 2}, namespace="n") is True
    assert opened.update("a", values=np.arange(4, dtype=np.float32), namespace="n") is True
    first, second = (body for body, _ in listener.sent("POST /data/vectors/update"))
    assert first == {"id": "a", "setMetadata": {"m": 2}, "namespace": "n"}
    assert second == {"id": "a", "values": [0, 1, 2, 3], "namespace": "n"}
    listener.answers["GET /data/vectors/fetch"] = 200, {"vectors": {}, "namespace": "n"}
    assert opened.update("b", metadata={"m": 2}, namespace="n") is False
    assert len(listener.sent("POST /data/vectors/update")) == 2
