"""What measuring costs: the arithmetic of pairs, and one real pair."""

import numpy as np
import pytest

from workbench import pipeline
from workbench.benchmarks import overhead as module
from workbench.benchmarks.overhead import Cost, counted, measured, overhead
from workbench.settings import Settings


def test_the_cost_is_the_mean_loss_of_throughput():
    """Pairs differ by what the machine does meanwhile, which both of a pair share: here measuring always takes a quarter more."""
    pairs = [(Cost(1.25 * wall_s, 1.1 * wall_s), Cost(wall_s, wall_s)) for wall_s in (1.0, 2.0, 4.0)]
    made = overhead("measuring_overhead_pct", pairs)
    assert (made.value, made.low, made.high) == pytest.approx((20, 20, 20))  # 4 events where there were 5
    assert made.note == "processor time: 10% more (10 to 10)"
    assert (made.runs, made.baseline.name) == (6, "only counted: 2,500 events/s")


def test_its_interval_is_that_of_the_pairs():
    """Half of the pairs take a tenth more and half nothing: their geometric mean, with Student's interval around it."""
    made = overhead("x", [(Cost(1.1 if pair % 2 else 1.0, 1.0), Cost(1.0, 1.0)) for pair in range(10)])
    logs = np.log([1.0, 1.1] * 5)
    reach = 2.262157 * logs.std(ddof=1) / np.sqrt(10)  # t of 9 degrees of freedom
    assert made.value == pytest.approx(100 * (1 - 1.1**-0.5))
    assert made.low == pytest.approx(100 * (1 - np.exp(reach - logs.mean())), abs=1e-4)
    assert made.high == pytest.approx(100 * (1 - np.exp(-reach - logs.mean())), abs=1e-4)


def test_both_kinds_of_replay_process_every_event_again(local_servers, monkeypatch):
    small = Settings(rate=0, events=60, warmup=0, catalogue=300)
    calls = []
    with pipeline.prepared(small, local_servers) as ready:
        invoke = ready.invoker
        ready = ready._replace(invoker=lambda event: calls.append(len(event["Records"])) or invoke(event))
        for replayed in (counted, measured, counted):
            calls.clear()
            cost = replayed(ready)
            assert sum(calls) == 60 and 0 < cost.wall_s < 60 and 0 < cost.cpu_s < 60


def test_who_begins_changes_from_pair_to_pair(local_servers, monkeypatch):
    order = []
    for name in ("measured", "counted"):
        monkeypatch.setattr(module, name, lambda ready, name=name: order.append(name) or Cost(1.0, 1.0))
    monkeypatch.setattr(module, "_SETTINGS", Settings(rate=0, events=60, warmup=0, catalogue=300))
    monkeypatch.setattr(module, "_PAIRS", 4)
    module.measuring_overhead_pct("measuring_overhead_pct")
    assert order[2:] == ["counted", "measured", "measured", "counted"] * 2
