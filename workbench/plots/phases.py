"""What users wait while something changes under them, phase by phase."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from workbench.errors import SettingError
from workbench.plots import frames, style
from workbench.summaries import percentile_of

_PERCENTILES = (99, 95, 50)
_LINES = {99: "-", 95: "--", 50: ":"}


def latency_by_phase(samples: pd.DataFrame, phases: Mapping[str, float], *, by: str, during: str, ax: Axes | None = None) -> Axes:
    """Each request's latency (ms) at the time it was due, with p50, p95 and p99 of each phase, where it has enough requests.

    ``samples`` has ``t_s``, ``latency_ms`` and ``error`` ("" for none), and in ``by`` who answered; ``phases`` says when each
    begins, s, the earliest first: what is due before is not drawn. The title compares the first phase with the one ``during``
    names, by the highest percentile that both have. Requests that failed are crosses at the top.

    Raises:
        ResultError: there are no samples, or a column is missing.
        SettingError: no phase is called ``during``.
    """
    if during not in phases:
        raise SettingError("during", during, f"one of {', '.join(phases)}")
    frames.checked(samples, "t_s", "latency_ms", "error", by)
    ax = style.axes(4.2, ax)
    starts = list(phases.values())
    drawn = frames.checked(samples[samples.t_s >= starts[0]])
    answered, end_s = drawn[drawn.error == ""], drawn.t_s.max()
    for number, (name, rows) in enumerate(answered.groupby(by, sort=False)):
        look = style.look(number)
        style_of = {"color": look.color, "marker": look.marker, "linestyle": "none", "markeredgewidth": 0}
        ax.plot(rows.t_s, rows.latency_ms, markersize=2.5, alpha=0.5, **style_of)
        ax.plot([], [], markersize=6, label=f"answered by the {name} one", **style_of)
    found = {}
    for name, start, end in zip(phases, starts, [*starts[1:], end_s], strict=True):
        mine = answered.latency_ms[(answered.t_s >= start) & (answered.t_s < end)]
        found[name] = {each: percentile_of(mine, each) for each in _PERCENTILES}
        for each, ms in found[name].items():
            ax.hlines(ms, start, end, color=style.INK, linestyle=_LINES[each], linewidth=1.4, zorder=3)
    for each in _PERCENTILES:
        if any(known[each] == known[each] for known in found.values()):
            ax.plot([], [], color=style.INK, linestyle=_LINES[each], linewidth=1.4, label=f"p{each} of the phase")
    style.logarithmic(ax, "y", answered.latency_ms[answered.latency_ms > 0])
    ax.margins(y=0.12)  # room for the phases' numbers at the top
    failed = drawn[drawn.error != ""]
    if len(failed):
        place = {"transform": ax.get_xaxis_transform(), "color": style.COLOURS[5], "marker": "X", "linestyle": "none"}
        ax.plot(failed.t_s, [0.92] * len(failed), markersize=7, label="failed", **place)
    _name_phases(ax, phases, end_s)
    ax.set_xlabel("s since the first request was due")
    ax.set_ylabel("latency of the request, ms")
    style.legend(ax)
    style.title(ax, f"{_verdict(found, during)}; {len(failed):,} of {len(drawn):,} requests failed")
    return ax


def _name_phases(ax: Axes, phases: Mapping[str, float], end_s: float) -> None:
    """Every second phase on grey; each one's number at the top, and its name beside the picture."""
    starts = list(phases.values())
    ax.set_xlim(starts[0], end_s)
    for number, (name, start, end) in enumerate(zip(phases, starts, [*starts[1:], end_s], strict=True)):
        if number % 2:
            ax.axvspan(start, end, color=style.GREY, alpha=0.18, linewidth=0, zorder=0)
        ax.annotate(
            str(number + 1),
            ((start + end) / 2, 0.99),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            fontsize=style.SMALL_PT,
            weight="bold",
            annotation_clip=False,
        )
        ax.plot([], [], linestyle="none", label=f"{number + 1}  {name}")


def _verdict(found: Mapping[str, Mapping[int, float]], during: str) -> str:
    first, before = next(iter(found.items()))
    for each in _PERCENTILES:
        if before[each] == before[each] and found[during][each] == found[during][each]:
            return f"p{each} {style.number(before[each])} ms {first}, {style.number(found[during][each])} ms {during}"
    return "Too few requests for a percentile"
