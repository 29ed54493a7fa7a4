"""Where the time goes: bars stand where the means say."""

import numpy as np
import pandas as pd
import pytest

from workbench import plots
from workbench.errors import ResultError
from workbench.measure.timeline import PARTS, WAY

from .made import a_run, failed, legend, point, texts, title


def way(placement: str, *runs: dict[str, float], **columns: object) -> pd.DataFrame:
    """Rows whose parts of the way take these means, run by run."""
    parts = {f"{part}_ms": [run.get(part, 0.0) for run in runs] for part in WAY}
    return point(placement, 100, [1.0] * len(runs), **parts, **columns)


def test_stages_title_names_the_heaviest_part_of_each_run():
    inline, remote = a_run(embed=[2.0, 4.0], act=[6.0, 8.0]), a_run(call=[60.0], query=[20.0], upsert=[20.0])
    ax = plots.stages({"inline": inline, "lambda": remote})
    assert title(ax) == ("inline: 70% of the time is “act (DynamoDB write)”; lambda: 60% of the time is “call the function”")
    assert {"inline: 10 ms in the mean", "lambda: 100 ms in the mean"} <= set(texts(ax))


def test_stages_are_a_waterfall_each_bar_begins_where_the_last_ended():
    means = dict(zip(WAY, range(1, 12), strict=True))
    ax = plots.stages({"inline": a_run(**{part: [float(ms)] for part, ms in means.items()})})
    bars = sorted(ax.patches, key=lambda bar: bar.get_y())
    assert [bar.get_width() for bar in bars] == list(means.values())
    assert [bar.get_x() for bar in bars] == np.cumsum([0, *means.values()])[:-1].tolist()
    assert [label.get_text() for label in ax.get_yticklabels()] == [PARTS[part] for part in WAY]


def test_every_part_of_the_way_has_words_for_a_reader():
    assert PARTS.keys() == set(WAY)


def test_stages_of_a_run_without_answers_say_so_and_no_runs_are_refused():
    ax = plots.stages({"inline": a_run(act=[3.0]), "lambda": a_run(act=np.empty(0))})
    assert title(ax) == "inline: 100% of the time is “act (DynamoDB write)”; lambda: no event was measured"
    assert {"inline: 3 ms in the mean", "lambda: no event measured"} <= set(texts(ax))
    with pytest.raises(ResultError, match="no runs were given"):
        plots.stages({})


def test_stages_by_stack_the_means_over_runs():
    frame = pd.concat(
        [way("inline", {"embed": 2.0, "act": 6.0}, {"embed": 4.0, "act": 8.0}), way("lambda", {"call": 30.0, "act": 10.0})]
    )
    ax = plots.stages_by(frame, by="placement")
    inline, remote = (
        sorted((bar for bar in ax.patches if round(bar.get_y() + 0.325) == row), key=lambda bar: bar.get_x()) for row in (0, 1)
    )
    assert [(bar.get_x(), bar.get_width()) for bar in inline if bar.get_width()] == [(0.0, 3.0), (3.0, 7.0)]
    assert [(bar.get_x(), bar.get_width()) for bar in remote if bar.get_width()] == [(0.0, 30.0), (30.0, 10.0)]
    assert title(ax) == "inline: 70% of the time is “act (DynamoDB write)”; lambda: 75% of the time is “call the function”"
    assert {"10.0 ms", "40.0 ms", "act\n7.0", "call\n30.0"} <= set(texts(ax))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["inline", "lambda"]
    assert legend(ax) == [PARTS[part] for part in WAY]


def test_the_line_at_a_bar_is_students_interval_of_the_whole_over_runs():
    """Wholes of 8 and 12: mean 10, standard error 2, and t(1 degree, 97.5%) = 12.706."""
    ax = plots.stages_by(way("inline", {"act": 8.0}, {"act": 12.0}), by="placement")
    (segment,) = ax.collections[0].get_segments()
    assert segment[:, 0].tolist() == pytest.approx([10 - 25.412, 10 + 25.412], abs=0.01)


def test_stages_by_one_heaviest_part_are_said_once():
    frame = pd.concat([way("inline", {"embed": 3.0, "act": 1.0}), way("lambda", {"embed": 5.0, "act": 5.0})])
    assert title(plots.stages_by(frame, by="placement")) == "“embed” takes the largest part of the time: inline 75%, lambda 50%"


def test_stages_by_work_without_figures_and_with_failed_runs():
    parts = {f"{part}_ms": np.nan for part in WAY}
    broken = failed("inline", 100).assign(**parts)
    frame = pd.concat([way("inline", {"act": 3.0}), broken, way("lambda", {"act": 3.0}).assign(**parts)], ignore_index=True)
    ax = plots.stages_by(frame, by="placement")
    assert title(ax) == "inline: 100% of the time is “act (DynamoDB write)”; lambda: no event was measured"
    assert sum(bar.get_width() for bar in ax.patches if bar.get_width() == bar.get_width()) == 3.0
    with pytest.raises(ResultError, match="nothing to plot: all 1 runs failed, the first with: the run took more than 900 s"):
        plots.stages_by(broken, by="placement")


def test_stages_by_refuse_what_has_no_rows_no_column_or_several_designs_in_one_bar():
    frame = way("inline", {"act": 3.0}, {"act": 4.0})
    with pytest.raises(ResultError, match="nothing to plot: the frame has no rows"):
        plots.stages_by(frame.iloc[:0], by="placement")
    with pytest.raises(ResultError, match="no column shards to plot"):
        plots.stages_by(frame, by="shards")
    with pytest.raises(ResultError, match=r"placement = inline stands for 2 settings \(a, b"):
        plots.stages_by(frame.assign(settings=["a", "b"]), by="placement")
