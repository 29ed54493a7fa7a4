"""Runs to pictures: each function takes runs and gives Axes whose title states the finding.

Colours are Okabe and Ito's, which colour-blind readers tell apart.
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.measure.timeline import PARTS, WAY
from workbench.runs import Run
from workbench.summaries import percentile_ms

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
_PERCENTILES = (50.0, 90.0, 95.0, 99.0)


def stages(runs: Mapping[str, Run], ax: Axes | None = None) -> Axes:
    """Where the time goes: the mean time of each part of the way, as a waterfall for every run. The means add up exactly."""
    ax = ax or _axes(1.2 + 2.4 * len(runs))
    labels, ticks = [], []
    heaviest = {}
    row = 0
    for number, (name, run) in enumerate(runs.items()):
        means = run.measured[[f"{part}_ms" for part in WAY]].mean().to_numpy()
        starts = np.concatenate([[0.0], np.cumsum(means)[:-1]])
        heaviest[name] = (PARTS[WAY[int(np.argmax(means))]], means.max() / means.sum())
        for part, start, mean in zip(WAY, starts, means, strict=True):
            ax.barh(row, mean, left=start, color=COLOURS[number % len(COLOURS)], height=0.75)
            ax.annotate(f" {mean:.1f}", (start + mean, row), va="center", fontsize=8)
            ticks.append(row)
            labels.append(f"{PARTS[part]}")
            row += 1
        ax.annotate(
            f"{name}: {means.sum():.0f} ms in the mean",
            (means.sum(), row - 1),
            xytext=(40, 0),
            textcoords="offset points",
            va="center",
            weight="bold",
            color=COLOURS[number % len(COLOURS)],
        )
        row += 1
    ax.set_yticks(ticks, labels, fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("ms since the event was due (mean of all measured events)")
    ax.margins(x=0.25)
    ax.set_title(
        "; ".join(f"{name}: {share:.0%} of the time is “{part}”" for name, (part, share) in heaviest.items()), fontsize=10
    )
    return ax


def percentiles(runs: Mapping[str, Run], goal_ms: float, ax: Axes | None = None) -> Axes:
    """How slow the slow ones are: latency by percentile, against the goal. Percentiles stop where samples get too few."""
    ax = ax or _axes(3.6)
    verdicts = []
    for number, (name, run) in enumerate(runs.items()):
        latency = np.sort(run.measured.latency_ms.to_numpy())
        beyond = 1.0 - (np.arange(len(latency)) + 0.5) / len(latency)  # share of events that are slower
        shown = beyond * len(latency) >= 10  # ten samples at least behind the last point
        ax.plot(1.0 / beyond[shown], latency[shown], color=COLOURS[number % len(COLOURS)], label=name)
        p99 = percentile_ms(run, 99)
        verdicts.append(f"{name} {p99:.0f} ms" if p99 == p99 else f"{name} has too few events to say")
    ax.axhline(goal_ms, color="#000000", linestyle="--", linewidth=1)
    ax.annotate(f"goal {goal_ms:.0f} ms", (1.0, goal_ms), xytext=(4, 4), textcoords="offset points", fontsize=8)
    ax.set_xscale("log")
    ax.set_xticks(
        [1.0 / (1.0 - percentile / 100) for percentile in _PERCENTILES], [f"p{percentile:g}" for percentile in _PERCENTILES]
    )
    ax.minorticks_off()
    ax.set_ylim(0)
    ax.set_xlabel("percentile of events")
    ax.set_ylabel("ms, due → recommendation written")
    ax.legend(frameon=False)
    ax.set_title(f"99 of 100 events are answered within: {', '.join(verdicts)}", fontsize=10)
    return ax


def hit_rates(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How often a recommendation is bought next: hit rate@5 by recommender, with 95% intervals (see ``summaries.hit_rates``)."""
    ax = ax or _axes(0.8 + 0.45 * len(table))
    ranked = table.sort_values("hit_rate")
    errors = [100 * (ranked.hit_rate - ranked.low), 100 * (ranked.high - ranked.hit_rate)]
    best = ranked.index[-1]
    colours = [COLOURS[0] if name == best else COLOURS[7] for name in ranked.index]
    ax.barh(ranked.index, 100 * ranked.hit_rate, xerr=errors, color=colours, height=0.6, error_kw={"linewidth": 1, "capsize": 3})
    for row, value in enumerate(ranked.hit_rate):
        ax.annotate(f"{value:.1%}", (0, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9, color="white")
    ax.set_xlabel(f"% of {int(ranked.users.iloc[0])} users whose next basket has one of the five (95% interval)")
    ax.set_title(f"“{best}” hits {_compared(ranked)}", fontsize=10)
    return ax


def _compared(ranked: pd.DataFrame) -> str:
    """The best of a table that is sorted by hit rate, beside the second."""
    rates = ranked.hit_rate.to_numpy()
    if len(rates) < 2 or rates[-2] == 0:
        return f"{rates[-1]:.1%}" if len(rates) < 2 else f"{rates[-1]:.1%}, “{ranked.index[-2]}” never"
    return f"{rates[-1] / rates[-2]:.1f} times as often as “{ranked.index[-2]}”"


def _axes(height: float) -> Axes:
    _, ax = plt.subplots(figsize=(9, height), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
