"""Milvus: what is its own beside the contract, in a file (Milvus Lite) and behind a URL."""

import logging
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from workbench.errors import ServiceError, SettingError, VectorError
from workbench.events import Record
from workbench.function.package import modules
from workbench.settings import HNSW, HNSWSQ, IVF, IVFPQ, Flat
from workbench.vectors.filters import compile_filter
from workbench.vectors.milvus.expression import id_of, key_of, where
from workbench.vectors.milvus.store import MilvusStore

from .arithmetic import best_first, reference_scores


def rows(count, dimension=4, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return [Record(f"r{n}", row, {"n": n, "half": n % 2 == 0}) for n, row in enumerate(values)]


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "own.db")


def test_what_was_written_is_there_when_the_file_is_opened_again(file):
    records = rows(5)
    for expected in ({}, {"n": 5}, {"n": 5}):
        store = MilvusStore(uri=file, name="kept", dimension=4)
        assert store.stats() == expected
        store.upsert(records, namespace="n")
        store.close()
    program = (
        "import sys; from workbench.vectors.milvus.store import MilvusStore\n"
        "store = MilvusStore(uri=sys.argv[1], name='kept', dimension=4)\n"
        "print(store.stats(), store.fetch(['r3'], namespace='n')['r3'].values.tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == f"{{'n': 5}} {records[3].values.tolist()}"


def test_two_stores_of_one_file_see_each_other_and_close_apart(file):
    first = MilvusStore(uri=file, name="one", dimension=4)
    second = MilvusStore(uri=file, name="one", dimension=4)
    first.upsert(rows(3))
    assert second.stats() == {"": 3}
    first.close()
    second.delete(["r0"])
    assert second.stats() == {"": 2}
    second.close()


def test_another_process_that_has_the_file_is_named_in_one_line(file, capfd):
    store = MilvusStore(uri=file, name="one", dimension=4)
    program = (
        "import sys; from workbench.vectors.milvus.store import MilvusStore; from workbench.errors import ServiceError\n"
        "try: MilvusStore(uri=sys.argv[1], name='one', dimension=4)\n"
        "except ServiceError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, check=True, timeout=60)
    store.close()
    assert done.stdout.count("\n") == 1 and file in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("index", [Flat(), HNSW(m=8, ef_construction=50, ef_search=64), IVF(nlist=16, nprobe=16)])
@pytest.mark.parametrize("metric", ["cosine", "dotproduct", "euclidean"])
def test_every_kind_of_index_is_built_and_searched(file, index, metric):
    store = MilvusStore(uri=file, name="built", dimension=8, metric=metric, index=index)
    records = rows(1_500, dimension=8)
    store.upsert(records)
    store.wait_indexed()
    assert [*Path(file).rglob("*.idx")]  # not merely compared one by one
    queries = np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)
    scores = reference_scores(metric, queries, np.stack([record.values for record in records]))
    found = store.query(queries, top_k=10)
    expected = [{f"r{n}" for n in best_first(metric, row)[:10]} for row in scores]
    recall = np.mean([len(names & {match.id for match in row}) / 10 for names, row in zip(expected, found, strict=True)])
    assert recall == 1 if not isinstance(index, HNSW) else recall >= 0.95  # 16 of 16 lists are all of them
    for row, by_number in zip(found, scores, strict=True):
        assert [match.score for match in row] == pytest.approx(
            [by_number[int(match.id[1:])] for match in row], rel=1e-5, abs=1e-5
        )
    some = store.query(queries[:1], top_k=10, filter={"half": True, "n": {"$lt": 12}})[0]
    assert sorted(match.id for match in some) == ["r0", "r10", "r2", "r4", "r6", "r8"]
    store.close()


def test_an_index_of_another_shape_is_not_used(file):
    MilvusStore(uri=file, name="shaped", dimension=4).close()
    others = [
        {"dimension": 5},
        {"dimension": 4, "metric": "euclidean"},
        {"dimension": 4, "index": Flat()},
        {"dimension": 4, "index": HNSW(m=8)},
    ]
    for other, says in zip(others, ("dimension 5", "metric L2", "index FLAT", "not with .*'M': 8"), strict=True):
        with pytest.raises(VectorError, match=says) as caught:
            MilvusStore(uri=file, name="shaped", **other)
        assert caught.value.status == 409
    MilvusStore(uri=file, name="shaped", dimension=4, index=HNSW(ef_search=7)).close()  # a query setting is nobody else's


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"uri": "somewhere"}, SettingError, "ending in .db"),
        ({"index": IVF(nlist=4, nprobe=8)}, SettingError, "nlist = 4"),
        ({"index": HNSWSQ()}, SettingError, "HNSWSQ.* Flat, HNSW or IVF"),
        ({"index": IVFPQ()}, SettingError, "IVFPQ.* Flat, HNSW or IVF"),
        ({"metric": "manhattan"}, VectorError, "cosine"),
        ({"dimension": 0}, VectorError, "20,000"),
        ({"name": "no good"}, VectorError, "letters"),
        ({"name": "1st"}, VectorError, "letters"),
        ({"uri": "/nowhere/at/all.db"}, ServiceError, "/nowhere/at"),
        ({"uri": "http://127.0.0.1:port"}, ServiceError, "127.0.0.1:port"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(file, settings, error, says):
    with pytest.raises(error, match=says) as caught:
        MilvusStore(**{"uri": file, "name": "refused", "dimension": 4, **settings})
    assert "\n" not in str(caught.value)


def test_nothing_there_is_a_service_error(capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: a port where nothing answers
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServiceError, match=url):
            MilvusStore(uri=url, name="x", dimension=4)
    assert capfd.readouterr().err == ""


def test_a_server_by_its_url(file, until):
    """Milvus Lite as a server of its own stands in for a cluster: the same protocol over the network."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", file, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), "the server listens")
        store = MilvusStore(uri=f"http://127.0.0.1:{port}", name="served", dimension=4, metric="dotproduct")
        records = rows(10)
        store.upsert(records)
        assert store.stats() == {"": 10}
        best = store.query(np.ones((1, 4), np.float32), top_k=1)[0][0]
        sums = [float(record.values.sum()) for record in records]
        assert (best.id, best.score) == (f"r{int(np.argmax(sums))}", pytest.approx(max(sums), rel=1e-5))
    finally:
        server.kill()
        server.wait()
    with pytest.raises(ServiceError, match=f"http://127.0.0.1:{port}") as caught:
        store.stats()
    assert "\n" not in str(caught.value)
    store.close()


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_of_one_id_in_parallel_updates_every_field_stays(file):
    store = MilvusStore(uri=file, name="updated", dimension=4)
    store.upsert([Record("x", np.ones(4))])
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda n: store.update("x", metadata={f"f{n}": n}), range(12)))
    assert store.fetch(["x"])["x"].metadata == {f"f{n}": n for n in range(12)}
    store.close()


def test_keys_keep_prefixes_and_order():
    names = ["", "a", "a\x7f", "b", "~", '"', " "]
    assert [id_of(key_of("n:s", name)) for name in names] == names
    assert sorted(names, key=lambda name: key_of("n", name)) == sorted(names)
    assert key_of("n", "ab").startswith(key_of("n", "a")) and not key_of("n", "a").startswith(key_of("", "a"))


@pytest.mark.parametrize(
    ("filter", "asked"),
    [
        (None, 'namespace == ""'),
        ({}, 'namespace == ""'),
        ({"n": {"$gt": 1.5}}, 'namespace == "" and metadata["n"] > 1.5'),
        ({"n": {"$in": [1, True]}}, 'namespace == "" and (metadata["n"] == 1 or metadata["n"] == true)'),
        ({"t": 'a"\\'}, r'namespace == "" and (metadata["t"] == "a\"\\" or json_contains(metadata["t"], "a\"\\"))'),
        ({"n": 1, "m": {"$ne": 2}}, 'namespace == "" and (metadata["n"] == 1)'),
        ({"$or": [{"n": {"$lt": 1}}, {"m": {"$ne": 2}}]}, 'namespace == ""'),
        ({"$or": [{"n": {"$lt": 1}}, {"m": {"$gte": 2}}]}, 'namespace == "" and (metadata["n"] < 1 or metadata["m"] >= 2)'),
        ({'n"] > 0 or metadata["m': {"$gt": 1}}, 'namespace == ""'),
        ({"n": "line\nbreak"}, 'namespace == ""'),
        ({"n": 2**53}, 'namespace == ""'),
        ({"n": {"$exists": True}}, 'namespace == ""'),
        ({"n": {"$in": [f"value {n}" for n in range(10_000)]}}, 'namespace == ""'),
    ],
)
def test_what_milvus_is_asked(filter, asked):
    expression, _ = where("", filter)
    assert expression.replace("((", "(").replace("))", ")") == asked.replace("((", "(").replace("))", ")")


_TEXTS = st.one_of(
    st.sampled_from(["", "x", "1", "true", '["x"]', '"', "\\", "' or 1 == 1", "%", "ä", "\n", "null"]), st.text(max_size=4)
)
_NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 1.0, 0.5, -0.0, 2**53, 2**53 + 1, -(2**63), 2**64 - 1, 1e300, 5e-324]),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
)
_SCALARS = st.one_of(_TEXTS, _NUMBERS, st.booleans())
_FIELDS = st.sampled_from(["v", "w", "key", "a b", 'q"', "not", "é"])
_CONDITIONS = st.one_of(
    _SCALARS,
    st.builds(lambda name, value: {name: value}, st.sampled_from(["$eq", "$ne"]), _SCALARS),
    st.builds(lambda name, value: {name: value}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), _NUMBERS),
    st.builds(lambda name, values: {name: values}, st.sampled_from(["$in", "$nin"]), st.lists(_SCALARS, min_size=1, max_size=3)),
    st.booleans().map(lambda value: {"$exists": value}),
)
_FILTERS = st.recursive(
    st.dictionaries(_FIELDS, _CONDITIONS, min_size=1, max_size=2),
    lambda inner: st.builds(
        lambda name, parts: {name: parts}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=4,
)
_METADATA = st.dictionaries(_FIELDS, st.one_of(_SCALARS, st.lists(_TEXTS, max_size=2)), max_size=3)


def test_filters_match_what_the_predicate_says(milvus_file):
    """One rule, two engines: whatever Milvus makes of an expression, what comes back is what the filter means."""
    store = MilvusStore(uri=milvus_file, name="hypothesis", dimension=2)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_METADATA, min_size=1, max_size=6), st.lists(_FILTERS, min_size=1, max_size=4))
    def holds(about, filters):
        store.delete()
        store.upsert([Record(f"m{n}", [1.0, n], metadata) for n, metadata in enumerate(about)])
        assert {int(id[1:]): record.metadata for id, record in store.fetch([f"m{n}" for n in range(len(about))]).items()} == dict(
            enumerate(about)
        )
        for filter in filters:
            matches = compile_filter(filter)
            expected = sorted(f"m{n}" for n, metadata in enumerate(about) if matches(metadata))
            assert sorted(match.id for match in store.query(np.ones((1, 2)), top_k=10, filter=filter)[0]) == expected

    holds()
    store.close()


def test_only_the_first_store_imports_pymilvus():
    program = (
        "import sys, workbench.vectors.milvus\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] in ('pymilvus', 'milvus_lite', 'grpc', 'faiss')]"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


def test_the_deployed_function_does_not_carry_it():
    assert not [name for name in modules() if "milvus" in name]


def test_pymilvus_does_not_print_what_it_raises(file, capfd, caplog):
    store = MilvusStore(uri=file, name="quiet", dimension=4)
    with caplog.at_level(logging.WARNING):
        store._client.drop_collection("quiet")
        with pytest.raises(VectorError) as caught:
            store.stats()
    store.close()
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "" and caplog.text == ""
