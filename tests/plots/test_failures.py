"""What became of events and how long they waited, on counts and times that are chosen."""

import numpy as np
import pandas as pd
import pytest

from workbench import plots
from workbench.errors import ResultError

from .made import legend, lines_of, sent, texts, title


def fate(policy: str, *, runs: int = 2, **counts: object) -> pd.DataFrame:
    made = {"policy": policy, "settings": policy, "run": range(runs), "error": "", "smoke": False}
    return pd.DataFrame(made | {"late": 0.0, "good_given_up": 0.0, "bad_given_up": 0.0, "lost": 0.0} | counts)


FATES = pd.concat(
    [
        fate("whole batch", late=[10.0, 20.0], good_given_up=[80.0, 100.0], bad_given_up=1.0),
        fate("bisect", late=300.0, bad_given_up=1.0),
        fate("none"),
    ]
)


def bars(ax) -> dict[int, list[tuple[float, float]]]:
    """(start, width) of the parts of each bar, by row."""
    made: dict[int, list] = {}
    for patch in ax.patches:
        made.setdefault(round(patch.get_y() + patch.get_height() / 2), []).append((patch.get_x(), patch.get_width()))
    return made


def test_the_parts_of_a_bar_are_means_over_runs_one_behind_the_other():
    ax = plots.fates(FATES, by="policy")
    assert bars(ax) == {
        0: [(0, 15), (15, 90), (105, 1), (106, 0)],
        1: [(0, 300), (300, 0), (300, 1), (301, 0)],
        2: [(0, 0)] * 4,
    }
    assert [label.get_text() for label in ax.get_yticklabels()] == ["whole batch", "bisect", "none"]
    assert texts(ax) == ["15 late · 90 good given up · 1 bad given up", "300 late · 1 bad given up", "none"]
    assert legend(ax) == ["answered after the goal", "good, given up", "bad, given up", "lost"]
    assert len({patch.get_hatch() for patch in ax.patches}) == 4, "they are told apart without colours"


def test_the_title_says_what_each_policy_gave_up():
    assert (
        title(plots.fates(FATES, by="policy"))
        == "Good events given up a run: 90 with whole batch, 0 with bisect, 0 with none; no event was lost"
    )
    ax = plots.fates(fate("bisect", lost=[0.0, 3.0], smoke=True), by="policy")
    assert "; 3 events were lost (fewer than 5 runs" in title(ax) and texts(ax) == ["1.5 lost"]


def test_fates_of_several_settings_or_of_none_are_refused():
    with pytest.raises(ResultError, match="2 settings"):
        plots.fates(fate("bisect", settings=["a", "b"]), by="policy")
    with pytest.raises(ResultError, match="no column good_given_up"):
        plots.fates(FATES.drop(columns="good_given_up"), by="policy")
    with pytest.raises(ResultError, match="all 6 runs failed"):
        plots.fates(FATES.assign(error="no"), by="policy")


def events(policy: str, due_s, latency_ms) -> pd.DataFrame:
    dead = np.isnan(np.asarray(latency_ms, float))
    made = sent(due_s, latency_ms, policy=policy, settings=policy, run=0)
    return made.assign(outcome=np.where(dead, "dead", "answered"))


DUE_S = 5 + np.arange(8) / 4  # two in each half a second
WAITS = pd.concat(
    [
        events("whole batch", DUE_S, [10, 20, np.nan, np.nan, 40, 30, 10, np.nan]),
        events("bisect", DUE_S, [10, 20, 900, 1500, 40, 30, 10, 10]),
    ]
)


def test_a_line_is_the_longest_latency_of_each_stretch_and_pauses_where_all_were_given_up():
    ax = plots.latency_over_time(WAITS, by="policy", goal_ms=300)
    whole, bisect = lines_of(ax, marker="o")[0], lines_of(ax, marker="s")[0]
    assert whole.get_xdata().tolist() == [0.25, 0.75, 1.25, 1.75] == bisect.get_xdata().tolist()
    np.testing.assert_array_equal(whole.get_ydata(), [20, np.nan, 40, 10])
    assert bisect.get_ydata().tolist() == [20, 1500, 40, 10] and ax.get_yscale() == "log"
    assert title(
        ax
    ) == "Longest wait for an answer in one run: 0.04 s with whole batch, 1.5 s with bisect" and "goal 300 ms" in texts(ax)
    assert ax.get_xlabel() == "s since the first event was due"


def test_crosses_are_what_was_given_up_when_it_was_due_above_all_lines():
    ax = plots.latency_over_time(WAITS, by="policy", goal_ms=300)
    (crosses,) = lines_of(ax, marker="x")
    assert crosses.get_xdata().tolist() == [0.5, 0.75, 1.75]
    top = ax.transAxes.inverted().transform(ax.transData.transform((0, 1500)))[1]
    assert top < min(crosses.get_ydata()) < 1 and legend(ax) == ["whole batch", "bisect", "given up,\nwhen it was due"]


def test_without_anything_given_up_there_are_no_crosses():
    ax = plots.latency_over_time(events("bisect", DUE_S, np.full(8, 50.0)), by="policy", goal_ms=60)
    assert legend(ax) == ["bisect"] and lines_of(ax, marker="x") == [] and ax.get_yscale() == "linear"
    assert ax.get_ylim()[1] > 60


def test_a_policy_without_an_answer_is_told():
    ax = plots.latency_over_time(events("whole batch", DUE_S, np.full(8, np.nan)), by="policy", goal_ms=60)
    assert title(ax) == "Longest wait for an answer in one run: no answer with whole batch"


def test_several_runs_of_one_policy_are_no_line():
    with pytest.raises(ResultError, match="policy = bisect stands for several runs"):
        plots.latency_over_time(events("bisect", DUE_S, np.ones(8)).assign(run=[0, 1] * 4), by="policy", goal_ms=60)
