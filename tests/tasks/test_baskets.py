"""What is indexed and asked: different texts, computed once, the same queries whatever is indexed."""

import numpy as np
import pytest

from workbench.scenarios import baskets as scenario
from workbench.settings import Settings
from workbench.tasks import baskets

from .conftest import unit


class _Embedder:
    """A text's vector is that of its number."""

    def __init__(self) -> None:
        self.warmed: list[str] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def warm(self, texts):
        self.warmed += texts

    def embed(self, texts):
        return np.stack([unit(1, 4, seed=int(text))[0] for text in texts])


@pytest.fixture
def embedder(monkeypatch, tmp_path):
    made = _Embedder()
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path))
    monkeypatch.setattr(scenario, "texts", lambda count: [str(number) for number in range(count)])
    monkeypatch.setattr(baskets, "make_embedder", lambda settings, endpoints: made)
    return made


def test_the_queries_come_first_and_are_not_indexed(embedder):
    small, large = (baskets.load(Settings(catalogue=size, warmup=3, events=5)) for size in (100, 120))
    assert small.queries.tolist() == large.queries.tolist() == embedder.embed(map(str, range(8))).tolist()
    assert small.vectors.tolist() == embedder.embed(map(str, range(8, 108))).tolist()
    assert large.vectors[:100].tolist() == small.vectors.tolist() and len(large.vectors) == 120


def test_they_are_computed_once(embedder, tmp_path):
    first = baskets.load(Settings(catalogue=100, warmup=3, events=5, seed=1))
    again = baskets.load(Settings(catalogue=100, warmup=3, events=5, seed=2))
    assert len(embedder.warmed) == 108 and again.vectors.tolist() == first.vectors.tolist()
    assert len(list((tmp_path / "vectors").iterdir())) == 1
