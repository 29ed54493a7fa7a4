"""The local server over raw HTTP: key, versions, shapes, limits, bad input."""

import asyncio
import json
import socket
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import SettingError
from workbench.settings import Flat
from workbench.vectors.server.app import create_app
from workbench.vectors.server.indexes import Indexes
from workbench.vectors.server.wire_control import Description

from .raw import KEY, Caller

NAME = "raw"


@pytest.fixture
def call(server_url):
    caller = Caller(server_url)
    yield caller
    caller.close()


@pytest.fixture
def index(call):
    status, _ = call("POST", "/indexes", {"name": NAME, "dimension": 4, "metric": "cosine", "spec": SPEC})
    assert status == 201
    yield f"/indexes/{NAME}"
    assert call("DELETE", f"/indexes/{NAME}")[0] == 202


PLACE = {"cloud": "aws", "region": "eu-west-1"}
SPEC = {"serverless": PLACE}
ROWS = [
    {"id": "a", "values": [1, 0, 0, 0], "metadata": {"genre": "drama", "year": 2020}},
    {"id": "b", "values": [1, 1, 0, 0], "metadata": {"genre": "comedy"}},
    {"id": "c", "values": [0.1, 0, 0, 1]},
]


def test_health_needs_no_key(call):
    assert call("GET", "/health", key=None, version=None) == (200, {"status": "ok"})


def test_the_key_is_required_in_both_planes(call, index):
    for key in (None, "", "wrong", KEY + "x"):
        status, answer = call("GET", "/indexes", key=key)
        assert (status, answer) == (401, {"error": {"code": "UNAUTHENTICATED", "message": "Invalid API key"}, "status": 401})
        status, answer = call("POST", f"{index}/query", {"topK": 1, "vector": [1, 1, 1, 1]}, key=key)
        assert (status, answer) == (401, {"code": 16, "message": "Invalid API key", "details": []})


def test_an_unknown_version_names_the_known_ones(call):
    status, answer = call("GET", "/indexes", version="2023-01")
    assert status == 400 and "2025-10, 2026-04, 2026-07" in answer["error"]["message"]


@pytest.mark.parametrize("version", ["2025-10", "2026-04", None])
def test_indexes_in_the_older_shape(call, index, server_url, version):
    _, model = call("GET", index, version=version)
    assert model["host"] == f"{server_url}/indexes/{NAME}"
    assert (model["dimension"], model["metric"], model["vector_type"]) == (4, "cosine", "dense")
    assert (model["spec"]["serverless"]["cloud"], model["spec"]["serverless"]["region"]) == ("aws", "eu-west-1")
    assert model["status"] == {"ready": True, "state": "Ready"}
    assert "schema" not in model and "deployment" not in model
    assert model in call("GET", "/indexes", version=version)[1]["indexes"]


