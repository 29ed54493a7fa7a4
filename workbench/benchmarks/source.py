"""What the event source costs: how long a record waits for the function, and how many records a second reach it.

Both on an embedded cloud of their own, with a function that does nothing. Each run is a fresh process, which says what it saw
as one line of JSON.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from workbench import places, results
from workbench.benchmarks.claim import Baseline, Claim, claim
from workbench.benchmarks.source_runs import POLL_MS, SHARDS, fill, make_stream
from workbench.cloud import embedded
from workbench.errors import MeasureError
from workbench.measure.histogram import Histogram
from workbench.settings import Endpoints
from workbench.stream.mapping import EventSourceMapping

_WARMUP, _EVENTS = 200, 2_000  # sent before and while delays are measured; a p99 takes 1,000
_RECORDS = 20_000  # in the stream before it is read


def source_overhead_p99_ms(name: str) -> Claim:
    """p99 from PutRecords' call to the function's start at 100 events/s; baseline: PutRecords and one GetRecords alone."""
    with _cloud() as endpoints:
        pairs = [
            [_run(each, endpoints, make_stream(endpoints), _WARMUP + _EVENTS) for each in ("delays", "calls")]
            for _ in range(results.PUBLISHED)
        ]
    ours, bare = ([_percentiles(run) for run in runs] for runs in zip(*pairs, strict=True))
    median = {part: float(np.median([run[part][0] for run in ours])) for part in ours[0]}
    tail = {part: float(np.median([run[part][1] for run in ours])) for part in ours[0]}
    notes = (
        f"p50 {median['sent']:.3g} ms ({median['read']:.2g} ms of it after GetRecords' answer, p99 {tail['read']:.2g} ms)",
        f"from the time when it was due p99 {tail['due']:.3g} ms",
        f"{SHARDS} shards, each polled every {POLL_MS} ms",
        "goal: p50 10 ms, p99 30 ms",
    )
    bare_p99 = float(np.median([run["sent"][1] for run in bare]))
    return claim(name, "ms", [run["sent"][1] for run in ours], Baseline("the two calls alone", bare_p99), note="; ".join(notes))


def source_events_per_s(name: str) -> Claim:
    """Events/s from a full stream through the event source to an empty function; baseline: GetRecords in a loop."""
    with _cloud() as endpoints:
        stream = make_stream(endpoints)
        fill(endpoints, stream, _RECORDS)
        pairs = [
            [_RECORDS / _run(each, endpoints, stream, _RECORDS) for each in ("drain", "reads")] for _ in range(results.PUBLISHED)
        ]
    ours, bare = zip(*pairs, strict=True)
    batches = EventSourceMapping().batch_size
    note = f"{_RECORDS:,} records of {SHARDS} shards in batches of {batches}; goal: 2,000 events/s"
    return claim(name, "events/s", ours, Baseline("GetRecords alone", float(np.median(bare))), note=note)


@contextlib.contextmanager
def _cloud() -> Iterator[Endpoints]:
    """An embedded cloud that nobody else uses."""
    with tempfile.TemporaryDirectory() as folder:
        cloud = embedded.start(log=Path(folder) / "cloud.log")
        try:
            yield Endpoints(cloud="embedded", aws_url=cloud.wait_ready())
        finally:
            cloud.stop()


def _run(task: str, endpoints: Endpoints, stream: str, count: int):
    """What a fresh process says of this task.

    Raises:
        MeasureError: it failed.
    """
    command = [sys.executable, "-m", "workbench.benchmarks.source_runs", task, endpoints.aws_url, stream, str(count)]
    done = subprocess.run(command, cwd=places.ROOT, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise MeasureError(f"a process that measures {task} ended with {done.returncode}: {said}")
    return json.loads(done.stdout)


def _percentiles(run: dict[str, list[float]]) -> dict[str, tuple[float, float]]:
    """p50 and p99 of each part, ms, without the warm-up."""
    histograms = {part: Histogram.of(np.array(ms[_WARMUP:])) for part, ms in run.items()}
    return {part: (each.percentile(50), each.percentile(99)) for part, each in histograms.items()}
