"""Runs in turn and what is made of them; one real subject, our own store, in a process of its own."""

import math

import msgspec
import numpy as np
import pandas as pd
import psutil
import pytest

from tests.benchmarks.peers.made import drawn
from workbench import places
from workbench.benchmarks.peers import comparison
from workbench.benchmarks.peers.comparison import at_equal_recall, compare
from workbench.benchmarks.peers.subjects import SUBJECTS
from workbench.errors import ServiceError, SettingError

STORE = msgspec.structs.replace(SUBJECTS["store"], settings=({"ef_search": 128},))
SERVER = msgspec.structs.replace(SUBJECTS["server"], batch=200, settings=STORE.settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("workload") / "made", 500)


def _answers(made, *, ns: list[int], rows: list[list[int]], filter: str = "none") -> dict:
    return {
        "insert_s": 1.5,
        "ready_s": 2.0,
        "base_rss_bytes": 2**20,
        "max_rss_bytes": 5 * 2**20,
        "disk_bytes": 2**19,
        "runs": [{"setting": {"ef_search": 64}, "filter": filter, "ns": ns, "rows": rows}],
    }


def test_our_store_in_a_process_of_its_own_finds_the_truth(made):
    """500 rows are searched exactly, so every filter's recall is 1."""
    frame = compare([STORE], made, 2, filters=list(made.filters))
    assert frame[["repeat", "filter"]].values.tolist() == [[repeat, name] for repeat in (0, 1) for name in made.filters]
    assert (frame.recall_at_10 == 1).all() and (frame.recall_p5 == 1).all()
    assert set(frame.subject) == {"store"} and set(frame.setting) == {"ef_search=128"}
    assert (frame.ready_s >= frame.insert_s).all() and (frame.insert_s > 0).all()
    assert (frame.max_rss_mib > frame.base_rss_mib).all() and (frame.disk_mib > 500 * 16 * 4 / 2**20).all()
    assert frame.queries_per_s.between(10, 1e6).all()
    assert frame.p50_ms.gt(0).all() and frame.p99_ms.isna().all()  # 30 queries carry no p99
    assert list((places.state() / "peers").glob("store-data-*")) == []


def test_our_server_is_asked_over_http_and_ends_with_the_run(made):
    frame = compare([SERVER], made, 1, filters=["none", "aisle", "10%"])
    assert frame.recall_at_10.tolist() == [1, 1, 1]
    assert (frame.max_rss_mib > frame.base_rss_mib).all() and (frame.disk_mib > 0).all()
    assert frame.p50_ms.gt(0.05).all()
    ours = str(places.state())
    commands = [" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
    assert [command for command in commands if f"{ours}/peers/server-data-" in command] == []


def test_figures_are_those_of_the_answers(made, monkeypatch):
    """30 queries: 29 of 1 ms and one of 31; all of the truth is found but for the last query's first half."""
    rows = made.truth["none"].rows.tolist()
    rows[-1] = rows[-1][5:]
    answers = _answers(made, ns=[1_000_000] * 29 + [31_000_000], rows=rows)
    monkeypatch.setattr(comparison, "run", lambda *_, **__: answers)
    (row,) = compare([STORE], made, 1).to_dict("records")
    p99 = row.pop("p99_ms")
    assert math.isnan(p99)
    recall = np.array([1.0] * 29 + [0.5])
    assert row == {
        "subject": "store",
        "durability": "the death of the process",
        "repeat": 0,
        "filter": "none",
        "setting": "ef_search=64",
        "recall_at_10": pytest.approx(29.5 / 30),
        "recall_p5": pytest.approx(np.quantile(recall, 0.05)),
        "queries_per_s": pytest.approx(500),  # a mean of 2 ms
        "p50_ms": 1.0,
        "insert_s": 1.5,
        "ready_s": 2.0,
        "base_rss_mib": 1.0,
        "max_rss_mib": 5.0,
        "disk_mib": 0.5,
    }


def test_subjects_take_turns(made, monkeypatch):
    """So that a machine that slows down slows down all."""
    ran = []

    def pretend(subject, workload, python, **_):
        ran.append(subject.name)
        return _answers(made, ns=[1] * 30, rows=made.truth["none"].rows.tolist())

    monkeypatch.setattr(comparison, "run", pretend)
    monkeypatch.setattr(comparison, "environment", lambda name: ran.append(f"environment of {name}"))
    compare([STORE, SUBJECTS["chroma"]], made, 3)
    assert ran == ["environment of chroma", *["store", "chroma"] * 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subjects": [], "repeats": 1}, "repeats = 1 is not allowed: at least 1, of at least one subject"),
        ({"subjects": [STORE], "repeats": 0}, "repeats = 0 is not allowed"),
        ({"subjects": [STORE], "repeats": 1, "filters": ["2%"]}, "filter = '2%' is not allowed: one of none, aisle, 0.1%"),
    ],
)
def test_what_cannot_be_compared_is_refused(made, arguments, message):
    with pytest.raises(SettingError, match=message):
        compare(workload=made, **arguments)


