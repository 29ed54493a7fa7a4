"""How far a mean can be trusted."""

import numpy as np

_RESAMPLES = 2000


def bootstrap_mean(samples: np.ndarray, *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """The percentile-bootstrap interval of the mean of independent ``samples`` (float[n]); (nan, nan) for none."""
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
