"""Processor time and memory of real processes, against what they say of themselves."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pandas as pd
import psutil
import pytest

from workbench.errors import SettingError
from workbench.measure.resources import MACHINE, STOLEN, Resources, by_process, summary

# Says its process id, then does what it is told line by line, each time saying its own processor time in s. "spawn" starts a
# second worker that takes over its input and output.
_WORKER = """
import os, subprocess, sys
used = lambda: sum(os.times()[:2])
held = []
print(os.getpid(), used(), flush=True)
while line := sys.stdin.readline():
    order, _, amount = line.strip().partition(" ")
    if order == "burn":
        end = used() + float(amount)
        while used() < end:
            pass
    elif order == "hold":
        held.append(b"x" * (int(amount) << 20))
    elif order == "spawn":
        subprocess.Popen([sys.executable, "-c", sys.orig_argv[2]]).wait()
    print(os.getpid(), used(), flush=True)
"""
_TICKS_S = 0.03  # the system and the worker read the same ticks of 10 ms, each a little earlier or later


class Worker:
    """A process that does as it is told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.pid, self.used_s = self._answer()

    def tell(self, order: str) -> tuple[int, float]:
        """The process id and processor time, s, of who did it."""
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self._answer()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> tuple[int, float]:
        pid, used_s = self._process.stdout.readline().split()
        return int(pid), float(used_s)


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


def cpu_s(resources: Resources, process: str) -> float:
    """The processor time in a frame: cores × time, summed."""
    rows = resources.frame().query("process == @process")
    return float((rows.cpu_cores * rows.t_s.diff().fillna(rows.t_s)).sum())


def rss(resources: Resources, process: str) -> pd.Series:
    return resources.frame().query("process == @process").rss_mib


def mean(resources: Resources, process: str) -> float:
    return by_process(resources.frame()).cpu_cores[process]


def test_the_processor_time_of_a_process_is_what_it_says_itself(worker: Worker):
    with Resources({"worker": worker.pid}, every_s=0.05) as resources:
        _, used_s = worker.tell("burn 0.6")
    assert used_s - worker.used_s >= 0.6
    assert cpu_s(resources, "worker") == pytest.approx(used_s - worker.used_s, abs=_TICKS_S)
    frame = resources.frame()
    assert list(frame.columns) == ["t_s", "process", "cpu_cores", "rss_mib"]
    assert mean(resources, "worker") == pytest.approx(cpu_s(resources, "worker") / frame.t_s.max())
    assert summary(frame)["cpu_cores"] == pytest.approx(mean(resources, "worker"))


def test_what_a_process_used_before_is_not_counted(worker: Worker):
    worker.tell("burn 0.3")
    with Resources({"worker": worker.pid}, every_s=0.05) as resources:
        pass
    assert cpu_s(resources, "worker") <= _TICKS_S


def test_memory_is_what_the_process_holds(worker: Worker, until: Callable):
    with Resources({"worker": worker.pid}, every_s=0.02) as resources:
        until(lambda: len(resources.frame()), "there is a first interval")
        worker.tell("hold 64")
    held = rss(resources, "worker")
    assert held.iloc[-1] - held.iloc[0] == pytest.approx(64, abs=2)
    assert held.iloc[-1] == pytest.approx(psutil.Process(worker.pid).memory_info().rss / 2**20, abs=1)
    assert summary(resources.frame())["memory_mib"] == held.max()


def test_a_child_that_appears_counts_for_its_process_from_its_beginning(worker: Worker):
    with Resources({"worker": worker.pid}, every_s=0.05) as resources:
        child, born_s = worker.tell("spawn")
        _, used_s = worker.tell("burn 0.5")
    assert child != worker.pid and used_s - born_s >= 0.5
    own_s = sum(psutil.Process(worker.pid).cpu_times()[:2]) - worker.used_s
    assert cpu_s(resources, "worker") == pytest.approx(used_s + own_s, abs=2 * _TICKS_S)


def test_a_child_that_outlives_its_parent_still_counts(worker: Worker, until: Callable):
    with Resources({"worker": worker.pid}, every_s=0.02) as resources:
        child, _ = worker.tell("spawn")
        until(lambda: psutil.Process(child).memory_info().rss / 2**20 < rss(resources, "worker").iloc[-1], "it was seen")
        worker.kill()
        _, before_s = worker.tell("burn 0.01")
        counted_s = cpu_s(resources, "worker")
        _, used_s = worker.tell("burn 0.4")
    assert cpu_s(resources, "worker") - counted_s >= used_s - before_s - _TICKS_S
    assert rss(resources, "worker").iloc[-1] > 0


def test_below_another_named_process_a_child_counts_for_that(worker: Worker):
    child, _ = worker.tell("spawn")
    grandchild, _ = worker.tell("spawn")
    with Resources({"worker": worker.pid, "child": child}, every_s=0.05) as resources:
        _, before_s = worker.tell("burn 0.01")
        _, used_s = worker.tell("burn 0.4")
    assert len({worker.pid, child, grandchild}) == 3
    assert cpu_s(resources, "worker") <= _TICKS_S
    assert cpu_s(resources, "child") == pytest.approx(used_s - before_s, abs=_TICKS_S + 0.02)
    assert summary(resources.frame())["cpu_cores"] == pytest.approx(mean(resources, "worker") + mean(resources, "child"))


