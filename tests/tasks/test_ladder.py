"""One build asked at every query setting: which those are, and recall that is brute force's."""

import numpy as np
import pytest

from workbench.measure.metrics import METRICS
from workbench.settings import HNSW, IVF, IVFPQ, Flat, Settings, index_text, parse_index
from workbench.tasks import TASKS, ladder

_SMALL = Settings(catalogue=1500, events=60, warmup=5)


def test_the_rungs_are_the_settings_own_query_setting_and_its_halves():
    assert ladder.rungs(Flat()) == [Flat()]
    assert [each.ef_search for each in ladder.rungs(HNSW(m=8, ef_search=100))] == [100, 50, 25]
    assert [each.nprobe for each in ladder.rungs(IVF(nlist=16, nprobe=8))] == [8, 4, 2, 1]
    assert {(each.refine, each.segments) for each in ladder.rungs(IVFPQ(refine=3, segments=16))} == {(3, 16)}
    assert ladder.rungs(HNSW(ef_search=4)) == [HNSW(ef_search=4)]  # below the least it is asked all the same


@pytest.fixture
def measured(drawn):
    return ladder.measure(_SMALL.but(index=HNSW(m=4, ef_construction=10, ef_search=64)), "embedded")


def test_each_setting_is_asked_every_query_by_one_thread_and_by_two(measured):
    counts = measured.samples.groupby(["index", "threads"]).size()
    texts = [f"hnsw:m=4,ef_construction=10,ef_search={ef}" for ef in (16, 32, 64)]
    assert counts.to_dict() == {(text, threads): 60 for text in texts for threads in (1, 2)}
    assert measured.figures.keys() <= METRICS.keys() and set(TASKS["ladder"].main) <= measured.figures.keys()
    own = measured.samples[(measured.samples["index"] == texts[2]) & (measured.samples.threads == 1)]
    assert measured.figures["recall_at_10"] == pytest.approx(own.recall.mean())
    assert measured.figures["query_us"] == pytest.approx(own.query_us.mean())


def test_a_wider_search_finds_more_and_both_find_what_brute_force_says(measured, drawn, monkeypatch):
    recall = measured.samples[measured.samples.threads == 1].groupby("index").recall.mean()
    narrow, wide = (recall[f"hnsw:m=4,ef_construction=10,ef_search={ef}"] for ef in (16, 64))
    assert narrow < wide <= 1
    found = []
    plain = ladder.tie_aware
    monkeypatch.setattr(ladder, "tie_aware", lambda *given: found.append(given[2]) or plain(*given))
    again = ladder.measure(_SMALL.but(index=HNSW(m=4, ef_construction=10, ef_search=16)), "embedded").samples
    vectors, queries = drawn(_SMALL)
    scores = queries[5:].astype(np.float64) @ vectors.T.astype(np.float64)
    kth = np.sort(scores, axis=1)[:, -10]
    expected = [(scores[row, ids] >= kth[row] - 2e-6).sum() / 10 for row, ids in enumerate(found[0])]
    assert again.recall[again.threads == 1].tolist() == pytest.approx(expected)


def test_exact_search_finds_all_and_memory_is_what_the_process_grew_by(drawn, monkeypatch):
    sizes = iter([100 * 2**20, 103 * 2**20])

    class Process:
        def memory_info(self):
            return type("Memory", (), {"rss": next(sizes)})

    monkeypatch.setattr(ladder.psutil, "Process", Process)
    figures = ladder.measure(_SMALL.but(index=Flat()), "embedded").figures
    assert figures["recall_at_10"] == figures["recall_p5"] == 1.0
    assert figures["held_mib"] == 3 and figures["bytes_per_vector"] == 3 * 2**20 / 1500


def test_texts_of_rungs_can_be_read_again():
    assert all(parse_index(index_text(each)) == each for each in ladder.rungs(IVF()))
