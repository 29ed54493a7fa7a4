"""What every backend of the vector store promises, checked by value against arithmetic of our own."""

import numpy as np
import pytest

from workbench.errors import SettingError, VectorError
from workbench.events import Record
from workbench.vectors import BACKENDS, VectorStore, backend
from workbench.vectors.filters import compile_filter

from .arithmetic import best_first, reference_scores

DIMENSION = 8


@pytest.fixture(params=["cosine", "dotproduct", "euclidean"])
def metric(request):
    return request.param


@pytest.fixture
def store(open_store, backend_name, metric):
    return open_store(backend_name, dimension=DIMENSION, metric=metric)


def some_records(count, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32) * 3
    return [Record(f"r{n}", row, {"n": n, "even": n % 2 == 0, "tags": [f"t{n % 3}", "all"]}) for n, row in enumerate(values)]


def matrix(records):
    return np.stack([record.values for record in records])


def test_scores_and_order(store, metric):
    records = some_records(60)
    assert store.upsert(records) == 60
    queries = np.random.default_rng(1).normal(size=(12, DIMENSION)).astype(np.float32)
    scores = reference_scores(metric, queries, matrix(records))
    for found, expected in zip(store.query(queries, top_k=10), scores, strict=True):
        order = best_first(metric, expected)[:10]
        assert [match.id for match in found] == [f"r{n}" for n in order]
        assert [match.score for match in found] == pytest.approx(expected[order], rel=1e-5, abs=1e-5)
        assert [match.metadata for match in found] == [records[n].metadata for n in order]


def test_a_vector_nearest_to_itself(store, metric):
    records = some_records(20)
    store.upsert(records)
    for record, (best, *_) in zip(records, store.query(matrix(records), top_k=3), strict=True):
        if metric == "cosine":
            assert (best.id, best.score) == (record.id, pytest.approx(1, abs=1e-6)) and best.score <= 1
        if metric == "euclidean":
            assert (best.id, best.score) == (record.id, pytest.approx(0, abs=1e-6))


def test_fetch_gives_back_what_was_stored(store):
    records = some_records(5)
    store.upsert(records)
    found = store.fetch(["r1", "r3", "unknown"])
    assert set(found) == {"r1", "r3"}
    for id, record in found.items():
        assert record.id == id
        assert np.array_equal(record.values, records[int(id[1:])].values)  # to the last bit
        assert np.asarray(record.values).dtype == np.float32
        assert record.metadata == records[int(id[1:])].metadata
    assert store.fetch([]) == {}


def test_upsert_replaces_values_and_metadata(store, metric):
    records = some_records(10)
    store.upsert(records)
    fresh = some_records(10, seed=5)[4].values
    store.upsert([Record("r4", fresh, {"new": True})])
    assert store.stats() == {"": 10}
    found = store.query(fresh[None, :], top_k=10)[0]
    assert sorted(match.id for match in found) == sorted(f"r{n}" for n in range(10))
    replaced = next(match for match in found if match.id == "r4")
    assert replaced.metadata == {"new": True}
    assert replaced.score == pytest.approx(reference_scores(metric, fresh[None, :], fresh[None, :])[0, 0], rel=1e-5, abs=1e-5)


def test_of_one_id_twice_in_a_batch_the_last_counts(store):
    first, second = some_records(2)
    store.upsert([Record("same", first.values, {"n": 1}), Record("same", second.values, {"n": 2})])
    assert store.stats() == {"": 1}
    assert store.fetch(["same"])["same"].metadata == {"n": 2}


def test_delete_by_id_filter_and_namespace(store):
    for namespace in ("a", "b"):
        store.upsert(some_records(12), namespace=namespace)
    store.delete(["r0", "r1", "unknown"], namespace="a")
    assert store.stats() == {"a": 10, "b": 12}
    assert store.fetch(["r0", "r1"], namespace="a") == {}
    store.delete(namespace="a", filter={"even": False})
    left = store.query(np.ones((1, DIMENSION), np.float32), top_k=100, namespace="a")[0]
    assert sorted(match.id for match in left) == ["r10", "r2", "r4", "r6", "r8"]
    store.delete(namespace="a")
    assert store.stats() == {"b": 12}
    assert store.query(np.ones((1, DIMENSION), np.float32), top_k=5, namespace="a") == [[]]
    store.delete(["r1"], namespace="never written")
    store.delete(namespace="never written")
    store.upsert(some_records(1), namespace="a")
    assert store.stats() == {"a": 1, "b": 12}


