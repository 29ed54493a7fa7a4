"""What is inserted, what is asked, and what is true of it, worked out a second time."""

import json

import numpy as np
import pytest

from tests.benchmarks.peers.made import drawn
from workbench import places
from workbench.benchmarks.peers import workload as module
from workbench.benchmarks.peers.workload import SHARES, WARMUP, K, metadata, of_baskets, read, write
from workbench.errors import DataError, SettingError
from workbench.scenarios import baskets


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("workload") / "made", 2_000)


def _fits(about: dict, name: str) -> bool:
    """The filters in plain words; the aisle is the one that most records have."""
    if name == "none":
        return True
    return about["bucket"] < SHARES[name] if name in SHARES else about["in_stock"]


@pytest.mark.parametrize("name", ["none", *SHARES])
def test_the_truth_is_that_of_a_sort_of_all_scores(made, name):
    records = [json.loads(line) for line in (made.folder / "metadata.jsonl").read_text().splitlines()]
    fits = [row for row, about in enumerate(records) if _fits(about, name)]
    truth = made.truth[name]
    assert truth.allowed.nonzero()[0].tolist() == fits
    k = min(10, len(fits))
    for number in range(0, 30, 7):
        query = made.queries[WARMUP + number].astype(float)
        scores = {row: float(made.vectors[row].astype(float) @ query) for row in fits}
        best = sorted(scores, key=scores.get, reverse=True)[:k]
        assert truth.rows[number].tolist() == best
        assert truth.scores[number] == pytest.approx([scores[row] for row in best], abs=1e-6)


def test_the_filter_by_aisle_goes_with_the_vectors_text_and_keeps_what_is_in_stock(made):
    records = [json.loads(line) for line in (made.folder / "metadata.jsonl").read_text().splitlines()]
    (field, _, aisle), stocked = made.filters["aisle"]
    aisles = [about["aisle"] for about in records]
    assert field == "aisle" and aisles.count(aisle) == max(map(aisles.count, set(aisles))) and stocked == ("in_stock", "==", True)
    assert made.truth["aisle"].allowed.tolist() == [about["aisle"] == aisle and about["in_stock"] for about in records]


@pytest.mark.parametrize("count", [500, 1_000, 3_000])
def test_a_filter_lets_its_share_through(count):
    buckets = np.array([about["bucket"] for about in metadata(["a; b"] * count)])
    assert buckets.min() == 0 and buckets.max() <= 999
    for name in ("1%", "10%", "50%", "100%"):
        assert np.count_nonzero(buckets < SHARES[name]) == count * float(name[:-1]) / 100


def test_metadata_has_every_type_that_a_store_takes():
    (one, two, other) = metadata(["tuna; bread", "tuna; milk", "soap; bread"], seed=4)
    assert {name: type(value) for name, value in one.items()} == {
        "aisle": str,
        "price": float,
        "in_stock": bool,
        "products": list,
        "bucket": int,
    }
    assert one["products"] == ["tuna", "bread"] and one["aisle"] == two["aisle"] != other["aisle"]
    assert metadata(["tuna; bread", "tuna; milk", "soap; bread"], seed=4) == [one, two, other]


def test_recall_of_the_truth_is_one_under_every_filter(made):
    for name, truth in made.truth.items():
        assert made.recall(name, truth.rows.tolist()).tolist() == [1.0] * 30


def test_recall_counts_what_is_near_allowed_and_different(made):
    best = made.truth["none"].rows.tolist()
    far = int(np.argmin(made.vectors @ made.queries[WARMUP]))
    answers = [rows[:5] for rows in best]  # five of ten
    answers[1] = best[1][:5] + best[1][:5]  # twice the same
    answers[2] = []
    answers[3] = [*best[3][1:], far, best[3][0]]  # the nearest comes eleventh
    answers[0] = [far, *best[0][:9]]
    assert made.recall("none", answers).tolist() == [0.9, 0.5, 0.0, 0.9, *[0.5] * 26]


def test_recall_does_not_count_what_the_filter_forbids(made):
    """Without a filter's rows: of the ten nearest of all, only those that fit count, and only if they are near enough."""
    truth, nearest = made.truth["10%"], made.truth["none"].rows
    expected = [np.count_nonzero(truth.allowed[rows]) / 10 for rows in nearest]
    assert made.recall("10%", nearest.tolist()).tolist() == pytest.approx(expected)
    assert max(expected) < 1


def test_recall_where_fewer_than_ten_fit_is_of_those(made):
    truth = made.truth["0.1%"]
    assert truth.rows.shape == (30, 2)  # of 2,000
    assert made.recall("0.1%", truth.rows[:, :1].tolist()).tolist() == [0.5] * 30


def test_recall_takes_a_tie_for_as_good(tmp_path):
    """The eleventh is the same vector as the tenth: either is right."""
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(200, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[-WARMUP - 1 :] * np.float32(1)
    order = np.argsort(-(vectors[:99] @ queries[-1]))
    vectors[order[10]] = vectors[order[9]]
    write(tmp_path / "tied", vectors[: 99 + 1], queries, metadata(["a"] * 100))
    tied = read(tmp_path / "tied")
    chosen = {int(order[9]), int(order[10])}
    answer = [int(row) for row in tied.truth["none"].rows[0] if row not in chosen]
    for row in chosen:
        assert tied.recall("none", [[*answer, row]]).tolist() == [(len(answer) + 1) / K]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module.np, "savez", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        drawn(tmp_path / "made", 100)
    assert list(tmp_path.iterdir()) == []


def test_too_few_vectors_are_refused(tmp_path):
    with pytest.raises(SettingError, match="count = 99 is not allowed: at least 100 vectors"):
        drawn(tmp_path / "made", 99)


def test_a_folder_of_something_else_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path} holds no workload"):
        read(tmp_path)


class _Letters:
    """Counts a text's letters and gives that as a direction; knows how many texts it was asked for."""

    dimension = 26

    def __init__(self):
        self.asked = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nothing to close."""

    def embed(self, texts):
        self.asked += texts
        counts = np.array([[text.count(letter) + 0.01 for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_baskets_are_embedded_once_and_no_query_is_among_them(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path))
    letters = _Letters()
    monkeypatch.setattr(module, "make_embedder", lambda *_: letters)
    made = of_baskets(150, queries=20)
    assert letters.asked == baskets.texts(WARMUP + 20 + 150)
    assert made.folder.parent == places.state() / "peers"
    np.testing.assert_array_equal(made.queries, _Letters().embed(letters.asked[:120]))
    np.testing.assert_array_equal(made.vectors, _Letters().embed(letters.asked[120:]))
    assert set(letters.asked[:120]).isdisjoint(letters.asked[120:])
    records = [json.loads(line) for line in (made.folder / "metadata.jsonl").read_text().splitlines()]
    assert [about["products"] for about in records] == [text.split("; ") for text in letters.asked[120:]]
    monkeypatch.setattr(module, "make_embedder", lambda *_: pytest.fail("it is kept"))
    np.testing.assert_array_equal(of_baskets(150, queries=20).vectors, made.vectors)
