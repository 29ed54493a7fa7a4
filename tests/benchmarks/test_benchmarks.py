"""The list of benchmarks, and those whose arithmetic is on top of other modules': latency, truth, quality, start-up."""

import contextlib
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench import benchmarks, places
from workbench.benchmarks import BENCHMARKS, described, latency, measure, quality, startup, truth
from workbench.benchmarks.claim import Baseline, claim
from workbench.errors import ResultError, SettingError
from workbench.measure.intervals import bootstrap_ratio
from workbench.settings import Settings

from .made import runs_of

ORIGIN = {"code": "c", "machine": "m", "cloud": "embedded", "task": "pipeline"}


@pytest.fixture
def doubles(monkeypatch) -> list[str]:
    """Two benchmarks that take no time; the list says which were called."""
    called: list[str] = []

    def make(value: float):
        def benchmark(name: str):
            called.append(name)
            return claim(name, "ms", [value], Baseline("nothing", 0.0))

        return benchmark

    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"one_ms": make(1.0), "two_ms": make(2.0)})
    return called


def test_every_benchmark_is_described_in_one_line():
    lines = described()
    assert lines.keys() == BENCHMARKS.keys() and len(lines) == 24
    assert all(line.endswith(".") and "\n" not in line and 20 < len(line) < 130 for line in lines.values())


def test_benchmarks_are_named_after_their_unit_or_what_they_are_compared_with():
    ends = {"ms", "s", "pct", "ratio", "recall", "kills", "article", "popularity", "needledb", "edge"}
    assert {name.rpartition("_")[2] for name in BENCHMARKS} == ends


def test_those_that_are_named_are_measured_in_that_order_and_saved(doubles, tmp_path: Path):
    output = tmp_path / "claims.json"
    claims = list(measure(["two_ms", "one_ms"], output))
    assert doubles == ["two_ms", "one_ms"] and [made.value for made in claims] == [2.0, 1.0]
    assert [entry["name"] for entry in json.loads(output.read_text())] == ["two_ms", "one_ms"]


def test_all_are_measured_if_none_is_named(doubles, tmp_path: Path):
    list(measure([], tmp_path / "claims.json"))
    assert doubles == ["one_ms", "two_ms"]


def test_a_figure_is_saved_as_soon_as_it_is_there(doubles, tmp_path: Path):
    output = tmp_path / "claims.json"
    claims = measure(["one_ms", "two_ms"], output)
    next(claims)
    assert [entry["name"] for entry in json.loads(output.read_text())] == ["one_ms"] and doubles == ["one_ms"]


def test_an_unknown_name_is_refused_before_anything_is_measured(doubles, tmp_path: Path):
    with pytest.raises(SettingError, match=r"^benchmark = 'three' is not allowed: one of one_ms, two_ms$"):
        list(measure(["one_ms", "three"], tmp_path / "claims.json"))
    assert doubles == [] and list(tmp_path.iterdir()) == []


def test_a_file_that_could_not_be_added_to_is_refused_before_anything_is_measured(doubles, tmp_path: Path):
    output = tmp_path / "notes.json"
    output.write_text("my notes")
    with pytest.raises(ResultError, match=r"notes\.json holds no claims"):
        list(measure(["one_ms"], output))
    assert doubles == [] and output.read_text() == "my notes"


def test_latency_is_the_p99_of_the_runs_beside_the_baselines_and_the_emulators_share(monkeypatch):
    settings = Settings()
    ours = [{"p99_ms": p99, "mean_ms": 20.0, "stream_ms": 5.0, "enrich_ms": 2.0, "act_ms": 3.0} for p99 in (44, 40, 42, 90, 41)]
    theirs = [{"p99_ms": p99} for p99 in (30, 31, 29, 33, 35)]
    runs = runs_of({settings: ours, settings.but(variant="none"): theirs})
    monkeypatch.setattr(latency, "measured", lambda designs: runs)
    made = latency.e2e_inline_p99_ms("e2e_inline_p99_ms")
    assert (made.value, made.low, made.high, made.runs, made.baseline.value) == (42, 40, 90, 5, 31)
    assert made.note == "mean 20 ms, of which at most 50% are calls to the emulated cloud"


def test_the_deployed_functions_latency_is_compared_with_inline(monkeypatch):
    parts = {"mean_ms": 50.0, "stream_ms": 5.0, "enrich_ms": 2.5, "act_ms": 2.5}
    runs = runs_of({Settings(placement="lambda"): [{"p99_ms": 80.0, **parts}], Settings(): [{"p99_ms": 40.0, **parts}]})
    monkeypatch.setattr(latency, "measured", lambda designs: runs)
    made = latency.e2e_lambda_p99_ms("e2e_lambda_p99_ms")
    assert (made.value, made.baseline) == (80, Baseline("inline", 40.0)) and "at most 20% " in made.note


