"""The table of figures: complete, and its limits and axes are usable."""

import pytest

from workbench.measure.metrics import METRICS, Metric
from workbench.measure.timeline import WAY


def test_every_part_of_the_way_is_a_figure():
    assert [name for name in METRICS if name.removesuffix("_ms") in WAY] == [f"{part}_ms" for part in WAY]


@pytest.mark.parametrize("name", METRICS)
def test_a_figure_can_be_shown(name):
    metric = METRICS[name]
    assert name.isidentifier() and metric.label and "\n" not in metric.axis
    assert metric.better in ("lower", "higher", "neither")
    assert metric.highest is None or metric.lowest is None or metric.lowest < metric.highest


_UNITS = {"_ms": "ms", "_s": "s", "_us": "µs", "_mib": "MiB", "_per_s": "events/s", "_pct": "%"}


@pytest.mark.parametrize("name", METRICS)
def test_a_name_ends_in_its_unit(name):
    ends = [end for end in _UNITS if name.endswith(end)]
    if ends:
        assert METRICS[name].unit.startswith(_UNITS[max(ends, key=len)])


def test_an_axis_is_the_label_with_its_unit():
    assert METRICS["p50_ms"].axis == "p50 latency, due → recommended, ms"
    assert Metric("a count", "", "neither").axis == "a count"


@pytest.mark.parametrize(
    ("name", "better"),
    [("p99_ms", "lower"), ("lost", "lower"), ("goodput_per_s", "higher"), ("hit_rate", "higher"), ("offered_per_s", "neither")],
)
def test_the_better_direction_is_the_readers(name, better):
    assert METRICS[name].better == better


def test_shares_lie_between_0_and_1_and_only_differences_may_be_negative():
    assert {name for name, metric in METRICS.items() if metric.highest is not None} == {"hit_rate", "recall_at_10", "recall_p5"}
    assert {name for name, metric in METRICS.items() if metric.lowest is None} == {f"{part}_ms" for part in WAY} | {
        "backlog_growth_pct"
    }
