"""The pipeline task on the local servers: its figures and samples, and the same replay while nothing is followed."""

import math

import pytest

from workbench.measure.metrics import METRICS
from workbench.settings import Settings
from workbench.tasks import TASKS, Measured, pipeline, task

_SMALL = Settings(events=150, warmup=20, catalogue=300, rate=0)


@pytest.fixture(scope="module")
def measured(local_servers) -> Measured:
    return pipeline.measure(_SMALL, "embedded")


def test_figures_are_those_of_the_samples(measured):
    figures, later = measured.figures, measured.samples.iloc[20:]
    assert figures.keys() <= METRICS.keys() and figures["answered"] == 170 and figures["lost"] == 0
    assert figures["mean_ms"] == pytest.approx(later.latency_ms.mean())
    last_s = (later.due_s + later.latency_ms / 1000).max()
    assert figures["goodput_per_s"] == pytest.approx(150 / (last_s - later.due_s.min()))
    assert set(TASKS["pipeline"].main) <= {name for name, value in figures.items() if math.isfinite(value)} | {"p99_ms"}


def test_there_is_a_sample_for_every_event_the_warm_up_included(measured):
    assert len(measured.samples) == 170 and measured.samples.event_id.is_unique
    assert {"latency_ms", "service_ms", "freshness_ms", "send_ms", "outcome", "attempts", "due_s"} <= set(measured.samples)


def test_it_is_a_task_that_a_sweep_can_call():
    assert task("pipeline").function == "workbench.tasks.pipeline:measure"