def test_indexes_in_the_shape_of_2026_07(call, server_url):
    fields = {"_values": {"type": "dense_vector", "dimension": 3, "metric": "euclidean"}}
    deployment = {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"}
    created = call("POST", "/indexes", {"name": "new", "schema": {"fields": fields}, "deployment": deployment}, version="2026-07")
    assert created[0] == 201
    status, model = call("GET", "/indexes/new", version="2026-07")
    assert status == 200 and created[1] == model
    assert (model["name"], model["host"], model["deletion_protection"]) == ("new", f"{server_url}/indexes/new", "disabled")
    assert (model["schema"], model["deployment"]) == ({"fields": fields}, deployment)
    assert "dimension" not in model and "spec" not in model
    assert call("GET", "/indexes/new")[1]["metric"] == "euclidean"  # the same index, asked for in the older shape
    assert call("DELETE", "/indexes/new") == (202, None)
    assert call("GET", "/indexes/new")[0] == 404


def test_an_index_that_exists_and_one_that_does_not(call, index):
    status, answer = call("POST", "/indexes", {"name": NAME, "dimension": 4, "spec": SPEC})
    assert (status, answer["error"]["code"], answer["status"]) == (409, "ALREADY_EXISTS", 409)
    status, answer = call("GET", "/indexes/nowhere")
    assert (status, answer["error"]["code"]) == (404, "NOT_FOUND") and "nowhere" in answer["error"]["message"]
    status, answer = call("POST", "/indexes/nowhere/query", {"topK": 1, "vector": [1]})
    assert (status, answer["code"], answer["details"]) == (404, 5, [])


def test_a_protected_index_is_not_deleted(call, index):
    assert call("PATCH", index, {"deletion_protection": "enabled", "tags": {"team": "x"}})[1]["tags"] == {"team": "x"}
    assert call("DELETE", index)[0] == 403
    assert call("PATCH", index, {"deletion_protection": "disabled", "tags": {"team": ""}})[1].get("tags") is None


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"dimension": 4, "spec": SPEC}, 422, "name"),
        ({"name": "x", "spec": SPEC}, 422, "dimension"),
        ({"name": "No_Good", "dimension": 4, "spec": SPEC}, 400, "name"),
        ({"name": "x" * 46, "dimension": 4, "spec": SPEC}, 400, "name"),
        ({"name": "x", "dimension": 0, "spec": SPEC}, 400, "dimension"),
        ({"name": "x", "dimension": 20_001, "spec": SPEC}, 400, "dimension"),
        ({"name": "x", "dimension": 4, "metric": "l2", "spec": SPEC}, 400, "metric"),
        ({"name": "x", "dimension": 4, "vector_type": "sparse", "spec": SPEC}, 400, "dense"),
        ({"name": "x", "dimension": 4}, 422, "spec"),
        ({"name": "x\n", "dimension": 4, "spec": SPEC}, 400, "name"),
        ({"name": "x", "dimension": 4, "spec": {"serverless": {"cloud": "aws"}}}, 422, "region"),
        ({"name": "x", "dimension": 4, "spec": {"serverless": {"cloud": "moon", "region": "r"}}}, 404, "moon"),
        ({"name": "x", "dimension": 4, "spec": {"byoc": {"environment": "e"}}}, 400, "serverless"),
        (
            {"name": "x", "dimension": 4, "spec": {"serverless": {**PLACE, "read_capacity": {"mode": "Dedicated"}}}},
            400,
            "OnDemand",
        ),
        ({"name": "x", "dimension": 4, "spec": {"serverless": {**PLACE, "source_collection": "c"}}}, 400, "source_collection"),
        ({"name": "x", "dimension": 4, "spec": SPEC, "tags": {"a b": "c"}}, 400, "tag key"),
        ({"name": "x", "dimension": 4, "spec": SPEC, "tags": {"a": "c" * 121}}, 400, "tag"),
        ({"name": "x", "dimension": 4, "spec": SPEC, "tags": {str(n): "c" for n in range(21)}}, 400, "20"),
        ({"name": "x", "dimension": 4, "spec": SPEC, "tags": {"workbench-index": "tree"}}, 400, "tree"),
        ({"name": "x", "dimension": 4, "spec": SPEC, "deletion_protection": "maybe"}, 400, "deletion_protection"),
        ({"name": "x", "dimension": 4, "spec": {"pod": {}}}, 400, "serverless"),
        ([], 400, "object"),
        (b"{", 400, "JSON"),
        (b"", 400, "JSON"),
        (b"\xff\xfe", 400, "JSON"),
    ],
)
def test_bad_indexes(call, body, status, says):
    got, answer = call("POST", "/indexes", body)
    assert (got, answer["status"]) == (status, status) and says in answer["error"]["message"]
    assert "Traceback" not in answer["error"]["message"]


@pytest.mark.parametrize(
    "schema",
    [None, {"fields": {}}, {"fields": {"title": {"type": "string"}}}, {"fields": {"_values": {"type": "sparse_vector"}}}],
)
def test_bad_schemas(call, schema):
    status, answer = call("POST", "/indexes", {"name": "x", "schema": schema}, version="2026-07")
    assert status in (400, 422) and "_values" in answer["error"]["message"]


