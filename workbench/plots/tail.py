"""How slow the slow ones are: latency by percentile, as HdrHistogram's plots show it (x = 1 ÷ (1 − quantile), logarithmic)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.measure.histogram import BEYOND
from workbench.plots import frames, style
from workbench.runs import Run
from workbench.summaries import percentile_ms, percentile_of

_PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9, 99.99)


def percentiles(runs: Mapping[str, Run], goal_ms: float, ax: Axes | None = None) -> Axes:
    """Latency by percentile for each run, against the goal. Percentiles stop where samples get too few.

    Raises:
        ResultError: there are no runs.
    """
    ax = style.axes(3.6, ax)
    verdicts = []
    for number, (name, run) in enumerate(frames.some(runs).items()):
        _curve(ax, run.measured.latency_ms, style.look(number), label=name)
        p99 = percentile_ms(run, 99)
        verdicts.append(f"{name} {p99:.0f} ms" if p99 == p99 else f"{name} has too few events to say")
    return _finished(ax, goal_ms, verdicts)


def percentile_curves(
    samples: pd.DataFrame, *, by: str | pd.Series, goal_ms: float, service: bool = False, ax: Axes | None = None
) -> Axes:
    """Latency by percentile for each value of ``by`` (a column, or a Series beside the samples), all its runs together.

    ``samples`` is what ``results.samples`` gives: ``latency_ms`` and ``run``, one row an event. Each run is a thin line behind.
    With ``service``, ``service_ms`` (from the time an event was really sent) is dashed beside it: what a load generator
    that waits would have seen. The y axis is logarithmic where the goal would vanish otherwise.

    Raises:
        ResultError: there are no samples, or a column is missing.
    """
    named = (by,) if isinstance(by, str) else ()
    frames.checked(samples, "run", "latency_ms", *named, *(["service_ms"] if service else []))
    ax = style.axes(3.8, ax)
    verdicts = []
    for number, (name, rows) in enumerate(frames.series(samples, by)):
        look = style.look(number)
        _curve(ax, rows.latency_ms, look, label=name)
        if service:
            _curve(ax, rows.service_ms, look, label=f"{name}, service time", linestyle="--", linewidth=1.2)
        if rows.run.nunique() > 1:
            for _, run in rows.groupby("run"):
                ax.plot(*_reached(run.latency_ms), color=look.color, linewidth=0.6, alpha=0.45, zorder=1)
        verdicts.append(f"{name} {_p99(rows.latency_ms)}")
    if samples.run.nunique() > 1:
        ax.plot([], [], color=style.GREY, linewidth=0.6, label="one run")
    drawn = np.concatenate([line.get_ydata() for line in ax.lines])
    if drawn.size and drawn.max() > 10 * goal_ms:
        style.logarithmic(ax, "y", [*drawn, goal_ms])
    return _finished(ax, goal_ms, verdicts)


def _p99(latency_ms: pd.Series) -> str:
    p99 = percentile_of(latency_ms.dropna(), 99)
    return f"{style.number(p99)} ms" if p99 == p99 else "has too few events to say"


def _reached(latency_ms: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """1 ÷ (share of events that are slower) and the latency there, as far as samples go."""
    latency = np.sort(latency_ms.dropna().to_numpy())
    beyond = 1.0 - (np.arange(len(latency)) + 0.5) / len(latency)
    shown = beyond * len(latency) >= BEYOND
    return 1.0 / beyond[shown], latency[shown]


def _curve(
    ax: Axes, latency_ms: pd.Series, look: style.Look, *, label: str, linestyle: str = "-", linewidth: float = 1.8
) -> None:
    """One series, with its marker at the percentiles that the axis names."""
    x, y = _reached(latency_ms)
    places = np.searchsorted(x, [_x(percentile) for percentile in _PERCENTILES])
    ax.plot(
        x,
        y,
        color=look.color,
        linestyle=linestyle,
        linewidth=linewidth,
        marker=look.marker,
        markersize=5,
        markevery=sorted({int(place) for place in places if place < len(x)}),
        label=label,
    )


def _finished(ax: Axes, goal_ms: float, verdicts: list[str]) -> Axes:
    style.goal_line(ax, goal_ms)
    ax.set_xscale("log")
    furthest = max((line.get_xdata()[-1] for line in ax.lines if len(line.get_xdata()) > 2), default=0)
    named = [percentile for percentile in _PERCENTILES if percentile <= 99 or _x(percentile) <= furthest]
    style.ticks(ax, [_x(percentile) for percentile in named], [f"p{percentile:g}" for percentile in named])
    ax.set_xlim(1.0, max(_x(99), furthest) * 1.1)
    if ax.get_yscale() == "linear":
        ax.set_ylim(0)
    ax.set_xlabel("percentile of events")
    ax.set_ylabel("ms, due → recommendation written")
    style.legend(ax)
    style.title(ax, f"99 of 100 events are answered within: {', '.join(verdicts)}")
    return ax


def _x(percentile: float) -> float:
    return 1.0 / (1.0 - percentile / 100)
