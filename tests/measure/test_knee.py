"""The knee against queueing theory, and how far a goal holds on hand-made points."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.measure.knee import highest_within, kept_up, knee


@given(st.floats(1.0, 1e6))
def test_the_knee_of_m_m_1_is_at_half_its_capacity(capacity):
    """Mean time in M/M/1 is 1 ÷ (capacity - rate), so power is rate · (capacity - rate): a parabola about the middle."""
    rates = capacity * np.arange(1, 100) / 100
    assert knee(rates, 1 / (capacity - rates)) == pytest.approx(capacity / 2)


def test_the_knee_of_m_d_1_is_where_its_own_formula_has_most_power():
    """T = (2 - ρ) ÷ (2 (1 - ρ)) service times; d/dρ of ρ/T is 0 where ρ² - 4ρ + 2 = 0: ρ = 2 - √2."""
    load = np.arange(1, 1000) / 1000
    assert knee(load, (2 - load) / (2 * (1 - load))) == pytest.approx(2 - math.sqrt(2), abs=0.001)


def test_power_counts_what_was_answered_not_what_was_offered():
    """At 400 offered, 150 answered: 150/30 = 5 a ms is less than 200/25 = 8; 400/30 would be more."""
    assert knee([100, 200, 400], [20, 25, 30], goodput=[100, 200, 150]) == 200.0
    assert knee([100, 200, 400], [20, 25, 30]) == 400.0


def test_rates_without_a_latency_are_no_knee_and_nothing_has_none():
    assert knee([100, 200, 400], [20.0, math.nan, 80.0]) == 100.0
    assert math.isnan(knee([], [])) and math.isnan(knee([100], [math.nan]))


def runs(*points: tuple[float, float], **columns: float) -> pd.DataFrame:
    """(rate, p99) of one run each, which kept up."""
    frame = pd.DataFrame(points, columns=["rate", "p99_ms"])
    return frame.assign(offer_kept_pct=100.0, backlog_growth_pct=0.0, lost=0.0, **columns)


def test_the_highest_rate_within_the_goal_needs_every_run_and_every_lower_rate():
    assert highest_within(runs((100, 50), (200, 300), (400, 301)), 300) == 200.0
    assert highest_within(runs((400, 60), (100, 50), (200, 55)), 300) == 400.0
    assert highest_within(runs((100, 50), (200, 60), (200, 310), (400, 70)), 300) == 100.0  # one run of two missed it
    assert highest_within(runs((100, 310), (200, 60)), 300) is None
    assert highest_within(runs(), 300) is None


def test_a_run_that_did_not_keep_up_or_has_no_p99_meets_no_goal():
    good = runs((100, 50), (200, 60))
    assert highest_within(good, 300) == 200.0
    for column, value in (("offer_kept_pct", 98.9), ("backlog_growth_pct", 1.1), ("lost", 1.0), ("p99_ms", math.nan)):
        spoiled = good.copy()
        spoiled.loc[1, column] = value
        assert highest_within(spoiled, 300) == 100.0, column


def test_another_figure_can_have_the_goal():
    frame = runs((100, 50), (200, 60)).assign(p50_ms=[5.0, 7.0])
    assert highest_within(frame, 6, figure="p50_ms") == 100.0 and highest_within(frame, 6) is None


@given(st.lists(st.tuples(st.sampled_from([50.0, 100.0, 200.0, 400.0]), st.floats(0, 600)), max_size=12))
def test_it_is_what_a_walk_up_the_rates_finds(points):
    walked = None
    for rate in sorted({rate for rate, _ in points}):
        if any(p99 > 300 for other, p99 in points if other == rate):
            break
        walked = rate
    assert highest_within(runs(*points), 300) == walked


def test_keeping_up_is_judged_row_by_row():
    frame = runs((100, 1), (200, 1), (400, 1)).assign(offer_kept_pct=[99.0, 98.0, math.nan])
    assert kept_up(frame).tolist() == [True, False, False] and kept_up(frame.iloc[:0]).tolist() == []