def test_deleting_the_last_record_ends_the_namespace(store):
    store.upsert(some_records(2), namespace="short")
    store.delete(["r0", "r1"], namespace="short")
    assert store.stats() == {}


def test_namespaces_are_apart(store):
    one, two = some_records(2)
    store.upsert([Record("x", one.values, {"where": "default"})])
    store.upsert([Record("x", two.values, {"where": "other"})], namespace="other")
    assert store.fetch(["x"])["x"].metadata == {"where": "default"}
    assert store.fetch(["x"], namespace="other")["x"].metadata == {"where": "other"}
    assert [match.metadata for match in store.query(one.values[None, :], top_k=5)[0]] == [{"where": "default"}]
    assert store.stats() == {"": 1, "other": 1}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"n": 3}, {3}),
        ({"n": {"$gte": 3, "$lt": 6}}, {3, 4, 5}),
        ({"tags": "t1"}, {1, 4, 7}),
        ({"tags": {"$in": ["t1", "t2"]}}, {1, 2, 4, 5, 7, 8}),
        ({"tags": {"$nin": ["t1", "t2"]}}, {0, 3, 6}),
        ({"tags": {"$ne": "all"}}, set()),
        ({"even": True, "n": {"$gt": 4}}, {6, 8}),
        ({"$or": [{"n": 0}, {"$and": [{"even": False}, {"n": {"$lte": 3}}]}]}, {0, 1, 3}),
        ({"missing": {"$exists": False}}, set(range(9))),
        ({"missing": {"$exists": True}}, set()),
        ({"even": 1}, set()),  # a number is not a bool
        ({}, set(range(9))),
    ],
)
def test_filters_choose_before_ranking(open_store, backend_name, filter, expected):
    store = open_store(backend_name, dimension=DIMENSION)
    records = some_records(9)
    store.upsert(records)
    query = np.ones((1, DIMENSION), np.float32)
    found = store.query(query, top_k=9, filter=filter)[0]
    assert {match.metadata["n"] for match in found} == expected
    assert len(store.query(query, top_k=2, filter=filter)[0]) == min(2, len(expected))


def test_several_queries_of_one_call_are_answered_in_order(store, metric):
    records = some_records(30)
    store.upsert(records)
    queries = np.random.default_rng(3).normal(size=(25, DIMENSION)).astype(np.float32)
    together = store.query(queries, top_k=5)
    assert [[m.id for m in found] for found in together] == [[m.id for m in store.query(q[None, :], top_k=5)[0]] for q in queries]
    assert store.query(np.empty((0, DIMENSION), np.float32), top_k=5) == []


def test_a_large_call_is_stored_whole(open_store, backend_name):
    store = open_store(backend_name, dimension=384)
    values = np.random.default_rng(0).normal(size=(1_100, 384)).astype(np.float32)
    assert store.upsert([Record(f"{n}", row) for n, row in enumerate(values)]) == 1_100
    assert store.stats() == {"": 1_100}
    assert len(store.fetch([f"{n}" for n in range(1_100)])) == 1_100
    store.delete([f"{n}" for n in range(1_050)])
    assert store.stats() == {"": 50}


