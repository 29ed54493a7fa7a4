"""How far a mean, and a difference between two, can be trusted.

Many samples, such as hits and misses of users: the percentile bootstrap. Few runs, usually 5: Student's interval over runs. A
percentile bootstrap is too narrow for so few; Hesterberg, "What Teachers Should Know About the Bootstrap" (2015, section on
the expanded percentile interval), widens its tail probability α/2 to Φ(-√(n/(n-1))·t(n-1, 1-α/2)). But no percentile of
resampled means lies beyond the smallest and largest run, and 5 runs of equal settings are all on one side in 2 of 32 cases:
whatever its level, it calls more than 6% of equal pairs different (about 9% at 95%; ``tests`` counts them). The bootstrap's
standard error of a mean has a closed form, √((n-1)/n)·s/√n, and with the same source's factor √(n/(n-1)) and t in place of z
it gives Student's interval, which needs no resampling and keeps its level.
"""

import math
import statistics

import numpy as np

_RESAMPLES = 2000


def bootstrap_mean(samples: np.ndarray, *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """The percentile-bootstrap interval of the mean of many independent ``samples`` (float[n]); (nan, nan) for none."""
    if len(samples) == 0:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(0, len(samples), (_RESAMPLES, len(samples)))
    low, high = np.quantile(samples[draws].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_ratio(ours: np.ndarray, theirs: np.ndarray, *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """The same for the quotient of two means over the same units (float[n] each, paired by place)."""
    draws = np.random.default_rng(seed).integers(0, len(ours), (_RESAMPLES, len(ours)))
    quotients = ours[draws].mean(axis=1) / theirs[draws].mean(axis=1)
    low, high = np.quantile(quotients, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(values: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean over few runs (float[n], one value a run; NaN is a run without one).

    (nan, nan) for fewer than 2: one run says nothing of its noise.
    """
    measured = np.asarray(values, np.float64)
    measured = measured[~np.isnan(measured)]
    if len(measured) < 2:
        return float("nan"), float("nan")
    return _student(float(measured.mean()), _error(measured), len(measured) - 1, level)


def difference_interval(a: np.ndarray, b: np.ndarray, *, paired: bool, level: float = 0.95) -> tuple[float, float]:
    """The interval of mean(b) - mean(a) over few runs (float[n], float[m], at least 2 each, without NaN).

    ``paired``: the n runs of both stand at the same places, and what they share (a schedule, the machine's minute) cancels.
    Otherwise by Welch (1947), which does not need both to be as noisy.
    """
    if paired:
        return mean_interval(b - a, level=level)
    errors = _error(a) ** 2, _error(b) ** 2
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / (len(a) - 1) + errors[1] ** 2 / (len(b) - 1)) if any(errors) else 1.0
    return _student(float(b.mean() - a.mean()), math.sqrt(sum(errors)), freedom, level)


def ratio_interval(a: np.ndarray, b: np.ndarray, *, paired: bool, level: float = 0.95) -> tuple[float, float]:
    """The same for b's geometric mean over a's, all values above 0: noise of runs multiplies, so logarithms are compared."""
    low, high = difference_interval(np.log(a), np.log(b), paired=paired, level=level)
    return math.exp(low), math.exp(high)


def _error(values: np.ndarray) -> float:
    """The standard error of a mean."""
    return statistics.stdev(values.tolist()) / math.sqrt(len(values))


def _student(center: float, error: float, freedom: float, level: float) -> tuple[float, float]:
    from scipy.special import stdtrit  # the quantile of Student's t; scipy.stats would take a second to import

    reach = float(stdtrit(freedom, (1 + level) / 2)) * error
    return center - reach, center + reach
