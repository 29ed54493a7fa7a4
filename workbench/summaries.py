"""Runs and sweeps to tables: DataFrames with units in their names, ready to be shown."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from workbench.errors import TooFewSamples
from workbench.measure import load
from workbench.measure.histogram import Histogram
from workbench.measure.intervals import bootstrap_mean
from workbench.measure.metrics import METRICS
from workbench.measure.resources import summary
from workbench.measure.timeline import WAY
from workbench.runs import Run

_PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
EMULATED = ("stream", "enrich", "act")  # parts of the way that are calls to the cloud, and our share of making them


def latency(runs: Mapping[str, Run]) -> pd.DataFrame:
    """By run: how many events were measured, answered, dead-lettered and lost, and latency percentiles from the due time."""
    rows = {}
    for name, run in runs.items():
        counts = run.events.outcome.value_counts()
        rows[name] = {
            "measured": len(run.measured),
            "answered": counts.get("answered", 0),
            "dead letters": len(run.dead_letters),
            "lost": run.lost,
            **{f"p{percentile:g}_ms": percentile_ms(run, percentile) for percentile in (50, 95, 99)},
            "events per batch": run.measured.batch.mean(),
            "cold starts_ms": ", ".join(f"{ms:.0f}" for ms in run.cold_starts_ms) or "none",
        }
    return pd.DataFrame.from_dict(rows, orient="index").round(1)


def percentile_ms(run: Run, percentile: float) -> float:
    """Latency from the due time, ms; NaN where there are too few samples for it (p99 needs 1,000, p95 200)."""
    return percentile_of(run.measured.latency_ms, percentile)


def percentile_of(ms: pd.Series, percentile: float) -> float:
    """The same of any latencies, ms."""
    return _percentile(Histogram.of(ms.to_numpy()), percentile)


def after_warmup(samples: pd.DataFrame, warmup: int) -> pd.DataFrame:
    """What ``results.samples`` gives, without the first ``warmup`` events of each run."""
    return samples[samples.groupby(["settings", "run"]).cumcount() >= warmup]


def _percentile(histogram: Histogram, percentile: float) -> float:
    try:
        return histogram.percentile(percentile)
    except TooFewSamples:
        return float("nan")


def _percentiles(ms: pd.Series, *names: str) -> dict[str, float]:
    histogram = Histogram.of(ms.to_numpy())
    return {f"{name}_ms": _percentile(histogram, _PERCENTILES[name]) for name in names}


def figures(run: Run) -> dict[str, float]:
    """Every figure of one run, named as in ``measure.metrics.METRICS``; NaN where it has none, or too few samples.

    The warm-up is left out of all but what became of the events, and what the whole replay took of the machine; cold starts
    are a figure of their own.
    """
    measured, later, counts = run.measured, run.events.iloc[run.settings.warmup :], run.events.outcome.value_counts()
    fresh = measured.freshness_ms[: 0 if run.settings.variant == "none" else None]  # without an index nothing can be found
    return {
        **load.offer(later),
        "goodput_per_s": load.goodput(later),
        "mean_ms": measured.latency_ms.mean(),
        **_percentiles(measured.latency_ms, *_PERCENTILES),
        **{f"service_{name}": ms for name, ms in _percentiles(measured.service_ms, "p50", "p99").items()},
        **{f"freshness_{name}": ms for name, ms in _percentiles(fresh, "p50", "p95").items()},
        "probed_freshness_ms": _probed_ms(run),
        "cold_start_ms": float(np.mean(run.cold_starts_ms)) if run.cold_starts_ms else float("nan"),
        **{f"{part}_ms": measured[f"{part}_ms"].mean() for part in WAY},
        "events_per_batch": measured.batch.mean(),
        **{outcome: float(counts.get(outcome, 0)) for outcome in ("answered", "dead", "refused", "lost")},
        "retried": float((run.events.attempts > 1).sum()),
        "good_given_up": _good_given_up(run),
        "deliveries_per_event": run.events.attempts.mean(),
        "standstill_s": _standstill_s(measured),
        "backlog_growth_pct": load.backlog_growth_pct(later),
        "backlog_max": load.backlog_max(later),
        **summary(run.resources),
        "hit_rate": run.hits.mean() if len(run.hits) else float("nan"),
    }


def _good_given_up(run: Run) -> float:
    """Events dead-lettered though the function could have processed them: all but the poison ones, which always end there.

    NaN with poison and anything lost or refused: nobody knows then how many of the dead ones were good.
    """
    counts = run.events.outcome.value_counts()
    if run.settings.poison and (counts.get("lost", 0) or counts.get("refused", 0)):
        return float("nan")
    return float(counts.get("dead", 0) - run.settings.poison)


def _standstill_s(answered: pd.DataFrame) -> float:
    """The longest time in which nothing was answered although an event that was to be answered had been sent."""
    if answered.empty:
        return float("nan")
    rows = answered.assign(at_s=answered.due_s + answered.latency_ms / 1000, sent_s=answered.due_s + answered.send_ms / 1000)
    rows = rows.sort_values("at_s")
    waiting_since_s = rows.sent_s[::-1].cummin()[::-1]  # the oldest of those not yet answered
    return float((rows.at_s - np.fmax(waiting_since_s, rows.at_s.shift())).max())


def _probed_ms(run: Run) -> float:
    """Median of put → found by a search, over the events that were looked for; NaN if none was, or one was never found."""
    if run.findable is None:
        return float("nan")
    later = run.findable[run.findable["index"] >= run.settings.warmup]
    if later.empty or (later.findable_ns == 0).any():
        return float("nan")
    return float(((later.findable_ns - later.sent_ns) / 1e6).median())


def table(frame: pd.DataFrame, *, by: Sequence[str], figures: Sequence[str] = ()) -> pd.DataFrame:
    """One row for each of the settings of a sweep: those named in ``by``, then each figure's median over runs, and range.

    ``frame`` is what ``results.load`` gives. Without ``figures``, all that it has; without ``by``, the settings' hash. Runs that
    failed are counted, and are in no figure.
    """
    frame = frame.assign(seed=frame["seed"] - frame["run"])  # the settings', not the run's
    groups = frame.groupby("settings", sort=False)
    shown = groups[list(by)].first()
    shown["runs"] = groups.size()
    shown["failed"] = groups["error"].agg(lambda errors: int((errors != "").sum()))
    for name in figures or METRICS:
        if name in frame and frame[name].notna().any():
            shown[name] = groups[name].agg(_median_and_range)
    return shown.sort_values(list(by)).reset_index(drop=bool(by))


def _median_and_range(values: pd.Series) -> str:
    known = values.dropna()
    if known.empty:
        return "–"
    low, median, high = (f"{value:.4g}" for value in (known.min(), known.median(), known.max()))
    return median if low == high else f"{median} ({low}–{high})"


def stages(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Mean ms of each part of the way, by run; the last rows are their sum and the share that is calls to the cloud."""
    means = pd.DataFrame({f"{name}_ms": run.measured[[f"{part}_ms" for part in WAY]].mean() for name, run in runs.items()})
    means.index = list(WAY)
    total = means.sum()
    means.loc["sum"] = total
    means.loc["cloud share at most, %"] = 100 * means.loc[list(EMULATED)].sum() / total
    return means.round(2)


