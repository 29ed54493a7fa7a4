"""The event source's benchmarks: their arithmetic on made-up runs, and each task of a run on a few records."""

import contextlib
import time

import numpy as np
import pytest

from workbench.benchmarks import source, source_runs
from workbench.benchmarks.claim import Baseline
from workbench.benchmarks.source_runs import calls, delays, drain, fill, make_stream, reads
from workbench.cloud.clients import client
from workbench.errors import MeasureError
from workbench.settings import Endpoints
from workbench.stream.invoke import Inline

CLOUD = Endpoints(cloud="embedded", aws_url="http://127.0.0.1:1")


@pytest.fixture
def scripted(monkeypatch):
    """Runs that never were: the test queues what each gives, by task. The list says which were made, and of how many events."""
    script: dict[str, list] = {}
    made: list[tuple[str, str, int]] = []

    def run(task: str, endpoints: Endpoints, stream: str, count: int):
        assert endpoints is CLOUD
        made.append((task, stream, count))
        return script[task].pop(0)

    names = iter(f"stream-{number}" for number in range(100))
    monkeypatch.setattr(source, "_cloud", lambda: contextlib.nullcontext(CLOUD))
    monkeypatch.setattr(source, "make_stream", lambda endpoints: next(names))
    monkeypatch.setattr(source, "fill", lambda endpoints, stream, count: made.append(("fill", stream, count)))
    monkeypatch.setattr(source, "_run", run)
    return script, made


def delayed(ms: float) -> list[float]:
    """A second for each of the warm-up; then 2,000 delays, evenly from 0 to ``ms``, of which the largest is not the last."""
    return [1000.0] * 200 + np.roll(ms * np.arange(1, 2_001) / 2_000, 700).tolist()


def test_the_overhead_is_the_runs_p99_without_their_warm_up_beside_that_of_the_calls_alone(scripted):
    script, made = scripted
    scales = (1.0, 0.5, 2.0, 0.8, 1.2)
    script["delays"] = [{"due": delayed(1.5), "sent": delayed(each), "read": delayed(0.2)} for each in scales]
    script["calls"] = [{"sent": delayed(each / 2)} for each in scales]
    found = source.source_overhead_p99_ms("source_overhead_p99_ms")
    assert (found.value, found.low, found.high) == pytest.approx((0.99, 0.495, 1.98), abs=1e-3) and found.runs == 5
    assert found.baseline.value == pytest.approx(0.495, abs=1e-3) and found.unit == "ms"
    told = found.note.split("; ")
    assert told[0] == "p50 0.5 ms (0.1 ms of it after GetRecords' answer, p99 0.2 ms)"
    assert told[1:3] == ["from the time when it was due p99 1.49 ms", "2 shards, each polled every 10 ms"]
    assert [task for task, _, _ in made] == ["delays", "calls"] * 5
    assert len({stream for _, stream, _ in made}) == 10 and {count for _, _, count in made} == {2_200}


def test_the_rate_is_that_of_all_records_beside_that_of_reading_them(scripted):
    script, made = scripted
    script["drain"], script["reads"] = [5.0, 4.0, 2.0, 10.0, 8.0], [1.0, 2.0, 4.0, 1.0, 2.0]
    found = source.source_events_per_s("source_events_per_s")
    assert (found.value, found.low, found.high) == (4_000, 2_000, 10_000)
    assert found.baseline == Baseline("GetRecords alone", 10_000.0)
    assert made == [("fill", "stream-0", 20_000)] + [("drain", "stream-0", 20_000), ("reads", "stream-0", 20_000)] * 5


@pytest.fixture
def stream(embedded_cloud: Endpoints) -> str:
    return make_stream(embedded_cloud)


def test_each_part_of_a_delay_is_counted_from_its_own_moment(embedded_cloud, stream, monkeypatch):
    """The call of the function takes 0.05 s, which is behind all three of them."""

    class Late(Inline):
        def __call__(self, event: dict) -> dict:
            time.sleep(0.05)
            return super().__call__(event)

    monkeypatch.setattr(source_runs, "Inline", Late)
    monkeypatch.setattr(source_runs, "RATE", 1000.0)
    found = {part: np.array(ms) for part, ms in delays(embedded_cloud, stream, 40).items()}
    assert list(found) == ["due", "sent", "read"] and {len(ms) for ms in found.values()} == {40}
    assert (found["read"] >= 50).all() and (found["sent"] > found["read"]).all() and (found["due"] >= found["sent"]).all()
    held = sum(len(_records(embedded_cloud, stream, shard)) for shard in source_runs._iterators(embedded_cloud, stream))
    assert held == 40


def _records(endpoints: Endpoints, stream: str, shard: str) -> list[dict]:
    iterator = source_runs._iterators(endpoints, stream)[shard]
    return client("kinesis", endpoints).get_records(ShardIterator=iterator, Limit=10_000)["Records"]


def test_the_calls_alone_are_timed_event_by_event(embedded_cloud, stream, monkeypatch):
    monkeypatch.setattr(source_runs, "RATE", 1000.0)
    found = calls(embedded_cloud, stream, 30)["sent"]
    assert len(found) == 30 and min(found) > 0


def test_calls_that_do_not_give_what_was_put_are_no_baseline(embedded_cloud, stream):
    fill(embedded_cloud, stream, 200)
    with pytest.raises(MeasureError, match=r"^GetRecords gave \d+ records where the one that was just put was due$"):
        calls(embedded_cloud, stream, 1)


def test_a_full_stream_is_drained_and_read_as_often_as_it_is_asked(embedded_cloud, stream):
    fill(embedded_cloud, stream, 700)  # more than a call takes
    for task in (drain, reads, drain):
        assert 0 < task(embedded_cloud, stream, 700) < 60
    with pytest.raises(MeasureError, match=r"^700 records were read of 701$"):
        reads(embedded_cloud, stream, 701)


def test_a_run_in_which_nothing_moves_ends(embedded_cloud, stream, monkeypatch):
    fill(embedded_cloud, stream, 5)
    monkeypatch.setattr(source_runs, "_PATIENCE_S", 0.6)
    with pytest.raises(MeasureError, match=r"^1 records were not processed, and none was for 1 s$"):
        drain(embedded_cloud, stream, 6)


def test_a_run_is_a_process_and_what_it_fails_of_is_told_in_one_line(embedded_cloud, stream):
    fill(embedded_cloud, stream, 10)
    assert 0 < source._run("reads", embedded_cloud, stream, 10) < 60
    with pytest.raises(MeasureError) as told:
        source._run("reads", embedded_cloud, stream, 11)
    assert str(told.value) == (
        "a process that measures reads ended with 1: workbench.errors.MeasureError: 10 records were read of 11"
    )


def test_the_cloud_is_one_of_the_benchmarks_own(embedded_cloud):
    with source._cloud() as endpoints:
        assert endpoints.aws_url != embedded_cloud.aws_url
        assert client("kinesis", endpoints).list_streams()["StreamNames"] == []