def test_a_run_that_fails_says_its_last_line(made):
    wrong = msgspec.structs.replace(STORE, options={"build": "tree:m=16", "sync": "off"})
    with pytest.raises(ServiceError) as caught:
        compare([wrong], made, 1)
    assert str(caught.value).startswith(
        "store ended with 1 and without a result: workbench.errors.SettingError: index = 'tree:m=16"
    )
    assert "\n" not in str(caught.value)


def test_a_run_that_takes_too_long_is_ended(made):
    with pytest.raises(ServiceError, match=r"store took longer than 0\.01 s"):
        compare([STORE], made, 1, timeout_s=0.01)


def _frame(rows: list[tuple]) -> pd.DataFrame:
    columns = ["subject", "repeat", "filter", "setting", "recall_at_10", "queries_per_s"]
    return pd.DataFrame(rows, columns=columns).assign(recall_p5=0.8, p50_ms=1.0, p99_ms=2.0)


def test_at_equal_recall_each_has_its_cheapest_setting_that_is_good_enough():
    frame = _frame(
        [
            ("a", 0, "none", "ef=16", 0.90, 900.0),
            ("a", 0, "none", "ef=64", 0.95, 500.0),  # just enough
            ("a", 0, "none", "ef=128", 0.99, 300.0),
            ("a", 1, "none", "ef=16", 0.96, 800.0),  # enough in this repeat
            ("a", 1, "none", "ef=64", 0.97, 850.0),  # and this one was quicker
            ("a", 0, "1%", "ef=16", 1.00, 100.0),
            ("b", 0, "none", "ef=16", 0.40, 999.0),
            ("b", 0, "none", "ef=64", 0.94, 99.0),
        ]
    )
    best = at_equal_recall(frame)
    assert best[["subject", "repeat", "filter", "setting", "recall_at_10"]].values.tolist() == [
        ["a", 0, "none", "ef=64", 0.95],
        ["a", 1, "none", "ef=64", 0.97],
        ["a", 0, "1%", "ef=16", 1.00],
        ["b", 0, "none", "", 0.94],
    ]
    assert best.queries_per_s.tolist()[:3] == [500.0, 850.0, 100.0]
    assert best.loc[3, ["queries_per_s", "p50_ms", "p99_ms", "recall_p5"]].isna().all()
    assert at_equal_recall(frame, 0.4).setting.tolist() == ["ef=16", "ef=64", "ef=16", "ef=16"]


@pytest.mark.parametrize("goal", [0.0, 1.01, float("nan")])
def test_a_goal_is_a_share(goal):
    with pytest.raises(SettingError, match="a share above 0, at most 1"):
        at_equal_recall(_frame([("a", 0, "none", "ef=16", 0.9, 1.0)]), goal)
