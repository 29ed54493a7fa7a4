"""Runs to tables: DataFrames with units in their names, ready to be shown."""

import base64
from collections.abc import Mapping

import numpy as np
import pandas as pd

from workbench.measure.intervals import bootstrap_mean
from workbench.measure.timeline import WAY
from workbench.runs import Run

_EMULATED = ("stream", "enrich", "act")  # parts of the way that are calls to the cloud, and our share of making them


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
    samples = run.measured.latency_ms
    if round(len(samples) * (100 - percentile), 6) < 10 * 100:  # fewer than ten samples beyond it
        return float("nan")
    return float(np.percentile(samples, percentile))


def stages(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Mean ms of each part of the way, by run; the last rows are their sum and the share that is calls to the cloud."""
    means = pd.DataFrame({f"{name}_ms": run.measured[[f"{part}_ms" for part in WAY]].mean() for name, run in runs.items()})
    means.index = list(WAY)
    total = means.sum()
    means.loc["sum"] = total
    means.loc["cloud share at most, %"] = 100 * means.loc[list(_EMULATED)].sum() / total
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
    """What the dead-letter queue held after the run: the record's data as text, why it was given up, after how many calls."""
    rows = [
        {
            "record": base64.b64decode(letter["workbench"]["data"] or "").decode(errors="replace"),
            "reason": letter["workbench"]["reason"],
            "calls": letter["requestContext"]["approximateInvokeCount"],
        }
        for letter in run.dead_letters
    ]
    return pd.DataFrame(rows, columns=["record", "reason", "calls"])


def _short(description: str) -> str:
    """The first field of a product's description, with its size if it has one."""
    kind, *rest = description.split(", ")
    sizes = [part for part in rest if part[:1].isdigit()]
    return f"{kind} ({sizes[0]})" if sizes else kind
