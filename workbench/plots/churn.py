"""One run of queries beside writes, over time: what is found, what it takes, and what the store does in the background."""

import itertools
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.plots import frames, style

_UPKEEP = {False: "#eeeeee", True: "#c8c8c8"}
_ANEW = 5  # samples in a row during which no uncovered row was taken into the index
_LOWEST = 0.9  # recall that the axis shows at least: or a thousandth would look like a fall
_FEW = 5  # queries within a stretch of time that carry no mean


def churned(samples: pd.DataFrame, figure: Literal["recall", "latency"], every_s: float = 1.0, ax: Axes | None = None) -> Axes:
    """Mean recall@10 over live contents, or latency and freshness, each ``every_s`` s; grey is when the index is worked on.

    ``samples`` are those of one run of the task "churn".

    Raises:
        ResultError: there are no samples, or a column is missing.
    """
    frames.checked(samples, "what", "t_s", "latency_ms", "recall", "jobs", "scanned")
    query, write, probe, upkeep = (samples[samples.what == what] for what in ("query", "write", "probe", "upkeep"))
    ax = style.axes(3.4, ax)
    spans = busy(upkeep)
    for anew, words in ((False, "index extended"), (True, "index built anew,\nrows compacted")):
        for number, span in enumerate(each for each in spans if each.anew == anew):
            ax.axvspan(span.begin, span.end, color=_UPKEEP[anew], zorder=0, label=words if number == 0 else None)
    begun = write.t_s.min() if len(write) else query.t_s.max()
    if len(write):
        ax.axvline(begun, color=style.INK, linestyle="--", linewidth=1, label="first write")
    if figure == "recall":
        _stretches(ax, query.t_s, query.recall, every_s, style.look(0), "mean recall@10", np.mean)
        ax.set_ylim(min(_LOWEST, ax.get_ylim()[0]), 1.005)
        ax.set_ylabel("recall@10 over live contents")
        said = _recall(query, begun, spans)
    else:
        _stretches(ax, query.t_s, query.latency_ms, every_s, style.look(0), "query p50, from due", np.median)
        _stretches(ax, query.t_s, query.latency_ms, every_s, style.look(5), "query, slowest", np.max)
        found = probe.dropna(subset="latency_ms")
        ax.plot(found.t_s, found.latency_ms, "^", color=style.COLOURS[2], markersize=4, label="acknowledged → found")
        style.logarithmic(ax, "y", pd.concat([query.latency_ms, found.latency_ms]))
        ax.set_ylabel("ms")
        said = _latency(query, probe, begun)
    ax.set_xlim(0, samples.t_s.max())
    ax.set_xlabel("s since the first query was due")
    style.legend(ax)
    style.title(ax, said)
    return ax


class Span(NamedTuple):
    """A stretch of work on the index, s; ``anew`` if it was built anew over the living rows, not extended."""

    begin: float
    end: float
    anew: bool


def busy(upkeep: pd.DataFrame) -> list[Span]:
    """When there were ``jobs``, by samples of ``t_s``, ``jobs`` and ``scanned`` (rows that no index covers).

    A span ends with the first sample without jobs. While an index is extended, fewer and fewer rows are uncovered; while one is
    built anew, none of them less until it is done: by that they are told apart.
    """
    spans: list[Span] = []
    working: list[tuple[float, float]] = []
    for at, jobs, scanned in zip(upkeep.t_s, upkeep.jobs, upkeep.scanned, strict=True):
        if jobs:
            working.append((at, scanned))
        elif working:
            spans += _parts(working, at)
            working = []
    return [*spans, *_parts(working, working[-1][0])] if working else spans


def _parts(working: list[tuple[float, float]], end: float) -> list[Span]:
    """One span with work, cut where building anew begins and ends."""
    runs = [[working[0]]]  # within which no sample has fewer uncovered rows than the one before it
    for before, after in itertools.pairwise(working):
        if after[1] < before[1]:
            runs.append([])
        runs[-1].append(after)
    begins = [run[0][0] for run in runs]
    spans = [Span(*ends, len(run) >= _ANEW) for run, ends in zip(runs, itertools.pairwise([*begins, end]), strict=True)]
    return [
        Span(parts[0].begin, parts[-1].end, anew)
        for anew, group in itertools.groupby(spans, key=lambda span: span.anew)
        for parts in [list(group)]
    ]


def _stretches(ax: Axes, t_s: pd.Series, values: pd.Series, every_s: float, look: style.Look, label: str, of) -> None:
    stretches = values.groupby((t_s // every_s).astype(int)).agg([of, "size"]).set_axis(["value", "size"], axis=1)
    known = stretches[stretches["size"] >= _FEW]
    ax.plot(
        (known.index + 0.5) * every_s,
        known.value,
        color=look.color,
        marker=look.marker,
        markersize=4,
        linestyle=look.linestyle,
        linewidth=1.4,
        label=label,
    )


def _recall(query: pd.DataFrame, begun: float, spans: list[Span]) -> str:
    before, during = query.recall[query.t_s < begun].mean(), query.recall[query.t_s >= begun].mean()
    anew = sum(span.anew for span in spans)
    jobs = f"the index was extended {_times(len(spans) - anew)} and built anew {_times(anew)}"
    return f"Recall over live contents is {style.number(during)} while records are written, {style.number(before)} before; {jobs}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _latency(query: pd.DataFrame, probe: pd.DataFrame, begun: float) -> str:
    before, during = query.latency_ms[query.t_s < begun].median(), query.latency_ms[query.t_s >= begun].median()
    said = f"A query takes {style.number(during)} ms (p50) while records are written, {style.number(before)} before"
    if probe.empty:
        return said
    if probe.latency_ms.isna().any():
        return f"{said}; {int(probe.latency_ms.isna().sum())} of {len(probe)} acknowledged records were never found"
    return f"{said}; an acknowledged record is found after {style.number(probe.latency_ms.median())} ms (p50)"
