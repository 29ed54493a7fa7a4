"""The interval of a mean: known cases, and that it covers as often as it says."""

import math

import numpy as np
import pytest

from workbench.measure.intervals import bootstrap_mean, bootstrap_ratio


def test_the_interval_is_that_of_normal_theory_for_many_samples():
    """Mean ± 1.96 standard errors, by the central limit theorem."""
    samples = np.random.default_rng(1).normal(10.0, 2.0, size=400)
    low, high = bootstrap_mean(samples)
    error = 1.96 * samples.std() / math.sqrt(400)
    assert low == pytest.approx(samples.mean() - error, abs=0.03)
    assert high == pytest.approx(samples.mean() + error, abs=0.03)


def test_a_lower_level_gives_a_narrower_interval_around_the_same_mean():
    samples = np.random.default_rng(2).normal(size=200)
    (low, high), (inner_low, inner_high) = bootstrap_mean(samples), bootstrap_mean(samples, level=0.5)
    assert low < inner_low < samples.mean() < inner_high < high
    assert (inner_high - inner_low) / (high - low) == pytest.approx(0.6745 / 1.96, abs=0.05)


def test_it_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_mean(rng.exponential(1.0, size=60))
        covered += low <= 1.0 <= high
    assert 175 <= covered <= 198  # 95% of 200, less what skewed samples cost the percentile bootstrap


def test_equal_samples_leave_no_doubt_and_no_samples_leave_nothing():
    assert bootstrap_mean(np.full(7, 3.0)) == (3.0, 3.0)
    assert bootstrap_mean(np.array([0.25])) == (0.25, 0.25)
    assert all(math.isnan(end) for end in bootstrap_mean(np.array([])))


def test_hits_and_misses_stay_between_0_and_1():
    low, high = bootstrap_mean(np.array([1.0] + [0.0] * 9))
    assert (low, high) == (0.0, pytest.approx(0.3)) and bootstrap_mean(np.ones(9)) == (1.0, 1.0)


def test_the_same_samples_give_the_same_interval():
    samples = np.random.default_rng(4).normal(size=50)
    assert bootstrap_mean(samples) == bootstrap_mean(samples.copy())
    assert bootstrap_mean(samples) != bootstrap_mean(samples, seed=1)


def test_the_interval_of_a_quotient_pairs_its_units():
    """Twice as much of the same units is twice as much in every resample; independent draws would spread."""
    theirs = np.array([0.0, 1.0, 1.0, 0.0, 1.0] * 20)
    low, high = bootstrap_ratio(2 * theirs, theirs)
    assert low == high == 2.0
    ours = np.array([1.0, 1.0, 1.0, 0.0, 1.0] * 20)
    low, high = bootstrap_ratio(ours, theirs)
    assert 1.0 < low < ours.mean() / theirs.mean() < high