def test_upsert_query_fetch_delete_stats(call, index):
    assert call("POST", f"{index}/vectors/upsert", {"vectors": ROWS}) == (200, {"upsertedCount": 3})
    assert call("POST", f"{index}/vectors/upsert", {"vectors": ROWS[:1], "namespace": "n"}) == (200, {"upsertedCount": 1})

    status, answer = call("POST", f"{index}/query", {"topK": 2, "vector": [1, 0, 0, 0]})
    assert (status, answer["namespace"]) == (200, "") and answer["usage"]["readUnits"] >= 1
    assert [(match["id"], match["score"]) for match in answer["matches"]] == [("a", 1), ("b", pytest.approx(0.5**0.5))]
    assert all("metadata" not in match and match["values"] == [] for match in answer["matches"])

    asked = {"topK": 2, "id": "c", "includeValues": True, "includeMetadata": True, "namespace": "__default__"}
    matches = call("POST", f"{index}/query", asked)[1]["matches"]
    assert matches[0]["id"] == "c" and matches[0]["values"] == [0.1, 0, 0, 1] and "metadata" not in matches[0]
    assert matches[1]["metadata"] == ROWS[0]["metadata"]
    assert call("POST", f"{index}/query", {"topK": 2, "id": "unknown"})[1]["matches"] == []
    filtered = call("POST", f"{index}/query", {"topK": 9, "vector": [1, 0, 0, 0], "filter": {"genre": {"$ne": "drama"}}})[1][
        "matches"
    ]
    assert [match["id"] for match in filtered] == ["b", "c"]

    status, answer = call("GET", f"{index}/vectors/fetch?ids=a&ids=c&ids=unknown")
    assert (status, answer["namespace"]) == (200, "")
    assert answer["vectors"] == {"a": ROWS[0], "c": ROWS[2]}

    status, answer = call("POST", f"{index}/describe_index_stats", {})
    assert status == 200
    assert answer["namespaces"] == {"__default__": {"vectorCount": 3}, "n": {"vectorCount": 1}}
    assert (answer["dimension"], answer["totalVectorCount"], answer["metric"]) == (4, 4, "cosine")

    assert call("POST", f"{index}/vectors/delete", {"ids": ["a", "unknown"]}) == (200, {})
    assert call("POST", f"{index}/vectors/delete", {"filter": {"genre": "comedy"}}) == (200, {})
    assert call("POST", f"{index}/vectors/delete", {"deleteAll": True, "namespace": "n"}) == (200, {})
    assert call("POST", f"{index}/describe_index_stats", {})[1]["namespaces"] == {"__default__": {"vectorCount": 1}}


V = [1, 2, 3, 4]


def deep_filter(depth):
    return b'{"topK":1,"vector":[1,2,3,4],"filter":' + b'{"$and":[' * depth + b'{"a":1}' + b"]}" * depth + b"}"


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("vectors/upsert", {"vectors": []}, "vectors"),
        ("vectors/upsert", {}, "vectors"),
        ("vectors/upsert", {"vectors": [{"id": "x", "values": V}] * 1001}, "1000"),
        ("vectors/upsert", {"vectors": [{"id": "x", "values": [1, 2]}]}, "dimension"),
        ("vectors/upsert", {"vectors": [{"id": "x"}]}, "dimension"),
        ("vectors/upsert", {"vectors": [{"id": "x", "values": [1, 2, 3, "4"]}]}, "values"),
        ("vectors/upsert", {"vectors": [{"id": "x", "values": [1, 2, 3, True]}]}, "values"),
        ("vectors/upsert", {"vectors": [{"id": "x", "values": [0, 0, 0, 0]}]}, "zero"),
        ("vectors/upsert", b'{"vectors":[{"id":"x","values":[1,2,3,1e400]}]}', ""),
        ("vectors/upsert", b'{"vectors":[{"id":"x","values":[1,2,3,NaN]}]}', "JSON"),
        ("vectors/upsert", {"vectors": [{"id": "x" * 513, "values": V}]}, "512"),
        ("vectors/upsert", {"vectors": [{"id": "ü", "values": V}]}, "ASCII"),
        ("vectors/upsert", {"vectors": [{"id": 3, "values": V}]}, "id"),
        ("vectors/upsert", {"vectors": [{"id": "x", "values": V, "metadata": {"a": None}}]}, "'a'"),
        ("vectors/upsert", {"vectors": [{"id": "x", "values": V, "metadata": {"a": {"b": 1}}}]}, "'a'"),
        ("vectors/upsert", {"vectors": [{"id": "x", "values": V, "sparseValues": {"indices": [1], "values": [1]}}]}, "sparse"),
        ("query", {"vector": V}, "topK"),
        ("query", {"topK": 0, "vector": V}, "10,000"),
        ("query", {"topK": 10_001, "vector": V}, "10,000"),
        ("query", {"topK": 1}, "vector or id"),
        ("query", {"topK": 1, "vector": V, "id": "a"}, "vector or id"),
        ("query", {"topK": 1, "vector": [1, 2]}, "dimension"),
        ("query", {"topK": 1, "vector": [0, 0, 0, 0]}, "zeros"),
        ("query", {"topK": 1, "vector": V, "filter": {"a": {"$eq": [1]}}}, "$eq"),
        ("query", {"topK": 1, "vector": V, "filter": "x"}, "filter"),
        ("query", deep_filter(200), "nested"),
        ("query", deep_filter(100_000), "nested"),
        ("query", json.dumps({"topK": 1, "vector": V}).encode()[:20], "JSON"),
        ("vectors/delete", {}, "exactly one"),
        ("vectors/delete", {"deleteAll": True, "ids": ["a"]}, "exactly one"),
        ("vectors/delete", {"ids": ["x"] * 1001}, "1000"),
        ("vectors/delete", {"filter": {}}, "empty filter"),
        ("describe_index_stats", {"filter": {"a": 1}}, "filter"),
    ],
)
def test_bad_requests(call, index, path, body, says):
    status, answer = call("POST", f"{index}/{path}", body)
    assert (status, answer["code"], answer["details"]) == (400, 3, [])
    assert says in answer["message"] and "\n" not in answer["message"] and "Traceback" not in answer["message"]
    assert call("POST", f"{index}/describe_index_stats", {})[1]["totalVectorCount"] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/indexes/raw/bulk/imports"),
        ("GET", "/indexes/raw/bulk/imports"),
        ("GET", "/indexes/raw/bulk/imports/1"),
        ("DELETE", "/indexes/raw/bulk/imports/1"),
        ("POST", "/indexes/raw/records/namespaces/n/upsert"),
        ("POST", "/indexes/create-for-model"),
        ("GET", "/indexes/raw/backups"),
        ("POST", "/indexes/raw/backups"),
        ("GET", "/collections"),
        ("DELETE", "/collections/c"),
        ("GET", "/backups"),
        ("POST", "/backups/b/create-index"),
        ("GET", "/restore-jobs/j"),
        ("POST", "/embed"),
        ("POST", "/indexes/raw/backup-schedules"),
        ("DELETE", "/backup-schedules/s"),
        ("POST", "/indexes/raw/namespaces/n/documents/search"),
    ],
)
def test_what_the_service_has_and_this_server_has_not(call, index, method, path):
    status, answer = call(method, path, {} if method == "POST" else None)
    on_data = path.startswith("/indexes/raw/") and "backup" not in path
    assert status == 501
    assert (answer["code"] if on_data else answer["error"]["code"]) == (12 if on_data else "UNIMPLEMENTED")
    assert path in (answer["message"] if on_data else answer["error"]["message"])


