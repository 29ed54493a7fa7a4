"""What a search should have found, worked out by hand; and a load that goes on whatever becomes of it."""

import time

import numpy as np
import pandas as pd
import pytest

from workbench.errors import MeasureError, VectorError
from workbench.experiments.searches import TEXT, Load, Write, judged
from workbench.vectors.alias import DIMENSION, Alias, Route
from workbench.vectors.store import Store
from workbench.vectors.versions import Version, Versions


class Angles:
    """A text is a number: the angle of its vector, in degrees."""

    def embed(self, texts):
        angles = np.deg2rad([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


HELD = {f"r{n:02}": str(n) for n in range(20)}  # 20 records, 1° apart


def search(began_ns: int, done_ns: int, found: list[tuple[str, str]], **columns: object) -> dict:
    return {"text": 0, "version": "a", "found": found, "error": "", "began_ns": began_ns, "done_ns": done_ns} | columns


def write(began_ns: int, done_ns: int, id: str, text: str, error: str = "") -> dict:
    return {"id": id, "text": text, "error": error, "began_ns": began_ns, "done_ns": done_ns}


def verdicts(searches: list[dict], *writes: dict) -> list[tuple[float, int]]:
    columns = ["id", "text", "error", "began_ns", "done_ns"]
    judged_ = judged(
        pd.DataFrame(searches), pd.DataFrame(writes, columns=columns), held=HELD, texts=["0"], models={"a": Angles()}
    )
    return list(zip(judged_.recall, judged_.ghosts, strict=True))


def first(count: int, start: int = 0) -> list[tuple[str, str]]:
    return list(HELD.items())[start : start + count]


def test_recall_is_the_share_of_the_ten_nearest_that_were_found():
    assert verdicts([search(10, 20, first(10)), search(10, 20, first(10, start=3)), search(10, 20, first(4))]) == [
        (1.0, 0),
        (0.7, 0),
        (0.4, 0),
    ]


def test_what_was_deleted_before_is_a_ghost_and_what_is_being_deleted_may_be_found_or_not():
    gone = write(100, 110, "r00", "")
    with_it, without = first(10), first(10, start=1)
    assert verdicts([search(120, 130, without), search(120, 130, with_it)], gone) == [(1.0, 0), (0.9, 1)]
    assert verdicts([search(105, 130, without), search(90, 101, with_it)], gone) == [(1.0, 0), (1.0, 0)]
    assert verdicts([search(80, 90, with_it), search(80, 90, without)], gone) == [(1.0, 0), (0.9, 0)]  # r10 is no tenth yet


def test_a_record_with_its_old_text_is_a_ghost_after_it_was_replaced():
    far = write(100, 110, "r00", "90")
    assert verdicts([search(120, 130, first(10)), search(120, 130, first(10, start=1))], far) == [(0.9, 1), (1.0, 0)]
    near = write(100, 110, "r19", "0.5")
    found = [*first(9), ("r19", "0.5")]
    assert verdicts([search(120, 130, found), search(105, 130, found), search(105, 130, first(10))], near) == [
        (1.0, 0),
        (1.0, 0),
        (1.0, 0),
    ]
    assert verdicts([search(80, 90, found)], near) == [(0.9, 1)]


def test_a_search_that_failed_found_nothing():
    assert verdicts([search(10, 20, [], error="refused", version="")]) == [(0.0, 0)]


def test_a_write_that_failed_leaves_nothing_to_be_told():
    with pytest.raises(MeasureError, match="a write failed: the disk is full"):
        verdicts([search(10, 20, first(10))], write(5, 6, "r00", "1", error="the disk is full"))


def versions_of(store) -> Versions:
    alias = Alias(Store(dimension=DIMENSION))
    alias.write(Route.only("a"))
    return Versions([Version("a", Angles(), store)], alias, lambda id, metadata: metadata[TEXT])


def test_every_search_and_write_is_made_and_each_is_judged():
    with Store(dimension=2) as store:
        versions = versions_of(store)
        versions.upsert({id: {TEXT: text} for id, text in HELD.items()})
        writes = [Write("r00", None), Write("new", "0.25"), *(Write(f"w{n}", str(100 + n)) for n in range(1000))]
        with Load(versions, searches=["0", "7"], writes=writes, rate=200, write_rate=50) as load:
            time.sleep(1.0)
        searched, written = load.searched(), load.written()
        done = judged(searched, written, held=HELD, texts=["0", "7"], models={"a": Angles()})
    assert len(done) > 50 and len(written) > 5  # of about 180 and 45
    assert set(done.text) == {0, 1} and set(done.version) == {"a"} and set(done.error) == {""}
    assert done.recall.tolist() == [1.0] * len(done) and done.ghosts.sum() == 0
    assert written.text.tolist()[:2] == ["", "0.25"] and (done.latency_ms > 0).all() and done.t_s.is_monotonic_increasing


def test_a_search_that_waits_for_one_before_it_counts_from_when_it_was_due():
    class Slow(Store):
        def query(self, *arguments, **options):
            time.sleep(0.1)
            return super().query(*arguments, **options)

    with Slow(dimension=2) as store:
        versions = versions_of(store)
        versions.upsert({id: {TEXT: text} for id, text in HELD.items()})
        endless = iter(lambda: Write("x", "1"), None)
        with Load(versions, searches=["0"], writes=endless, rate=100, write_rate=1, threads=1) as load:
            time.sleep(0.5)
    searched = load.searched()
    waited_ms = (searched.done_ns - searched.began_ns) / 1e6
    assert len(searched) >= 10 and waited_ms.min() >= 100  # sent on though each takes ten times the gap
    assert 1000 * searched.t_s.iloc[9] + searched.latency_ms.iloc[9] >= 1000  # the tenth is done after ten of 100 ms


def test_what_fails_is_kept_with_its_reason_and_the_load_goes_on():
    class Broken(Store):
        def query(self, *arguments, **options):
            raise VectorError("the index is gone", 404)

    with Broken(dimension=2) as store:
        with Load(versions_of(store), searches=["0"], writes=iter(lambda: Write("x", ""), None), rate=100, write_rate=50) as load:
            time.sleep(0.3)
        assert len(load.searched()) > 1 and set(load.searched().error) == {"the index is gone"}
        assert all("could not convert" in each for each in load.written().error)  # "" is no angle


def test_a_load_that_ran_out_says_so():
    with Store(dimension=2) as store:
        versions = versions_of(store)
        few = Load(versions, searches=["0"], writes=[Write("x", "1")], rate=10, write_rate=50)
        with pytest.raises(MeasureError, match="too few writes"), few:
            time.sleep(1.0)
        endless = iter(lambda: Write("x", "1"), None)
        short = Load(versions, searches=["0"], writes=endless, rate=50, write_rate=1, longest_s=0.2)
        with pytest.raises(MeasureError, match="too few"), short:
            time.sleep(1.0)