def vector(**changes):
    values = np.ones(DIMENSION)
    for position, value in changes.items():
        values[int(position[1:])] = value
    return values


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (Record("x" * 513, vector()), "512"),
        (Record("", vector()), "512"),
        (Record("näh", vector()), "ASCII"),
        (Record(7, vector()), "ASCII"),
        (Record("bad", np.ones(DIMENSION + 1)), f"has {DIMENSION}"),
        (Record("bad", vector(_3=np.nan)), "NaN"),
        (Record("bad", vector(_3=np.inf)), "infinity"),
        (Record("bad", vector(_3=1e300)), "infinity"),
        (Record("bad", np.zeros(DIMENSION)), "zero"),
        (Record("bad", ["1"] * DIMENSION), "numbers"),
        (Record("bad", None), "numbers"),
        (Record("bad", vector(), {"a": None}), "'a'"),
        (Record("bad", vector(), {"a": {"b": 1}}), "'a'"),
        (Record("bad", vector(), {"a": [1, 2]}), "'a'"),
        (Record("bad", vector(), {"a": float("nan")}), "'a'"),
        (Record("bad", vector(), {"a": "x" * 41_000}), "40,960"),
        (Record("bad", vector(), {"a": "\ud800"}), "Unicode"),
        (Record("bad", vector(), [1]), "object"),
    ],
)
def test_one_bad_record_stores_nothing(open_store, backend_name, record, says):
    store = open_store(backend_name, dimension=DIMENSION)
    with pytest.raises(VectorError, match=says) as caught:
        store.upsert([*some_records(3), record])
    assert caught.value.status == 400 and "\n" not in str(caught.value)
    assert store.stats() == {}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"top_k": 0}, "10,000"),
        ({"top_k": 10_001}, "10,000"),
        ({"top_k": True}, "10,000"),
        ({"vectors": np.ones((1, DIMENSION + 1))}, "dimensions"),
        ({"vectors": np.ones(DIMENSION)}, "shape"),
        ({"vectors": [["a"] * DIMENSION]}, "numbers"),
        ({"vectors": np.full((1, DIMENSION), np.nan)}, "NaN"),
        ({"vectors": np.zeros((1, DIMENSION))}, "zeros"),
        ({"filter": {"n": {"$near": 3}}}, "near"),
        ({"filter": {"n": {"$eq": [1]}}}, "eq"),
        ({"filter": {"$and": []}}, "and"),
        ({"namespace": "ü"}, "ASCII"),
    ],
)
def test_bad_queries(open_store, backend_name, asked, says):
    store = open_store(backend_name, dimension=DIMENSION)
    store.upsert(some_records(3))
    with pytest.raises(VectorError, match=says):
        store.query(**{"vectors": np.ones((1, DIMENSION)), "top_k": 3, **asked})


def test_a_filter_of_depth_200_is_refused(open_store, backend_name):
    store = open_store(backend_name, dimension=DIMENSION)
    deep = {"n": 1}
    for _ in range(200):
        deep = {"$and": [deep]}
    store.upsert(some_records(1))
    with pytest.raises(VectorError, match="nested"):
        store.query(np.ones((1, DIMENSION)), top_k=1, filter=deep)


def test_updated_values_are_found_and_the_metadata_stays(store, metric):
    records = some_records(10)
    store.upsert(records)
    fresh = some_records(10, seed=5)[4].values
    assert store.update("r4", values=fresh) is True
    held = store.fetch(["r4"])["r4"]
    assert np.array_equal(held.values, fresh) and held.metadata == records[4].metadata
    expected = reference_scores(metric, fresh[None, :], np.stack([*matrix(records)[:4], fresh, *matrix(records)[5:]]))[0]
    found = store.query(fresh[None, :], top_k=10)[0]
    order = best_first(metric, expected)
    assert [match.id for match in found] == [f"r{n}" for n in order]
    assert [match.score for match in found] == pytest.approx(expected[order], rel=1e-5, abs=1e-5)


def test_updated_metadata_is_merged_and_filtered_by(open_store, backend_name):
    store = open_store(backend_name, dimension=DIMENSION)
    records = some_records(4)
    store.upsert(records)
    changes = {"n": 100, "tags": ["new"], "more": "text"}
    assert store.update("r1", metadata=changes) is True
    changes["tags"].append("afterwards")
    held = store.fetch(["r1"])["r1"]
    assert held.metadata == {"n": 100, "even": False, "tags": ["new"], "more": "text"}
    assert np.array_equal(held.values, records[1].values)
    query = np.ones((1, DIMENSION), np.float32)
    for filter, expected in [
        ({"tags": "new"}, {"r1"}),
        ({"n": 1}, set()),
        ({"tags": "t1"}, set()),
        ({"even": False}, {"r1", "r3"}),
    ]:
        assert {match.id for match in store.query(query, top_k=4, filter=filter)[0]} == expected
    assert store.update("r1", values=records[0].values, metadata={"even": True}) is True
    held = store.fetch(["r1"])["r1"]
    assert held.metadata == {"n": 100, "even": True, "tags": ["new"], "more": "text"}
    assert np.array_equal(held.values, records[0].values)
    assert store.stats() == {"": 4}


