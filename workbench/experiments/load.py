"""How much can one machine take? What notebook 01 sweeps over and concludes from its results."""

import inspect
from collections.abc import Sequence

import pandas as pd

from workbench.finding import Figure, Finding
from workbench.function import published
from workbench.measure.knee import highest_within, knee
from workbench.runs import Run
from workbench.settings import Settings
from workbench.summaries import after_warmup, percentile_ms, percentile_of

OURS, ARTICLE = "our handler", "the article's handler"
HANDLERS = {"batched": OURS, "published": ARTICLE}


def ladder(base: Settings, placements: Sequence[str], rates: Sequence[float], *, seconds: float) -> list[Settings]:
    """Every placement at every rate, for so many seconds of load, but with enough events for a p99."""
    return [
        base.but(placement=placement, rate=rate, events=max(base.events, round(rate * seconds)))
        for placement in placements
        for rate in rates
    ]


def corrections() -> str:
    """What of the article's handler was corrected so that it runs, and what was left as published."""
    return inspect.cleandoc(published.__doc__)


def side_by_side(frame: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Both handlers at every load: events/s answered, latency, hits; medians over runs, the p99 of all runs together.

    ``frame`` and ``samples`` are what ``results.load`` and ``results.samples`` give, with the column ``handler`` in words.
    """
    rows = {}
    for (handler, rate, number), runs in frame.groupby(["handler", "rate", "events"]):
        later = after_warmup(samples[samples.settings.isin(runs.settings)], runs.warmup.iloc[0])
        offered = f"{number:,} events at once" if rate == 0 else f"{rate:g} events/s"
        rows[handler, offered] = {
            "answered, events/s": runs.goodput_per_s.median(),
            "p50_ms": runs.p50_ms.median(),
            "p99_ms, all runs": percentile_of(later.latency_ms[later.outcome == "answered"], 99),
            "upsert_ms": runs.upsert_ms.median(),
            "events per batch": runs.events_per_batch.median(),
            "hit_rate": runs.hit_rate.median(),
            "lost": runs.lost.max(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").round(3)


def same_events(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs in which both handlers were given the same events at once: what they recommend can be compared."""
    drained = frame[frame.rate == 0]
    return drained[drained.groupby("events").handler.transform("nunique") == len(HANDLERS)]


def finding(
    ours: pd.DataFrame,
    both: pd.DataFrame,
    table: pd.DataFrame,
    *,
    open_run: Run,
    closed_run: Run,
    goal_ms: float,
    question: str,
    provenance: dict[str, str],
) -> Finding:
    """What the notebook says at the top of its report; every number comes from the results.

    ``ours`` and ``both`` are what ``results.load`` gives for the ladder and for the handlers, ``table`` is ``side_by_side``.
    """
    placements = dict(tuple(ours.groupby("placement")))
    highest = {name: highest_within(rows, goal_ms) for name, rows in placements.items()}
    capacity = both[both.rate == 0].groupby(["handler", "settings"]).goodput_per_s.median().groupby("handler").max()
    times = capacity[OURS] / capacity[ARTICLE]
    within = ", ".join(f"{name} {_up_to(rate, placements[name])}" for name, rate in highest.items())
    smoke = " (fewer than 5 runs a point: a trial, not a finding)" if ours.smoke.any() else ""
    hits = same_events(both).groupby("handler").hit_rate.median()
    return Finding(
        question=question,
        answer=(
            f"99 of 100 events are answered within {goal_ms:g} ms {within}, and in the same Lambda this pipeline carries "
            f"{times:.0f} times the load of the article's handler{smoke}."
        ),
        figures=(
            *(Figure(label=f"events/s at most in Lambda, {name}", value=f"{most:,.0f}") for name, most in capacity.items()),
            *(Figure(label=f"hit rate@5 on the same events, {name}", value=f"{rate:.3f}") for name, rate in hits.items()),
            *(_knee(name, rows) for name, rows in placements.items()),
            *(_at_highest(name, rows, highest[name]) for name, rows in placements.items()),
            *(
                Figure(label=f"p99 in Lambda, {name}, {load}", value=_ms(row["p99_ms, all runs"]))
                for (name, load), row in table.iterrows()
                if not load.endswith("at once")
            ),
            Figure(
                label="p99 through a planted stall, open loop / closed loop",
                value=f"{_ms(percentile_ms(open_run, 99))} / {_ms(percentile_ms(closed_run, 99))}",
            ),
            Figure(label="events lost, all runs", value=f"{ours.lost.sum() + both.lost.sum():.0f}"),
            Figure(label="runs that failed", value=f"{(ours.error != '').sum() + (both.error != '').sum()}"),
        ),
        provenance=provenance
        | {
            "runs a point": f"{ours.run.nunique()}, each in a fresh process, interleaved; seeds {_range(ours.seed)}",
            "measured": _range(pd.concat([ours.started, both.started]).dt.strftime("%Y-%m-%d %H:%M UTC")),
        },
    )


def _up_to(rate: float | None, rows: pd.DataFrame) -> str:
    if rows.p99_ms.isna().all():
        return "at a rate that cannot be told (a p99 needs 1,000 events a run)"
    if rate is None:
        return f"at no rate tried (from {rows.rate.min():g} events/s)"
    return f"up to {'at least ' if rate == rows.rate.max() else ''}{rate:,g} events/s"


def _knee(name: str, rows: pd.DataFrame) -> Figure:
    means = rows.groupby("rate")[["mean_ms", "goodput_per_s"]].median()
    at = knee(means.index, means.mean_ms, goodput=means.goodput_per_s)
    tried = "at least " if at == means.index.max() else "at most " if at == means.index.min() else ""
    return Figure(label=f"knee (most goodput ÷ latency), {name}", value=f"{tried}{at:,g} events/s")


def _at_highest(name: str, rows: pd.DataFrame, rate: float | None) -> Figure:
    shown = rows[rows.rate == (rows.rate.min() if rate is None else rate)]
    low, high = shown.p99_ms.min(), shown.p99_ms.max()
    value = "too few samples" if low != low else f"{shown.p99_ms.median():.0f} ms ({low:.0f} to {high:.0f} over runs)"
    return Figure(label=f"p99 at {shown.rate.iloc[0]:,g} events/s, {name}", value=value)


def _range(values: pd.Series) -> str:
    return f"{values.min()} to {values.max()}"


def _ms(value: float) -> str:
    return "too few samples" if value != value else f"{value:.0f} ms"
