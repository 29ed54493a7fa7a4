"""The interval of a mean and of a difference: known cases, and that they cover as often as they say."""

import itertools
import math
import statistics

import numpy as np
import pytest

from workbench.measure.intervals import bootstrap_mean, bootstrap_ratio, difference_interval, mean_interval, ratio_interval


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


# few runs; the quantiles of t are those of printed tables


def test_the_interval_over_runs_is_students():
    """Runs 1 to 5: mean 3, standard error √(2.5/5), t(4, 0.975) = 2.776445 and t(4, 0.95) = 2.131847."""
    error = math.sqrt(2.5 / 5)
    assert mean_interval(np.arange(1.0, 6.0)) == pytest.approx((3 - 2.776445 * error, 3 + 2.776445 * error), rel=1e-6)
    assert mean_interval(np.arange(1.0, 6.0), level=0.9) == pytest.approx((3 - 2.131847 * error, 3 + 2.131847 * error), rel=1e-6)


def test_it_is_the_bootstraps_standard_error_with_the_correction_for_few_runs():
    """All 3,125 resamples of 5 runs, drawn out; √(n/(n-1)) makes up for the bootstrap's divisor n."""
    runs = np.array([80.0, 91.0, 77.0, 84.0, 103.0])
    means = [statistics.fmean(draw) for draw in itertools.product(runs.tolist(), repeat=5)]
    reach = 2.776445 * math.sqrt(5 / 4) * statistics.pstdev(means)
    assert mean_interval(runs) == pytest.approx((87 - reach, 87 + reach), rel=1e-6)


def test_a_run_without_a_value_is_no_run_and_one_run_has_no_interval():
    assert mean_interval(np.array([1.0, np.nan, 3.0, 2.0])) == mean_interval(np.array([1.0, 3.0, 2.0]))
    assert all(math.isnan(end) for values in ([], [1.0], [1.0, np.nan]) for end in mean_interval(np.array(values)))
    assert mean_interval(np.full(5, 0.1)) == (0.1, 0.1)


def test_pairs_cancel_what_they_share():
    a = np.array([10.0, 200.0, 3000.0])
    assert difference_interval(a, a + 5, paired=True) == (5.0, 5.0)
    assert ratio_interval(a, a * 1.2, paired=True) == pytest.approx((1.2, 1.2))
    low, high = difference_interval(a, a + 5, paired=False)
    assert low < -1000 and high > 1000


def test_without_pairs_it_is_welchs():
    """a: mean 2, variance 1, n 3. b: mean 14, variance 4, n 3. Freedom (1/3 + 4/3)² / ((1/3)²/2 + (4/3)²/2) = 50/17 = 2.941."""
    low, high = difference_interval(np.array([1.0, 2.0, 3.0]), np.array([12.0, 14.0, 16.0]), paired=False)
    assert (low + high) / 2 == pytest.approx(12.0)
    quantile = (high - low) / 2 / math.sqrt(5 / 3)
    assert 3.182446 < quantile < 4.302653  # of t with 3 and with 2 degrees of freedom, and nearer to 3
    assert quantile == pytest.approx(3.219, abs=0.005)
    assert difference_interval(np.full(3, 2.0), np.full(4, 5.0), paired=False) == (3.0, 3.0)


def test_a_ratio_is_turned_round_with_its_sets():
    a, b = np.array([1.0, 2.0, 4.0]), np.array([3.0, 3.0, 5.0])
    for paired in (True, False):
        low, high = ratio_interval(a, b, paired=paired)
        assert ratio_interval(b, a, paired=paired) == pytest.approx((1 / high, 1 / low))
        assert ratio_interval(a, b * 1000, paired=paired) == pytest.approx((1000 * low, 1000 * high))


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 3])
@pytest.mark.parametrize("sd", [0.05, 0.15])
def test_equal_runs_are_called_different_as_often_as_the_level_says(paired, level, sd):
    """Five runs with lognormal effects; pairs share a drift. 4,000 trials know a rate of 5% to ± 0.34 points."""
    rng, trials, alarms = np.random.default_rng(17), 4000, 0
    for _ in range(trials):
        drift = rng.normal(0.0, 0.15, 5) if paired else 0.0
        a, b = (80 * np.exp(rng.normal(0.0, sd, 5) + drift) for _ in range(2))
        low, high = ratio_interval(a, b, paired=paired, level=level)
        alarms += not low <= 1.0 <= high
    allowed = 1 - level
    error = math.sqrt(allowed * level / trials)
    # Welch's is a little cautious with so few runs
    assert allowed * (1.0 if paired else 0.7) - 3 * error <= alarms / trials <= allowed + 3 * error


def test_the_expanded_percentile_bootstrap_cannot_keep_its_level_with_five_pairs():
    """Why it is not used. Its tail probability of 0.025 becomes Φ(-√(5/4)·2.776445) = Φ(-3.104160) = 0.000954 (printed tables:
    Φ(-3.10) = 0.000968); that is the third smallest of the 3,125 resampled means."""
    tail = statistics.NormalDist().cdf(-math.sqrt(5 / 4) * 2.776445)
    assert tail == pytest.approx(0.000954, abs=1e-6)
    draws = np.array(list(itertools.product(range(5), repeat=5)))
    rng, trials, alarms, one_sided = np.random.default_rng(23), 1000, 0, 0
    for _ in range(trials):
        differences = rng.normal(0.0, 0.1, 5)
        low, high = np.quantile(differences[draws].mean(axis=1), [tail, 1 - tail])
        alarms += not low <= 0.0 <= high
        one_sided += (differences > 0).all() or (differences < 0).all()
    assert one_sided / trials == pytest.approx(2 / 32, abs=0.023)  # no level helps these; three standard errors
    assert alarms / trials > 0.0625
