"""A replay through everything: what the two loops make of a stall, and what ends a replay that stands still."""

import threading
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from workbench import pipeline
from workbench import replay as module
from workbench.errors import ServiceError
from workbench.runs import Run
from workbench.servers import Services
from workbench.settings import Settings
from workbench.stream.schedule import schedule
from workbench.summaries import figures, percentile_ms

_STALL_MS = 1000.0
_STALLED = Settings(events=1000, warmup=20, catalogue=300, rate=200, stall_s=_STALL_MS / 1000)


@pytest.fixture(scope="module")
def opened(local_servers: Services) -> Run:
    return pipeline.run(_STALLED, local_servers)


@pytest.fixture(scope="module")
def closed(local_servers: Services) -> Run:
    return pipeline.run(_STALLED.but(loop="closed"), local_servers)


def _waited(run: Run) -> int:
    """How many events waited for half of the stall or longer."""
    return int((run.events.latency_ms >= _STALL_MS / 2).sum())


def test_an_open_loop_keeps_its_schedule_while_the_system_stands_still(opened):
    plan_s = schedule(1020, rate=200, arrivals="poisson", seed=_STALLED.seed) / 1e9
    assert opened.events.due_s.to_numpy() == pytest.approx(plan_s - plan_s[0], abs=1e-6)
    late_ms = opened.events.send_ms - _STALLED.linger_ms
    assert late_ms.max() < _STALL_MS / 2 and late_ms.quantile(0.99) < _STALL_MS / 4
    assert figures(opened)["offer_kept_pct"] > 95


def test_an_open_loop_counts_everybody_who_waited(opened):
    """100 events are due in the first half of the stall, and wait for longer than the second."""
    assert opened.events.outcome.tolist() == ["answered"] * 1020
    assert percentile_ms(opened, 99) >= _STALL_MS / 2
    assert _waited(opened) >= 50


def test_a_closed_loop_hides_the_stall(opened, closed):
    """Coordinated omission: its p99 knows nothing of a second in which nobody was answered."""
    assert 1 <= _waited(closed) <= 2 * _STALLED.clients
    assert closed.events.latency_ms.max() >= 0.9 * _STALL_MS  # it stood still all the same
    assert percentile_ms(closed, 99) < _STALL_MS / 2 <= percentile_ms(opened, 99)


def test_a_closed_loop_is_answered_completely(closed):
    assert closed.events.outcome.tolist() == ["answered"] * 1020 and closed.lost == 0
    assert closed.events.attempts.tolist() == [1] * 1020 and len(closed.measured) == 1000


def test_a_closed_loop_has_no_more_events_under_way_than_clients(closed):
    sent = np.sort(closed.events.due_s + closed.events.send_ms / 1000)
    answered = np.sort(closed.events.due_s + closed.events.latency_ms / 1000)
    before_each = np.arange(1020) - np.searchsorted(answered, sent, side="right")
    assert before_each.max() + 1 == _STALLED.clients


def test_in_a_closed_loop_a_users_next_event_is_due_after_the_answer_to_the_last(closed):
    answered_s = closed.events.due_s + closed.events.latency_ms / 1000
    for _, own in closed.events.groupby("user_id"):
        assert (own.due_s.iloc[1:].to_numpy() >= answered_s[own.index[:-1]].to_numpy() - 1e-6).all()


def test_in_a_closed_loop_nobody_waits_to_be_sent(closed):
    assert closed.events.send_ms.median() < 1.0  # one record a call, and no linger


class _Watcher:
    """Settles as many records a look as it was told, then none."""

    def __init__(self, total: int, *settled: int) -> None:
        self._left, self._settled = total, list(settled)
        self.looks = 0

    def wait(self, timeout_s: float) -> int:
        if timeout_s:
            self.looks += 1
            self._left -= self._settled.pop(0) if self._settled else 0
        return self._left


def _await(watcher: _Watcher, monkeypatch, *, sent: bool, services=lambda: None, source=lambda: None, **settings) -> None:
    """With a clock that passes 10 s at every look."""
    clock = iter(range(0, 10_000_000, 10))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    sending: Future = Future()
    if sent:
        sending.set_result(None)
    checked = SimpleNamespace(check=services), SimpleNamespace(check=source)
    module._await(watcher, checked[1], checked[0], sending, Settings(**settings))


def test_it_is_over_when_all_is_settled(monkeypatch):
    watcher = _Watcher(5, 2, 0, 3, 100)
    _await(watcher, monkeypatch, sent=True)
    assert watcher.looks == 3


@pytest.mark.parametrize("settings", [{}, {"loop": "closed"}])
def test_what_does_not_move_for_a_minute_is_an_error(monkeypatch, settings):
    """In a closed loop it does not matter that sending is not over: its clients wait for answers that will not come."""
    watcher = _Watcher(5, 2, 1)
    with pytest.raises(ServiceError, match=r"^2 of 5 events were neither answered nor given up in 60 s$"):
        _await(watcher, monkeypatch, sent=not settings, **settings)
    assert watcher.looks < 12


def test_a_planted_stall_is_no_standstill(monkeypatch):
    watcher = _Watcher(5, *[0] * 3, 5)
    _await(watcher, monkeypatch, sent=True, stall_s=60)
    with pytest.raises(ServiceError, match=r"neither answered nor given up in 120 s$"):
        _await(_Watcher(5), monkeypatch, sent=True, stall_s=60)


def test_an_open_loop_whose_next_event_is_due_much_later_is_no_standstill(monkeypatch):
    watcher = _Watcher(1, *[0] * 100, 1)
    _await(watcher, monkeypatch, sent=False, rate=0.001)
    assert watcher.looks == 101


@pytest.mark.parametrize("broken", ["services", "source"])
def test_a_server_that_ended_is_said_at_the_first_look_at_which_nothing_moved(monkeypatch, broken):
    def gone() -> None:
        raise ServiceError("it ended")

    watcher = _Watcher(5, 2)
    with pytest.raises(ServiceError, match=r"^it ended$"):
        _await(watcher, monkeypatch, sent=False, **{broken: gone})
    assert watcher.looks == 2


def test_what_stopped_the_sender_is_raised(monkeypatch):
    sending: Future = Future()
    sending.set_exception(ServiceError("the stream refused"))
    nothing = SimpleNamespace(check=lambda: None)
    with pytest.raises(ServiceError, match="the stream refused"):
        module._await(_Watcher(5, 1, 1, 1, 1, 1), nothing, nothing, sending, Settings())


def test_a_collection_in_a_replay_leaves_what_was_there_before_alone():
    import gc

    frozen = gc.get_freeze_count()
    with module._uncollected():
        assert gc.get_freeze_count() > frozen + 1000
    assert gc.get_freeze_count() == 0


def test_threads_of_a_replay_end_with_it(opened, closed):
    names = [thread.name for thread in threading.enumerate()]
    assert [name for name in names if name.startswith(("sender-", "source-", "findable-probe", "resources"))] == []


def test_a_stalls_share_of_the_way_is_the_wait_for_the_function(opened):
    """What stands still is the call: the worker's next events wait in the stream, those of the stalled call in it."""
    waited = opened.events[opened.events.latency_ms >= _STALL_MS / 2]
    shares = waited[["stream_ms", "queue_ms", "call_ms"]].sum(axis=1) / waited.latency_ms
    assert isinstance(shares, pd.Series) and shares.min() > 0.5
