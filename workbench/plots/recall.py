"""Recall against the price of a query: a line for each index, through its query settings (as ann-benchmarks draws it)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.plots import frames, style
from workbench.plots.fronts import front

_FRONT_GREY = "#dddddd"
_TITLED = 4  # lines that a title names


def recall_curves(
    frame: pd.DataFrame, *, by: str, goal: float, x: str = "query_p50_ms", above: float = 0.8, ax: Axes | None = None
) -> Axes:
    """Recall@10 and ``x``, a figure of which less is better, of each of the ``settings``, joined for each value of ``by``.

    Means over runs with their 95% intervals. The wide grey band joins the settings that no other beats in both figures. What
    finds less than ``above`` is left out, and counted.

    Raises:
        SettingError: ``x`` is no figure.
        ResultError: the frame is empty, lacks a column or has only failed runs.
    """
    metric = frames.metric("x", x)
    rows = frames.measured(frames.checked(frame, x, by, "recall_at_10", "settings", "error"))
    ax = style.axes(4.6, ax)
    prices, low, points = {}, 0, []
    for number, (name, series) in enumerate(frames.series(rows, by)):
        means = series.groupby("settings")[[x, "recall_at_10"]].mean()
        reached = means[means.recall_at_10 >= goal]
        prices[name] = reached[x].min() if len(reached) else np.nan
        low += int((means.recall_at_10 < above).sum())
        shown = means[means.recall_at_10 >= above].sort_values("recall_at_10")
        points.append(shown.to_numpy())
        _line(ax, series, shown, x, style.look(number), name)
    joined = np.concatenate(points)
    best = joined[front(joined, ("lower", "higher"))]
    best = best[np.argsort(best[:, 0], kind="stable")]
    ax.plot(*best.T, color=_FRONT_GREY, linewidth=9, marker="o", markersize=14, zorder=0, label="beaten by none in both")
    ax.axhline(goal, color=style.INK, linestyle="--", linewidth=1)
    ax.annotate(
        f"goal {goal:g}",
        (1, goal),
        (-4, -4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=style.SMALL_PT,
    )
    style.logarithmic(ax, "x", joined[:, 0])
    ax.set_ylim(min([goal, *joined[:, 1]]) - 0.01, 1.008)
    ax.set_xlabel(f"{metric.axis} (lower is better)")
    ax.set_ylabel("recall@10 against exact search\n(higher is better)")
    style.legend(ax)
    left = f"; not shown: {low} setting{'' if low == 1 else 's'} below {above:g}" if low else ""
    style.title(ax, _finding(prices, goal, metric.unit) + left + frames.smoke(rows))
    return ax


def _line(ax: Axes, series: pd.DataFrame, shown: pd.DataFrame, x: str, look: style.Look, name: str) -> None:
    if shown.empty:
        return
    runs = series.groupby("settings")[x]
    for settings, recall in shown.recall_at_10.items():
        ax.hlines(recall, *frames.interval(runs.get_group(settings)), color=look.color, linewidth=1)
    ax.plot(
        shown[x],
        shown.recall_at_10,
        color=look.color,
        marker=look.marker,
        linestyle=look.linestyle,
        linewidth=1.4,
        markersize=5,
        label=name,
    )


def _finding(prices: dict[str, float], goal: float, unit: str) -> str:
    """What each needs to reach the goal, cheapest first."""
    reached = sorted(((price, name) for name, price in prices.items() if price == price))
    if not reached:
        return f"None of {len(prices)} finds {goal:.0%} of the ten nearest"
    named = ", ".join(f"{name} ({style.number(price)} {unit})" for price, name in reached[:_TITLED])
    others = len(prices) - len(reached)
    rest = f"; {others} of {len(prices)} never do" if others else ""
    return f"To find {goal:.0%} of the ten nearest takes {named}{rest}"
