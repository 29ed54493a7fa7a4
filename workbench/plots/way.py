"""Where the time goes: the mean time of each part of an event's way. The means add up exactly."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from workbench.measure.timeline import PARTS, WAY
from workbench.plots import frames, style
from workbench.runs import Run

_COLUMNS = [f"{part}_ms" for part in WAY]
_HATCHES = ("", "///", "...")  # eleven parts have eight colours


def stages(runs: Mapping[str, Run], ax: Axes | None = None) -> Axes:
    """A waterfall for every run: each part's bar begins where the one before it ended.

    Raises:
        ResultError: there are no runs.
    """
    ax = style.axes(1.2 + 2.4 * len(frames.some(runs)), ax)
    labels, ticks, verdicts = [], [], []
    row = 1
    for number, (name, run) in enumerate(runs.items()):
        means = run.measured[_COLUMNS].mean().to_numpy()
        verdicts.append(f"{name}: {_said(*_heaviest(means))}")
        starts = np.concatenate([[0.0], np.cumsum(means)[:-1]])
        colour = style.look(number).color
        total = f"{means.sum():.0f} ms in the mean" if means.sum() == means.sum() else "no event measured"
        ax.text(0, row - 1, f" {name}: {total}", va="center", weight="bold", fontsize=style.LABEL_PT, color=colour)
        for part, start, mean in zip(WAY, starts, means, strict=True):
            ax.barh(row, mean, left=start, color=colour, height=0.75)
            if mean == mean:
                ax.annotate(f" {mean:.1f}", (start + mean, row), va="center", fontsize=style.SMALL_PT)
            ticks.append(row)
            labels.append(PARTS[part])
            row += 1
        row += 2
    ax.set_yticks(ticks, labels, fontsize=style.SMALL_PT)
    ax.set_ylim(row - 1.3, -0.7)
    ax.set_xlabel("ms since the event was due (mean of all measured events)")
    ax.margins(x=0.08)
    ax.set_xlim(left=min(0.0, ax.dataLim.xmin))
    style.title(ax, "; ".join(verdicts))
    return ax


def stages_by(frame: pd.DataFrame, *, by: str, ax: Axes | None = None) -> Axes:
    """A stacked bar for each value of ``by``: the mean over its runs of each part's mean, and the 95% interval of the whole.

    ``frame`` is what ``results.load`` gives, with its ``<part>_ms`` columns.

    Raises:
        ResultError: the frame is empty, lacks a column, or has several settings for one value of ``by``.
    """
    rows = frames.measured(frames.checked(frame, by, "settings", "error", *_COLUMNS))
    bars = list(frames.series(rows, by))
    ax = style.axes(max(1.4 + 0.6 * len(bars), 3.4), ax)
    verdicts, longest = {}, max(bar[_COLUMNS].mean().sum() for _, bar in bars)
    for row, (name, bar) in enumerate(bars):
        frames.one_design(bar, f"{by} = {name}")
        means = bar[_COLUMNS].mean().to_numpy()
        verdicts[name] = _heaviest(means)
        starts = np.concatenate([[0.0], np.cumsum(means)[:-1]])
        for number, (part, start, mean) in enumerate(zip(WAY, starts, means, strict=True)):
            colour, hatch = style.look(number).color, _HATCHES[number // len(style.COLOURS)]
            label = PARTS[part] if row == 0 else None
            ax.barh(row, mean, left=start, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5, height=0.65, label=label)
            if mean > 0.07 * longest:
                words = ax.text(
                    start + mean / 2, row, f"{part}\n{mean:.1f}", ha="center", va="center", fontsize=style.SMALL_PT - 1
                )
                words.set(zorder=5, path_effects=[withStroke(linewidth=2.5, foreground="white")])  # readable on any colour
        whole = bar[_COLUMNS].sum(axis=1, min_count=len(WAY))
        if whole.notna().any():
            low, high = frames.interval(whole)
            ax.errorbar(
                means.sum(), row, xerr=[[means.sum() - low], [high - means.sum()]], color=style.INK, capsize=3, linewidth=1
            )
            ax.annotate(f"{means.sum():.1f} ms", (high, row), (6, 0), textcoords="offset points", va="center", weight="bold")
    ax.set_yticks(range(len(bars)), [name for name, _ in bars])
    ax.invert_yaxis()
    ax.set_ylabel(by.replace("_", " "))
    ax.set_xlabel("ms, mean of all events; line: 95% interval of the whole over runs")
    ax.margins(x=0.18)
    style.legend(ax)
    style.title(ax, _compared(verdicts) + frames.smoke(rows))
    return ax


def _heaviest(means: np.ndarray) -> tuple[str, float]:
    """The part that takes most of a way, and its share; ("", nan) if there is no way."""
    if not np.isfinite(means).all() or means.sum() <= 0:
        return "", float("nan")
    return PARTS[WAY[int(np.argmax(means))]], float(means.max() / means.sum())


def _said(part: str, share: float) -> str:
    return f"{share:.0%} of the time is “{part}”" if part else "no event was measured"


def _compared(verdicts: dict[str, tuple[str, float]]) -> str:
    """What a title says of several ways: in short where the same part is the heaviest of all."""
    parts = {part for part, _ in verdicts.values()}
    if len(verdicts) > 1 and len(parts) == 1 and parts != {""}:
        shares = ", ".join(f"{name} {share:.0%}" for name, (_, share) in verdicts.items())
        return f"“{parts.pop()}” takes the largest part of the time: {shares}"
    return "; ".join(f"{name}: {_said(*verdict)}" for name, verdict in verdicts.items())
