"""Latency against offered load: where more load stops being worth its waiting, and how far a goal holds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbench.measure import load


def knee(offered: Sequence[float], latency: Sequence[float], *, goodput: Sequence[float] | None = None) -> float:
    """The offered rate of most power, goodput ÷ mean latency; below it a queue is idle for nothing, beyond it events wait.

    ``offered`` and ``goodput`` are events/s (no ``goodput``: all that is offered is answered), ``latency`` is the mean in any
    unit, one value a rate each. The answer is one of ``offered``; NaN if no rate has all of its values. It is a knee only
    where lower and higher rates were tried, too. For M/M/1 it lies at half the capacity: L. Kleinrock, "Power and deterministic
    rules of thumb for probabilistic problems in computer communications", ICC 1979.
    """
    rates, waits = np.asarray(offered, float), np.asarray(latency, float)
    answered = rates if goodput is None else np.asarray(goodput, float)
    known = np.isfinite(rates) & np.isfinite(answered) & (waits > 0)
    if not known.any():
        return float("nan")
    return float(rates[known][np.argmax(answered[known] / waits[known])])


def kept_up(frame: pd.DataFrame) -> pd.Series:
    """By row, bool: whether that run carried its load to the end (see ``load.kept_up``)."""
    return pd.Series([load.kept_up(figures) for figures in frame.to_dict("records")], frame.index, bool)


def highest_within(frame: pd.DataFrame, goal: float, *, figure: str = "p99_ms") -> float | None:
    """The highest rate (events/s) at which every run kept up with ``figure`` ≤ ``goal``, as at every lower rate tried; else None.

    ``frame`` has the runs of one design at several rates, as ``results.load`` gives them: ``rate``, ``figure`` and
    what ``load.kept_up`` asks for. A figure that is NaN (a failed run, too few samples) meets no goal.
    """
    met = (kept_up(frame) & (frame[figure] <= goal)).groupby(frame.rate).all().sort_index()
    held = met.index[met.cummin().astype(bool)]
    return float(held[-1]) if len(held) else None
