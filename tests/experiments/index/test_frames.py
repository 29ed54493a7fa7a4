"""Pairs of build and query settings, and what is chosen at equal recall, from results that are made up."""

import pandas as pd
import pytest

from workbench.experiments import index
from workbench.settings import parse_index

from .made import BASE, ladder


@pytest.fixture
def pairs(tmp_path):
    return index.pairs(ladder(tmp_path / "made"))


def test_there_is_a_row_for_each_pair_and_run(pairs):
    assert pairs.groupby(["build", "asked"]).size().to_dict() == {
        ("exact", ""): 2,
        ("HNSW m=16 efC=100", "ef 32"): 2,
        ("HNSW m=16 efC=100", "ef 64"): 2,
        ("IVF nlist=16", "nprobe 4"): 2,
        ("IVF nlist=16", "nprobe 8"): 2,
    }
    assert list(dict.fromkeys(pairs.build)) == ["exact", "HNSW m=16 efC=100", "IVF nlist=16"]
    pair = BASE.but(catalogue=1000, index=parse_index("hnsw:m=16,ef_construction=100,ef_search=32"))
    rows = pairs[pairs.settings == pair.hash]
    assert rows.asked.tolist() == ["ef 32", "ef 32"] and rows.run.tolist() == [0, 1]
    assert rows.recall_at_10.tolist() == pytest.approx([0.93, 0.93])  # of its own queries, not the point's
    assert rows.query_p50_ms.tolist() == pytest.approx([0.2, 0.22], rel=1e-3)
    assert rows.throughput.tolist() == pytest.approx([5000, 4545], rel=1e-3)
    assert rows.throughput_2.tolist() == pytest.approx([10_000, 9091], rel=1e-3)
    assert rows.build_s.tolist() == [30.0, 30.0] and pairs.query_p99_ms.isna().all()  # 100 queries carry no p99


def test_a_build_that_failed_is_a_row_with_its_error(tmp_path):
    pairs = index.pairs(ladder(tmp_path / "made", failed="ivf:nlist=16,nprobe=8"))
    failed = pairs[pairs.build == "IVF nlist=16"]
    assert failed.error.tolist() == ["MemoryError: no memory"] * 2 and failed.recall_at_10.isna().all()
    assert "IVF nlist=16" not in index.cheapest(pairs, 0.9).build.tolist()


@pytest.mark.parametrize(
    ("goal", "chosen"),
    [
        (0.9, {"exact": "", "HNSW m=16 efC=100": "ef 32", "IVF nlist=16": "nprobe 4"}),
        (0.95, {"exact": "", "HNSW m=16 efC=100": "ef 64", "IVF nlist=16": "nprobe 8"}),
        (0.97, {"exact": "", "HNSW m=16 efC=100": "ef 64"}),
        (0.99, {"exact": ""}),
    ],
)
def test_the_quickest_setting_that_reaches_the_goal_is_chosen(pairs, goal, chosen):
    rows = index.cheapest(pairs, goal)
    assert dict(zip(rows.build, rows.asked, strict=True)) == chosen and len(rows) == 2 * len(chosen)


def test_at_equal_recall_the_quickest_comes_first(pairs):
    table = index.at_equal_recall(pairs)
    assert table.loc[(1000, 0.95)].index.tolist() == ["HNSW m=16 efC=100", "IVF nlist=16", "exact"]
    assert table.loc[(1000, 0.95, "IVF nlist=16")].query_p50_ms == pytest.approx(0.84, rel=1e-3)  # the median of 0.8 and 0.88
    assert table.loc[(1000, 0.99)].index.tolist() == ["exact"]


def test_peers_are_named_as_pairs_are():
    compared = pd.DataFrame(
        {
            "subject": ["ours", "theirs"],
            "repeat": 0,
            "setting": ["ef_search=16", "ef_search=16"],
            "recall_at_10": [0.9, 0.8],
            "recall_p5": 0.5,
            "queries_per_s": 100.0,
            "p50_ms": [1.0, 2.0],
            "p99_ms": 9.0,
            "ready_s": 3.0,
            "max_rss_mib": 50.0,
        }
    )
    pairs = index.peers_as_pairs(compared)
    assert pairs.settings.tolist() == ["ours ef_search=16", "theirs ef_search=16"] and pairs.smoke.all()
    assert pairs.query_p50_ms.tolist() == [1.0, 2.0] and pairs.build.tolist() == ["ours", "theirs"]
