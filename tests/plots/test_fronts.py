"""The Pareto front against brute force, and its picture on points that are chosen."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import plots
from workbench.errors import ResultError, SettingError

from .made import legend, lines_of, texts, title

VALUES = st.one_of(st.integers(0, 5).map(float), st.just(float("nan")))  # few values: many ties


def dominates(one: tuple, other: tuple, directions: tuple) -> bool:
    if np.isnan(one).any() or np.isnan(other).any():
        return False
    pairs = [(a, b) if way == "lower" else (b, a) for a, b, way in zip(one, other, directions, strict=True)]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12), st.tuples(*[st.sampled_from(["lower", "higher"])] * 2))
def test_the_front_is_what_brute_force_finds(points, directions):
    expected = [not np.isnan(one).any() and not any(dominates(other, one, directions) for other in points) for one in points]
    assert plots.front(np.array(points), directions).tolist() == expected


@given(st.lists(st.tuples(*[st.integers(0, 4).map(float)] * 3), min_size=1, max_size=10))
def test_the_front_of_three_figures_too(points):
    directions = ("lower", "higher", "lower")
    expected = [not any(dominates(other, one, directions) for other in points) for one in points]
    assert plots.front(np.array(points), directions).tolist() == expected


def designs(*points: tuple[str, float, float], runs: int = 1, **columns: object) -> pd.DataFrame:
    """(index, µs a query, recall), each with as many runs, 1% apart about the mean in µs."""
    rows = [
        {
            "index": name,
            "settings": name,
            "run": run,
            "query_us": us * (1 + 0.01 * (run - (runs - 1) / 2)),
            "recall_at_10": recall,
        }
        for name, us, recall in points
        for run in range(runs)
    ]
    return pd.DataFrame(rows).assign(error="", smoke=False, **columns)


CHOSEN = (("flat", 400.0, 1.0), ("hnsw", 20.0, 0.95), ("ivf", 50.0, 0.9), ("tiny", 10.0, 0.6))


def drawn(frame, **asked):
    return plots.pareto(frame, **{"x": "query_us", "y": "recall_at_10", "label": "index", **asked})


def test_the_front_is_joined_and_named_and_the_rest_is_grey():
    ax = drawn(designs(*CHOSEN))
    front, beaten = lines_of(ax)
    assert front.get_xydata().tolist() == [[10, 0.6], [20, 0.95], [400, 1]] and front.get_color() == plots.COLOURS[0]
    assert beaten.get_xydata().tolist() == [[50, 0.9]] and beaten.get_color() == plots.COLOURS[7]
    assert texts(ax) == ["tiny", "hnsw", "flat"]
    assert title(ax) == "3 of 4 are beaten by none in both figures: from tiny (10 µs, 0.6) to flat (400 µs, 1)"
    assert ax.get_xlabel() == "time of a query, one thread, µs (lower is better)" and "(higher is better)" in ax.get_ylabel()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")


def test_points_are_means_over_runs_with_students_interval_on_both_axes():
    """3 runs of 396, 400, 404 µs: standard deviation 4, t(2 degrees, 97.5%) = 4.303. Recall does not differ."""
    ax = drawn(designs(("flat", 400.0, 1.0), runs=3))
    across, upright = (collection.get_segments()[0] for collection in ax.collections)
    assert across[:, 0].tolist() == pytest.approx([400 - 4.3027 * 4 / 3**0.5, 400 + 4.3027 * 4 / 3**0.5], rel=1e-4)
    assert upright[:, 1].tolist() == [1.0, 1.0]
    assert title(ax) == "flat (400 µs, 1) is beaten by none of 1 in both figures"


def test_names_of_near_points_do_not_cover_each_other():
    near = [(f"hnsw:m=8,ef_search={number}", 20.0 * 1.12**number, 0.90 + 0.008 * number) for number in range(7)]
    ax = drawn(designs(*near))
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert len(boxes) == 7 and not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_design_without_a_figure_or_whose_runs_failed_is_on_no_front():
    broken = designs(("ivf", np.nan, np.nan)).assign(error="no memory")
    ax = drawn(pd.concat([designs(("flat", 400.0, 1.0), ("hnsw", 20.0, np.nan)), broken]))
    assert title(ax) == "flat (400 µs, 1) is beaten by none of 2 in both figures" and texts(ax) == ["flat"]
    assert title(drawn(designs(("hnsw", 20.0, np.nan)))) == "No design has both figures"


def test_numbers_are_named_by_their_setting():
    frame = designs(*CHOSEN[:2]).assign(shards=[1, 2], smoke=True)
    ax = drawn(frame, label="shards")
    assert texts(ax) == ["shards 2", "shards 1"] and title(ax).endswith("(fewer than 5 runs a point: a trial, not a finding)")
    assert "95% interval over runs" in legend(ax)


def test_pareto_refuses_what_has_no_better_direction_and_frames_it_cannot_draw():
    frame = designs(*CHOSEN)
    with pytest.raises(SettingError, match="x = 'answered' is not allowed: a figure of which lower or higher is better"):
        drawn(frame, x="answered")
    with pytest.raises(SettingError, match="y = 'recall' is not allowed: one of "):
        drawn(frame, y="recall")
    with pytest.raises(ResultError, match="no column p99_ms to plot"):
        drawn(frame, x="p99_ms")
    with pytest.raises(ResultError, match="the frame has no rows"):
        drawn(frame.iloc[:0])
    with pytest.raises(ResultError, match="all 4 runs failed, the first with: no memory"):
        drawn(frame.assign(error="no memory"))
    with pytest.raises(ResultError, match="place = inline stands for 2 settings"):
        drawn(frame.iloc[:2].assign(place="inline"), label="place")
