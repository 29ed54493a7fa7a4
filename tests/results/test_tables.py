"""Frames hold what was measured, in the same columns and types whatever is missing."""

import dataclasses

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import places
from workbench.errors import ResultError
from workbench.measure.metrics import METRICS
from workbench.results import Point, load, samples
from workbench.settings import HNSW, IVF, Flat, Settings, index_text, parse_index

from .made import MACHINE, events, sweep


def test_a_frame_has_a_row_a_point_and_run(tmp_path):
    designs = (Settings(rate=50, index=IVF(nlist=64)), Settings(batch_size=7, index=Flat()))
    figures = {(0, 1): {"figures": {"hit_rate": 0.25, "p50_ms": 3.0}}, (1, 0): {"figures": {}, "error": "StackError: no"}}
    frame = load(sweep(tmp_path, designs, repeats=2, results=figures))
    assert frame["settings"].tolist() == [designs[0].hash, designs[1].hash] * 2
    assert frame["rate"].tolist() == [50.0, 100.0] * 2 and frame["batch_size"].tolist() == [100, 7] * 2
    assert frame["index"].tolist() == ["ivf:nlist=64,nprobe=16", "flat"] * 2
    assert frame["run"].tolist() == [0, 0, 1, 1] and frame["seed"].tolist() == [7, 7, 8, 8]
    assert frame["p50_ms"].tolist()[0::2] == [12.5, 3.0] and np.isnan(frame["p50_ms"][1])
    assert frame["lost"].isna().tolist() == [False, True, True, False] and frame["hit_rate"][2] == 0.25
    assert frame["error"].tolist() == ["", "StackError: no", "", ""]
    assert frame["smoke"].tolist() == [True] * 4 and set(frame["cloud"]) == {"embedded"} and set(frame["task"]) == {"pipeline"}
    assert set(frame["machine"]) == {MACHINE["machine"]} and set(frame["commit"]) == {MACHINE["commit"]}
    assert frame["started"][2] == pd.Timestamp("2026-01-02T03:04:01Z")
    assert frame["file"][1] == f"{designs[1].hash}-0.parquet" and frame.attrs == {"missing": 0}


def test_its_columns_are_the_settings_then_the_figures_in_the_tables_order(tmp_path):
    frame = load(sweep(tmp_path, results={(0, 0): {"figures": {"hit_rate": 1.0, "lost": 2.0, "offered_per_s": 3.0}}}))
    names = [field.name for field in dataclasses.fields(Settings) if field.name != "seed"]
    ends = ["error", "smoke", "cloud", "task", "machine", "commit", "code", "started", "file"]
    assert list(frame.columns) == ["settings", *names, "run", "seed", "offered_per_s", "lost", "hit_rate", *ends]


def test_no_figure_has_the_name_of_another_column(tmp_path):
    assert load(sweep(tmp_path, results={(0, 0): {"figures": dict.fromkeys(METRICS, 1.0)}})).columns.is_unique


def test_the_dtypes_are_the_same_whatever_is_missing(tmp_path):
    whole = sweep(tmp_path / "whole", repeats=5)
    failed = sweep(tmp_path / "failed", results={(0, 0): {"figures": {}, "error": "x", "provenance": {}}})
    nothing = msgspec.structs.replace(whole, folder=tmp_path / "nothing")
    types = load(whole).dtypes.astype(str)
    assert types[["p50_ms", "lost"]].tolist() == ["float64"] * 2 and types["started"] == "datetime64[us, UTC]"
    assert types[["run", "seed", "batch_size", "rate", "smoke", "index"]].tolist() == [
        "int64",
        "int64",
        "int64",
        "float64",
        "bool",
        "str",
    ]
    without_figures = types.drop(["p50_ms", "lost"]).to_dict()
    assert load(failed).dtypes.astype(str).to_dict() == without_figures
    assert load(nothing, partial=True).dtypes.astype(str).to_dict() == without_figures
    assert load(failed)["machine"].tolist() == ["unknown"] and not load(whole)["smoke"].any()


