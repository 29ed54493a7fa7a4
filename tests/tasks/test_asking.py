"""Timed queries: every one asked once, by one thread or several, and figures that are those of the samples."""

import threading

import numpy as np
import pandas as pd
import pytest

from workbench.tasks import asking
from workbench.vectors.store import Store


def test_every_query_is_asked_once_and_answers_stay_in_order():
    queries, seen, threads = np.arange(40, dtype=np.float32).reshape(-1, 1), [], set()

    def caller(query: np.ndarray) -> list[int]:
        seen.append(int(query[0]))
        threads.add(threading.get_ident())
        return [int(query[0]), 7]

    asked = asking.ask([caller], queries)
    assert seen == list(range(40)) and threads == {threading.get_ident()}
    assert asked.found == [[number, 7] for number in range(40)]
    assert asked.begun_s[0] == 0 and (np.diff(asked.begun_s) > 0).all() and (asked.query_us > 0).all()


def test_two_threads_share_the_queries():
    meet, seen = threading.Barrier(2, timeout=20), []

    def caller(query: np.ndarray) -> list[int]:
        if query[0] < 2:
            meet.wait()  # passes only if two queries are under way at once
        seen.append(int(query[0]))
        return [int(query[0])]

    asked = asking.ask([caller, caller], np.arange(20, dtype=np.float32).reshape(-1, 1))
    assert sorted(seen) == list(range(20)) and asked.found == [[number] for number in range(20)]


def test_what_a_caller_raises_is_raised():
    def caller(query: np.ndarray) -> list[int]:
        raise ValueError("no")

    for callers in ([caller], [caller, caller]):
        with pytest.raises(ValueError, match="no"):
            asking.ask(callers, np.zeros((3, 1), np.float32))


def test_throughput_is_from_the_first_begin_to_the_last_end():
    assert asking.rate([0.0, 0.5, 0.6], [400_000, 100_000, 400_000]) == pytest.approx(3.0)


def test_a_store_is_filled_under_the_rows_as_ids(monkeypatch):
    monkeypatch.setattr(asking, "BATCH", 3)
    vectors = np.eye(7, dtype=np.float32)
    with Store(dimension=7) as store:
        asking.fill(store, vectors, [{"row": row} for row in range(7)])
        assert store.stats() == {"": 7} and store.fetch(["6"])["6"].metadata == {"row": 6}
        assert asking.of_store(store, 1)(vectors[4]) == [4]


def test_figures_are_of_one_thread_but_for_the_throughput_of_two():
    alone = pd.DataFrame({"threads": 1, "begun_s": np.arange(20) / 100, "query_us": [1000.0] * 10 + [3000.0] * 10, "recall": 0.5})
    both = pd.DataFrame({"threads": 2, "begun_s": [0.0, 0.0], "query_us": [500_000.0, 400_000.0], "recall": 1.0})
    figures = asking.figures(pd.concat([alone, both]))
    assert figures["recall_at_10"] == figures["recall_p5"] == 0.5 and figures["query_us"] == 2000
    assert figures["query_p50_ms"] == 1.0 and np.isnan(figures["query_p99_ms"])  # a p99 needs 1,000
    assert figures["throughput"] == pytest.approx(20 / 0.193) and figures["throughput_2"] == pytest.approx(4.0)
    assert np.isnan(asking.figures(alone)["throughput_2"])
