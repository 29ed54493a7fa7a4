"""What load does to latency: how far a goal holds."""

import pandas as pd
from matplotlib.axes import Axes

from workbench.errors import ResultError, SettingError
from workbench.measure.knee import highest_within, kept_up, knee
from workbench.plots import frames, style

# What a percentile's goal says of events, in words.
_WITHIN = {
    "p50_ms": "answers half of the events",
    "p95_ms": "answers 95 of 100 events",
    "p99_ms": "answers 99 of 100 events",
    "p999_ms": "answers 999 of 1,000 events",
}
_NEEDED = (
    "settings",
    "rate",
    "offered_per_s",
    "goodput_per_s",
    "mean_ms",
    "offer_kept_pct",
    "backlog_growth_pct",
    "lost",
    "error",
)


def load_curve(frame: pd.DataFrame, *, by: str, goal_ms: float, figure: str = "p99_ms", ax: Axes | None = None) -> Axes:
    """A latency (ms) against the offered load, a line for each value of ``by``: how far does the goal hold?

    A line joins the medians over runs; each run is a dot, the bar is the 95% interval of the runs' mean, and what did not keep up
    with its load is hollow. Marked are the knee (see ``measure.knee``; only where rates below and above it were tried) and the
    highest rate within the goal. ``frame`` is what ``results.load`` gives; rows without a rate (0) have no place on the axis.

    Raises:
        SettingError: ``figure`` is none, or no time in ms.
        ResultError: the frame is empty, lacks a column, or has several settings for one rate of one value of ``by``.
    """
    metric = frames.metric("figure", figure)
    if metric.unit != "ms":
        raise SettingError("figure", figure, "a time in ms")
    frames.checked(frame, by, figure, *_NEEDED)
    offered = frame[frame.rate > 0]
    if offered.empty:
        raise ResultError("nothing to plot: no row has a rate above 0")
    done = frames.measured(offered)
    ax = style.axes(4.4, ax)
    verdicts, marked, tops = [], {_RUN, _INTERVAL}, []
    for number, (name, rows) in enumerate(frames.series(offered, by)):
        look, points = style.look(number), _points(rows, figure, name)
        _draw(ax, rows[rows.error == ""], points, figure, look, _label(name, rows))
        if _draw_knee(ax, points):
            marked.add(_KNEE)
        highest = highest_within(rows, goal_ms, figure=figure)
        if highest is not None:
            tops.append((highest, points.offered_per_s[highest], look.color))
            marked.add(_HIGHEST)
        verdicts.append((name, _verdict(highest, rows, figure)))
    if not kept_up(done).all():
        marked.add(_HOLLOW)
    for words in (words for words in _MARKS if words in marked):
        ax.plot([], [], label=words, **_MARKS[words])
    style.goal_line(ax, goal_ms)
    style.logarithmic(ax, "x", done.offered_per_s[done[figure].notna()], from_ratio=1.0)
    style.logarithmic(ax, "y", [goal_ms, *done[figure]])
    ax.margins(x=0.08, y=0.12)
    _write_rates(ax, tops)
    ax.set_xlabel("offered load, events/s")
    ax.set_ylabel(metric.axis)
    style.legend(ax)
    within = f"{_WITHIN.get(figure, f'keeps its {metric.label}')} within {style.number(goal_ms)} ms"
    (first, verdict), *others = verdicts
    said = [f"{first} {within} {verdict}", *(f"{name} {verdict}" for name, verdict in others)]
    style.title(ax, "; ".join(said) + frames.smoke(done))
    return ax


_RUN, _INTERVAL, _HOLLOW = "one run", "95% interval of the mean", "did not keep up"
_KNEE, _HIGHEST = "knee: most goodput ÷ latency", "highest rate within the goal"
_MARKS = {  # what the legend explains, and how it looks
    _RUN: {"color": style.GREY, "marker": "o", "markersize": 3, "linestyle": "none"},
    _INTERVAL: {"color": style.GREY, "marker": "|", "markersize": 12, "linestyle": "none"},
    _HOLLOW: {"color": style.GREY, "marker": "o", "markerfacecolor": "white", "markersize": 6, "linestyle": "none"},
    _KNEE: {"color": style.INK, "marker": "o", "markerfacecolor": "none", "markersize": 12, "linestyle": "none"},
    _HIGHEST: {"color": style.GREY, "linestyle": ":", "linewidth": 1.5},
}
_ROW = 0.05  # of the picture's height, for one written rate


