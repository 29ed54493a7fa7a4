"""Queries beside writes on a small store: nothing that was deleted is found, and exact search finds everything."""

import numpy as np
import pytest

from workbench.errors import SettingError
from workbench.measure.metrics import METRICS
from workbench.settings import Flat, Settings
from workbench.tasks import TASKS, churn

_SMALL = Settings(catalogue=600, events=200, warmup=5, rate=100, batch_size=10, poll_interval_ms=20, clients=2, index=Flat())


@pytest.fixture
def measured(drawn):
    return churn.measure(_SMALL, "embedded")


def test_exact_search_finds_all_that_lives_and_nothing_else(measured):
    query = measured.samples[measured.samples.what == "query"]
    assert len(query) == 200 and (query.recall == 1).all() and (query.stale == 0).all()
    assert measured.figures["recall_at_10"] == measured.figures["recall_p5"] == 1 and measured.figures["stale"] == 0


def test_a_fifth_is_quiet_and_then_writes_come_at_their_pace(measured):
    query, write, probe, upkeep = (
        measured.samples[measured.samples.what == what] for what in ("query", "write", "probe", "upkeep")
    )
    span = query.t_s.max()
    assert write.t_s.min() >= churn.QUIET * span - 0.001
    assert 0 < len(write) <= 0.8 * span / 0.02 + 2  # a slow machine may fall behind, and never run ahead
    assert len(probe) and (probe.latency_ms > 0).all() and measured.figures["fresh_max_ms"] == probe.latency_ms.max()
    assert len(upkeep) and (upkeep.scanned >= 540).all()  # without an index every row is compared


def test_latency_counts_from_the_time_a_query_was_due(measured):
    query = measured.samples[measured.samples.what == "query"]
    assert (query.latency_ms >= query.service_ms).all() and (query.service_ms > 0).all()
    assert measured.figures.keys() <= METRICS.keys() and set(TASKS["churn"].main) <= measured.figures.keys()
    begun = measured.samples.t_s[measured.samples.what == "write"].min()
    p50 = np.median(query.latency_ms[query.t_s >= begun])
    assert measured.figures["query_p50_ms"] == pytest.approx(p50, rel=0.1, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0}, r"rate = 0.0 is not allowed: more than 0: queries come in an open loop"),
        ({"batch_size": 21}, r"batch_size = 21 is not allowed: at most 20: a tenth of the catalogue is three calls"),
    ],
)
def test_what_cannot_be_run_is_said(drawn, changes, message):
    with pytest.raises(SettingError, match=f"^{message}$"):
        churn.measure(_SMALL.but(**changes), "embedded")
