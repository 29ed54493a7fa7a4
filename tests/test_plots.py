"""Each picture's title states what its data say."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from workbench import plots, summaries
from workbench.measure.timeline import WAY
from workbench.runs import Run
from workbench.scenarios.retail import Retail
from workbench.settings import Settings

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed():
    """No figure outlives its test, and each can be drawn."""
    yield
    for number in plots.plt.get_fignums():
        plots.plt.figure(number).canvas.draw()
    plots.plt.close("all")


def a_run(**parts_ms: object) -> Run:
    """Answered events whose parts of the way take these times; the parts that are not named take none."""
    frame = pd.DataFrame({f"{part}_ms": 0.0 for part in WAY}, index=range(len(next(iter(parts_ms.values())))))
    frame = frame.assign(outcome="answered", batch=1, **{f"{part}_ms": values for part, values in parts_ms.items()})
    frame["latency_ms"] = frame[[f"{part}_ms" for part in WAY]].sum(axis=1)
    replay = Retail([], [], [], [], {})
    return Run(Settings(warmup=0), "embedded", frame, [], {}, [], replay, "", {})


def texts(ax) -> list[str]:
    return [text.get_text().strip() for text in ax.texts]


def test_stages_title_names_the_heaviest_part_of_each_run():
    inline, remote = a_run(embed=[2.0, 4.0], act=[6.0, 8.0]), a_run(call=[60.0], query=[20.0], upsert=[20.0])
    ax = plots.stages({"inline": inline, "lambda": remote})
    assert ax.get_title() == ("inline: 70% of the time is “act (DynamoDB write)”; lambda: 60% of the time is “call the function”")
    assert {"inline: 10 ms in the mean", "lambda: 100 ms in the mean"} <= set(texts(ax))


def test_stages_are_a_waterfall_each_bar_begins_where_the_last_ended():
    means = dict(zip(WAY, range(1, 12), strict=True))
    ax = plots.stages({"inline": a_run(**{part: [float(ms)] for part, ms in means.items()})})
    bars = sorted(ax.patches, key=lambda bar: bar.get_y())
    assert [bar.get_width() for bar in bars] == list(means.values())
    assert [bar.get_x() for bar in bars] == np.cumsum([0, *means.values()])[:-1].tolist()
    assert [label.get_text() for label in ax.get_yticklabels()] == [plots.PARTS[part] for part in WAY]


def test_every_part_of_the_way_has_words_for_a_reader():
    assert plots.PARTS.keys() == set(WAY)


def test_percentiles_title_gives_the_p99_of_each_run():
    fast, slow = a_run(act=np.arange(1000.0)), a_run(act=np.arange(1000.0) * 3)
    ax = plots.percentiles({"inline": fast, "lambda": slow}, goal_ms=300)
    assert ax.get_title() == "99 of 100 events are answered within: inline 989 ms, lambda 2967 ms"
    assert "goal 300 ms" in texts(ax) and any(line.get_ydata()[0] == 300 for line in ax.lines)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["p50", "p90", "p95", "p99"]


def test_percentiles_stop_where_fewer_than_ten_events_are_slower():
    curve = plots.percentiles({"inline": a_run(act=np.arange(100.0))}, goal_ms=1).lines[0]
    assert curve.get_ydata().max() == 89.0 and curve.get_xdata().max() == pytest.approx(100 / 10.5)
    at_half = np.interp(2.0, curve.get_xdata(), curve.get_ydata())
    assert at_half == pytest.approx(49.5, abs=0.01)  # the median


@pytest.mark.parametrize("count", [0, 5, 999])
def test_percentiles_title_claims_nothing_of_too_few_events(count):
    ax = plots.percentiles({"inline": a_run(act=np.arange(float(count)))}, goal_ms=300)
    assert ax.get_title() == "99 of 100 events are answered within: inline has too few events to say"


def table(**rates: float) -> pd.DataFrame:
    users = [str(number) for number in range(100)]
    hits = {name: pd.Series([1.0] * round(100 * rate) + [0.0] * round(100 * (1 - rate)), users) for name, rate in rates.items()}
    return summaries.hit_rates(hits, against=next(iter(rates)))


def test_hit_rates_title_compares_the_best_with_the_second():
    ax = plots.hit_rates(table(ours=0.3, article=0.05, popular=0.2))
    assert ax.get_title() == "“ours” hits 1.5 times as often as “popular”"
    assert [round(bar.get_width()) for bar in ax.patches] == [5, 20, 30] and texts(ax) == ["5.0%", "20.0%", "30.0%"]
    assert ax.get_xlabel().startswith("% of 100 users")
    best = [bar for bar in ax.patches if mpl.colors.to_hex(bar.get_facecolor()) == plots.COLOURS[0]]
    assert [round(bar.get_width()) for bar in best] == [30]


def test_hit_rates_title_says_so_where_ours_is_not_the_best():
    assert plots.hit_rates(table(ours=0.1, popular=0.4)).get_title() == "“popular” hits 4.0 times as often as “ours”"


def test_hit_rates_title_has_words_for_a_second_that_never_hits_and_for_one_alone():
    assert plots.hit_rates(table(ours=0.1, article=0.0)).get_title() == "“ours” hits 10.0%, “article” never"
    assert plots.hit_rates(table(ours=0.0, article=0.0)).get_title().endswith("never")
    assert plots.hit_rates(table(ours=0.25)).get_title() == "“ours” hits 25.0%"


def test_a_picture_is_drawn_where_it_is_asked_to_be():
    _, (left, right) = plots.plt.subplots(1, 2)
    runs = {"inline": a_run(act=np.arange(30.0))}
    assert plots.percentiles(runs, 1, left) is left and plots.stages(runs, right) is right
    assert len(plots.plt.get_fignums()) == 1


def test_colours_tell_eight_things_apart():
    assert len(set(plots.COLOURS)) == 8
