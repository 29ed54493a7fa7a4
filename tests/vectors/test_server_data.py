"""The local server's data plane over raw HTTP: what each operation answers, against what was put in."""

import json
import threading
from itertools import pairwise

import numpy as np
import pytest

from .raw import Caller

NAME = "data"
SPEC = {"serverless": {"cloud": "aws", "region": "eu-west-1"}}
V = [1, 2, 3, 4]
ROWS = [
    {"id": "a", "values": [1, 0, 0, 0], "metadata": {"genre": "drama", "year": 2020}},
    {"id": "b", "values": [1, 1, 0, 0], "metadata": {"genre": "comedy"}},
    {"id": "c", "values": [0.1, 0, 0, 1]},
]


@pytest.fixture
def call(server_url):
    caller = Caller(server_url)
    yield caller
    caller.close()


@pytest.fixture
def index(call):
    assert call("POST", "/indexes", {"name": NAME, "dimension": 4, "metric": "euclidean", "spec": SPEC})[0] == 201
    yield f"/indexes/{NAME}"
    assert call("DELETE", f"/indexes/{NAME}")[0] == 202


@pytest.fixture
def ask(call, index):
    """An operation that has to work, and its answer."""

    def asked(path, body=None, method=None):
        status, answer = call(method or ("GET" if body is None else "POST"), f"{index}/{path}", body)
        assert status == 200, answer
        return answer

    asked("vectors/upsert", {"vectors": ROWS})
    return asked


@pytest.fixture
def refused(call, index):
    """An operation that has to be refused, and with which status and words."""

    def asked(path, body=None, method=None):
        status, answer = call(method or ("GET" if body is None else "POST"), f"{index}/{path}", body)
        assert set(answer) == {"code", "message", "details"} and "\n" not in answer["message"]
        return status, answer["message"]

    return asked


def fetched(ask, *ids, namespace=""):
    return ask("vectors/fetch?" + "&".join(f"ids={id}" for id in ids) + f"&namespace={namespace}")["vectors"]


def test_a_query_gives_squared_distances_nearest_first(ask):
    answer = ask("query", {"topK": 3, "vector": [1, 0, 0, 0], "includeMetadata": True, "includeValues": True})
    assert [match["id"] for match in answer["matches"]] == ["a", "b", "c"]
    assert [match["score"] for match in answer["matches"]] == pytest.approx([0, 1, 0.81 + 1])
    assert answer["matches"][0] == {"id": "a", "score": 0, "values": [1, 0, 0, 0], "metadata": ROWS[0]["metadata"]}
    assert "metadata" not in answer["matches"][2]
    assert (answer["namespace"], answer["usage"]) == ("", {"readUnits": 1})


def test_a_query_by_id_takes_that_records_values_and_finds_itself(ask):
    assert [match["id"] for match in ask("query", {"topK": 2, "id": "b"})["matches"]] == ["b", "a"]
    assert ask("query", {"topK": 2, "id": "unknown"})["matches"] == []
    assert ask("query", {"topK": 2, "vector": V, "namespace": "unknown"}) == {
        "matches": [],
        "namespace": "unknown",
        "usage": {"readUnits": 1},
    }


def test_the_default_namespace_has_two_names(ask):
    assert len(ask("query", {"topK": 9, "vector": V, "namespace": "__default__"})["matches"]) == 3
    ask("vectors/upsert", {"vectors": [{"id": "d", "values": V}], "namespace": "__default__"})
    assert set(fetched(ask, "a", "d")) == {"a", "d"}


def test_values_come_back_as_float32_holds_them(ask):
    values = [0.1, 1e-38, 16777217, 3.4028234e38]
    ask("vectors/upsert", {"vectors": [{"id": "x", "values": values}]})
    back = fetched(ask, "x")["x"]["values"]
    assert np.array_equal(np.float32(back), np.float32(values))
    ask("vectors/upsert", b'{"vectors":[{"id":"x","values":[ 100000000000000000000, -0.0, 1E2,2 ]}]}')
    assert fetched(ask, "x")["x"]["values"] == [1e20, 0, 100, 2]


def test_metadata_comes_back_as_it_was(ask):
    metadata = {"s": 'ü"\\\n', "i": 2**63, "n": -(2**63), "f": 1.0, "b": False, "l": ["x", ""], "e": [], "": "no name"}
    ask("vectors/upsert", {"vectors": [{"id": "x", "values": V, "metadata": metadata}]})
    back = fetched(ask, "x")["x"]["metadata"]
    assert back == metadata and {key: type(value) for key, value in back.items()} == {k: type(v) for k, v in metadata.items()}
    assert ask("query", {"topK": 1, "vector": V, "includeMetadata": True})["matches"][0]["metadata"] == metadata


