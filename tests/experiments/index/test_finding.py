"""What notebook 02 concludes and shows, from results that are made up."""

import numpy as np
import pandas as pd
import pytest

from workbench.experiments import index

from .made import ladder


@pytest.fixture
def pairs(tmp_path):
    return index.pairs(ladder(tmp_path / "made", sizes=(1000, 2000)))


def _filtered() -> pd.DataFrame:
    ways = {"filtered search": (1.0, 100.0), "search, then filter": (0.05, 300.0)}
    return pd.DataFrame(
        {"settings": "s", "run": 0, "field": "independent", "share_pct": share, "way": way, "query_us": us, "recall": recall}
        for way, (recall, us) in ways.items()
        for share in (0.1, 100.0)
        for _ in range(20)
    )


def _churned() -> pd.DataFrame:
    figures = ["recall_p5", "query_p99_ms", "write_p50_ms"]
    return pd.DataFrame(
        {
            "batch_size": [10, 10, 50],
            "poll_interval_ms": [100, 100, 100],
            "recall_at_10": [0.9, 0.94, 0.8],
            "query_p50_ms": [1.0, 2.0, 4.0],
            "quiet_p50_ms": 0.5,
            "fresh_p50_ms": 3.0,
            "fresh_max_ms": [7.0, 9.0, 20.0],
            "stale": [0.0, 0.0, 1.0],
            "error": "",
            **dict.fromkeys(figures, 1.0),
        }
    )


def _served() -> pd.DataFrame:
    rows = [
        {"settings": "s", "run": 0, "way": way, "threads": threads, "begun_s": number * us / 1e6, "query_us": us, "recall": 1.0}
        for way, us in (("in process", 1000.0), ("SDK", 4000.0))
        for threads in (1, 2)
        for number in range(25)
    ]
    return index.served(pd.DataFrame(rows))


def _finding(pairs, peers=None):
    return index.finding(
        pairs,
        goal=0.95,
        filtered=_filtered(),
        churned=_churned(),
        served=_served(),
        peers=peers,
        question="Which?",
        provenance={"machine": "here"},
    )


def test_the_answer_says_who_wins_what_among_the_most_texts(pairs):
    made = _finding(pairs)
    assert made.answer == (
        "Among 2,000 texts at recall@10 ≥ 0.95: HNSW m=16 efC=100 (ef 64) answers soonest (0.42 ms (p50)); "
        "IVF nlist=16 (nprobe 8) needs the least memory (3,200 bytes a vector) and is built soonest (2 s); "
        "exact search takes 12.5 times as long as the quickest (fewer than 5 runs a point: a trial, not a finding)."
    )
    figures = {figure.label: figure.value for figure in made.figures}
    assert figures["quickest at recall@10 ≥ 0.9, 1,000 texts"] == "HNSW m=16 efC=100, ef 32: p50 0.21 ms (recall 0.930)"
    assert figures["quickest at recall@10 ≥ 0.99, 2,000 texts"] == "exact: p50 5.25 ms (recall 1.000)"
    assert figures["recall@10 under a filter of 0.1%, independent"] == (
        "filtered search 1.000, 0.1 ms / search, then filter 0.050, 0.3 ms"
    )
    assert figures["while 100 records/s are written"] == (
        "recall 0.920, query p50 1.5 ms (before the first write 0.5), findable after 3 ms (at most 9)"
    )
    assert figures["deleted records found, all runs"] == "1" and figures["runs that failed"] == "0"
    assert figures["p50 of a query, SDK"] == "4 ms, 250 queries/s"
    assert made.provenance["runs a point"] == "2, each in a fresh process, interleaved; seeds 7 to 8"


def test_exact_search_that_is_quicker_is_said_to_be(pairs):
    slow = pairs.assign(query_p50_ms=pairs.query_p50_ms.where(pairs.build == "exact", 9.0))
    assert "; but exact search is quicker still (5.25 ms (p50)) (fewer" in _finding(slow).answer


def test_indexes_that_all_find_too_little_are_not_named(pairs):
    poor = pairs.assign(recall_at_10=pairs.recall_at_10.where(pairs.build == "exact", 0.5))
    assert _finding(poor).answer.startswith("Among 2,000 texts at recall@10 ≥ 0.95 there is exact search alone")


def test_peers_are_shown_at_equal_recall(pairs):
    compared = pd.DataFrame(
        {"subject": ["a", "b"], "insert_s": 1.0, "ready_s": 2.0, "max_rss_mib": 30.0, "disk_mib": 4.0, "repeat": 0}
    )
    reached = pd.DataFrame(
        {
            "subject": ["a", "b"],
            "setting": ["ef_search=16", ""],
            "recall_at_10": [0.96, 0.7],
            "p50_ms": [1.5, np.nan],
            "p99_ms": [3.0, np.nan],
            "queries_per_s": [600.0, np.nan],
        }
    )
    table = index.peers(compared, reached)
    assert table.loc["a"].to_dict() == {
        "setting": "ef_search=16",
        "recall_at_10": 0.96,
        "p50_ms": 1.5,
        "p99_ms": 3.0,
        "queries_per_s": 600.0,
        "insert_s": 1.0,
        "ready_s": 2.0,
        "max_rss_mib": 30.0,
        "disk_mib": 4.0,
    }
    figures = {figure.label: figure.value for figure in _finding(pairs, table).figures}
    assert figures["p50 at equal recall, a"] == "1.5 ms (ef_search=16)"
    assert figures["p50 at equal recall, b"] == "does not reach the recall"


def test_tables_hold_medians_over_runs(pairs):
    churned = index.churn(_churned())
    assert churned.loc[100.0].recall_at_10 == 0.92 and churned.loc[500.0].query_p50_ms == 4.0
    builds = index.builds(pairs)
    assert builds.loc[(2000, "IVF nlist=16")].to_dict() == {"build_s": 2.0, "held_mib": 10.0, "bytes_per_vector": 3200.0}
    filters = index.filters(_filtered())
    assert filters.loc[("independent", "0.1%"), "recall@10, search, then filter"] == 0.05
    served = _served()
    assert served.loc["in process", "queries/s"] == 1000 and np.isnan(served.loc["SDK", "p99_ms"])
