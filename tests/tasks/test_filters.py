"""Filters: fields that let through what they say, and recall among what matches."""

import numpy as np
import pytest

from workbench.settings import Flat, Settings
from workbench.tasks import filters

_SMALL = Settings(catalogue=2000, events=30, warmup=2, index=Flat())


def test_each_number_is_given_as_often_and_likeness_follows_the_vectors(drawn):
    vectors = drawn(_SMALL).vectors
    made = filters.fields(vectors, seed=3)
    assert all(np.bincount(numbers).tolist() == [2] * 1000 for numbers in made.values())
    anchor = vectors[np.flatnonzero(made["likeness"] == 0)]  # itself, and what is most like it
    likeness = np.max([vectors @ each for each in anchor], axis=0)
    assert np.corrcoef(likeness, made["likeness"])[0, 1] < -0.8
    assert abs(np.corrcoef(likeness, made["bucket"])[0, 1]) < 0.1
    assert filters.fields(vectors, seed=3)["bucket"].tolist() == made["bucket"].tolist()


@pytest.fixture(scope="module")
def samples():
    with pytest.MonkeyPatch.context() as patch:
        from .conftest import unit

        every = unit(2032, 16, seed=5)
        patch.setattr(filters.baskets, "load", lambda settings: filters.baskets.Baskets(every[32:], every[:32]))
        return filters.measure(_SMALL, "embedded").samples, every


def test_every_filter_is_asked_in_both_ways(samples):
    frame, _ = samples
    counts = frame.groupby(["field", "share_pct", "way"]).size()
    assert len(counts) == 2 * 5 * 2 and set(counts) == {30}
    matching = frame.groupby(["field", "share_pct"]).matching.first()
    assert matching["bucket"].tolist() == matching["likeness"].tolist() == [2, 20, 200, 1000, 2000]


def test_exact_search_finds_all_that_match(samples):
    frame, _ = samples
    assert (frame[frame.way == "filtered search"].recall == 1).all()


def test_a_search_that_filters_afterwards_finds_what_is_among_the_nearest_hundred(samples):
    frame, every = samples
    vectors, queries = every[32:], every[2:32]
    bucket = filters.fields(vectors, seed=_SMALL.seed)["bucket"]
    scores = queries @ vectors.T
    expected = []
    for row in scores:
        nearest = np.argsort(-row)[:100]
        matching = np.flatnonzero(bucket < 10)  # 1%: 20 records
        best = matching[np.argsort(-row[matching])[:10]]
        expected.append(len(set(nearest) & set(best)) / 10)
    asked = frame[(frame.way == "search, then filter") & (frame.field == "bucket") & (frame.share_pct == 1)]
    assert asked.recall.tolist() == pytest.approx(expected, abs=1e-6) and 0 < np.mean(expected) < 0.5
    everything = frame[(frame.way == "search, then filter") & (frame.share_pct == 100)]
    assert (everything.recall == 1).all()
