"""Latency phase by phase, on requests whose times are chosen."""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import ResultError, SettingError
from workbench.plots.phases import latency_by_phase

from .made import legend, lines_of, texts, title

PHASES = {"before": 1.0, "moving": 21.0, "after": 31.0}


def requests(count: int = 5000) -> pd.DataFrame:
    """100 a second from 0 s on; 2 ms each, 20 ms while moving; from 31 s on another version answers."""
    t_s = np.arange(count) / 100
    moving = (t_s >= 21) & (t_s < 31)
    return pd.DataFrame(
        {"t_s": t_s, "latency_ms": np.where(moving, 20.0, 2.0), "error": "", "version": np.where(t_s >= 31, "new", "old")}
    )


def test_the_title_compares_the_first_phase_with_another_by_a_percentile_that_both_have():
    ax = latency_by_phase(requests(), PHASES, by="version", during="moving")
    assert title(ax) == "p99 2 ms before, 20 ms moving; 0 of 4,900 requests failed"  # 1 s of warm-up is left out
    assert legend(ax) == [
        *("answered by the old one", "answered by the new one"),
        *("p99 of the phase", "p95 of the phase", "p50 of the phase"),
        *("1  before", "2  moving", "3  after"),
    ]
    assert texts(ax) == ["1", "2", "3"]
    old, new = lines_of(ax)
    assert len(old.get_xdata()) == 3000 and len(new.get_xdata()) == 1900 and set(new.get_ydata()) == {2.0}
    assert ax.get_xlim() == pytest.approx((1.0, 49.99)) and ax.get_yscale() == "linear"  # 10 times are no reason
    assert ax.get_ylabel() == "latency of the request, ms"


def test_a_phase_with_too_few_requests_has_no_p99():
    """Each tenth request: 200 before and 100 while moving, so p50 is what both have."""
    ax = latency_by_phase(requests()[::10], PHASES, by="version", during="moving")
    assert title(ax).startswith("p50 2 ms before, 20 ms moving")
    few = requests()[::1000]
    assert (
        title(latency_by_phase(few, PHASES, by="version", during="moving"))
        == "Too few requests for a percentile; 0 of 4 requests failed"
    )


def test_what_failed_is_counted_and_marked_and_in_no_percentile():
    broken = requests()
    broken.loc[[2200, 2300], "error"] = "refused"
    broken.loc[[2200, 2300], "latency_ms"] = 9000.0
    ax = latency_by_phase(broken, PHASES, by="version", during="moving")
    assert title(ax) == "p95 2 ms before, 20 ms moving; 2 of 4,900 requests failed"  # 998 carry no p99
    assert "failed" in legend(ax) and sorted(lines_of(ax, marker="X")[0].get_xdata()) == [22.0, 23.0]


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ResultError, match="no column error to plot"):
        latency_by_phase(requests().drop(columns="error"), PHASES, by="version", during="moving")
    with pytest.raises(SettingError, match="during = 'never' is not allowed: one of before, moving, after"):
        latency_by_phase(requests(), PHASES, by="version", during="never")
    with pytest.raises(ResultError, match="the frame has no rows"):
        latency_by_phase(requests(50), PHASES, by="version", during="moving")