def test_paths_and_methods_that_do_not_exist(call, index):
    status, answer = call("GET", "/nothing")
    assert (status, answer["error"]["code"]) == (404, "NOT_FOUND")
    status, answer = call("GET", f"{index}/nothing")
    assert (status, answer["code"]) == (404, 5)
    for path in ("/", "//", "/indexes/", "/indexes//query", "/indexes/%00", "/namespaces", "/" + "a/" * 500):
        assert call("GET", path)[0] == 404
    assert call("PUT", "/indexes")[0] == 405
    assert call("GET", f"{index}/query")[0] == 405
    assert call.headers["allow"] == "POST"


def test_fetch_takes_1_to_1000_ids_in_the_url(call, index):
    assert call("GET", f"{index}/vectors/fetch")[0] == 400
    assert call("GET", f"{index}/vectors/fetch?" + "&".join(f"ids={n}" for n in range(1001)))[0] == 400
    assert call("GET", f"{index}/vectors/fetch?ids=%C3%BC")[0] == 400
    assert call("GET", f"{index}/vectors/fetch?ids=a&namespace=x&namespace=y")[0] == 400
    rows = [{"id": id, "values": [1, 0, 0, 0]} for id in ("a b", "a/b", "a&b=c%", "+", "~!")]
    call("POST", f"{index}/vectors/upsert", {"vectors": rows})
    found = call("GET", f"{index}/vectors/fetch?" + urlencode([("ids", row["id"]) for row in rows]))[1]["vectors"]
    assert set(found) == {row["id"] for row in rows}
    many = [{"id": f"{n}", "values": [n, 1, 0, 0]} for n in range(1000)]
    call("POST", f"{index}/vectors/upsert", {"vectors": many})
    found = call("GET", f"{index}/vectors/fetch?" + "&".join(f"ids={n}" for n in range(1000)))[1]["vectors"]
    assert {id: vector["values"] for id, vector in found.items()} == {str(n): [n, 1, 0, 0] for n in range(1000)}


def test_a_body_of_3_mb_is_refused_and_the_server_goes_on(call, index):
    vectors = [{"id": f"{n}", "values": V, "metadata": {"text": "x" * 30_000}} for n in range(100)]
    status, answer = call("POST", f"{index}/vectors/upsert", {"vectors": vectors})
    assert status == 413 and "2,097,152" in answer["message"]
    assert call("POST", f"{index}/vectors/upsert", {"vectors": vectors[:50]}) == (200, {"upsertedCount": 50})