def test_of_two_records_with_one_id_the_last_counts(ask):
    answer = ask("vectors/upsert", {"vectors": [{"id": "x", "values": V}, {"id": "x", "values": [4, 3, 2, 1]}]})
    assert answer == {"upsertedCount": 2} and fetched(ask, "x")["x"]["values"] == [4, 3, 2, 1]


def test_an_upsert_is_stored_whole_or_not_at_all(ask, refused):
    vectors = [{"id": "new", "values": V}, {"id": "bad", "values": [1, 2, 3]}]
    status, message = refused("vectors/upsert", {"vectors": vectors})
    assert status == 400 and "'bad'" in message and "3 dimensions" in message
    assert fetched(ask, "new") == {}


def test_update_one_record(ask):
    assert ask("vectors/update", {"id": "a", "values": V}) == {}
    assert fetched(ask, "a")["a"] == {**ROWS[0], "values": V}
    assert ask("vectors/update", {"id": "a", "setMetadata": {"year": 2021, "new": True}}) == {}
    assert fetched(ask, "a")["a"]["metadata"] == {"genre": "drama", "year": 2021, "new": True}
    assert ask("vectors/update", {"id": "c", "values": V, "setMetadata": {"x": "y"}}) == {}
    assert fetched(ask, "c")["c"] == {"id": "c", "values": V, "metadata": {"x": "y"}}
    assert ask("vectors/update", {"id": "unknown", "values": V}) == {} and fetched(ask, "unknown") == {}
    assert ask("vectors/update", {"id": "a", "values": V, "namespace": "unknown"}) == {}


def test_update_by_filter(ask):
    comedy = {"filter": {"genre": {"$in": ["comedy", "drama"]}}, "setMetadata": {"seen": True}}
    assert ask("vectors/update", {**comedy, "dryRun": True}) == {"matchedRecords": 2}
    assert fetched(ask, "b")["b"] == ROWS[1]
    assert ask("vectors/update", comedy) == {"matchedRecords": 2}
    assert fetched(ask, "a", "b", "c") == {
        "a": {**ROWS[0], "metadata": {**ROWS[0]["metadata"], "seen": True}},
        "b": {**ROWS[1], "metadata": {**ROWS[1]["metadata"], "seen": True}},
        "c": ROWS[2],
    }
    assert ask("vectors/update", {**comedy, "namespace": "unknown"}) == {"matchedRecords": 0}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "either id or filter"),
        ({"id": "a"}, "values, setMetadata or both"),
        ({"id": "a", "filter": {"a": 1}, "setMetadata": {"b": 1}}, "either id or filter"),
        ({"filter": {"a": 1}, "values": V}, "by filter"),
        ({"filter": {}, "setMetadata": {"b": 1}}, "filter"),
        ({"id": "a", "values": [1]}, "dimension"),
        ({"id": "a", "values": [0, 0, 0, 0]}, "zero"),
        ({"id": "a", "values": [1, 2, 3, 1e39]}, "infinity"),
        ({"id": "a", "setMetadata": {"b": None}}, "'b'"),
        ({"id": "a", "setMetadata": []}, "object"),
        ({"id": "", "values": V}, "id"),
        ({"id": "a", "values": V, "sparseValues": {"indices": [1], "values": [1]}}, "sparse"),
    ],
)
def test_bad_updates(refused, body, says):
    status, message = refused("vectors/update", body)
    assert status == 400 and says in message


def test_list_pages_through_ids_in_order(ask):
    ids = [f"p{n:03}" for n in range(250)]
    ask("vectors/upsert", {"vectors": [{"id": id, "values": V} for id in ids[::-1]]})
    seen, token, sizes = [], "", []
    while token is not None:
        page = ask(f"vectors/list?prefix=p&paginationToken={token}")
        seen += [item["id"] for item in page["vectors"]]
        sizes.append(len(page["vectors"]))
        token = page.get("pagination", {}).get("next")
    assert (seen, sizes) == (ids, [100, 100, 50])
    assert [item["id"] for item in ask("vectors/list?limit=2")["vectors"]] == ["a", "b"]
    assert "pagination" not in ask("vectors/list?limit=100&prefix=p2")
    assert ask("vectors/list?namespace=unknown") == {"vectors": [], "namespace": "unknown", "usage": {"readUnits": 1}}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=-1",
        "limit=1&limit=2",
        "limit=" + "9" * 5000,
        "paginationToken=!!",
        "paginationToken=w7w=",
        "namespace=%C3%BC",
    ],
)
def test_bad_lists(refused, query):
    assert refused(f"vectors/list?{query}")[0] == 400