def recommended(run: Run, users: int) -> pd.DataFrame:
    """For a few users with most events: what they touched last, and what the read model holds for them, as readable names."""
    names = {product.product_id: product.description for product in run.replay.products}
    touched: dict[str, list[str]] = {}
    for event in run.replay.events:
        touched.setdefault(event.user_id, []).append(names[event.product_id])
    chosen = sorted(run.recommendations, key=lambda user: -len(touched[user]))[:users]
    rows = [
        {
            "household": user,
            "bought last": " · ".join(_short(name) for name in touched[user][-3:]),
            "recommended": " · ".join(_short(entry["description"]) for entry in run.recommendations[user].items),
        }
        for user in chosen
    ]
    return pd.DataFrame(rows, columns=["household", "bought last", "recommended"]).set_index("household")


def hit_rates(hits: Mapping[str, pd.Series], *, against: str) -> pd.DataFrame:
    """By recommender: hit rate@5 with its 95% interval, and how much ``against`` is ahead of it, with the paired interval.

    ``hits`` holds 0.0 or 1.0 by user. Intervals are bootstrapped over users.
    """
    rows = {}
    for name, series in hits.items():
        low, high = bootstrap_mean(series.to_numpy())
        rows[name] = {"users": len(series), "hit_rate": series.mean(), "low": low, "high": high}
        if name != against:
            ahead = (hits[against] - series).to_numpy()
            rows[name] |= dict(zip(("ahead_by", "ahead_low", "ahead_high"), (ahead.mean(), *bootstrap_mean(ahead)), strict=True))
    return pd.DataFrame.from_dict(rows, orient="index").round(3)


def dead_letters(run: Run) -> pd.DataFrame:
    """What the dead-letter queue held after the run, letter by letter; ``data`` is text, empty for a batch, which has none."""
    rows = [
        {
            "records": letter.records,
            "data": (letter.data or b"").decode(errors="replace"),
            "reason": letter.reason,
            "calls": letter.calls,
        }
        for letter in run.dead_letters
    ]
    return pd.DataFrame(rows, columns=["records", "data", "reason", "calls"])


def _short(description: str) -> str:
    """The first field of a product's description, with its size if it has one."""
    kind, *rest = description.split(", ")
    sizes = [part for part in rest if part[:1].isdigit()]
    return f"{kind} ({sizes[0]})" if sizes else kind
