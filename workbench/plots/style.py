"""One look for all pictures, set on each Axes: a user's own matplotlib settings stay as they are.

Colours are Okabe and Ito's, which colour-blind readers tell apart; a marker and a line of its own tell each series apart in
black and white, too.
"""

import dataclasses
import math
import re
import textwrap
from collections.abc import Iterable
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))  # five and eight have no common factor: 40 series differ
_NO_BREAK = "\N{NO-BREAK SPACE}"
INK, GREY = "#000000", COLOURS[7]

WIDTH_IN, DPI = 9.0, 150  # 1350 pixels across: sharp in a report and on paper
TITLE_PT, LABEL_PT, SMALL_PT = 11.0, 9.5, 8.5


@dataclasses.dataclass(frozen=True)
class Look:
    """How one series is drawn."""

    color: str
    marker: str
    linestyle: str | tuple


def look(number: int) -> Look:
    """The look of series 0, 1, …"""
    return Look(COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], LINES[number % len(LINES)])


def axes(height_in: float, ax: Axes | None = None) -> Axes:
    """``ax`` or, without one, the Axes of a new figure of that height, in the pictures' style."""
    if ax is None:
        _, ax = plt.subplots(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=SMALL_PT)
    ax.xaxis.label.set_fontsize(LABEL_PT)
    ax.yaxis.label.set_fontsize(LABEL_PT)
    return ax


def title(ax: Axes, finding: str) -> None:
    """The finding over the picture, in as many lines as it needs; called last, when what stands beside the picture is there."""
    ax.figure.draw_without_rendering()  # the layout says how wide the picture is, with its legend
    room = ax.get_tightbbox().x1 - ax.bbox.x0
    ax.set_title(finding, x=0, ha="left", fontsize=TITLE_PT)
    letters = int(0.97 * room / ax.title.get_window_extent().width * len(finding))  # some are wider than others
    whole = re.sub(r"(?<![^\s(])([\d.,]*\d) (?=\S)", rf"\1{_NO_BREAK}", finding)  # a number stays beside its unit
    ax.title.set_text(textwrap.fill(whole, max(letters, 20), break_long_words=False).replace(_NO_BREAK, " "))


def legend(ax: Axes) -> None:
    """What the marks mean, beside the picture, where it hides nothing."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, frameon=False, fontsize=SMALL_PT)


def goal_line(ax: Axes, goal_ms: float) -> None:
    """A goal on the y axis, with its value."""
    ax.margins(y=0.1)  # room for it above the line
    ax.axhline(goal_ms, color=INK, linestyle="--", linewidth=1)
    ax.annotate(f"goal {number(goal_ms)} ms", (0, goal_ms), (4, 4), ("axes fraction", "data"), "offset points", fontsize=SMALL_PT)


def number(value: float) -> str:
    """Three digits, with commas: 1,598; 820; 9.04; 0.25. Larger numbers keep all before the point."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def logarithmic(ax: Axes, which: Literal["x", "y"], values: Iterable[float], *, from_ratio: float = 10.0) -> bool:
    """Make an axis logarithmic if its values are positive and span more than ``from_ratio``; its ticks are plain numbers."""
    known = np.asarray(list(values), float)
    known = known[np.isfinite(known)]
    if not len(known) or known.min() <= 0 or known.max() <= from_ratio * known.min():
        return False
    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    span = known.max() / known.min()
    if span < 3:
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    else:
        steps = (1, 1.5, 2, 3, 5, 7) if span < 10 else (1, 2, 5) if span < 3000 else (1,)
        axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    return True


def ticks(ax: Axes, places: Iterable[float], labels: Iterable[str]) -> None:
    """These ticks on the x axis and no others."""
    ax.xaxis.set_major_locator(FixedLocator(list(places)))
    ax.set_xticks(ax.xaxis.get_major_locator().locs, list(labels))
    ax.minorticks_off()
