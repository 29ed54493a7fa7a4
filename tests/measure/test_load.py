"""Load figures against small frames worked out by hand, and against queueing theory."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import SettingError
from workbench.measure.load import (
    LEAST_OFFER_KEPT_PCT,
    MOST_BACKLOG_GROWTH_PCT,
    backlog,
    backlog_growth_pct,
    backlog_max,
    goodput,
    kept_up,
    offer,
)

NAN = float("nan")


def frame(due_s, *, send_ms=0.0, latency_ms=1.0, outcome="answered") -> pd.DataFrame:
    return pd.DataFrame({"due_s": np.asarray(due_s, float), "send_ms": send_ms, "latency_ms": latency_ms, "outcome": outcome})


def queue(events: int, *, rate: float, service_s: float, seed: int) -> pd.DataFrame:
    """One server with Poisson arrivals and a fixed service time (M/D/1), by Lindley's recursion."""
    due_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, events))
    free_s, answered_s = 0.0, []
    for arrival_s in due_s:
        free_s = max(free_s, arrival_s) + service_s
        answered_s.append(free_s)
    return frame(due_s - due_s[0], latency_ms=1000 * (np.array(answered_s) - due_s))


def test_a_rate_is_the_intervals_over_their_span():
    """Five events due every 0.5 s: 4 / 2 s; sent at 0.1, 0.6, 1.1, 1.6 and 2.6 s: 4 / 2.5 s."""
    figures = offer(frame([0, 0.5, 1, 1.5, 2], send_ms=[100, 100, 100, 100, 600]))
    assert figures == pytest.approx({"offered_per_s": 2.0, "sent_per_s": 1.6, "offer_kept_pct": 80.0})


def test_a_late_first_event_takes_the_sent_rate_above_the_offered():
    """Sent at 0.02, 1 and 2 s: 2 / 1.98 s."""
    assert offer(frame([0, 1, 2], send_ms=[20, 0, 0]))["offer_kept_pct"] == pytest.approx(100 * 2 / 1.98)


def test_an_event_without_a_sending_time_was_not_sent():
    """Three of five: 2 / 4 s."""
    figures = offer(frame([0, 1, 2, 3, 4], send_ms=[0, NAN, 0, NAN, 0], outcome=["answered", "refused"] * 2 + ["answered"]))
    assert figures == {"offered_per_s": 1.0, "sent_per_s": 0.5, "offer_kept_pct": 50.0}


def test_all_due_at_once_is_no_offered_rate():
    figures = offer(frame([0, 0, 0], send_ms=[0, 10, 20]))
    assert math.isnan(figures["offered_per_s"]) and math.isnan(figures["offer_kept_pct"])
    assert figures["sent_per_s"] == pytest.approx(100.0)
    assert not kept_up(figures | {"backlog_growth_pct": 0.0, "lost": 0})


@pytest.mark.parametrize("due_s", [[], [3.0]])
def test_fewer_than_two_events_have_no_rate(due_s):
    assert all(math.isnan(figure) for figure in offer(frame(due_s)).values())


def test_goodput_counts_answers_until_the_last():
    """Three answered of five, from 1 s to 3 + 0.5 s."""
    events = frame(
        [1, 2, 3, 4, 5],
        latency_ms=[100, 200, 500, NAN, NAN],
        outcome=["answered", "answered", "answered", "dead", "lost"],
    )
    assert goodput(events) == pytest.approx(3 / 2.5)
    assert goodput(events[3:]) == 0.0
    assert math.isnan(goodput(events[:0])) and math.isnan(goodput(frame([1], latency_ms=0)))


def test_the_backlog_is_what_was_sent_and_is_not_settled():
    """Sent at 0.1, 1 and 2; settled at 1.5, 2.2 and 2.1."""
    events = frame([0, 1, 2], send_ms=[100, 0, 0], latency_ms=[1500, 1200, 100])
    found = backlog(events, every_s=0.5)
    assert found.t_s.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert found.backlog.tolist() == [0, 1, 2, 1, 2, 0] and backlog_max(events) == 2


def test_times_stay_on_the_scale_of_the_run():
    found = backlog(frame([7, 8], latency_ms=500), every_s=0.5)
    assert found.t_s.tolist() == [7, 7.5, 8, 8.5] and found.backlog.tolist() == [1, 0, 1, 0]


def test_a_lost_event_stays_and_dead_and_refused_ones_are_no_part():
    events = frame(
        [0, 0, 0, 0], send_ms=[0, 0, 0, NAN], latency_ms=[500, NAN, NAN, NAN], outcome=["answered", "lost", "dead", "refused"]
    )
    assert backlog(events, every_s=0.5).backlog.tolist() == [2, 1]
    assert backlog_max(events) == 2 and math.isnan(backlog_max(events[2:]))
    assert backlog(events[2:]).empty and list(backlog(events[2:]).columns) == ["t_s", "backlog"]


@pytest.mark.parametrize("every_s", [0, -1, NAN])
def test_a_step_of_no_time_is_refused(every_s):
    with pytest.raises(SettingError, match=r"every_s = .* more than 0 s"):
        backlog(frame([0, 1]), every_s=every_s)


