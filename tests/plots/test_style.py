"""One look, and only on the pictures that are ours."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from workbench import plots
from workbench.plots import style

from .made import a_run


def test_a_users_own_settings_stay_as_they_are():
    before = dict(mpl.rcParams)
    ax = plots.percentiles({"inline": a_run(act=np.arange(30.0))}, 1)
    assert dict(mpl.rcParams) == before
    _, other = plt.subplots()
    assert other.spines["top"].get_visible() and not ax.spines["top"].get_visible()
    assert ax.figure.dpi == 150 and other.figure.dpi == before["figure.dpi"]


def test_a_picture_is_drawn_where_it_is_asked_to_be():
    _, (left, right) = plt.subplots(1, 2)
    runs = {"inline": a_run(act=np.arange(30.0))}
    assert plots.percentiles(runs, 1, left) is left and plots.stages(runs, right) is right
    assert len(plt.get_fignums()) == 1


def test_colours_tell_eight_things_apart_and_lines_and_markers_forty():
    assert len(set(plots.COLOURS)) == 8
    looks = [style.look(number) for number in range(40)]
    assert len({(look.marker, str(look.linestyle)) for look in looks}) == 40  # without any colour
    assert style.look(40) == style.look(0)


def test_a_long_title_wraps_within_its_figure_and_loses_no_word():
    ax = style.axes(3.0)
    words = " ".join(f"word{number}" for number in range(60))
    style.title(ax, words)
    ax.figure.draw_without_rendering()
    assert ax.get_title().count("\n") >= 3 and ax.get_title().split() == words.split()
    assert ax.title.get_window_extent().x1 <= ax.figure.bbox.x1


def test_a_title_breaks_no_number_off_its_unit():
    ax = style.axes(3.0)
    style.title(ax, "within 300 ms " * 40)
    assert ax.get_title().count("\n") >= 3 and not any(line.endswith("300") for line in ax.get_title().splitlines())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1598.4, "1,598"),
        (820.2, "820"),
        (9.04, "9.04"),
        (0.25, "0.25"),
        (0.0, "0"),
        (100.04, "100"),
        (0.00123, "0.00123"),
        (-7.0, "-7"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert style.number(value) == text


def test_an_axis_is_logarithmic_only_for_positive_values_that_span_a_decade():
    for values, expected in (([1, 11], "log"), ([1, 9], "linear"), ([0, 100], "linear"), ([np.nan], "linear"), ([], "linear")):
        ax = style.axes(2.0)
        assert style.logarithmic(ax, "y", values) == (expected == "log") and ax.get_yscale() == expected
