"""Percentile plots: where the curves run, where they stop, and what their titles say."""

import numpy as np
import pandas as pd
import pytest

from workbench import plots
from workbench.errors import ResultError

from .made import a_run, legend, lines_of, texts, title


def samples(**latency_ms: np.ndarray) -> pd.DataFrame:
    """Two runs of each name: the even events are run 0, the odd ones run 1. Service time is half the latency."""
    frames = [pd.DataFrame({"name": name, "latency_ms": ms, "run": np.arange(len(ms)) % 2}) for name, ms in latency_ms.items()]
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(settings=frame.name, service_ms=frame.latency_ms / 2)


def test_percentiles_title_gives_the_p99_of_each_run():
    """To 3 digits: of 0, 1, … 999 the 990th is 989."""
    fast, slow = a_run(act=np.arange(1000.0)), a_run(act=np.arange(1000.0) * 3)
    ax = plots.percentiles({"inline": fast, "lambda": slow}, goal_ms=300)
    words = title(ax).removeprefix("99 of 100 events are answered within: ").split(", ")
    (inline, fast_ms, _), (remote, slow_ms, _) = (each.split() for each in words)
    assert (inline, float(fast_ms)) == ("inline", pytest.approx(989, rel=1e-3))
    assert (remote, float(slow_ms)) == ("lambda", pytest.approx(2967, rel=1e-3))
    assert "goal 300 ms" in texts(ax) and any(line.get_ydata()[0] == 300 for line in ax.lines)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["p50", "p90", "p95", "p99"]
    assert np.allclose(ax.get_xticks(), [2, 10, 20, 100]) and ax.get_xscale() == "log"


def test_percentiles_stop_where_fewer_than_ten_events_are_slower():
    curve = plots.percentiles({"inline": a_run(act=np.arange(100.0))}, goal_ms=1).lines[0]
    assert curve.get_ydata().max() == 89.0 and curve.get_xdata().max() == pytest.approx(100 / 10.5)
    at_half = np.interp(2.0, curve.get_xdata(), curve.get_ydata())
    assert at_half == pytest.approx(49.5, abs=0.01)  # the median


@pytest.mark.parametrize("count", [0, 5, 999])
def test_percentiles_title_claims_nothing_of_too_few_events(count):
    ax = plots.percentiles({"inline": a_run(act=np.arange(float(count)))}, goal_ms=300)
    assert title(ax) == "99 of 100 events are answered within: inline has too few events to say"


def test_percentiles_of_no_runs_are_refused():
    with pytest.raises(ResultError, match="nothing to plot: no runs were given"):
        plots.percentiles({}, 300)


def test_curves_of_samples_put_all_runs_of_a_series_together_and_each_behind_it():
    ax = plots.percentile_curves(samples(inline=np.arange(2000.0)), by="name", goal_ms=500)
    curve, even, odd, goal = lines_of(ax)
    assert curve.get_ydata().tolist() == np.arange(1990.0).tolist() and curve.get_xdata()[-1] == pytest.approx(2000 / 10.5)
    assert even.get_ydata().tolist() == np.arange(0.0, 1980.0, 2).tolist() and odd.get_ydata()[-1] == 1979.0
    assert even.get_linewidth() < curve.get_linewidth() and goal.get_ydata()[0] == 500
    assert float(title(ax).split()[-2].replace(",", "")) == pytest.approx(1979, rel=1e-3)  # the 1,980th of 0, 1, …
    assert legend(ax) == ["inline", "one run"]


def test_service_time_is_dashed_beside_the_response_time_in_the_same_colour():
    ax = plots.percentile_curves(
        samples(inline=np.arange(100.0), remote=np.arange(100.0) + 7), by="name", goal_ms=9, service=True
    )
    assert legend(ax) == ["inline", "inline, service time", "remote", "remote, service time", "one run"]
    response, service = (next(line for line in ax.lines if line.get_label() == label) for label in legend(ax)[2:4])
    assert service.get_ydata().tolist() == (response.get_ydata() / 2).tolist() and service.get_linestyle() == "--"
    assert response.get_linestyle() == "-" and response.get_color() == service.get_color()


def test_a_series_beside_the_samples_can_name_them_and_numbers_come_with_their_name_in_order():
    frame = samples(a=np.arange(40.0), b=np.arange(40.0)).assign(run=0)
    ax = plots.percentile_curves(frame, by=frame.name.map({"a": 100, "b": 20}).rename("batch_size"), goal_ms=9)
    assert legend(ax) == ["batch size 20", "batch size 100"]


def test_the_axis_names_the_percentiles_that_samples_reach():
    ax = plots.percentile_curves(samples(inline=np.arange(20_000.0)), by="name", goal_ms=50_000)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["p50", "p90", "p95", "p99", "p99.9"]


def test_the_goal_stays_readable_beside_what_is_much_slower():
    assert plots.percentile_curves(samples(a=np.arange(1.0, 2000)), by="name", goal_ms=300).get_yscale() == "linear"
    assert plots.percentile_curves(samples(a=np.arange(1.0, 2000)), by="name", goal_ms=100).get_yscale() == "log"


def test_events_without_a_latency_are_left_out():
    frame = samples(inline=np.r_[np.arange(1000.0), np.full(500, np.nan)])
    ax = plots.percentile_curves(frame, by="name", goal_ms=300)
    assert ax.lines[0].get_ydata()[-1] == 989.0 and float(title(ax).split()[-2]) == pytest.approx(989, rel=1e-3)


def test_samples_that_cannot_be_drawn_are_refused():
    with pytest.raises(ResultError, match="nothing to plot: the frame has no rows"):
        plots.percentile_curves(samples(inline=np.empty(0)), by="name", goal_ms=300)
    with pytest.raises(ResultError, match="no column placement to plot: the frame has name, latency_ms, run"):
        plots.percentile_curves(samples(inline=np.arange(9.0)), by="placement", goal_ms=300)
    with pytest.raises(ResultError, match="no column service_ms"):
        plots.percentile_curves(samples(a=np.arange(9.0)).drop(columns="service_ms"), by="name", goal_ms=1, service=True)