def test_fetch_by_metadata_pages_through_what_matches(ask):
    rows = [{"id": f"{n}", "values": V, "metadata": {"even": n % 2 == 0}} for n in range(10)]
    ask("vectors/upsert", {"vectors": rows, "namespace": "n"})
    body, seen = {"filter": {"even": {"$eq": True}}, "limit": 2, "namespace": "n"}, []
    while True:
        page = ask("vectors/fetch_by_metadata", body)
        assert page["namespace"] == "n" and len(page["vectors"]) <= 2
        seen += page["vectors"].values()
        if "pagination" not in page:
            break
        body["paginationToken"] = page["pagination"]["next"]
    assert seen == rows[::2]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"filter": {}},
        {"filter": {"a": 1}, "limit": 0},
        {"filter": {"a": 1}, "limit": 10_001},
        {"filter": {"a": 1}, "paginationToken": "?"},
        {"filter": {"$near": 1}},
    ],
)
def test_bad_fetches_by_metadata(refused, body):
    assert refused("vectors/fetch_by_metadata", body)[0] == 400


def test_namespaces(ask, call, index):
    assert ask("namespaces") == {"namespaces": [{"name": "__default__", "record_count": 3}], "total_count": 1}
    schema = {"fields": {"year": {"filterable": True}, "genre": {"filterable": True}}}
    made = ask("namespaces", {"name": "films", "schema": schema})
    assert made == {"name": "films", "record_count": 0, "schema": schema, "indexed_fields": {"fields": ["genre", "year"]}}
    assert ask("namespaces/films") == made
    assert ask("namespaces", {"name": "empty"}) == {"name": "empty", "record_count": 0}
    status, answer = call("POST", f"{index}/namespaces", {"name": "films"})
    assert (status, answer["code"]) == (409, 6)
    ask("vectors/upsert", {"vectors": ROWS[:2], "namespace": "films"})
    assert [(each["name"], each["record_count"]) for each in ask("namespaces")["namespaces"]] == [
        ("__default__", 3),
        ("empty", 0),
        ("films", 2),
    ]
    assert ask("describe_index_stats")["namespaces"] == {"__default__": {"vectorCount": 3}, "films": {"vectorCount": 2}}
    assert ask("namespaces/films", method="DELETE") == {}
    for method in ("GET", "DELETE"):
        status, answer = call(method, f"{index}/namespaces/films")
        assert (status, answer["code"]) == (404, 5)
    assert ask("namespaces", {"name": "films"}) == {"name": "films", "record_count": 0}  # its schema is forgotten, too
    assert ask("namespaces/__default__") == {"name": "__default__", "record_count": 3}
    assert ask("namespaces/__default__", method="DELETE") == {}
    assert ask("namespaces/__default__") == {"name": "__default__", "record_count": 0}


def test_namespaces_page_by_page_and_by_prefix(ask):
    names = ["a/b", "a b", *(f"n{n:02}" for n in range(12))]
    for name in names:
        ask("namespaces", {"name": name})
    pages, token = [], ""
    while token is not None:
        page = ask(f"namespaces?prefix=n&limit=5&paginationToken={token}")
        assert page["total_count"] == 12
        pages.append([each["name"] for each in page["namespaces"]])
        token = page.get("pagination", {}).get("next")
    assert [len(page) for page in pages] == [5, 5, 2] and [name for page in pages for name in page] == names[2:]
    assert ask("namespaces/a%2Fb")["name"] == "a/b"
    assert ask("namespaces/a%20b", method="DELETE") == {}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "__default__"},
        {"name": "ü"},
        {"name": "x" * 513},
        {"name": 1},
        {"name": "x", "schema": {"fields": {"a": {"filterable": False}}}},
    ],
)
def test_bad_namespaces(refused, body):
    assert refused("namespaces", body)[0] == 400


def test_a_namespace_that_nothing_made_has_nothing_to_delete(ask, refused):
    for body in ({"ids": ["a"]}, {"deleteAll": True}, {"filter": {"a": 1}}):
        status, message = refused("vectors/delete", {**body, "namespace": "unknown"})
        assert status == 404 and "Namespace not found" in message
    assert ask("vectors/delete", {"deleteAll": True}) == {} == ask("vectors/delete", {"deleteAll": True})


def test_a_namespace_outlives_its_records(ask):
    ask("vectors/upsert", {"vectors": ROWS, "namespace": "n"})
    assert ask("vectors/delete", {"deleteAll": True, "namespace": "n"}) == {}
    assert ask("namespaces/n")["record_count"] == 0
    assert ask("vectors/delete", {"deleteAll": True, "namespace": "n"}) == {}
    assert "n" not in ask("describe_index_stats")["namespaces"]


