"""Searches under filters: what is found, and what it takes, by the share of the records that may answer."""

from typing import Literal

import pandas as pd
from matplotlib.axes import Axes

from workbench.plots import frames, style

_AXES = {"recall": "recall@10 among the records that match", "query_us": "mean time of a query, µs"}


def by_selectivity(samples: pd.DataFrame, figure: Literal["recall", "query_us"], ax: Axes | None = None) -> Axes:
    """A line for each way of filtering and each field; means over runs with their 95% intervals.

    ``samples`` has one row a query: ``way``, ``field``, ``share_pct`` and the figure. The first way is the one that the title
    sets against the others, at the narrowest filter.

    Raises:
        ResultError: there are no samples, or a column is missing.
    """
    frames.checked(samples, "settings", "run", "way", "field", "share_pct", figure)
    ax = style.axes(3.8, ax)
    for number, ((way, field), rows) in enumerate(samples.groupby(["way", "field"], sort=False)):
        runs = rows.groupby(["share_pct", "run"])[figure].mean().groupby("share_pct")
        means, look = runs.mean(), style.look(number)
        for share, values in runs:
            ax.vlines(share, *frames.interval(values), color=look.color, linewidth=1)
        ax.plot(
            means.index,
            means,
            color=look.color,
            marker=look.marker,
            linestyle=look.linestyle,
            linewidth=1.4,
            label=f"{way},\n{field}",
        )
    style.logarithmic(ax, "x", samples.share_pct)
    if figure == "recall":
        ax.set_ylim(-0.02, 1.03)
    elif not style.logarithmic(ax, "y", samples.groupby(["way", "field", "share_pct"])[figure].mean()):
        ax.set_ylim(0)
    style.ticks(ax, shares := sorted(samples.share_pct.unique()), [f"{share:g}%" for share in shares])
    ax.set_xlabel("share of the records that the filter lets through")
    ax.set_ylabel(_AXES[figure])
    style.legend(ax)
    style.title(ax, _finding(samples, figure))
    return ax


def _finding(samples: pd.DataFrame, figure: str) -> str:
    narrow = samples[samples.share_pct == samples.share_pct.min()]
    said = []
    for way, rows in narrow.groupby("way", sort=False):
        means = rows.groupby("field")[figure].mean()
        worst = means.min() if figure == "recall" else means.max()
        said.append(f"{way} finds {worst:.0%}" if figure == "recall" else f"{way} takes {style.number(worst)} µs")
    worse = "at the worse of both fields " if samples.field.nunique() > 1 else ""
    return f"Under a filter of {narrow.share_pct.iloc[0]:g}% {worse}{', '.join(said)}"