def test_a_client_that_leaves_after_half_a_body(call, index, server_url):
    with socket.create_connection((urlsplit(server_url).hostname, urlsplit(server_url).port)) as connection:
        head = f"POST {index}/vectors/upsert HTTP/1.1\r\nhost: x\r\napi-key: {KEY}\r\ncontent-length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b'{"vectors": [')
    assert call("POST", f"{index}/describe_index_stats", {})[1]["totalVectorCount"] == 0


def test_a_query_answer_is_at_most_4_mb(call, index):
    vectors = [{"id": f"{n}", "values": V, "metadata": {"text": "x" * 39_000}} for n in range(150)]
    for start in range(0, 150, 50):
        assert call("POST", f"{index}/vectors/upsert", {"vectors": vectors[start : start + 50]})[0] == 200
    status, answer = call("POST", f"{index}/query", {"topK": 150, "vector": V, "includeMetadata": True})
    assert status == 400 and "lower topK" in answer["message"]


def test_an_empty_key_is_refused():
    with pytest.raises(SettingError, match="WORKBENCH_API_KEY"):
        create_app("", Indexes(Flat()))


SEGMENTS = st.sampled_from(
    [
        "indexes",
        "raw",
        "query",
        "vectors",
        "upsert",
        "fetch",
        "list",
        "update",
        "fetch_by_metadata",
        "namespaces",
        "records",
        "search",
    ]
) | st.sampled_from(
    ["bulk", "imports", "describe_index_stats", "collections", "health", "metrics", "%00", "%2F", "%ff", "*", ".."]
)
OPERATORS = st.sampled_from(["$eq", "$ne", "$gt", "$in", "$nin", "$exists", "$and", "$or", "$not", "a", "n", ""])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
FILTERS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(OPERATORS, inner, max_size=3), max_leaves=8
)


@pytest.fixture(scope="module")
def answered():
    """Asks an application in this process, which costs a tenth of a request: (status, body)."""
    indexes = Indexes(Flat())
    description = Description(name="raw", dimension=2, metric="dotproduct", index="flat")
    store = indexes.create(description).store
    store.put(["a", "b"], np.float32([[1, 0], [0, 1]]), [b'{"n":1}', b'{"n":"x","a":["y"]}'])
    app = create_app(KEY, indexes)
    with asyncio.Runner() as runner:

        def ask(method, path, body=b"", query=b"", headers=()):
            sent = []

            async def receive():
                return {"type": "http.request", "body": body}

            async def send(message):
                sent.append(message)

            scope = {"type": "http", "method": method, "raw_path": path, "query_string": query, "server": ("127.0.0.1", 1)}
            runner.run(app({**scope, "headers": [(b"api-key", KEY.encode()), *headers]}, receive, send))
            return sent[0]["status"], sent[1]["body"]

        yield ask
    indexes.close()


@given(
    st.sampled_from(["GET", "POST", "PATCH", "PUT", "HEAD", "OPTIONS"]),
    st.lists(SEGMENTS | st.text(max_size=3), max_size=6),
    st.binary(max_size=30),
    st.dictionaries(st.sampled_from(["ids", "limit", "namespace", "prefix", "paginationToken"]), st.text(max_size=5)),
)
@settings(max_examples=400, deadline=None)
def test_no_path_and_no_parameter_is_an_internal_error(answered, method, segments, body, parameters):
    path = "/" + "/".join(segments)
    status, answer = answered(method, path.encode("utf-8"), body, urlencode(parameters).encode())
    assert status != 500 and (status < 400 or b"message" in answer)


@given(FILTERS, st.sampled_from(["query", "vectors/fetch_by_metadata", "vectors/update"]))
@settings(max_examples=400, deadline=None)
def test_no_filter_is_an_internal_error(answered, filter, path):
    body = {"topK": 1, "vector": [1, 0], "filter": filter, "setMetadata": {"b": 1}, "dryRun": True}
    body = {key: value for key, value in body.items() if path != "vectors/update" or key in ("filter", "setMetadata", "dryRun")}
    status, answer = answered("POST", f"/indexes/raw/{path}".encode(), json.dumps(body).encode())
    assert status in (200, 400), answer


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        (b"localhost:5081", "localhost:5081"),
        (b"[::1]:80", "[::1]:80"),
        (b"h", "h"),
        (b"a b", "127.0.0.1:1"),
        (b"x/y", "127.0.0.1:1"),
    ],
)
def test_an_index_is_where_its_client_found_the_server(answered, host, shown):
    status, answer = answered("GET", b"/indexes/raw", headers=[(b"host", host)])
    assert (status, json.loads(answer)["host"]) == (200, f"http://{shown}/indexes/raw")
