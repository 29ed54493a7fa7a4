"""When each event is due: fixed before the run, so that a slow system cannot slow down what it is asked (open loop)."""

import numpy as np

from workbench.errors import SettingError


def schedule(events: int, *, rate: float, arrivals: str, seed: int) -> np.ndarray:
    """int64[events]: ns after the start at which each event is due, rising. The same arguments give the same schedule.

    ``rate`` is in events/s; 0 makes everything due at once. ``arrivals`` is ``constant`` or ``poisson``.

    Raises:
        SettingError: another kind of arrivals.
    """
    if rate == 0:
        return np.zeros(events, np.int64)
    mean_ns = 1e9 / rate
    if arrivals == "constant":
        gaps = np.full(events, mean_ns)
    elif arrivals == "poisson":
        gaps = np.random.default_rng(seed).exponential(mean_ns, events)
    else:
        raise SettingError("arrivals", arrivals, "constant or poisson")
    gaps[0] = 0.0
    return np.cumsum(gaps).astype(np.int64)
