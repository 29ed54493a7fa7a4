"""Filters' pictures on samples that are chosen."""

import pandas as pd
import pytest

from workbench import plots
from workbench.errors import ResultError

from .made import legend, lines_of, title


def samples() -> pd.DataFrame:
    chosen = {("ours", "a"): (1.0, 1.0), ("theirs", "a"): (0.1, 0.9), ("ours", "b"): (0.98, 1.0), ("theirs", "b"): (0.04, 0.8)}
    return pd.DataFrame(
        {"settings": "s", "run": run, "way": way, "field": field, "share_pct": share, "recall": recall, "query_us": 100 / recall}
        for (way, field), recalls in chosen.items()
        for share, recall in zip((1.0, 50.0), recalls, strict=True)
        for run in (0, 1)
    )


def test_recall_at_the_narrowest_filter_is_the_worse_of_the_fields():
    ax = plots.by_selectivity(samples(), "recall")
    assert title(ax) == "Under a filter of 1% at the worse of both fields ours finds 98%, theirs finds 4%"
    assert legend(ax) == ["ours,\na", "theirs,\na", "ours,\nb", "theirs,\nb"]
    assert [line.get_ydata().tolist() for line in lines_of(ax)] == [[1.0, 1.0], [0.1, 0.9], [0.98, 1.0], [0.04, 0.8]]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1%", "50%"] and ax.get_xscale() == "log"


def test_time_is_that_of_the_slower_field_and_one_field_needs_no_word():
    frame = samples()
    assert title(plots.by_selectivity(frame, "query_us")).endswith("ours takes 102 µs, theirs takes 2,500 µs")
    one = plots.by_selectivity(frame[frame.field == "a"], "query_us")
    assert title(one) == "Under a filter of 1% ours takes 100 µs, theirs takes 1,000 µs"


def test_no_samples_are_refused():
    with pytest.raises(ResultError, match=r"^nothing to plot: the frame has no rows"):
        plots.by_selectivity(samples().iloc[:0], "recall")
