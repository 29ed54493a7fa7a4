"""The same index asked in this process, through the vector server by a bare HTTP client, and through it by Pinecone's SDK."""

import contextlib
import http.client
import secrets
import time
from urllib.parse import urlsplit

import numpy as np
import orjson
import pandas as pd

from workbench import places
from workbench.errors import ServiceError
from workbench.process import Child
from workbench.settings import Settings, index_text
from workbench.tasks import Measured, asking, baskets
from workbench.tasks.recall import K, kth_scores, tie_aware
from workbench.vectors.pinecone import PineconeStore
from workbench.vectors.store import Store

WAYS = ("in process", "bare HTTP", "SDK")
THREADS = (1, 2)
_INDEX = "texts"
_BUILD_S = 7_200.0


def measure(settings: Settings, cloud: str) -> Measured:
    """Index ``catalogue`` texts here and in a server of our own, and ask ``events`` others each way. ``cloud`` means nothing.

    An answer is complete when the caller has the ids in hand: both clients encode the query and decode the answer. Figures are
    of the bare client. Samples: one row a query, with ``way``, ``threads``, ``begun_s``, ``query_us``, ``recall``. The ways are
    asked in turn, a tenth of the queries each.

    Raises:
        ServiceError: the server did not start, or ended.
    """
    vectors, queries = baskets.load(settings)
    warm, queries = queries[: settings.warmup], queries[settings.warmup :]
    kth, key = kth_scores(queries, vectors), secrets.token_hex(16)
    log = places.state() / "logs" / "served.log"
    arguments = ["--index", index_text(settings.index)]
    server = Child("the vector server", "workbench.vectors.server", arguments, log=log, env={"WORKBENCH_API_KEY": key})
    with contextlib.ExitStack() as opened:
        opened.callback(server.stop)
        url, shape = server.wait_ready(), {"dimension": vectors.shape[1], "index": settings.index}
        store = opened.enter_context(Store(**shape))
        remote = opened.enter_context(contextlib.closing(PineconeStore(url=url, key=key, name=_INDEX, **shape)))
        asking.fill(store, vectors)
        asking.fill(remote, vectors)
        connections = [opened.enter_context(_connected(url)) for _ in range(max(THREADS))]
        store.wait_indexed(timeout_s=_BUILD_S)
        _wait_indexed(connections[0], key)
        callers = {
            "in process": [asking.of_store(store, K)] * max(THREADS),
            "bare HTTP": [_bare(connection, key) for connection in connections],
            "SDK": [asking.of_store(remote, K)] * max(THREADS),
        }
        samples = _asked(callers, warm, queries, vectors, kth)
    return Measured(asking.figures(samples[samples.way == "bare HTTP"]), samples)


def _asked(
    callers: dict[str, list[asking.Caller]], warm: np.ndarray, queries: np.ndarray, vectors: np.ndarray, kth: np.ndarray
) -> pd.DataFrame:
    for each in callers.values():
        for caller in each:
            asking.ask([caller], warm)
    parts, ended_s = [], dict.fromkeys(((way, threads) for way in callers for threads in THREADS), 0.0)
    for block in np.array_split(np.arange(len(queries)), min(10, len(queries))):
        for way, threads in ended_s:
            asked = asking.ask(callers[way][:threads], queries[block])
            recall = tie_aware(queries[block], vectors, asked.found, kth[block])
            begun_s = asked.begun_s + ended_s[way, threads]  # as if its blocks stood one after the other
            ended_s[way, threads] = float((begun_s + asked.query_us / 1e6).max())
            columns = {"begun_s": begun_s, "query_us": asked.query_us, "recall": recall}
            parts.append(pd.DataFrame({"way": way, "threads": threads, **columns}))
    return pd.concat(parts, ignore_index=True)


def _connected(url: str) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60))


def _bare(connection: http.client.HTTPConnection, key: str) -> asking.Caller:
    """Nothing around the connection but JSON."""
    headers = {"content-type": "application/json", "api-key": key, "x-pinecone-api-version": "2025-10"}

    def call(query: np.ndarray) -> list[int]:
        body = orjson.dumps({"vector": query, "topK": K, "includeMetadata": True}, option=orjson.OPT_SERIALIZE_NUMPY)
        try:
            response, answer = _answered(connection, body, headers)
        except ConnectionError:  # the server closes a connection that nobody used for five seconds
            connection.close()
            response, answer = _answered(connection, body, headers)
        if response.status != 200:
            raise ServiceError(f"a query was answered {response.status}: {answer[:200].decode(errors='replace')}")
        return [int(match["id"]) for match in orjson.loads(answer)["matches"]]

    return call


def _answered(
    connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str]
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request("POST", f"/indexes/{_INDEX}/query", body, headers)
    response = connection.getresponse()
    return response, response.read()


def _wait_indexed(connection: http.client.HTTPConnection, key: str) -> None:
    """Until the server builds nothing any more.

    Raises:
        ServiceError: it still does after two hours.
    """
    deadline = time.monotonic() + _BUILD_S
    while time.monotonic() < deadline:
        connection.request("GET", "/metrics", headers={"api-key": key})
        lines = connection.getresponse().read().decode().splitlines()
        builds = [float(line.split()[-1]) for line in lines if line.startswith("workbench_vectors_builds{")]
        if builds == [0.0]:
            return
        time.sleep(0.05)
    raise ServiceError(f"the server was still building an index after {_BUILD_S:g} s")
