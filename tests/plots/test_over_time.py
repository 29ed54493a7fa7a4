"""Backlogs and stalls, on events whose times are chosen."""

import numpy as np
import pytest

from workbench import plots
from workbench.errors import ResultError

from .made import legend, lines_of, run_of, sent, texts, title


def test_a_backlog_is_what_was_sent_and_not_yet_settled():
    """Ten a second from 5 s on, each answered after 0.25 s: 3 are open at a sending (the newest and two before it)."""
    due_s = 5 + np.arange(100) / 10
    ax = plots.backlog({"inline": run_of(sent(due_s, 250.0))})
    (line,) = lines_of(ax)
    at = dict(zip(np.round(line.get_xdata(), 1), line.get_ydata(), strict=True))
    assert at[0.0] == 1 and at[5.0] == 3 and max(at.values()) == 3
    assert title(ax) == "inline’s backlog did not grow (3 events at most)"
    assert ax.get_xlabel() == "s since the first event was due" and legend(ax) == ["inline"]


def test_the_title_says_by_how_much_a_backlog_grew():
    """Sent at 100/s, answered at 50/s: 500 wait when sending ends, 475 in the mean of its last tenth, 25 of its first."""
    due_s = np.arange(1000) / 100
    slow = sent(due_s, 1000 * ((np.arange(1000) + 1) / 50 - due_s))
    ax = plots.backlog({"fast": run_of(sent(due_s, 5.0)), "slow": run_of(slow)})
    assert (
        title(ax)
        == "fast’s backlog did not grow (1 event at most); slow’s backlog grew by 45% of its events (500 events at most)"
    )
    assert max(lines_of(ax)[1].get_ydata()) == 500


def test_a_backlog_of_events_that_were_all_sent_at_once_is_not_judged():
    ax = plots.backlog({"inline": run_of(sent(np.zeros(20), np.arange(20.0)))})
    assert title(ax) == "inline: all events were sent at once, so nothing can be said of growth"


def test_a_backlog_works_where_nothing_was_answered_and_is_refused_without_runs():
    lost = sent(np.arange(20) / 10, np.nan, outcome="lost")
    assert max(lines_of(plots.backlog({"inline": run_of(lost)}))[0].get_ydata()) == 20
    with pytest.raises(ResultError, match="no runs were given"):
        plots.backlog({})


def stalled(open_loop: bool, count: int = 2000) -> object:
    """2,000 events of 2 ms each at 100/s; a stall of 1 s begins at 10 s. A closed loop has one event in it, an open one 100."""
    due_s = np.arange(count) / 100
    if not open_loop:
        due_s = np.where(due_s > 10, due_s + 0.99, due_s)
    waits = np.where((due_s >= 10) & (due_s < 11), 1000 * (11 - due_s), 0.0)
    if not open_loop:
        waits = np.where(np.arange(count) == 1000, 1000.0, 0.0)
    return run_of(sent(due_s, waits + 2))


def test_a_closed_loop_hides_a_stall_that_an_open_one_shows():
    """Of the open loop's 2,000 latencies the 1,980th is that of the 21st longest wait: 800 + 2 ms. Of the closed loop's, 2 ms."""
    ax = plots.stall(stalled(True), stalled(False), goal_ms=300)
    words = title(ax).split()
    assert title(ax).startswith("A closed loop hides the stall: p99 2") and words[-5:-2] == ["beside", "the", "true"]
    assert float(words[-2]) == pytest.approx(802, rel=2e-3) and float(words[-7]) == pytest.approx(2, rel=2e-3)
    opened, closed, goal = lines_of(ax)
    assert (opened.get_ydata() > 300).sum() == 71 and (closed.get_ydata() > 300).sum() == 1  # waits of 0.30, 0.31 … 1 s
    assert opened.get_xdata()[-1] == pytest.approx(19.99) and goal.get_ydata()[0] == 300 and "goal 300 ms" in texts(ax)
    assert [words.split(",")[0] for words in legend(ax)] == ["open loop:\n2", "closed loop:\n2"]


def test_a_stall_that_both_see_is_not_called_hidden():
    assert title(plots.stall(stalled(True), stalled(True), 300)).startswith("The closed loop shows the stall, too: p99 80")


def test_too_few_events_tell_nothing_of_a_stall():
    ax = plots.stall(stalled(True), stalled(False, 500), 300)
    assert title(ax) == "Whether a closed loop hides the stall cannot be told: too few events for a p99"
    assert legend(ax)[1] == "closed loop:\n500 events,\ntoo few events for a p99"
    nothing = run_of(sent(np.arange(3.0), np.nan, outcome="lost"))
    assert "cannot be told" in title(plots.stall(nothing, nothing, 300))
