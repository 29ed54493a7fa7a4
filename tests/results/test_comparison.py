"""Planted differences are found, equal settings are not called different, and what cannot be compared is refused."""

import math

import numpy as np
import pandas as pd
import pytest

from workbench.errors import ResultError
from workbench.results import compare
from workbench.settings import Settings

_ONE, _OTHER = Settings(), Settings(rate=50)


def _runs(settings: Settings = _ONE, *, runs: range = range(5), **figures) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "settings": settings.hash,
            "run": list(runs),
            "cloud": "embedded",
            "machine": "a processor",
            "task": "pipeline",
            "code": "ba9876543210",
            **figures,
        }
    )


def test_a_comparison_by_hand():
    """Ratios 1.1, 1.2, 1.3: their logs' mean ± t(2, 0.975) = 4.302653 of their standard error."""
    table = compare(_runs(runs=range(3), p50_ms=[10.0, 20.0, 40.0]), _runs(runs=range(3), p50_ms=[11.0, 24.0, 52.0]), ["p50_ms"])
    logs = [math.log(1.1), math.log(1.2), math.log(1.3)]
    mean = sum(logs) / 3
    reach = 4.302653 * math.sqrt(sum((log - mean) ** 2 for log in logs) / 2 / 3)
    row = table.loc["p50_ms"]
    assert (row.a_mean, row.b_mean) == pytest.approx((70 / 3, 29.0))
    assert (row.ratio, row.low, row.high) == pytest.approx(
        (math.exp(mean), math.exp(mean - reach), math.exp(mean + reach)), rel=1e-6
    )
    assert (row.scale, row.runs, row.paired, row.verdict, row.meaning) == ("ratio", 3, True, "not distinguishable", "")
    assert table.index.name == "figure"


@pytest.mark.parametrize(
    ("figure", "verdict", "meaning"),
    [("p50_ms", "higher", "worse"), ("goodput_per_s", "higher", "better"), ("offered_per_s", "higher", "")],
)
def test_the_meaning_of_a_difference_is_the_figures(figure, verdict, meaning):
    low, high = _runs(**{figure: [10, 11, 10, 12, 11.0]}), _runs(_OTHER, **{figure: [20, 21, 21, 23, 22.0]})
    row = compare(low, high, [figure]).loc[figure]
    assert (row.verdict, row.meaning) == (verdict, meaning)
    back = compare(high, low, [figure]).loc[figure]
    assert back.verdict == "lower" and (back.low, back.high, back.ratio) == pytest.approx(
        (1 / row.high, 1 / row.low, 1 / row.ratio)
    )
    assert back.meaning == {"worse": "better", "better": "worse", "": ""}[meaning]


def test_zeros_and_negative_values_are_compared_by_their_difference():
    a, b = _runs(lost=[0.0] * 5, call_ms=[-1.0, 1, 2, 3, 4]), _runs(lost=[0.0, 0, 1, 0, 0], call_ms=[9.0, 11, 12, 13, 15])
    table = compare(a, b, ["lost", "call_ms"])
    assert table["scale"].tolist() == ["difference"] * 2 and table["ratio"].isna().all()
    assert table["verdict"].tolist() == ["not distinguishable", "higher"] and table["meaning"].tolist() == ["", "worse"]
    # differences 10, 10, 10, 10, 11: mean 10.2, standard error 0.2; Bonferroni for two: t(4, 0.9875) = 3.495406
    assert tuple(table.loc["call_ms", ["low", "high"]]) == pytest.approx((10.2 - 0.2 * 3.495406, 10.2 + 0.2 * 3.495406), rel=1e-6)
    same = compare(a, a, ["lost"]).loc["lost"]
    assert (same.low, same.high, same.verdict) == (0.0, 0.0, "not distinguishable")


def test_figures_without_noise_differ_if_they_differ():
    row = compare(_runs(hit_rate=[0.5] * 5), _runs(hit_rate=[0.25] * 5), ["hit_rate"]).loc["hit_rate"]
    assert (row.low, row.high) == pytest.approx((0.5, 0.5)) and (row.verdict, row.meaning) == ("lower", "worse")


def test_runs_that_only_one_has_are_left_out_of_pairs_and_unmeasured_ones_are_no_runs():
    nan = math.nan
    row = compare(_runs(p50_ms=[1, 2, 3, nan, 5.0]), _runs(p50_ms=[nan, 4, 6, 8, 10.0]), ["p50_ms"]).loc["p50_ms"]
    assert (row.runs, row.paired, row.a_mean, row.low, row.high) == (3, True, 10 / 3, pytest.approx(2), pytest.approx(2))
    row = compare(_runs(p50_ms=[1, 2, 3, nan, nan]), _runs(p50_ms=[nan, nan, 6, 8, 10.0]), ["p50_ms"]).loc["p50_ms"]
    assert (row.runs, row.paired, row.a_mean, row.b_mean) == (3, False, 2.0, 8.0)