def _points(rows: pd.DataFrame, figure: str, what: str) -> pd.DataFrame:
    """By rate, over the runs that did not fail: where the point stands, and whether every run kept up."""
    points = {}
    for rate, runs in rows.groupby("rate"):
        frames.one_design(runs, f"{what} at {style.number(rate)} events/s")
        done = runs[runs.error == ""]
        if not done.empty:
            medians = done[["offered_per_s", "goodput_per_s", "mean_ms"]].median()
            low, high = frames.interval(done[figure])
            points[rate] = {**medians, "value": done[figure].median(), "low": low, "high": high, "kept": kept_up(done).all()}
    columns = ["offered_per_s", "goodput_per_s", "mean_ms", "value", "low", "high", "kept"]
    return pd.DataFrame.from_dict(points, orient="index", columns=columns)


def _draw(ax: Axes, runs: pd.DataFrame, points: pd.DataFrame, figure: str, look: style.Look, label: str) -> None:
    """One series: every run, the medians and their intervals. What did not keep up is hollow."""
    for kept, some in runs.groupby(kept_up(runs)):
        fill = look.color if kept else "white"
        ax.plot(some.offered_per_s, some[figure], look.marker, color=look.color, markerfacecolor=fill, markersize=3, alpha=0.6)
    ax.vlines(points.offered_per_s, points.low, points.high, color=look.color, linewidth=1.2)
    ax.plot(points.offered_per_s, points.value, color=look.color, linestyle=look.linestyle, linewidth=1.5, zorder=2.1)
    for kept, some in points.groupby(points.kept.astype(bool)):
        fill = look.color if kept else "white"
        ax.plot(some.offered_per_s, some.value, look.marker, color=look.color, markerfacecolor=fill, markersize=6.5, zorder=2.2)
    ax.plot([], [], color=look.color, linestyle=look.linestyle, marker=look.marker, markersize=6.5, label=label)


def _draw_knee(ax: Axes, points: pd.DataFrame) -> bool:
    """Ring the knee, if there are rates on both sides of it; returns whether there are."""
    top = knee(points.index, points.mean_ms, goodput=points.goodput_per_s)
    if not points.index.min() < top < points.index.max():
        return False
    ax.plot(points.offered_per_s[top], points.value[top], **_MARKS[_KNEE], zorder=2.3)
    return True


def _write_rates(ax: Axes, tops: list[tuple[float, float, str]]) -> None:
    """Each rate at the top of the picture, above all values, with a line down to the axis: (rate, its x, colour)."""
    rows = [sum(rate / 1.5 < other < rate * 1.5 for other, _, _ in tops[:number]) for number, (rate, _, _) in enumerate(tops)]
    (low, high), share = ax.get_ylim(), _ROW * (max(rows, default=-1) + 1)
    if ax.get_yscale() == "log":
        ax.set_ylim(low, high * (high / low) ** (share / (1 - share)))
    else:
        ax.set_ylim(0, high / (1 - share))
    for row, (rate, offered_per_s, colour) in zip(rows, tops, strict=True):
        ax.axvline(offered_per_s, color=colour, linestyle=":", linewidth=1.5, zorder=1)
        ax.annotate(
            f"{style.number(rate)}/s ",
            (offered_per_s, 1 - _ROW * (row + 1)),
            xycoords=("data", "axes fraction"),
            ha="right",
            fontsize=style.SMALL_PT,
            color=colour,
            weight="bold",
        )


def _label(name: str, rows: pd.DataFrame) -> str:
    failed = int((rows.error != "").sum())
    return f"{name} ({failed} run{'s' if failed > 1 else ''} failed)" if failed else name


def _verdict(highest: float | None, rows: pd.DataFrame, figure: str) -> str:
    """What the title says of one series."""
    if rows[figure].isna().all():
        return "at a rate that cannot be told (no run has the figure)"
    if highest is None:
        return "at no rate tried"
    if highest == rows.rate.max():
        return f"up to at least {style.number(highest)} events/s, the highest tried"
    return f"up to {style.number(highest)} events/s"