def test_records_are_searched_by_vector_or_id(ask, refused):
    answer = ask("records/namespaces/__default__/search", {"query": {"top_k": 2, "vector": {"values": [1, 0, 0, 0]}}})
    assert answer["usage"] == {"read_units": 1}
    assert [(hit["_id"], hit["_score"], hit["fields"]) for hit in answer["result"]["hits"]] == [
        ("a", 0, ROWS[0]["metadata"]),
        ("b", 1, ROWS[1]["metadata"]),
    ]
    body = {"query": {"top_k": 3, "id": "a", "filter": {"year": {"$exists": True}}}, "fields": ["year", "nothing"]}
    hits = ask("records/namespaces/__default__/search", body)["result"]["hits"]
    assert hits == [{"_id": "a", "_score": 0, "fields": {"year": 2020}}]
    assert refused("records/namespaces/n/search", {"query": {"top_k": 1, "inputs": {"text": "x"}}})[0] == 501
    for query in ({"top_k": 1}, {"top_k": 0, "id": "a"}, {"id": "a"}, {"top_k": 1, "vector": {"sparse_values": [1]}}):
        assert refused("records/namespaces/n/search", {"query": query})[0] == 400


def test_writes_are_numbered_and_queries_say_how_far_they_see(ask, call):
    numbers = []
    for path, body in (
        ("vectors/upsert", {"vectors": ROWS}),
        ("vectors/update", {"id": "a", "values": V}),
        ("vectors/update", {"filter": {"genre": "comedy"}, "setMetadata": {"x": 1}}),
        ("vectors/delete", {"ids": ["c"]}),
        ("namespaces", {"name": "n"}),
    ):
        ask(path, body)
        numbers.append(int(call.headers["x-pinecone-request-lsn"]))
    assert all(one < next for one, next in pairwise(numbers))
    ask("query", {"topK": 1, "vector": V})
    assert int(call.headers["x-pinecone-max-indexed-lsn"]) == numbers[-1]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"topK": 1, "queries": [{"values": V}]}, "queries"),
        ({"topK": 1, "vector": V, "scanFactor": 2}, "scanFactor"),
        ({"topK": 1, "vector": V, "maxCandidates": 10}, "maxCandidates"),
        ({"topK": 1, "vector": V, "sparseVector": {"indices": [1], "values": [1]}}, "sparseVector"),
        ({"topK": "1", "vector": V}, "topK"),
        ({"topK": True, "vector": V}, "topK"),
        ({"topK": 1, "vector": [[1, 2], [3, 4]]}, "list of numbers"),
        ({"topK": 1, "vector": [1, 2, 3, None]}, "list of numbers"),
        ({"topK": 1, "vector": {}}, "list of numbers"),
        ({"topK": 1, "vector": [1, 2, 3, 1e39]}, "infinity"),
        ({"topK": 1, "id": ""}, "id"),
        ({"topK": 1, "id": "ü"}, "id"),
        ({"topK": 1, "vector": V, "namespace": "x" * 513}, "namespace"),
        ({"topK": 1, "vector": V, "namespace": "\0"}, "namespace"),
        (b'{"topK":1,"vector":' + b"[" * 100_000, "nested"),
        (b'{"topK":1,"vector":[1,2,3,4]} {}', "JSON"),
        (b'"\xff"', ""),
    ],
)
def test_bad_queries(refused, body, says):
    status, message = refused("query", body)
    assert status == 400 and says in message


def test_what_it_counts_can_be_read(ask, call):
    for _ in range(3):
        ask("query", {"topK": 1, "vector": V})
    status, text = call("GET", "/metrics", key=None)
    assert status == 200 and call.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    answered = int(lines['workbench_vectors_requests_total{route="query",status="200"}'])
    assert answered >= 3 and int(lines['workbench_vectors_request_seconds_count{route="query"}']) >= answered
    assert int(lines[f'workbench_vectors_records{{index="{NAME}"}}']) == 3
    assert lines[f'workbench_vectors_lsn{{index="{NAME}"}}'] == lines[f'workbench_vectors_visible_lsn{{index="{NAME}"}}'] == "1"
    buckets = [
        int(count) for name, count in lines.items() if name.startswith('workbench_vectors_request_seconds_bucket{route="query"')
    ]
    assert buckets == sorted(buckets) and buckets[-1] >= answered


def test_queries_go_on_while_others_write(ask, call, index, server_url):
    stop, failed = threading.Event(), []

    def write(namespace):
        caller, batch = Caller(server_url), json.dumps({"vectors": ROWS * 300, "namespace": namespace}).encode()
        while not stop.is_set():
            status, answer = caller("POST", f"{index}/vectors/upsert", batch)
            if status != 200:
                failed.append(answer)
        caller.close()

    writers = [threading.Thread(target=write, args=(name,)) for name in ("w1", "w2")]
    for writer in writers:
        writer.start()
    for _ in range(100):
        assert len(ask("query", {"topK": 3, "vector": V})["matches"]) == 3
    stop.set()
    for writer in writers:
        writer.join()
    assert failed == [] and ask("describe_index_stats")["totalVectorCount"] == 9
