"""What failures do: what became of the events, and how long they waited, policy by policy."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.errors import ResultError
from workbench.plots import frames, style

# What can become of an event besides an answer in time: column, words, hatch.
_FATES = {
    "late": ("answered after the goal", ""),
    "good_given_up": ("good, given up", "//"),
    "bad_given_up": ("bad, given up", ".."),
    "lost": ("lost", "xx"),
}
_SHORT = {"late": "late", "good_given_up": "good given up", "bad_given_up": "bad given up", "lost": "lost"}
_STRIP = 0.035  # of the picture's height, for one policy's crosses


def fates(frame: pd.DataFrame, *, by: str, ax: Axes | None = None) -> Axes:
    """A stacked bar for each value of ``by``: the events that were not answered in time, by what became of them; means over runs.

    ``frame`` has a row a run, with the columns ``late``, ``good_given_up``, ``bad_given_up`` and ``lost``.

    Raises:
        ResultError: the frame is empty, lacks a column, or has several settings for one value of ``by``.
    """
    rows = frames.measured(frames.checked(frame, by, "settings", "error", *_FATES))
    bars = list(frames.series(rows, by))
    ax = style.axes(1.6 + 0.45 * len(bars), ax)
    verdicts = []
    for row, (name, bar) in enumerate(bars):
        frames.one_design(bar, f"{by} = {name}")
        means, start = bar[list(_FATES)].mean(), 0.0
        for number, (fate, (words, hatch)) in enumerate(_FATES.items()):
            colour, label = style.look(number).color, words if row == 0 else None
            ax.barh(row, means[fate], left=start, color=colour, hatch=hatch, edgecolor="white", height=0.6, label=label)
            start += 0.0 if np.isnan(means[fate]) else means[fate]
        said = " · ".join(f"{style.number(means[fate])} {_SHORT[fate]}" for fate in _FATES if means[fate] > 0) or "none"
        ax.annotate(said, (start, row), (5, 0), textcoords="offset points", va="center", fontsize=style.SMALL_PT)
        verdicts.append(f"{style.number(means.good_given_up)} with {name}")
    ax.set_yticks(range(len(bars)), [name for name, _ in bars])
    ax.invert_yaxis()
    ax.set_xlim(0, max(ax.dataLim.xmax, 1.0) * 2.0)  # room for what is written behind the longest bar
    ax.set_xlabel("events a run that were not answered in time (mean over runs)")
    style.legend(ax)
    lost = rows.lost.sum()
    ending = "no event was lost" if lost == 0 else f"{style.number(lost)} events were lost"
    style.title(ax, f"Good events given up a run: {', '.join(verdicts)}; {ending}{frames.smoke(rows)}")
    return ax


def latency_over_time(samples: pd.DataFrame, *, by: str, goal_ms: float, every_s: float = 0.5, ax: Axes | None = None) -> Axes:
    """The longest latency of the events that were due in each ``every_s`` s, a line for each value of ``by``, of one run each.

    Crosses at the top are the events that were given up, when they were due. ``samples`` are events (see ``Timeline.frame``).

    Raises:
        ResultError: there are no samples, a column is missing, or one value of ``by`` has several runs.
    """
    frames.checked(samples, by, "settings", "run", "due_s", "latency_ms", "outcome")
    ax = style.axes(4.0, ax)
    longest, shown = {}, list(frames.series(samples, by))
    first_s = samples.due_s.min()
    for number, (name, rows) in enumerate(shown):
        if len(rows[["settings", "run"]].drop_duplicates()) > 1:
            raise ResultError(f"{by} = {name} stands for several runs: keep the samples of one of them")
        look, t_s = style.look(number), rows.due_s - first_s
        peaks = rows.latency_ms.groupby((t_s // every_s).astype(int)).max()
        peaks = peaks.reindex(range(peaks.index.max() + 1))  # a stretch without an answer interrupts the line
        ax.plot(
            (peaks.index + 0.5) * every_s,
            peaks,
            color=look.color,
            linestyle=look.linestyle,
            marker=look.marker,
            markersize=3.5,
            linewidth=1.4,
            label=name,
        )
        dead_s = t_s[rows.outcome == "dead"]
        heights = np.full(len(dead_s), 1 - _STRIP * (number + 0.7))
        ax.plot(dead_s, heights, "x", color=look.color, markersize=4, transform=ax.get_xaxis_transform())
        longest[name] = rows.latency_ms.max()
    if (samples.outcome == "dead").any():
        ax.plot([], [], "x", color=style.GREY, label="given up,\nwhen it was due")
    style.goal_line(ax, goal_ms)
    _leave_room(ax, pd.concat([samples.latency_ms, pd.Series([goal_ms])]), _STRIP * (len(shown) + 1))
    ax.set_xlim(0)
    ax.set_xlabel("s since the first event was due")
    ax.set_ylabel("longest latency, ms")
    style.legend(ax)
    waits = ", ".join(f"{_seconds(ms)} with {name}" for name, ms in longest.items())
    style.title(ax, f"Longest wait for an answer in one run: {waits}")
    return ax


def _leave_room(ax: Axes, values: pd.Series, share: float) -> None:
    """Above all values, for the crosses."""
    if style.logarithmic(ax, "y", values):
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * (high / low) ** (share / (1 - share)))
    else:
        ax.set_ylim(0, values.max() * 1.05 / (1 - share))


def _seconds(ms: float) -> str:
    return "no answer" if np.isnan(ms) else f"{style.number(ms / 1000)} s"
