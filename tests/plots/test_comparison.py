"""The forest plot: intervals where the table has them, and words for what exceeds the noise."""

import numpy as np
import pandas as pd
import pytest

from workbench import plots
from workbench.errors import ResultError, SettingError
from workbench.results import compare

from .made import lines_of, texts, title

COLUMNS = ["figure", "a_mean", "b_mean", "ratio", "low", "high", "runs", "verdict"]


def table(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS).set_index("figure")


P99 = ("p99_ms", 100.0, 62.0, 0.62, 0.55, 0.70, 5, "lower")
MEAN = ("mean_ms", 40.0, 38.8, 0.97, 0.90, 1.04, 5, "not distinguishable")
CPU = ("cpu_cores", 1.0, 1.31, 1.31, 1.2, 1.4, 5, "higher")
BATCH = ("events_per_batch", 10.0, 32.0, 3.2, 2.9, 3.5, 5, "higher")
DEAD = ("dead", 0.0, 12.0, np.nan, 8.0, 16.0, 5, "higher")
FEW = ("recall_at_10", np.nan, np.nan, np.nan, np.nan, np.nan, 0, "too few runs")


def test_points_and_intervals_stand_on_a_logarithmic_axis_about_1():
    ax = plots.compared(table(P99, MEAN))
    points = {tuple(line.get_xydata()[0]) for line in lines_of(ax, markersize=7)}
    assert points == {(0.62, 0), (0.97, 1)} and ax.get_xscale() == "log"
    assert [collection.get_segments()[0][:, 0].tolist() for collection in ax.collections] == [[0.55, 0.70], [0.90, 1.04]]
    assert any(line.get_xdata() == [1.0, 1.0] for line in ax.lines if line.get_marker() == "None")
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "p99 latency, due → recommended",
        "mean latency, due → recommended",
    ]


def test_the_title_names_what_exceeds_the_noise_and_counts_the_rest():
    ax = plots.compared(table(P99, MEAN, CPU), names=("inline", "lambda"))
    assert (
        title(ax)
        == "lambda beside inline: p99 latency 38% lower, processor time used 31% higher; 1 of 3 figures cannot be told apart"
    )
    assert ax.get_xlabel().startswith("lambda ÷ inline")
    assert title(plots.compared(table(MEAN))) == "b beside a: no difference exceeds the noise between runs"


def test_better_worse_and_neither_are_words_and_marks_of_their_own():
    ax = plots.compared(table(P99, CPU, BATCH, MEAN))
    assert texts(ax) == ["38% lower: better", "31% higher: worse", "3.2 times: a difference", "3% lower: not distinguishable"]
    marks = [(line.get_marker(), line.get_markerfacecolor()) for line in lines_of(ax, markersize=7)]
    assert len({marker for marker, _ in marks[:3]}) == 3 and marks[3] == ("o", "white")


def test_a_difference_without_a_ratio_is_in_words_and_not_on_the_axis():
    ax = plots.compared(table(DEAD, FEW, P99))
    assert texts(ax)[:2] == ["+12 events: worse", "not measured: too few runs"]
    assert len(lines_of(ax, markersize=7)) == 1 and ax.get_xlim()[1] < 2
    assert title(ax).startswith("b beside a: events dead-lettered +12 events, p99 latency 38% lower; 1 of 3")
    assert texts(plots.compared(table(FEW))) == ["not measured: too few runs"]


def test_a_long_list_is_cut_in_the_title():
    figures = ("p50_ms", "p95_ms", "p99_ms", "p999_ms", "mean_ms")
    ax = plots.compared(table(*((figure, *P99[1:]) for figure in figures)))
    assert title(ax).endswith("p99.9 latency 38% lower and 1 more")


def test_it_draws_what_compare_gives():
    def runs(settings: str, factor: float) -> pd.DataFrame:
        same = {"code": "c", "machine": "m", "cloud": "embedded", "task": "pipeline", "settings": settings}
        return pd.DataFrame({"run": range(5), "p99_ms": factor * np.array([100.0, 104, 96, 101, 99]), "lost": 0.0, **same})

    ax = plots.compared(compare(runs("a", 1.0), runs("b", 0.5), ["p99_ms", "lost"]))
    assert title(ax) == "b beside a: p99 latency 50% lower; 1 of 2 figures cannot be told apart"
    assert texts(ax) == ["50% lower: better", "+0 events: not distinguishable"]


def test_a_comparison_refuses_what_it_cannot_draw():
    with pytest.raises(SettingError, match="figure = 'speed' is not allowed: one of "):
        plots.compared(table(("speed", *P99[1:])))
    with pytest.raises(ResultError, match="the frame has no rows"):
        plots.compared(table(P99).iloc[:0])
    with pytest.raises(ResultError, match="no column ratio to plot"):
        plots.compared(table(P99).drop(columns="ratio"))
