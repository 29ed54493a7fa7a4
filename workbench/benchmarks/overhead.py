"""What measuring costs: the same events replayed with everything measured, and only counted, in turn."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from workbench import pipeline, provision
from workbench.benchmarks.claim import Baseline, Claim, claim
from workbench.measure.intervals import ratio_interval
from workbench.measure.tally import Tally
from workbench.measure.timeline import Timeline
from workbench.replay import Prepared, replay
from workbench.servers import services
from workbench.settings import Settings

_SETTINGS = Settings(rate=0, events=5000, warmup=0)  # all due at once: the pipeline does nothing but work
_PAIRS = 60


class Cost(NamedTuple):
    """What one replay took, s: from the first due time to the last answer, and processor time of this process."""

    wall_s: float
    cpu_s: float


def measuring_overhead_pct(name: str) -> Claim:
    """What following every event costs of the throughput; baseline: replays that are only counted, in the same process."""
    with services() as running, pipeline.prepared(_SETTINGS, running) as ready:
        for replayed in (counted, measured):  # warms caches
            replayed(ready)
        pairs = []
        for pair in range(_PAIRS):
            order = (measured, counted) if pair % 2 else (counted, measured)
            took = {replayed: replayed(ready) for replayed in order}
            pairs.append((took[measured], took[counted]))
    return overhead(name, pairs)


def overhead(name: str, pairs: Sequence[tuple[Cost, Cost]]) -> Claim:
    """The claim for pairs of (measured, counted)."""
    ours, bare = np.array(pairs).transpose(1, 2, 0)  # each: wall and processor time, by pair
    slower = [100 * (1 - 1 / ratio) for ratio in (_ratio(ours[0], bare[0]), *ratio_interval(bare[0], ours[0], paired=True))]
    cpu = [100 * (ratio - 1) for ratio in (_ratio(ours[1], bare[1]), *ratio_interval(bare[1], ours[1], paired=True))]
    return claim(
        name,
        "%",
        slower[:1],
        Baseline(f"only counted: {_SETTINGS.events / np.median(bare[0]):,.0f} events/s", 0.0),
        interval=(slower[1], slower[2]),
        spread="95% over pairs of replays",
        runs=2 * len(pairs),
        note=f"processor time: {cpu[0]:.2g}% more ({cpu[1]:.2g} to {cpu[2]:.2g})",
    )


def _ratio(ours: np.ndarray, bare: np.ndarray) -> float:
    return float(np.exp(np.mean(np.log(ours / bare))))


def measured(ready: Prepared) -> Cost:
    """A replay with all that a run measures."""
    _renew(ready)
    with pipeline.watched(ready) as (timeline, _, _):
        return _timed(ready, timeline)


def counted(ready: Prepared) -> Cost:
    """A replay whose events are only counted."""
    _renew(ready)
    return _timed(ready, Tally(len(ready.data.events)))


def _timed(ready: Prepared, watcher: Timeline | Tally) -> Cost:
    cpu_s = time.process_time()
    replay(ready, watcher)
    return Cost((watcher.last_ns - watcher.due_ns.min()) / 1e9, time.process_time() - cpu_s)


def _renew(ready: Prepared) -> None:
    """An empty read model and an empty stream: events that were seen before would be passed over."""
    endpoints = ready.services.endpoints
    provision.forget_recommendations(endpoints, ready.tables)
    provision.renew_stream(endpoints, ready.outputs, shards=ready.settings.shards)
