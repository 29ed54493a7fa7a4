"""The index task against brute force: recall by definition, queries that are not in the index."""

import hashlib

import numpy as np
import pytest

from workbench.errors import SettingError
from workbench.scenarios import retail
from workbench.settings import HNSW, Flat, Settings
from workbench.tasks import index


class _Letters:
    """A text's vector is drawn by its hash: 8 dimensions, unit length. Remembers the texts."""

    model, dimension = "hash-8", 8

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def embed(self, texts):
        self.calls.append(list(texts))
        drawn = [
            np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])).normal(size=8) for text in texts
        ]
        return np.stack([vector / np.linalg.norm(vector) for vector in drawn]).astype(np.float32)


@pytest.fixture
def embedder(monkeypatch):
    made = _Letters()
    monkeypatch.setattr(index, "make_embedder", lambda settings, endpoints: made)
    return made


def test_a_small_catalogue_is_searched_exactly(embedder):
    measured = index.measure(Settings(catalogue=500, index=HNSW(m=2, ef_construction=1, ef_search=1)), "embedded")
    assert measured.figures["recall_at_10"] == measured.figures["recall_p5"] == 1.0
    assert measured.samples.recall.tolist() == [1.0] * index.QUERIES
    assert measured.figures["query_us"] == pytest.approx(measured.samples.query_us.mean())
    assert 0 < measured.figures["query_us"] < 1e6 and 0 < measured.figures["build_s"] < 60


def test_queries_are_not_in_the_index_and_follow_the_seed(embedder):
    settings = Settings(catalogue=500, index=Flat())
    index.measure(settings, "embedded")
    index.measure(settings.but(seed=8), "embedded")
    index.measure(settings, "embedded")
    indexed, asked = embedder.calls[:2]
    listed = retail.load(start=settings.start, events=1, catalogue=500).catalogue
    assert indexed == [product.description for product in listed]
    assert len(asked) == len(set(asked)) == index.QUERIES + 50 and set(asked).isdisjoint(indexed)
    assert embedder.calls[4:6] == [indexed, asked] and embedder.calls[3] != asked


def test_a_poor_index_finds_less_and_its_recall_is_that_of_brute_force(embedder, monkeypatch):
    found = []
    plain = index.tie_aware
    monkeypatch.setattr(index, "tie_aware", lambda *given: found.append(given[2]) or plain(*given))
    measured = index.measure(Settings(catalogue=3000, index=HNSW(m=2, ef_construction=4, ef_search=1)), "embedded")
    vectors, queries = (embedder.embed(texts).astype(np.float64) for texts in (embedder.calls[0], embedder.calls[1][50:]))
    recalls = []
    for query, rows in zip(queries, found[0], strict=True):
        scores = sorted(vectors @ query, reverse=True)
        recalls.append(sum(vectors[row] @ query > scores[9] - 2e-6 for row in rows) / 10)
    assert measured.samples.recall.tolist() == pytest.approx(recalls)
    assert measured.figures["recall_at_10"] == pytest.approx(sum(recalls) / len(recalls)) and measured.figures["recall_at_10"] < 1
    assert measured.figures["recall_p5"] == pytest.approx(np.quantile(recalls, 0.05))


def test_a_catalogue_of_everything_leaves_nothing_to_ask(embedder):
    with pytest.raises(
        SettingError, match=r"^catalogue = 500000 is not allowed: fewer: 0 other descriptions are left to ask for$"
    ):
        index.measure(Settings(catalogue=500_000), "embedded")