def test_a_process_that_ends_is_no_error_and_takes_nothing_any_more(worker: Worker, until: Callable):
    with Resources({"worker": worker.pid, "this process": os.getpid()}, every_s=0.02) as resources:
        worker.tell("burn 0.2")
        seen_s = worker.tell("burn 0.01")[1] - worker.used_s
        until(lambda: cpu_s(resources, "worker") >= seen_s - _TICKS_S, "that was sampled")
        worker.kill()
        until(lambda: rss(resources, "worker").iloc[-1] == 0, "its end was noticed")
    assert cpu_s(resources, "worker") == pytest.approx(seen_s, abs=2 * _TICKS_S)
    assert resources.frame().query("process == 'worker'").iloc[-1].cpu_cores == 0
    assert rss(resources, "this process").iloc[-1] > 1


def test_a_process_that_never_was_took_nothing(worker: Worker):
    worker.kill()
    with Resources({"worker": worker.pid}, every_s=0.05) as resources:
        pass
    assert resources.frame().query("process == 'worker'")[["cpu_cores", "rss_mib"]].values.tolist() == [[0.0, 0.0]]


def test_the_whole_machine_is_at_least_as_busy_as_its_processes(worker: Worker):
    def busy_s() -> float:
        now = psutil.cpu_times()
        return sum(getattr(now, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq"))

    before_s = busy_s()
    with Resources({"worker": worker.pid}, every_s=0.05) as resources:
        worker.tell("burn 0.3")
    assert 0.3 - 2 * _TICKS_S <= cpu_s(resources, MACHINE) <= busy_s() - before_s + 1e-6
    means = by_process(resources.frame())
    assert means.rss_mib.isna().to_dict() == {name: name in (MACHINE, STOLEN) for name in means.index}
    assert (STOLEN in means.index) == hasattr(psutil.cpu_times(), "steal")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "resources"]


def test_the_thread_ends_with_the_context_also_when_the_body_raises(worker: Worker):
    resources = Resources({"worker": worker.pid}, every_s=60)
    with pytest.raises(ZeroDivisionError), resources:
        assert len(threads()) == 1
        worker.tell("burn 0.2")
        _ = 1 / 0
    assert threads() == []
    assert cpu_s(resources, "worker") == pytest.approx(0.2, abs=2 * _TICKS_S)  # the last sample is taken all the same


def test_a_sample_that_fails_only_makes_the_interval_longer(worker: Worker, monkeypatch: pytest.MonkeyPatch, until: Callable):
    failures = []

    def fails() -> None:
        failures.append(1)
        raise OSError("too many open files")

    with Resources({"worker": worker.pid}, every_s=0.02) as resources:
        with monkeypatch.context() as patch:
            patch.setattr(psutil, "pids", fails)
            worker.tell("burn 0.3")
            until(lambda: len(failures) > 3, "several samples have failed")
        before = len(resources.frame())
        _, used_s = worker.tell("burn 0.1")
    assert len(resources.frame()) > before
    assert cpu_s(resources, "worker") == pytest.approx(used_s - worker.used_s, abs=_TICKS_S)


def test_nothing_sampled_is_no_figure(monkeypatch: pytest.MonkeyPatch):
    def fails() -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "cpu_times", fails)
    with Resources({"this process": os.getpid()}, every_s=0.05) as resources:
        pass
    assert resources.frame().empty and by_process(resources.frame()).empty
    assert all(pd.isna(figure) for figure in summary(resources.frame()).values())


def test_means_are_over_time_and_the_memory_is_the_largest_sum():
    """Intervals of 1 s and 3 s. Cores: (1·(0.5 + 1) + 3·(0.1 + 0.2)) / 4. Memory: 100 + 50, then 80 + 90."""
    rows = [
        (1.0, "cloud", 0.5, 100.0),
        (1.0, "vectors", 1.0, 50.0),
        (1.0, MACHINE, 2.0, float("nan")),
        (4.0, "cloud", 0.1, 80.0),
        (4.0, "vectors", 0.2, 90.0),
        (4.0, MACHINE, 1.0, float("nan")),
    ]
    frame = pd.DataFrame(rows, columns=["t_s", "process", "cpu_cores", "rss_mib"])
    assert summary(frame) == pytest.approx({"cpu_cores": 2.4 / 4, "memory_mib": 170.0})
    means = by_process(frame)
    assert means.cpu_cores.to_dict() == pytest.approx({"cloud": 0.2, "vectors": 0.4, MACHINE: 1.25})
    assert means.rss_mib[["cloud", "vectors"]].tolist() == pytest.approx([(100 + 240) / 4, (50 + 270) / 4])


@pytest.mark.parametrize(
    ("processes", "every_s", "message"),
    [
        ({"a": 7, "b": 7}, 1.0, "one name for each process id"),
        ({MACHINE: 7}, 1.0, "a name other than"),
        ({STOLEN: 7}, 1.0, "a name other than"),
        ({"a": 7}, 0.0, "every_s = 0.0 is not allowed: more than 0 s"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(processes: dict, every_s: float, message: str):
    with pytest.raises(SettingError, match=message):
        Resources(processes, every_s)
