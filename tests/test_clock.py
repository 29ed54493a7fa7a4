"""The clock is Unix time that never goes backwards, whatever is done to the wall clock."""

import time

from workbench.clock import now_ns


def test_the_clock_is_unix_time():
    before = time.time_ns()
    now = now_ns()
    assert abs(now - before) < 10**9  # a second: the wall clock may be slewed between import and now


def test_the_clock_does_not_follow_a_wall_clock_that_is_set_back(monkeypatch):
    before = now_ns()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    readings = [now_ns() for _ in range(1000)]
    assert readings[0] >= before and readings == sorted(readings)
