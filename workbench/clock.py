"""One clock for a pipeline of several processes.

``now_ns`` is Unix time in nanoseconds that never goes backwards within a process: the monotonic clock, tied to the wall
clock once at import. Between processes of one machine it differs by the steps the wall clock made between their starts
(microseconds, unless the clock was set); between machines by their clocks' skew.
"""

import time

_WALL_MINUS_MONOTONIC = time.time_ns() - time.monotonic_ns()


def now_ns() -> int:
    """Unix time, ns."""
    return _WALL_MINUS_MONOTONIC + time.monotonic_ns()
