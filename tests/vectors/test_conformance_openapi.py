"""The local server against Pinecone's own OpenAPI files, by schemathesis: requests made from them, valid and invalid, and every
answer held to the status codes, content types and schemas that they give. Operations that the server has not are left out."""

from pathlib import Path

import hypothesis
import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from workbench.process import Child

from .raw import KEY, Caller

FOLDER = Path(__file__).parent / "openapi"
EXAMPLES = 10  # of each operation, version and mode
DIMENSION = 3
UNSERVED = ("/bulk/", "/collections", "/backups", "/restore-jobs", "create-for-model", "/records/namespaces/{namespace}/upsert")
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
SPEC = {"serverless": {"cloud": "aws", "region": "us-east-1"}}


def _operations():
    for path in sorted(FOLDER.glob("*.yaml")):
        for route, methods in yaml.safe_load(path.read_text(encoding="utf-8"))["paths"].items():
            if not any(part in route for part in UNSERVED) and not route.endswith("/backups"):
                yield from ((path.name, method, route) for method in methods)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A server of its own: what is made up may be any index and any namespace."""
    log = tmp_path_factory.mktemp("openapi") / "log"
    child = Child("vector server", "workbench.vectors.server", args=["--index", "flat"], log=log, env={"WORKBENCH_API_KEY": KEY})
    yield child.wait_ready()
    child.stop()
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture
def index(url):
    """Five records in the index that requests are made to fit; every index is gone afterwards."""
    call = Caller(url)
    assert call("POST", "/indexes", {"name": "any", "dimension": DIMENSION, "metric": "cosine", "spec": SPEC})[0] == 201
    rows = [{"id": f"r{n}", "values": [n, 1, 0], "metadata": {"n": n}} for n in range(5)]
    assert call("POST", "/indexes/any/vectors/upsert", {"vectors": rows})[0] == 200
    yield f"{url}/indexes/any"
    for each in call("GET", "/indexes")[1]["indexes"]:
        call("PATCH", f"/indexes/{each['name']}", {"deletion_protection": "disabled"})
        assert call("DELETE", f"/indexes/{each['name']}")[0] == 202
    call.close()


@pytest.fixture(scope="module")
def schemas():
    return {path.name: schemathesis.openapi.from_path(path) for path in FOLDER.glob("*.yaml")}


@pytest.fixture(scope="module")
def session():
    with requests.Session() as session:
        session.trust_env = False
        yield session


# What nothing made up is: a request that fits the index, of each operation.
V = [1, 2, 3]
WANTED = {
    ("post", "/indexes"): {"body": {"name": "other", "dimension": 3, "metric": "cosine", "spec": SPEC, "tags": {"a": "b"}}},
    ("get", "/indexes/{index_name}"): {"path_parameters": {"index_name": "any"}},
    ("patch", "/indexes/{index_name}"): {"path_parameters": {"index_name": "any"}, "body": {"tags": {"a": "b"}}},
    ("delete", "/indexes/{index_name}"): {"path_parameters": {"index_name": "any"}},
    ("post", "/describe_index_stats"): {"body": {}},
    ("post", "/query"): {
        "body": {"topK": 3, "vector": V, "filter": {"n": {"$gt": 1}}, "includeValues": True, "includeMetadata": True}
    },
    ("post", "/vectors/delete"): {"body": {"ids": ["r1"]}},
    ("get", "/vectors/fetch"): {"query": {"ids": ["r1", "r2"]}},
    ("post", "/vectors/fetch_by_metadata"): {"body": {"filter": {"n": {"$gt": 1}}, "limit": 2}},
    ("get", "/vectors/list"): {"query": {"limit": 2, "prefix": "r"}},
    ("post", "/vectors/update"): {"body": {"filter": {"n": 1}, "setMetadata": {"m": True}}},
    ("post", "/vectors/upsert"): {"body": {"vectors": [{"id": "x", "values": V, "metadata": {"n": ["a"]}}], "namespace": "n"}},
    ("post", "/namespaces"): {"body": {"name": "made", "schema": {"fields": {"n": {"filterable": True}}}}},
    ("get", "/namespaces/{namespace}"): {"path_parameters": {"namespace": "__default__"}},
    ("delete", "/namespaces/{namespace}"): {"path_parameters": {"namespace": "__default__"}},
    ("post", "/records/namespaces/{namespace}/search"): {
        "path_parameters": {"namespace": "__default__"},
        "body": {"query": {"top_k": 2, "vector": {"values": V}}, "fields": ["n"]},
    },
}


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("file", "method", "route"), list(_operations()), ids=lambda value: value.removesuffix(".oas.yaml"))
def test_answers_are_what_the_files_say(url, index, schemas, session, file, method, route, mode):
    control, version = "control" in file, file.removesuffix(".oas.yaml").rpartition("_")[2]
    operation = schemas[file][route][method]
    base = url if control else index
    headers = {"Api-Key": KEY, "X-Pinecone-Api-Version": version}

    def answer(case):
        case.headers = {**(case.headers or {}), **headers}
        response = case.call(base_url=base, session=session, headers=headers)
        assert response.status_code != 500, response.text
        case.validate_response(response, checks=CHECKS)
        return response

    if mode is GenerationMode.POSITIVE:
        assert answer(operation.Case(**WANTED.get((method, route), {}))).status_code < 300

    @hypothesis.seed(20261101)
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def answers(case):
        answer(case)

    answers()