times = st.integers(0, 40).map(lambda quarter: quarter / 4)  # exact in binary, and often equal


@settings(deadline=None)
@given(st.lists(st.tuples(times, times, times), min_size=1, max_size=20))
def test_the_backlog_is_that_of_counting(events):
    made = frame([due for due, _, _ in events])
    made["send_ms"] = [1000 * send for _, send, _ in events]
    made["latency_ms"] = [1000 * (send + service) for _, send, service in events]
    found = backlog(made, every_s=0.25)
    for t_s, waiting in zip(found.t_s, found.backlog, strict=True):
        assert waiting == sum(due + send <= t_s < due + send + service for due, send, service in events)
    assert found.backlog.iloc[-1] == 0
    sent_s = [due + send for due, send, _ in events]
    most = max(sum(due + send <= t_s < due + send + service for due, send, service in events) for t_s in sent_s)
    assert backlog_max(made) == most
    assert found.t_s.iloc[0] == min(due for due, _, _ in events)
    assert found.t_s.iloc[-1] == max(due + send + service for due, send, service in events)


def test_growth_is_the_mean_of_the_last_tenth_less_that_of_the_first():
    """Sent every 1 s over 0 to 10; the tenths are 0 to 1 and 9 to 10.

    Event 0 stays for 0.25 s: mean 0.25 in the first. Events 7, 8 and 9 stay for 2.5 s each: in the last 7 until 9.5, 8 and 9
    to its end: 0.5 + 1 + 1. Of eleven events: 100 · (2.5 - 0.25) / 11.
    """
    latency_ms = [250] + [100] * 6 + [2500] * 3 + [100]
    assert backlog_growth_pct(frame(np.arange(11), latency_ms=latency_ms)) == pytest.approx(100 * 2.25 / 11)


def test_a_backlog_that_shrinks_grows_by_less_than_nothing():
    """Twenty stay through the first second; in the last one stays for 0.1 s."""
    events = frame([0] * 20 + list(range(1, 11)), latency_ms=[2000] * 20 + [100] * 10)
    assert backlog_growth_pct(events) == pytest.approx(100 * (0.1 - 20) / 30)


def test_events_that_are_lost_early_are_in_both_ends():
    events = frame([0] * 20 + list(range(1, 11)), latency_ms=[NAN] * 20 + [100] * 10, outcome=["lost"] * 20 + ["answered"] * 10)
    assert backlog_growth_pct(events) == 0.0  # without them it would grow by 0.1 from nothing


@pytest.mark.parametrize(("last", "grown"), [(10, 0), (11, 7)])
def test_what_may_be_chance_is_no_growth(last, grown):
    """Four stay through the first second, ``last`` through the last: 3 · √4 = 6 more may be chance."""
    events = frame([0] * 4 + [9] * last + [10], latency_ms=[1000] * (4 + last) + [0])
    assert backlog_growth_pct(events) == pytest.approx(100 * grown / (5 + last))


@pytest.mark.parametrize("due_s", [[], [1.0], [2.0, 2.0]])
def test_no_sending_window_has_no_growth(due_s):
    assert math.isnan(backlog_growth_pct(frame(due_s)))


def test_a_queue_below_its_capacity_keeps_up():
    """M/D/1 at a load of 0.7 holds 0.7 + 0.7² / (2 · 0.3) events on average (Pollaczek-Khinchine)."""
    events = queue(20_000, rate=70, service_s=0.01, seed=1)
    assert backlog(events).backlog.mean() == pytest.approx(0.7 + 0.49 / 0.6, rel=0.1)
    growth = backlog_growth_pct(events)
    assert abs(growth) < 0.05
    assert goodput(events) == pytest.approx(offer(events)["offered_per_s"], rel=0.01)
    assert kept_up(offer(events) | {"backlog_growth_pct": growth, "lost": 0})


def test_a_queue_above_its_capacity_does_not():
    """At a load of 1.25 a fifth of what comes stays; the tenths' middles are 0.9 of the window apart."""
    events = queue(20_000, rate=125, service_s=0.01, seed=2)
    growth = backlog_growth_pct(events)
    assert growth == pytest.approx(100 * (1 - 1 / 1.25) * 0.9, rel=0.05)
    assert goodput(events) == pytest.approx(100, rel=0.01)  # its capacity
    assert offer(events)["offer_kept_pct"] == 100.0  # the load was sent: only the backlog tells
    assert not kept_up(offer(events) | {"backlog_growth_pct": growth, "lost": 0})


def test_the_limits_of_keeping_up():
    assert (LEAST_OFFER_KEPT_PCT, MOST_BACKLOG_GROWTH_PCT) == (99.0, 1.0)
    at_the_limits = {"offer_kept_pct": 99.0, "backlog_growth_pct": 1.0, "lost": 0.0}
    assert kept_up(at_the_limits) is True
    for worse in ({"offer_kept_pct": 98.99}, {"backlog_growth_pct": 1.01}, {"lost": 1.0}, {"backlog_growth_pct": NAN}):
        assert kept_up(at_the_limits | worse) is False