def test_too_few_runs_have_no_verdict_and_cost_the_others_nothing():
    nan = math.nan
    a, b = _runs(p50_ms=[1, 2, 3, 4, 5.0], p99_ms=[nan, nan, nan, 1, 1]), _runs(_OTHER, p50_ms=[2, 4, 6, 8, 10.5], p99_ms=9.0)
    table = compare(a, b, ["p50_ms", "p99_ms", "p999_ms"])
    assert table["verdict"].tolist() == ["higher", "too few runs", "too few runs"] and table["runs"].tolist() == [5, 2, 0]
    assert table.loc["p50_ms"].equals(compare(a, b, ["p50_ms"]).loc["p50_ms"])
    assert table.loc["p999_ms", ["a_mean", "b_mean", "low", "high"]].isna().all()


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ({}, {"machine": "another"}, "the comparison has more than one machine, a processor and another"),
        ({}, {"cloud": "aws"}, "the comparison has more than one cloud, aws and embedded"),
        ({"task": "index"}, {}, "the comparison has more than one task, index and pipeline"),
        ({"settings": ["x", "x", "y", "y", "z"]}, {}, "a has more than one settings, x and y and z"),
        ({}, {"code": ["x", "x", "x", "y", "y"]}, "b has more than one code, x and y"),
        ({}, {"run": [0, 1, 2, 3, 3]}, "b has run 3 twice"),
        ({"p50_ms": math.inf}, {}, "p50_ms is infinite in a run"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, reason):
    with pytest.raises(ResultError, match=f"^{reason}"):
        compare(_runs(p50_ms=1.0).assign(**a), _runs(p50_ms=1.0).assign(**b), ["p50_ms"])


def test_unknown_no_and_repeated_figures_are_refused():
    frame = _runs(p50_ms=1.0)
    with pytest.raises(ResultError, match="'latency' is no figure"):
        compare(frame, frame, ["latency"])
    for figures in ([], ["p50_ms", "p50_ms"]):
        with pytest.raises(ResultError, match="cannot be compared: name at least one, and each once"):
            compare(frame, frame, figures)
    with pytest.raises(ResultError, match="a has no rows"):
        compare(frame.iloc[:0], frame, ["p50_ms"])


def _noisy(rng, sd: float, factor: float = 1.0, drift=0.0) -> np.ndarray:
    """Five runs of 80 ms: each its own lognormal effect, and what all settings share of its minute."""
    return 80.0 * factor * np.exp(rng.normal(0.0, sd, 5) + drift)


@pytest.mark.parametrize("sd", [0.02, 0.05, 0.10])
def test_a_stage_that_is_a_fifth_slower_is_found(sd):
    """Drift of 15% is shared by the pairs of an interleaved sweep, so it neither hides nor makes a difference."""
    rng = np.random.default_rng(11)
    rows = []
    for _ in range(200):
        drift = rng.normal(0.0, 0.15, 5)
        a, b = _noisy(rng, sd, drift=drift), _noisy(rng, sd, 1.2, drift)
        rows.append(compare(_runs(p50_ms=a), _runs(_OTHER, p50_ms=b), ["p50_ms"]).loc["p50_ms"])
    table = pd.DataFrame(rows)
    assert ((table.low <= 1.2) & (table.high >= 1.2)).mean() >= 0.90
    assert table["ratio"].median() == pytest.approx(1.2, rel=0.02)
    # the power of a paired t test of 5 runs for log 1.2 against a noise of √2·sd, by the noncentral t distribution
    power = {0.02: 1.0, 0.05: 0.986, 0.10: 0.587}[sd]
    assert (table.meaning == "worse").mean() == pytest.approx(power, abs=0.01 + 3 * math.sqrt(power * (1 - power) / 200))
    assert (table.meaning == "better").mean() <= 0.01


@pytest.mark.parametrize("paired", [True, False])
def test_equal_settings_are_seldom_called_different(paired):
    """A false alarm in 5% of tables of two figures; ``measure/test_intervals`` counts more exactly."""
    rng, trials, alarms = np.random.default_rng(5), 400, 0
    names = ["p50_ms", "embed_ms"]
    for trial in range(trials):
        drift = rng.normal(0.0, 0.15, 5) if paired else 0.0
        a, b = ({name: _noisy(rng, (0.05, 0.10, 0.15)[trial % 3], drift=drift) for name in names} for _ in range(2))
        table = compare(_runs(**a), _runs(_OTHER, runs=range(5) if paired else range(10, 15), **b), names)
        assert table["paired"].tolist() == [paired] * 2
        alarms += (table["verdict"] != "not distinguishable").any()
    assert alarms / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)  # and two standard errors of so few trials
