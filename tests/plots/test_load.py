"""Latency against offered load: what is drawn and said is what the frame holds."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from workbench import plots
from workbench.errors import ResultError, SettingError
from workbench.measure.metrics import METRICS

from .made import failed, legend, lines_of, point, texts, title

COLOURS = plots.COLOURS


@pytest.fixture
def frame() -> pd.DataFrame:
    """inline holds 300 ms up to 400/s and falls behind at 800; lambda holds it at 100 only."""
    behind = {"backlog_growth_pct": 30.0, "goodput_per_s": 500.0}
    inline = [point("inline", 100, [20, 30, 22]), point("inline", 200, [24, 26, 40]), point("inline", 400, [100, 120, 110])]
    inline.append(point("inline", 800, [4000, 6000, 5000], **behind))
    remote = [point("lambda", 100, [50, 60, 70]), point("lambda", 200, [290, 310, 280]), point("lambda", 400, [290, 200, 200])]
    return pd.concat([*inline, *remote], ignore_index=True)


def median_line(ax, colour):
    """The line through the medians: the one of that colour which joins its points without markers."""
    return next(line for line in lines_of(ax, color=colour, marker="None") if line.get_linestyle() != ":")


def test_lines_join_the_medians_over_runs_and_every_run_is_a_dot(frame):
    ax = plots.load_curve(frame, by="placement", goal_ms=300)
    inline, remote = median_line(ax, COLOURS[0]), median_line(ax, COLOURS[1])
    assert inline.get_ydata().tolist() == [22, 26, 110, 5000] and remote.get_ydata().tolist() == [60, 290, 200]
    assert inline.get_xdata().tolist() == pytest.approx([99, 198, 396, 792])  # the middle run offered 1% less than its rate
    dots = [line for line in lines_of(ax, color=COLOURS[0]) if line.get_markersize() == 3]
    assert sorted(value for line in dots for value in line.get_ydata()) == sorted(frame[frame.placement == "inline"].p99_ms)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert ax.get_ylabel() == METRICS["p99_ms"].axis and ax.get_xlabel() == "offered load, events/s"


def test_what_did_not_keep_up_is_hollow(frame):
    ax = plots.load_curve(frame, by="placement", goal_ms=300)
    medians = [line for line in lines_of(ax, color=COLOURS[0]) if line.get_markersize() == 6.5]
    hollow, filled = sorted(medians, key=lambda line: len(line.get_xdata()))
    assert hollow.get_markerfacecolor() == "white" and hollow.get_ydata().tolist() == [5000]
    assert filled.get_markerfacecolor() == COLOURS[0] and filled.get_ydata().tolist() == [22, 26, 110]
    assert "did not keep up" in legend(ax)
    assert "did not keep up" not in legend(plots.load_curve(frame[frame.rate < 800], by="placement", goal_ms=300))


def test_bars_are_students_interval_of_the_mean_over_runs(frame):
    """20, 30, 22: mean 24, standard deviation √28, t(2 degrees, 97.5%) = 4.303."""
    ax = plots.load_curve(frame, by="placement", goal_ms=300)
    first = ax.collections[0].get_segments()[0]
    half = 4.3027 * np.sqrt(28 / 3)
    assert first[:, 1].tolist() == pytest.approx([24 - half, 24 + half], rel=1e-4)


def test_the_title_says_how_far_each_holds_the_goal(frame):
    ax = plots.load_curve(frame, by="placement", goal_ms=300)
    assert title(ax) == "inline answers 99 of 100 events within 300 ms up to 400 events/s; lambda up to 100 events/s"
    assert {"400/s", "100/s", "goal 300 ms"} == set(texts(ax))
    marks = {line.get_color(): line.get_xdata()[0] for line in lines_of(ax, linestyle=":")}
    assert marks == {COLOURS[0]: pytest.approx(396), COLOURS[1]: pytest.approx(99)}


def test_the_title_does_not_claim_beyond_what_was_tried(frame):
    slow = frame[frame.rate <= 400]
    assert title(plots.load_curve(slow, by="placement", goal_ms=1000)) == (
        "inline answers 99 of 100 events within 1,000 ms up to at least 400 events/s, the highest tried; "
        "lambda up to at least 400 events/s, the highest tried"
    )
    ax = plots.load_curve(slow, by="placement", goal_ms=25)
    assert title(ax) == "inline answers 99 of 100 events within 25 ms at no rate tried; lambda at no rate tried"
    assert "highest rate within the goal" not in legend(ax)


def test_other_figures_have_words_of_their_own(frame):
    ax = plots.load_curve(frame.assign(p50_ms=5.0), by="placement", goal_ms=6, figure="p50_ms")
    assert title(ax).startswith("inline answers half of the events within 6 ms up to 400 events/s; lambda")
    ax = plots.load_curve(frame[frame.placement == "inline"], by="placement", goal_ms=20, figure="mean_ms")
    assert title(ax) == "inline keeps its mean latency, due → recommended within 20 ms up to 200 events/s"


def test_the_knee_is_ringed_where_rates_around_it_were_tried(frame):
    """Power of inline's medians: 100/5.5 = 18, 200/6.5 = 31, 400/27.5 = 15, 500/1250 = 0.4. Of lambda's, at 400 the most."""
    remote = frame.placement == "lambda"
    ax = plots.load_curve(frame.assign(mean_ms=frame.mean_ms.mask(remote, 10.0)), by="placement", goal_ms=300)
    (ring,) = lines_of(ax, color="#000000", markersize=12)
    assert ring.get_xdata() == pytest.approx([198]) and list(ring.get_ydata()) == [26]


def test_failed_runs_are_counted_and_a_rate_that_failed_meets_no_goal(frame):
    ax = plots.load_curve(pd.concat([frame, failed("inline", 400)], ignore_index=True), by="placement", goal_ms=300)
    assert title(ax).startswith("inline answers 99 of 100 events within 300 ms up to 200 events/s;")
    assert legend(ax)[:2] == ["inline (1 run failed)", "lambda"]
    assert median_line(ax, COLOURS[0]).get_ydata().tolist() == [22, 26, 110, 5000]


def test_one_series_of_one_run_and_figures_that_are_missing():
    ax = plots.load_curve(point("inline", 100, [20]), by="placement", goal_ms=300)
    assert title(ax).endswith("within 300 ms up to at least 100 events/s, the highest tried")
    ax = plots.load_curve(pd.concat([point("inline", 100, [20]), point("lambda", 100, [np.nan])]), by="placement", goal_ms=300)
    assert title(ax).endswith("lambda at a rate that cannot be told (no run has the figure)")
    ax = plots.load_curve(pd.concat([point("inline", 100, [20]), failed("lambda", 100)]), by="placement", goal_ms=300)
    assert legend(ax)[1] == "lambda (1 run failed)"


def test_two_series_of_one_rate_are_written_one_below_the_other():
    ax = plots.load_curve(pd.concat([point("inline", 100, [20]), point("lambda", 100, [30])]), by="placement", goal_ms=300)
    first, second = (text for text in ax.texts if text.get_text() == "100/s ")
    assert first.xy[1] > second.xy[1] and mpl.colors.to_hex(second.get_color()) == COLOURS[1]


def test_a_trial_says_that_it_is_one(frame):
    assert title(plots.load_curve(frame.assign(smoke=True), by="placement", goal_ms=300)).endswith(
        "(fewer than 5 runs a point: a trial, not a finding)"
    )


def test_numbers_are_named_and_in_order():
    frame = pd.concat([point("inline", 100, [20], batch_size=size, settings=f"s{size}") for size in (100, 5)])
    ax = plots.load_curve(frame, by="batch_size", goal_ms=300)
    assert legend(ax)[:2] == ["batch size 5", "batch size 100"]


def test_a_load_curve_refuses_what_it_cannot_draw(frame):
    def refused(error, words, changed, **asked):
        with pytest.raises(error, match=words):
            plots.load_curve(changed, **{"by": "placement", "goal_ms": 300, **asked})

    refused(ResultError, "nothing to plot: the frame has no rows", frame.iloc[:0])
    refused(ResultError, "nothing to plot: no row has a rate above 0", frame.assign(rate=0.0))
    refused(ResultError, "no column mean_ms, lost to plot", frame.drop(columns=["mean_ms", "lost"]))
    refused(ResultError, "no column shards to plot", frame, by="shards")
    refused(ResultError, "nothing to plot: all 1 runs failed", failed("inline", 100))
    refused(SettingError, "figure = 'p98_ms' is not allowed: one of offered_per_s", frame, figure="p98_ms")
    refused(SettingError, "figure = 'lost' is not allowed: a time in ms", frame, figure="lost")
    mixed = frame.assign(settings=[f"s{number}" for number in range(len(frame))])
    refused(ResultError, r"inline at 100 events/s stands for 3 settings \(s0, s1, s2", mixed)


def test_rates_of_which_none_has_the_figure_can_be_drawn():
    ax = plots.load_curve(pd.concat([point("inline", rate, [np.nan]) for rate in (100, 800)]), by="placement", goal_ms=300)
    ax.figure.canvas.draw()
    assert "cannot be told" in ax.get_title()
