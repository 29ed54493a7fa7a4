"""A run of queries beside writes, on samples that are chosen."""

import numpy as np
import pandas as pd
import pytest

from workbench import plots
from workbench.plots.churn import busy

from .made import legend, lines_of, title


def samples(found_ms: float = 2.0) -> pd.DataFrame:
    """10 s of 10 queries a second; from 2 s on records are written, recall falls to 0.9 and latency rises to 4 ms."""
    t_s = np.arange(100) / 10
    early = t_s < 2
    query = pd.DataFrame(
        {"what": "query", "t_s": t_s, "latency_ms": np.where(early, 1.0, 4.0), "recall": np.where(early, 1.0, 0.9)}
    )
    write = pd.DataFrame({"what": "write", "t_s": np.arange(2.0, 10.0), "latency_ms": 0.5})
    probe = pd.DataFrame({"what": "probe", "t_s": [3.0, 4.0], "latency_ms": [2.0, found_ms]})
    upkeep = pd.DataFrame({"what": "upkeep", "t_s": np.arange(20) / 2, "jobs": [0, 0, 1, 1, 1, 0, 0, *[2] * 9, 0, 1, 1, 0]})
    upkeep["scanned"] = [0, 900, 1000, 600, 100, 0, 900, 1000, 1000, 1000, 1100, 1200, 1300, 1300, 300, 100, 50, 1000, 500, 0]
    return pd.concat([query, write, probe, upkeep], ignore_index=True)


def test_spans_are_from_the_first_sample_with_jobs_to_the_first_without():
    made = samples()
    assert busy(made[made.what == "upkeep"]) == [
        (1.0, 2.5, False),
        (3.5, 7.0, True),  # no uncovered row was taken in before 7 s
        (7.0, 8.0, False),
        (8.5, 9.5, False),
    ]
    assert busy(pd.DataFrame({"t_s": [0.0, 1.0], "jobs": [0, 0], "scanned": [5, 5]})) == []
    assert busy(pd.DataFrame({"t_s": np.arange(6.0), "jobs": 1, "scanned": 1000})) == [(0.0, 5.0, True)]


def test_recall_over_time_is_the_mean_of_each_stretch():
    ax = plots.churned(samples(), "recall")
    assert title(ax).startswith("Recall over live contents is 0.9 while records are written, 1 before; ")
    assert title(ax).endswith("; the index was extended 3 times and built anew once")
    (line,) = lines_of(ax, label="mean recall@10")
    assert line.get_ydata().tolist() == pytest.approx([1.0, 1.0, *[0.9] * 8])
    assert line.get_xdata().tolist() == pytest.approx(np.arange(10) + 0.5)
    assert legend(ax) == ["index extended", "index built anew,\nrows compacted", "first write", "mean recall@10"]
    assert ax.get_ylim()[0] <= 0.9 and len(ax.patches) == 4


def test_latency_and_freshness_stand_beside_each_other():
    ax = plots.churned(samples(), "latency")
    assert title(ax) == (
        "A query takes 4 ms (p50) while records are written, 1 before; an acknowledged record is found after 2 ms (p50)"
    )
    (found,) = lines_of(ax, label="acknowledged → found")
    assert found.get_xydata().tolist() == [[3.0, 2.0], [4.0, 2.0]]
    slow = plots.churned(samples(found_ms=float("nan")), "latency")
    assert title(slow).endswith("1 of 2 acknowledged records were never found")
