"""Two figures that pull against each other: which designs no other beats in both."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from workbench.errors import SettingError
from workbench.plots import frames, style

# Where a label may stand beside its point, best first: offset in points, and which corner of the text is there.
_PLACES = tuple(
    (x * far, y * far, ("right", "center", "left")[int(np.sign(x)) + 1], ("top", "center", "bottom")[int(np.sign(y)) + 1])
    for far in (1, 2.5, 4.5)
    for x, y in ((5, 4), (-5, 4), (5, -4), (-5, -4), (0, 7), (0, -7), (8, 0), (-8, 0))
)
_NEAR = 8  # so many of them are beside the point
_LEADER = {
    "arrowstyle": "-",
    "color": style.GREY,
    "linewidth": 0.7,
    "shrinkA": 0,
    "shrinkB": 4,
}  # from a distant name to its point


def front(points: np.ndarray, directions: Sequence[Literal["lower", "higher"]]) -> np.ndarray:
    """Which of ``points`` (float[n, d]) no other dominates, bool[n]; ``directions`` says of each column which way is better.

    One point dominates another if it is as good in every column and better in one: equal points do not dominate each other. A
    point with a NaN is neither on the front nor dominates any.
    """
    costs = np.asarray(points, float) * [1 if direction == "lower" else -1 for direction in directions]
    known = np.isfinite(costs).all(axis=1)
    no_worse = (costs[:, None] <= costs[None]).all(axis=2)  # [i, j]: i is as good as j; false with a NaN
    better = (costs[:, None] < costs[None]).any(axis=2)
    return known & ~(no_worse & better & known[:, None]).any(axis=0)


def pareto(frame: pd.DataFrame, *, x: str, y: str, label: str, ax: Axes | None = None) -> Axes:
    """Two figures of each design, named by the column ``label``: means over its runs, with their 95% intervals.

    Those that no other beats in both figures are joined and named; the others are grey. An axis is logarithmic if it spans more
    than a decade. ``frame`` is what ``results.load`` gives.

    Raises:
        SettingError: ``x`` or ``y`` is no figure, or neither direction of it is better.
        ResultError: the frame is empty, lacks a column, or has several settings for one label.
    """
    directions = [_direction("x", x), _direction("y", y)]
    rows = frames.measured(frames.checked(frame, x, y, label, "settings", "error"))
    designs = list(frames.series(rows, label))
    for name, runs in designs:
        frames.one_design(runs, f"{label} = {name}")
    names = [name for name, _ in designs]
    points = np.array([[runs[x].mean(), runs[y].mean()] for _, runs in designs])
    intervals = np.array([[frames.interval(runs[figure]) for figure in (x, y)] for _, runs in designs])  # [n, 2, 2]
    best = front(points, directions)

    ax = style.axes(4.6, ax)
    colours = np.where(best, style.COLOURS[0], style.GREY)
    ax.hlines(points[:, 1], intervals[:, 0, 0], intervals[:, 0, 1], colors=colours, linewidth=1)
    ax.vlines(points[:, 0], intervals[:, 1, 0], intervals[:, 1, 1], colors=colours, linewidth=1)
    ordered = np.flatnonzero(best)[np.argsort(points[best][:, 0], kind="stable")]
    ax.plot(*points[ordered].T, color=style.COLOURS[0], marker="o", linewidth=1.2, label="beaten by none in both")
    if not best.all():
        ax.plot(*points[~best].T, color=style.GREY, marker="X", linestyle="none", label="beaten by another")
    ax.plot([], [], color=style.GREY, linewidth=1, label="95% interval over runs")
    style.logarithmic(ax, "x", points[:, 0])
    style.logarithmic(ax, "y", points[:, 1])
    ax.set_xlabel(f"{frames.metric('x', x).axis} ({directions[0]} is better)")
    ax.set_ylabel(f"{frames.metric('y', y).axis}\n({directions[1]} is better)")
    ax.margins(0.12)
    style.legend(ax)
    style.title(ax, _ends([names[place] for place in ordered], points[ordered], x, y, len(designs)) + frames.smoke(rows))
    _name(ax, [names[place] for place in ordered], points[ordered], points)
    return ax


def _direction(name: str, figure: str) -> Literal["lower", "higher"]:
    better = frames.metric(name, figure).better
    if better == "neither":
        raise SettingError(name, figure, "a figure of which lower or higher is better")
    return better


def _ends(names: list[str], points: np.ndarray, x: str, y: str, of: int) -> str:
    """What the title says: the front's two ends, or the one design that is best in both."""
    if not names:
        return "No design has both figures"
    ends = [f"{name} ({_value(x, at[0])}, {_value(y, at[1])})" for name, at in zip(names, points, strict=True)]
    if len(names) == 1:
        return f"{ends[0]} is beaten by none of {of} in both figures"
    return f"{len(names)} of {of} are beaten by none in both figures: from {ends[0]} to {ends[-1]}"


def _value(figure: str, value: float) -> str:
    """A figure's value with its unit; a share has none."""
    unit = frames.metric("figure", figure).unit
    return style.number(value) if unit in ("", "share") else f"{style.number(value)} {unit}"


def _name(ax: Axes, names: list[str], at: np.ndarray, points: np.ndarray) -> None:
    """Write each name beside its point, where it covers the least of what is there already."""
    ax.figure.draw_without_rendering()  # the layout must stand before anything can be placed in it
    marks, joined = ax.transData.transform(points[np.isfinite(points).all(axis=1)]), ax.transData.transform(at)
    steps = np.linspace(0, 1, 60)[:, None, None]
    line = (joined[:-1] + steps * (joined[1:] - joined[:-1])).reshape(-1, 2)
    taken = np.vstack([np.hstack([places - size, places + size]) for places, size in ((marks, 9), (line, 3))])
    for name, point in zip(names, at, strict=True):
        text = ax.annotate(name, point, (0, 0), textcoords="offset points", fontsize=style.SMALL_PT)
        text.set_in_layout(False)
        costs = []
        for dx, dy, ha, va in _PLACES:
            text.set(position=(dx, dy), ha=ha, va=va)
            box = text.get_window_extent()
            outside = box.width * box.height - _overlap(box, np.array([ax.bbox.extents]))
            costs.append(outside + _overlap(box, taken))
        chosen = int(np.argmin(costs))
        dx, dy, ha, va = _PLACES[chosen]
        text.set(position=(dx, dy), ha=ha, va=va)
        taken = np.vstack([taken, text.get_window_extent().extents])
        if chosen >= _NEAR:
            ax.annotate("", point, (dx, dy), textcoords="offset points", arrowprops=_LEADER).set_in_layout(False)


def _overlap(box: Bbox, others: np.ndarray) -> float:
    """Square pixels of ``box`` that ``others`` (float[n, 4]: x0, y0, x1, y1) cover, all together."""
    x0, y0, x1, y1 = box.extents
    across = np.minimum(x1, others[:, 2]) - np.maximum(x0, others[:, 0])
    upright = np.minimum(y1, others[:, 3]) - np.maximum(y0, others[:, 1])
    return float((across.clip(0) * upright.clip(0)).sum())