def test_an_update_of_what_is_not_there_changes_nothing(open_store, backend_name):
    store = open_store(backend_name, dimension=DIMENSION)
    store.upsert(some_records(2))
    assert store.update("r7", values=np.ones(DIMENSION)) is False
    assert store.update("r1", metadata={"n": 7}, namespace="other") is False
    assert store.stats() == {"": 2}
    assert store.fetch(["r1"])["r1"].metadata["n"] == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"values": np.ones(DIMENSION + 1)}, f"has {DIMENSION}"),
        ({"values": np.zeros(DIMENSION)}, "zero"),
        ({"values": np.full(DIMENSION, np.inf)}, "infinity"),
        ({"metadata": {"a": None}}, "'a'"),
        ({"metadata": {"a": "x" * 41_000}}, "40,960"),
        ({"metadata": {"a": 2}, "values": ["1"] * DIMENSION}, "numbers"),
        ({"id": "ü", "metadata": {"a": 2}}, "ASCII"),
        ({"namespace": "ü", "metadata": {"a": 2}}, "ASCII"),
    ],
)
def test_a_bad_update_changes_nothing(open_store, backend_name, changes, says):
    store = open_store(backend_name, dimension=DIMENSION)
    store.upsert(some_records(1))
    with pytest.raises(VectorError, match=says) as caught:
        store.update(**{"id": "r0", **changes})
    assert caught.value.status == 400 and "\n" not in str(caught.value)
    held = store.fetch(["r0"])["r0"]
    assert held.metadata == some_records(1)[0].metadata and np.array_equal(held.values, some_records(1)[0].values)


def test_metadata_may_not_grow_too_large_by_updates(open_store, backend_name):
    store = open_store(backend_name, dimension=DIMENSION)
    store.upsert([Record("r0", vector(), {"a": "x" * 25_000})])
    with pytest.raises(VectorError):
        store.update("r0", metadata={"b": "x" * 25_000})
    assert set(store.fetch(["r0"])["r0"].metadata) == {"a"}


ODD_IDS = ["a", "a%", "a_", 'a"b', "a'b", "a\\b", "a b/c?d&e=f#g", "a\nb", 'x" or key != "', "ab", "b" * 512]


def test_ids_by_prefix(open_store, backend_name):
    store = open_store(backend_name, dimension=DIMENSION)
    store.upsert([Record(id, vector(), {"id": id}) for id in ODD_IDS])
    store.upsert([Record(id, vector()) for id in ("a1", "z")], namespace="other")
    for prefix in ("", "a", "a%", "a_", 'a"', "a'", "a\\", "a ", "ab", "b", "x", "bbb", "c", "A", "a\n", 'x" or'):
        found = list(store.ids(prefix=prefix))
        assert sorted(found) == sorted(id for id in ODD_IDS if id.startswith(prefix)), prefix
    assert list(store.ids(prefix="a", namespace="other")) == ["a1"]
    assert list(store.ids(namespace="never written")) == []
    store.delete(['x" or key != "', "a%"])
    assert sorted(store.ids()) == sorted(set(ODD_IDS) - {'x" or key != "', "a%"})


def test_more_ids_than_a_page(open_store, backend_name):
    store = open_store(backend_name, dimension=DIMENSION)
    rows = np.random.default_rng(0).normal(size=(2_345, DIMENSION))
    store.upsert([Record(f"{n % 2}#{n}", row) for n, row in enumerate(rows)])
    found = list(store.ids())
    assert len(found) == 2_345 and set(found) == {f"{n % 2}#{n}" for n in range(2_345)}
    assert sorted(store.ids(prefix="1#")) == sorted(f"1#{n}" for n in range(1, 2_345, 2))


def test_odd_ids_and_namespaces_are_only_names(open_store, backend_name):
    store = open_store(backend_name, dimension=DIMENSION)
    names = ['" or true or "', "a'b", "a\\", "%", "with space", "A:b"]
    for position, name in enumerate(names):
        store.upsert([Record(id, vector(_0=position + 2), {"id": id, "in": name}) for id in ODD_IDS], namespace=name)
    assert store.stats() == dict.fromkeys(names, len(ODD_IDS))
    for position, name in enumerate(names):
        found = store.fetch([*ODD_IDS, "unknown"], namespace=name)
        assert {id: record.metadata for id, record in found.items()} == {id: {"id": id, "in": name} for id in ODD_IDS}
        assert all(record.values[0] == position + 2 for record in found.values())
        matches = store.query(vector()[None, :], top_k=100, namespace=name)[0]
        assert sorted(match.id for match in matches) == sorted(ODD_IDS)
        assert {match.metadata["in"] for match in matches} == {name}
    store.delete(namespace=names[0])
    assert store.stats() == dict.fromkeys(names[1:], len(ODD_IDS))


