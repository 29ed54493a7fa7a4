"""Two designs side by side, figure by figure: what differs by more than the noise between runs."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.measure.metrics import Metric
from workbench.plots import frames, style

_BEYOND_NOISE = ("higher", "lower")
_NAMED = 4  # differences that a title names
_LOOKS = {  # of what exceeds the noise; all else is hollow
    "better": style.Look(style.COLOURS[0], "o", "-"),
    "worse": style.Look(style.COLOURS[5], "s", "-"),
    "a difference": style.Look(style.INK, "D", "-"),
    "": style.Look(style.GREY, "o", "-"),
}


def compared(table: pd.DataFrame, ax: Axes | None = None, *, names: tuple[str, str] = ("a", "b")) -> Axes:
    """A forest plot of what ``results.compare`` gives: b ÷ a of each figure with its interval; ``names`` are those of a and b.

    A figure without a ratio (a run has 0 or less) has its difference in words only.

    Raises:
        SettingError: the table's index has a name that is no figure.
        ResultError: the table is empty or lacks a column.
    """
    frames.checked(table, "a_mean", "b_mean", "ratio", "low", "high", "verdict")
    metrics = {figure: frames.metric("figure", figure) for figure in table.index}
    ax = style.axes(1.5 + 0.4 * len(table), ax)
    for row, (figure, line) in enumerate(table.iterrows()):
        words = _judged(line.verdict, metrics[figure].better)
        look = _LOOKS.get(words, _LOOKS[""])
        fill = look.color if words in _LOOKS else "white"
        if line.ratio == line.ratio:  # else low and high are of the difference, which has no place on this axis
            ax.hlines(row, line.low, line.high, color=look.color, linewidth=1.8)
            ax.plot(line.ratio, row, look.marker, color=look.color, markerfacecolor=fill, markersize=7)
        ax.annotate(
            f"{_change(line, metrics[figure])}: {words}",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=style.SMALL_PT,
        )
    ax.axvline(1.0, color=style.INK, linewidth=1)
    known = table.loc[table.ratio.notna(), ["ratio", "low", "high"]].to_numpy(float)
    style.logarithmic(ax, "x", [1.0, *known[np.isfinite(known)]], from_ratio=1.0)
    ax.set_yticks(range(len(table)), [metric.label for metric in metrics.values()])
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_xlabel(f"{names[1]} ÷ {names[0]} (1: no difference); all intervals over runs hold together in 95% of cases")
    style.title(ax, _finding(table, metrics, names))
    return ax


def _judged(verdict: str, better: str) -> str:
    """A verdict in words of what it is worth."""
    if verdict not in _BEYOND_NOISE:
        return verdict
    if better == "neither":
        return "a difference"
    return "better" if verdict == better else "worse"


def _change(line: pd.Series, metric: Metric) -> str:
    """What b is beside a: 38% lower, 3.2 times, or a difference in the figure's unit where there is no ratio."""
    if line.ratio != line.ratio:
        difference = line.b_mean - line.a_mean
        return "not measured" if difference != difference else f"{difference:+.3g} {metric.unit}".rstrip()
    if line.ratio >= 2:
        return f"{style.number(line.ratio)} times"
    return f"{style.number(round(100 * abs(line.ratio - 1), 1))}% {'higher' if line.ratio >= 1 else 'lower'}"


def _finding(table: pd.DataFrame, metrics: dict[str, Metric], names: tuple[str, str]) -> str:
    beyond = table[table.verdict.isin(_BEYOND_NOISE)]
    if beyond.empty:
        return f"{names[1]} beside {names[0]}: no difference exceeds the noise between runs"
    said = [f"{metrics[figure].label.split(',')[0]} {_change(line, metrics[figure])}" for figure, line in beyond.iterrows()]
    more = f" and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
    others = len(table) - len(beyond)
    rest = f"; {others} of {len(table)} figures cannot be told apart" if others else ""
    return f"{names[1]} beside {names[0]}: {', '.join(said[:_NAMED])}{more}{rest}"
