"""What a command line sweeps over, and the table that comes of it."""

import pandas as pd
import pytest

from workbench.errors import SettingError
from workbench.settings import HNSW, Flat
from workbench.summaries import table
from workbench.sweeps.grid import axes, grid


def test_a_comma_begins_a_new_value_unless_a_parameter_follows():
    assert axes(["rate=50,100", "index=flat,hnsw:m=16,ef_search=64,hnsw,ivf:nlist=64,nprobe=8"]) == {
        "rate": ["50", "100"],
        "index": ["flat", "hnsw:m=16,ef_search=64", "hnsw", "ivf:nlist=64,nprobe=8"],
    }


def test_the_grid_is_the_product_over_what_is_shared():
    made = grid(["events=30", "warmup=5"], axes(["rate=50,100", "index=flat,hnsw:m=4,ef_search=32"]))
    assert [(each.rate, each.index) for each in made] == [
        (50.0, Flat()),
        (50.0, HNSW(m=4, ef_search=32)),
        (100.0, Flat()),
        (100.0, HNSW(m=4, ef_search=32)),
    ]
    assert {(each.events, each.warmup) for each in made} == {(30, 5)}


@pytest.mark.parametrize("over", [["rate"], ["rate="], ["rate=1,,2"], ["rate=1,"], ["rate=1", "rate=2"]])
def test_what_is_no_list_of_values_is_refused(over):
    with pytest.raises(SettingError, match=rf"^over = '{over[-1]}' is not allowed: "):
        axes(over)


@pytest.mark.parametrize(("over", "name"), [("speed=1,2", "speed"), ("rate=fast,slow", "rate"), ("index=flat,tree", "index")])
def test_unknown_settings_and_values_are_refused(over, name):
    with pytest.raises(SettingError, match=rf"^{name} = "):
        grid([], axes([over]))


def _frame() -> pd.DataFrame:
    nan = float("nan")
    return pd.DataFrame(
        {
            "settings": ["b", "a", "a", "b", "b", "a"],
            "rate": [100.0, 50.0, 50.0, 100.0, 100.0, 50.0],
            "seed": [7, 7, 8, 8, 9, 9],
            "run": [0, 0, 1, 1, 2, 2],
            "p50_ms": [4.0, 2.0, 3.0, 8.0, 5.0, 30.0],
            "p99_ms": [nan, 9.0, 9.0, nan, nan, 9.0],
            "error": ["", "", "", "", "", ""],
        }
    )


def test_a_row_has_the_median_and_the_range_over_runs():
    shown = table(_frame(), by=["rate"], figures=["p50_ms", "p99_ms", "lost"])
    assert shown.to_dict("list") == {
        "rate": [50.0, 100.0],
        "runs": [3, 3],
        "failed": [0, 0],
        "p50_ms": ["3 (2–30)", "5 (4–8)"],
        "p99_ms": ["9", "–"],
    }


def test_failed_runs_are_counted_and_in_no_figure():
    frame = _frame()
    frame.loc[[0, 4], ["p50_ms", "error"]] = [float("nan"), "its process was ended by SIGKILL"]
    shown = table(frame, by=["rate"])
    assert shown.failed.tolist() == [0, 2] and shown.p50_ms.tolist() == ["3 (2–30)", "8"]


def test_swept_seeds_are_the_settings_not_the_runs():
    assert table(_frame().assign(settings=["a"] * 6, run=[0, 0, 1, 1, 2, 2]), by=["seed"], figures=["p50_ms"]).seed.tolist() == [
        7
    ]