ABOUT = [  # metadata by record, m0, m1, …
    {},
    {"v": 1},
    {"v": 1.0},
    {"v": True},
    {"v": False},
    {"v": "1"},
    {"v": ""},
    {"v": "x"},
    {"v": ["x"]},
    {"v": ["x", "y", '"']},
    {"v": []},
    {"v": '["x"]'},  # text, not a list
    {"v": '{"v": "x"}'},
    {"v": 'x" or true or "'},
    {"v": "a\\"},
    {"v": "line\nbreak"},
    {"v": "größer 漢字 😀"},
    {"v": 0},
    {"v": -2.5},
    {"v": 1e300},
    {"v": 5e-324},
    {"v": 2**53},
    {'v" or "1': 1, "a.b": "x", "a b": 2, "größe": 3, "not": True, "key": "x", "metadata": "y"},
    {"w": 1},
]
SAME = [  # a filter, and the numbers of the records that match it by the documented rules
    ({"v": 1}, {1, 2}),
    ({"v": 1.0}, {1, 2}),
    ({"v": True}, {3}),
    ({"v": False}, {4}),
    ({"v": 0}, {17}),
    ({"v": "1"}, {5}),
    ({"v": ""}, {6}),
    ({"v": "x"}, {7, 8, 9}),
    ({"v": '"'}, {9}),
    ({"v": '["x"]'}, {11}),
    ({"v": 'x" or true or "'}, {13}),
    ({"v": "a\\"}, {14}),
    ({"v": "line\nbreak"}, {15}),
    ({"v": "größer 漢字 😀"}, {16}),
    ({"v": {"$gt": 0}}, {1, 2, 19, 20, 21}),
    ({"v": {"$gte": 0, "$lt": 1}}, {17, 20}),
    ({"v": {"$lte": -2.5}}, {18}),
    ({"v": {"$gte": 2**53}}, {19, 21}),
    ({"v": 2**53}, {21}),
    ({"v": {"$in": [True, "x"]}}, {3, 7, 8, 9}),
    ({"v": {"$in": [1, "1"]}}, {1, 2, 5}),
    ({"v": {"$in": [*(f"t{n}" for n in range(2_000)), "y"]}}, {9}),
    ({"v": {"$ne": 1}}, set(range(24)) - {1, 2}),
    ({"v": {"$ne": "x"}}, set(range(24)) - {7, 8, 9}),
    ({"v": {"$nin": [True, False, "x"]}}, set(range(24)) - {3, 4, 7, 8, 9}),
    ({"v": {"$exists": False}}, {0, 22, 23}),
    ({"v": {"$exists": True}}, set(range(24)) - {0, 22, 23}),
    ({'v" or "1': 1}, {22}),
    ({"a.b": "x"}, {22}),
    ({"a b": {"$gt": 1}}, {22}),
    ({"größe": 3}, {22}),
    ({"not": True}, {22}),
    ({"key": "x"}, {22}),
    ({"metadata": "y"}, {22}),
    ({"$or": [{"w": 1}, {"v": {"$gt": 1e299}}, {"v": {"$lt": -1}}]}, {18, 19, 23}),
    ({"$or": [{"w": 1}, {"v": {"$ne": 1}}]}, set(range(24)) - {1, 2}),
    ({"$and": [{"v": {"$ne": 1}}, {"v": {"$gte": 0}}]}, {17, 19, 20, 21}),
    ({"v": "x", "w": 1}, set()),
]


def test_filters_by_every_kind_of_value(open_store, backend_name):
    store = open_store(backend_name, dimension=DIMENSION)
    store.upsert([Record(f"m{n}", vector(_0=n), about) for n, about in enumerate(ABOUT)])
    stored = store.fetch([f"m{n}" for n in range(len(ABOUT))])
    assert [stored[f"m{n}"].metadata for n in range(len(ABOUT))] == ABOUT
    assert type(stored["m3"].metadata["v"]) is bool and type(stored["m5"].metadata["v"]) is str
    for filter, expected in SAME:
        found = store.query(vector()[None, :], top_k=100, filter=filter)[0]
        assert sorted(match.id for match in found) == sorted(f"m{n}" for n in expected), filter
        assert all(match.metadata == ABOUT[int(match.id[1:])] for match in found)


