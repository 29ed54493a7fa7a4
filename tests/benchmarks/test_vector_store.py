"""The vector store's benchmarks: their arithmetic on a made-up comparison, and the real thing on a few vectors."""

import numpy as np
import pandas as pd
import pytest

from workbench import places
from workbench.benchmarks import vectors
from workbench.errors import MeasureError
from workbench.measure.intervals import ratio_interval

from .peers.made import drawn

# Two runs of two settings each: the first setting is quicker, and too inexact.
_ROWS = {
    "server": [(0.90, 3000.0, 0.3, 0.9), (0.96, 2000.0, 0.5, 1.0), (0.90, 3300.0, 0.3, 0.9), (0.97, 2200.0, 0.45, 1.1)],
    "needledb": [(0.90, 900.0, 1.0, 3.0), (0.95, 500.0, 2.0, 5.0), (0.90, 950.0, 1.0, 3.0), (0.95, 400.0, 2.5, 7.0)],
    "faiss": [(0.90, 9000.0, 0.1, 0.2), (0.96, 5000.0, 0.2, 0.3), (0.90, 9000.0, 0.1, 0.2), (0.97, 4000.0, 0.25, 0.4)],
    "store": [(0.90, 8000.0, 0.1, 0.2), (0.96, 4000.0, 0.25, 0.4), (0.90, 8000.0, 0.1, 0.2), (0.97, 4200.0, 0.25, 0.5)],
    "qdrant-edge": [(0.90, 5000.0, 0.2, 0.5), (0.96, 2000.0, 0.5, 0.9), (0.90, 5000.0, 0.2, 0.5), (0.97, 3000.0, 0.4, 0.8)],
}
_INSERT_S = {"server": (4.0, 5.0), "needledb": (16.0, 10.0), "faiss": (1.0, 1.0), "store": (2.0, 4.0), "qdrant-edge": (3.0, 8.0)}


@pytest.fixture
def compared(monkeypatch) -> None:
    def compare(subjects, workload, repeats) -> pd.DataFrame:
        assert (workload, repeats) == (vectors.COUNT, 5)
        rows = [
            {
                "subject": each.name,
                "repeat": number // 2,
                "filter": "none",
                "setting": f"ef_search={number % 2}",
                "recall_at_10": recall,
                "recall_p5": 0.9,
                "queries_per_s": rate,
                "p50_ms": p50,
                "p99_ms": p99,
                "insert_s": _INSERT_S[each.name][number // 2],
                "ready_s": 10 * _INSERT_S[each.name][number // 2],
            }
            for each in subjects
            for number, (recall, rate, p50, p99) in enumerate(_ROWS[each.name])
        ]
        return pd.DataFrame(rows).sample(frac=1, random_state=1)

    monkeypatch.setattr(vectors, "compare", compare)
    monkeypatch.setattr(vectors, "of_baskets", lambda count: count)
    vectors._compared.cache_clear()
    yield
    vectors._compared.cache_clear()


def test_a_served_query_is_compared_with_faiss_at_equal_recall(compared):
    made = vectors.served_query_overhead_ms("served_query_overhead_ms")
    assert (made.value, made.low, made.high) == pytest.approx((0.25, 0.2, 0.3))  # 0.5 - 0.2 and 0.45 - 0.25
    assert made.baseline.value == pytest.approx(0.225) and "server 0.475 ms" in made.note


@pytest.mark.parametrize(
    ("name", "ratios", "words"),
    [
        ("query_rate_vs_needledb", (2000 / 500, 2200 / 400), "needledb at 450/s, ours 2,100/s"),
        ("query_rate_vs_qdrant_edge", (4000 / 2000, 4200 / 3000), "qdrant-edge at 2,500/s, ours 4,100/s"),
        ("upsert_rate_vs_needledb", (16 / 4, 10 / 5), "needledb in 13 s, ours in 4.5 s"),
        ("upsert_rate_vs_qdrant_edge", (3 / 2, 8 / 4), "qdrant-edge in 5.5 s, ours in 3 s"),
        ("ready_vs_qdrant_edge", (30 / 20, 80 / 40), "qdrant-edge in 55 s, ours in 30 s"),
    ],
)
def test_rates_are_compared_run_by_run(compared, name, ratios, words):
    made = getattr(vectors, name)(name)
    assert made.value == pytest.approx(np.mean(ratios)) and made.baseline.name == words
    assert (made.low, made.high) == pytest.approx(ratio_interval(np.ones(2), np.array(ratios), paired=True))


def test_who_is_not_good_enough_has_no_figure(compared, monkeypatch):
    monkeypatch.setitem(_ROWS, "needledb", [(0.94, 900.0, 1.0, 3.0)] * 4)
    with pytest.raises(MeasureError, match=r"^needledb did not reach recall@10 of 0\.95 in every run$"):
        vectors.query_rate_vs_needledb("query_rate_vs_needledb")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """2,000 vectors, written where the benchmark has its own."""
    made = drawn(tmp_path / "workload", 2_000, dimension=32)
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path))
    monkeypatch.setattr(vectors, "of_baskets", lambda count: made)
    monkeypatch.setattr(vectors, "COUNT", 2_000)
    return made


def test_a_killed_store_is_opened_again_whole(small):
    made = vectors.recovery_s("recovery_s")
    assert 0 < made.low <= made.value <= made.high and made.runs == 5 and made.baseline.value > 0
    assert list(places.state().iterdir()) == [small.folder]


def test_a_filter_costs_no_recall_where_filtering_afterwards_does(small):
    made = vectors.filtered_recall("filtered_recall")
    assert made.value == 1.0  # twenty rows are compared exactly
    assert made.baseline.value < 0.5


def test_every_policy_of_syncing_is_timed(small, monkeypatch):
    asked = []
    monkeypatch.setattr(vectors, "_commit_ms", lambda sync: asked.append(sync) or {"full": 3.0, "normal": 2.0}.get(sync, 1.0))
    made = vectors.full_sync_cost_ms("full_sync_cost_ms")
    assert (made.value, made.baseline.value) == (3.0, 2.0) and made.note == "off 1 ms, in memory 1 ms"
    assert asked == ["full", "normal", "off", None] * 5
