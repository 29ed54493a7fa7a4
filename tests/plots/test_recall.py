"""Recall curves on points that are chosen: what reaches the goal, what nobody beats, what is left out."""

import numpy as np
import pandas as pd
import pytest

from workbench import plots
from workbench.errors import ResultError, SettingError

from .made import legend, lines_of, texts, title

# build, asked, p50 in ms, recall
_CHOSEN = (
    ("HNSW", "ef 16", 0.1, 0.90),
    ("HNSW", "ef 64", 0.2, 0.97),
    ("HNSW", "ef 256", 0.6, 0.99),
    ("IVF", "nprobe 1", 0.05, 0.5),
    ("IVF", "nprobe 16", 0.3, 0.96),
    ("IVF", "nprobe 64", 0.9, 0.99),
    ("exact", "", 5.0, 1.0),
)


def pairs(runs: int = 1, chosen: tuple = _CHOSEN) -> pd.DataFrame:
    rows = [
        {"build": build, "settings": f"{build} {asked}", "run": run, "query_p50_ms": ms * (1 + 0.1 * run), "recall_at_10": recall}
        for build, asked, ms, recall in chosen
        for run in range(runs)
    ]
    return pd.DataFrame(rows).assign(error="", smoke=False)


def test_the_title_says_what_the_goal_costs_cheapest_first():
    ax = plots.recall_curves(pairs(), by="build", goal=0.95)
    assert title(ax) == (
        "To find 95% of the ten nearest takes HNSW (0.2 ms), IVF (0.3 ms), exact (5 ms); not shown: 1 setting below 0.8"
    )
    assert texts(ax) == ["goal 0.95"] and legend(ax) == ["HNSW", "IVF", "exact", "beaten by none in both"]
    none = plots.recall_curves(pairs(chosen=_CHOSEN[3:4] + _CHOSEN[:1]), by="build", goal=0.95, above=0.4)
    assert title(none) == "None of 2 finds 95% of the ten nearest"
    some = plots.recall_curves(pairs(chosen=_CHOSEN[:2] + _CHOSEN[3:4]), by="build", goal=0.95, above=0.4)
    assert title(some) == "To find 95% of the ten nearest takes HNSW (0.2 ms); 1 of 2 never do"


def test_a_line_goes_through_a_builds_settings_and_the_band_through_what_none_beats():
    ax = plots.recall_curves(pairs(), by="build", goal=0.95)
    hnsw, ivf, exact, band = (line for line in lines_of(ax) if line.get_label()[0] != "_")
    assert np.array(hnsw.get_xydata()).tolist() == [[0.1, 0.9], [0.2, 0.97], [0.6, 0.99]]
    assert np.array(ivf.get_xydata()).tolist() == [[0.3, 0.96], [0.9, 0.99]]
    assert np.array(band.get_xydata()).tolist() == [[0.1, 0.9], [0.2, 0.97], [0.6, 0.99], [5.0, 1.0]]
    assert exact.get_xydata().tolist() == [[5.0, 1.0]] and ax.get_xscale() == "log"


def test_points_are_means_over_runs_and_few_runs_are_a_trial():
    ax = plots.recall_curves(pairs(runs=3).assign(smoke=True), by="build", goal=0.95)
    assert lines_of(ax)[0].get_xdata().tolist() == pytest.approx([0.11, 0.22, 0.66])
    assert title(ax).endswith("(fewer than 5 runs a point: a trial, not a finding)")


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(ResultError, match=r"^nothing to plot: all 7 runs failed, the first with: no"):
        plots.recall_curves(pairs().assign(error="no"), by="build", goal=0.95)
    with pytest.raises(SettingError, match=r"^x = 'speed' is not allowed: one of "):
        plots.recall_curves(pairs(), by="build", goal=0.95, x="speed")