def test_an_unfinished_sweep_is_loaded_only_on_request(tmp_path):
    swept = sweep(tmp_path, repeats=3, kept=lambda _: events(2))
    (tmp_path / swept.points[1].file).unlink()
    for each in (load, samples):
        with pytest.raises(
            ResultError, match="'a sweep' is unfinished, 1 of 3 points have no file: run it again, or give partial"
        ):
            each(swept)
    frame = load(swept, partial=True)
    assert frame["run"].tolist() == [0, 2] and frame.attrs["missing"] == 1
    assert samples(swept, partial=True)["run"].tolist() == [0, 0, 2, 2]


def test_a_sweep_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path))
    assert places.results() == tmp_path / "results"
    with pytest.raises(ResultError, match=r"there is no sweep 'batches' in .*: it has none"):
        load("batches")
    sweep(tmp_path / "results" / "batches")
    assert load("batches").equals(load(tmp_path / "results" / "batches"))
    with pytest.raises(ResultError, match=r"there is no sweep 'batch' in .*: it has batches"):
        load("batch")
    for name in ("../results/batches", "/batches", "..", "", "."):
        with pytest.raises(ResultError, match="is no sweep's name"):
            load(name)


def test_a_file_that_is_not_what_the_manifest_says_is_refused(tmp_path):
    for number, change in enumerate(({"run": 1}, {"task": "index"}, {"cloud": "aws"}, {"settings": Settings(rate=9).to_dict()})):
        swept = sweep(tmp_path / str(number), results={(0, 0): change})
        with pytest.raises(ResultError, match="is not the result that the sweep's manifest says"):
            load(swept)


def test_settings_of_another_version_are_refused(tmp_path):
    """A default that did not exist then would be a claim about what was measured, and the hash would be another."""
    plain = Settings().to_dict()
    less = {name: value for name, value in plain.items() if name != "linger_ms"}
    for number, (values, reason) in enumerate([(less, "without the settings linger_ms"), ({**plain, "gpu": 1}, "gpu = 1")]):
        swept = sweep(tmp_path / str(number), results={(0, 0): {"settings": values}})
        point = Point(values, 0, swept.points[0].file)
        with pytest.raises(ResultError, match=f"another version of the workbench.*{reason}"):
            load(msgspec.structs.replace(swept, points=(point,)))


def test_a_figure_that_is_in_no_table_is_refused(tmp_path):
    swept = sweep(tmp_path, results={(0, 0): {"figures": {"p51_ms": 1.0}}})
    with pytest.raises(ResultError, match="has a figure 'p51_ms'"):
        load(swept)


def test_a_damaged_point_is_named(tmp_path):
    swept = sweep(tmp_path)
    path = tmp_path / swept.points[0].file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ResultError, match=swept.points[0].file):
        load(swept)


def test_samples_have_a_row_an_event_of_every_measured_point(tmp_path):
    designs = (Settings(), Settings(index=HNSW(m=32)))
    swept = sweep(
        tmp_path,
        designs,
        repeats=2,
        results={(1, 1): {"error": "x"}},
        kept=lambda result: events(2 + result.run).assign(**({"extra": True} if result.run else {})),
    )
    frame = samples(swept)
    assert frame["settings"].tolist() == [designs[0].hash] * 2 + [designs[1].hash] * 2 + [designs[0].hash] * 3
    assert frame["run"].tolist() == [0] * 4 + [1] * 3 and list(frame.columns)[:3] == ["settings", "run", "event_id"]
    assert frame["latency_ms"].dtype == "float32" and frame["attempts"].tolist() == [0, 1, 0, 1, 0, 1, 2]
    assert frame["extra"].isna().tolist() == [True] * 4 + [False] * 3


def test_no_samples_are_an_empty_frame(tmp_path):
    frame = samples(sweep(tmp_path))
    assert list(frame.columns) == ["settings", "run"] and frame.empty and frame["run"].dtype == "int64"


def test_samples_of_different_types_are_refused(tmp_path):
    swept = sweep(tmp_path, repeats=2, kept=lambda result: pd.DataFrame({"x": [1] if result.run else ["one"]}))
    with pytest.raises(ResultError, match="have columns of different types"):
        samples(swept)


@given(
    st.one_of(
        st.just(Flat()),
        st.builds(HNSW, m=st.integers(2, 256), ef_construction=st.integers(1, 4096), ef_search=st.integers(1, 16384)),
        st.builds(IVF, nlist=st.integers(1, 65536), nprobe=st.integers(1, 65536)),
    )
)
def test_an_indexs_text_is_read_as_that_index(index):
    assert parse_index(index_text(index)) == index