@pytest.mark.parametrize(("filter", "expected"), SAME[::6])
def test_a_filter_deletes_what_it_matches(open_store, backend_name, filter, expected):
    store = open_store(backend_name, dimension=DIMENSION)
    store.upsert([Record(f"m{n}", vector(_0=n), about) for n, about in enumerate(ABOUT)])
    store.delete(filter=filter)
    assert sorted(store.ids()) == sorted(f"m{n}" for n in range(len(ABOUT)) if n not in expected)


def test_a_filter_that_matches_few_of_many_finds_the_nearest_of_them(store, metric):
    records = [
        Record(record.id, record.values, {"n": n, "rare": n % 500 == 0, "group": f"g{n % 7}"})
        for n, record in enumerate(some_records(3_000))
    ]
    store.upsert(records)
    queries = np.random.default_rng(4).normal(size=(3, DIMENSION)).astype(np.float32)
    for filter in (
        {"rare": True},
        {"n": {"$gte": 2_995}},
        {"group": {"$nin": ["g0", "g1", "g2", "g3", "g4", "g5"]}, "n": {"$lt": 50}},
    ):
        kept = [record for record in records if compile_filter(filter)(record.metadata)]
        scores = reference_scores(metric, queries, matrix(kept))
        for found, expected in zip(store.query(queries, top_k=100, filter=filter), scores, strict=True):
            order = best_first(metric, expected)
            assert [match.id for match in found] == [kept[row].id for row in order]
            assert [match.score for match in found] == pytest.approx(expected[order], rel=1e-5, abs=1e-5)


def test_a_small_namespace_beside_a_large_one_is_found_whole(open_store, backend_name):
    store = open_store(backend_name, dimension=DIMENSION)
    records = some_records(2_000)
    store.upsert(records[10:], namespace="large")
    store.upsert(records[:10], namespace="small")
    query = matrix(records)[:1]
    order = best_first("cosine", reference_scores("cosine", query, matrix(records[:10]))[0])
    assert [match.id for match in store.query(query, top_k=50, namespace="small")[0]] == [f"r{n}" for n in order]
    assert store.stats() == {"large": 1_990, "small": 10}


def test_nothing_to_do_is_nothing(store):
    assert store.upsert([]) == 0
    assert store.stats() == {} and list(store.ids()) == []
    assert store.query(np.ones((2, DIMENSION), np.float32), top_k=3) == [[], []]
    assert store.fetch(["x"]) == {}
    store.delete(["x"])
    store.delete(filter={"n": 1})
    store.delete()
    assert store.update("x") is False


def test_deletes_that_could_only_be_a_mistake(open_store, backend_name):
    store = open_store(backend_name, dimension=DIMENSION)
    store.upsert(some_records(3))
    for mistake in ({"filter": {}}, {"ids": ["r1"], "filter": {"n": 1}}, {"ids": "r1"}):
        with pytest.raises(VectorError):
            store.delete(**mistake)
    store.delete([])
    assert store.stats() == {"": 3}


def test_the_callers_arrays_and_metadata_stay_apart(store):
    values, about = np.ones(DIMENSION, np.float32), {"tags": ["a"]}
    store.upsert([Record("x", values, about)])
    values[:] = 7
    about["tags"].append("b")
    answer = store.query(np.ones((1, DIMENSION), np.float32), top_k=1)[0][0]
    answer.metadata["tags"].append("c")
    found = store.fetch(["x"])["x"]
    assert found.metadata == {"tags": ["a"]} and found.values.tolist() == [1] * DIMENSION
    found.values[:] = 9
    assert store.fetch(["x"])["x"].values.tolist() == [1] * DIMENSION


def test_an_unknown_backend_names_the_known_ones():
    with pytest.raises(SettingError, match="faiss"):
        backend("chroma")


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_has_every_method_of_the_protocol(name):
    methods = {method for method in vars(VectorStore) if not method.startswith("_")}
    assert {method for method in methods if callable(getattr(backend(name), method, None))} == methods
