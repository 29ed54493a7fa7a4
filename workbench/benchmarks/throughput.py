"""How many events a second are carried to the end."""

import functools
from typing import NamedTuple

import numpy as np

from workbench.benchmarks.claim import Baseline, Claim, claim
from workbench.benchmarks.runs import Runs, measured
from workbench.errors import WorkbenchError
from workbench.measure.histogram import Histogram
from workbench.measure.knee import highest_within
from workbench.settings import Settings
from workbench.summaries import after_warmup

_GOAL_MS = 300.0  # of the worked example
_SECONDS = 10  # of load at each rate
_RATES = {"inline": (500, 1000, 1500, 2000), "lambda": (250, 500, 750, 1000)}  # events/s offered
_DRAINED = 400  # events that the article's handler is given at once
_OFFERED_SHARE = 0.5  # of what it can do: the load at which its latency is measured, so that no queue forms
_LATENCIES = 220  # events a run at that load: with 5 runs enough for a p99
_WARMUP = 20


def inline_events_per_s(name: str) -> Claim:
    """Events/s inline with none lost, a flat backlog and p99 within 300 ms in every run; baseline: in Lambda."""
    ours, rate = _sustained("inline", _GOAL_MS)
    others, other_rate = _sustained("lambda", _GOAL_MS)
    p99 = f"p99 {ours.frame.p99_ms.median():.0f} ms at {rate:g}/s; rates tried: {_listed('inline')}"
    return claim(
        name,
        "events/s",
        ours.frame.goodput_per_s.tolist(),
        Baseline(f"in Lambda at {other_rate:g}/s", float(others.frame.goodput_per_s.median())),
        note=p99,
    )


def throughput_vs_article(name: str) -> Claim:
    """Sustained events/s in Lambda at no worse p99, over the most that the article's handler does with the same services."""
    article = _article()
    ours, rate = _sustained("lambda", article.p99_ms)
    inline, inline_rate = _sustained("inline", article.p99_ms)
    ratios = (ours.frame.goodput_per_s.to_numpy() / article.capacity).tolist()
    notes = (
        f"ours {rate:g}/s in Lambda at p99 {ours.frame.p99_ms.median():.0f} ms"
        f" ({inline_rate:g}/s inline at {inline.frame.p99_ms.median():.0f} ms)",
        f"the article's {np.median(article.capacity):.3g}/s, p99 {article.p99_ms:.0f} ms at {article.offered:.3g}/s",
        f"hit rate@5 {article.our_hit_rate:.3f} and {article.hit_rate:.3f}",
    )
    return claim(name, "times", ratios, Baseline("the article's handler", 1.0), note="; ".join(notes))


@functools.cache
def _ladder(placement: str) -> Runs:
    designs = [Settings(placement=placement, rate=rate, events=rate * _SECONDS) for rate in _RATES[placement]]
    return measured(designs)


def _sustained(placement: str, goal_ms: float) -> tuple[Runs, float]:
    """The runs at the highest rate that was carried within the goal, and that rate.

    Raises:
        WorkbenchError: none was.
    """
    runs = _ladder(placement)
    rate = highest_within(runs.frame, goal_ms)
    if rate is None:
        raise WorkbenchError(
            f"{placement}: of {_listed(placement)} events/s none was carried within {goal_ms:.0f} ms in every run"
        )
    chosen = runs.frame[runs.frame.rate == rate]
    return Runs(chosen, runs.samples[runs.samples.settings.isin(chosen.settings)]), rate


class _Article(NamedTuple):
    """What the article's handler does in Lambda. What it drains of a full stream is the most that it could sustain."""

    capacity: np.ndarray  # events/s, by run
    offered: float  # events/s at which its latency was measured
    p99_ms: float  # over all runs' events together: for 1,000 of its events one run would take minutes
    hit_rate: float
    our_hit_rate: float  # on the same events


@functools.cache
def _article() -> _Article:
    base = Settings(placement="lambda", handler="published", warmup=0)
    drained = base.but(rate=0, events=_DRAINED)
    ours = drained.but(handler="batched")
    runs = measured([drained, ours])
    capacity = runs.of(drained).frame.goodput_per_s.to_numpy()
    offered = float(round(_OFFERED_SHARE * np.median(capacity), 1))
    slow = measured([base.but(rate=offered, events=_LATENCIES, warmup=_WARMUP)]).samples
    later = after_warmup(slow, _WARMUP)
    together = Histogram.of(later.latency_ms[later.outcome == "answered"].to_numpy())
    hit_rates = (runs.of(each).frame.hit_rate.median() for each in (drained, ours))
    return _Article(capacity, offered, together.percentile(99), *map(float, hit_rates))


def _listed(placement: str) -> str:
    return ", ".join(f"{rate:,}" for rate in _RATES[placement])