def test_a_planted_ratio_is_found_as_the_quotient_of_the_means(monkeypatch):
    base = [2.0, 2.2, 1.9, 2.1, 2.05]
    plain = [{"query_ms": ms, **ORIGIN} for ms in base]
    slow = [{"query_ms": ms * 1.2, **ORIGIN} for ms in base]
    asked = []

    def measured(designs, *, repeats):
        assert repeats == 10
        asked.extend(designs)
        return runs_of(dict(zip(designs, (plain, slow), strict=True)))

    monkeypatch.setattr(truth, "measured", measured)
    made = truth.planted_stage_ratio("planted_stage_ratio")
    assert [each.query_slowdown for each in asked] == [1.0, 1.2] and asked[0].but(query_slowdown=1.2) == asked[1]
    assert made.value == pytest.approx(1.2) and made.low == pytest.approx(1.2) and made.high == pytest.approx(1.2)
    assert (made.baseline, made.note) == (Baseline("planted", 1.2), "verdict: higher worse")


@pytest.mark.parametrize(("faster", "share"), [(1.0, 0.0), (2.0, 100.0)])
def test_equal_designs_are_called_different_as_often_as_they_are(monkeypatch, faster, share):
    """Runs in pairs that share their noise: never if the designs are one, always if one takes twice as long."""
    noise = np.random.default_rng(5).normal(1, 0.01, 20)

    def measured(designs, *, repeats):
        assert repeats == 20 and designs[0].but(clients=designs[0].clients + 1) == designs[1] and designs[0].loop == "open"
        ours = [{"mean_ms": 10 * each, **ORIGIN} for each in noise]
        theirs = [{"mean_ms": 10 * faster * each, **ORIGIN} for each in noise]
        return runs_of(dict(zip(designs, (ours, theirs), strict=True)))

    monkeypatch.setattr(truth, "measured", measured)
    made = truth.equal_called_different_pct("equal_called_different_pct")
    assert (made.value, made.low, made.high) == (share, share, share)
    assert made.spread == f"of 4 trials without a run in common, {4 * share / 100:.0f} called them different"


def test_hit_rates_are_compared_over_the_same_users(monkeypatch):
    ours = np.tile([1.0, 1, 1, 0, 0, 0, 0, 0, 1, 1], 20)
    popular = np.tile([1.0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 20)
    article = np.tile([0.0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 20)
    series = [pd.Series(values) for values in (ours, popular, article)]
    asked = []

    def run(settings, running):
        asked.append(settings)
        mine = settings.variant == "catalogue"
        return SimpleNamespace(hits=series[0] if mine else series[2], hits_of_popular=series[1])

    quality._hits.cache_clear()
    monkeypatch.setattr(quality, "run", run)
    monkeypatch.setattr(quality, "services", contextlib.nullcontext)
    made, other = quality.hit_rate_vs_popularity("hit_rate_vs_popularity"), quality.hit_rate_vs_article("hit_rate_vs_article")
    quality._hits.cache_clear()
    assert [(each.variant, each.warmup, each.rate) for each in asked] == [("catalogue", 0, 0), ("article", 0, 0)]
    assert made.value == pytest.approx(0.5 / 0.2) and (made.low, made.high) == bootstrap_ratio(ours, popular)
    assert made.baseline == Baseline("most bought at 0.200, ours at 0.500", 1.0) and made.spread == "95% over 200 users"
    assert other.value == pytest.approx(0.5 / 0.1) and (other.low, other.high) == bootstrap_ratio(ours, article)
    assert other.baseline.name == "the article's design at 0.100, ours at 0.500"


def test_start_up_is_the_median_of_pairs_after_one_that_compiles(monkeypatch):
    """A clock by which importing takes 0.5 s, or 9 s the first time, and the bare interpreter 0.1 s."""
    clock, started = [0.0], []

    def run(command, *, cwd, stdout, check):
        bare = command[1:] == ["-c", "pass"]
        clock[0] += 0.1 if bare else 9.0 if not started else 0.5
        started.append(bare)
        assert cwd == places.ROOT and check

    monkeypatch.setattr(startup, "subprocess", SimpleNamespace(run=run, DEVNULL=subprocess.DEVNULL))
    monkeypatch.setattr(startup, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    made = startup.import_s("import_s")
    assert made.value == pytest.approx(0.5) and made.high == pytest.approx(0.5) and made.runs == 11
    assert made.baseline.name == "the interpreter alone" and made.baseline.value == pytest.approx(0.1)
    assert started == [False, *[False, True] * 11]
