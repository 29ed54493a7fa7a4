"""Side by side on Dask: in this process without a port, and on real workers of a real scheduler."""

import logging
import os
import re
import socket

import psutil
import pytest

from workbench import places, results, sweeps, tasks
from workbench.errors import ResultError, ServiceError
from workbench.settings import Settings
from workbench.sweeps import sweep

_MEET = """
(FOLDER / f"here-{settings.rate:g}").touch()
deadline = time.monotonic() + 60
while len(list(FOLDER.glob("here-*"))) < 2:
    assert time.monotonic() < deadline, "nobody came"
    time.sleep(0.02)
"""


@pytest.fixture
def task(probe, monkeypatch) -> str:
    monkeypatch.setitem(tasks.TASKS, "probe", tasks.Task(probe.name, alone=False))
    return "probe"


def _settings(*rates: float) -> list[Settings]:
    return [Settings(rate=rate) for rate in rates]


def _listening() -> set:
    return {each.laddr for each in psutil.Process().net_connections("inet") if each.status == psutil.CONN_LISTEN}


def test_points_run_side_by_side_in_processes_of_their_own_and_no_port_is_opened(probe, task, monkeypatch, capfd):
    before, during = _listening(), []

    def save(data, path):
        during.append(_listening())
        results.save(data, path)

    monkeypatch.setattr(sweeps, "save", save)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for rate in (2, 3):
        probe.behave(rate, _MEET)  # each waits for the other
    made = sweep(_settings(2, 3), name="local", task=task, repeats=2)
    frame = results.load(made)
    assert sorted(frame.p50_ms) == [14.0, 16.0, 21.0, 24.0] and (frame.error == "").all()
    assert len({pid for pid, _, _ in probe.ran()} | {os.getpid()}) == 5
    assert during == [before] * 4
    assert capfd.readouterr() == ("", "")  # Dask says nothing


def test_a_failed_point_and_a_full_disk_are_told_as_without_dask(probe, task, monkeypatch):
    probe.behave(2, "os.kill(os.getpid(), signal.SIGKILL)")
    made = sweep(_settings(2, 3), name="mixed", task=task, repeats=1)
    assert sorted(results.load(made).error) == ["", "its process was ended by SIGKILL"]

    def full(data, path):
        raise ResultError("no space")

    monkeypatch.setattr(sweeps, "save", full)
    with pytest.raises(ResultError, match=r"^no space; 0 of 2 points are saved in "):
        sweep(_settings(3, 5), name="full", task=task, repeats=1)


@pytest.fixture
def scheduler(probe, machine, until, tmp_path) -> str:
    """A Dask scheduler's address; its process is gone after the test."""
    file = tmp_path / "scheduler.json"
    where = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    log = (tmp_path / "scheduler.log").open("wb")
    with log:
        process = machine.start(
            "-m", "distributed.cli.dask_scheduler", *where, "--scheduler-file", str(file), stdout=log, stderr=log
        )
    machine.scheduler = process
    until(lambda: file.exists() and '"address"' in file.read_text(), "the scheduler answers", 60.0)
    return re.search(r'"address": "([^"]+)"', file.read_text())[1]


def _worker(machine, address: str, name: str, **environment: str) -> None:
    options = ("--name", name, "--nthreads", "2", "--no-nanny", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    log = machine.folder / f"{name}.log"
    with log.open("wb") as out:
        env = {**os.environ, **environment}
        machine.start("-m", "distributed.cli.dask_worker", address, *options, stdout=out, stderr=out, env=env)


def _await_workers(address: str, number: int) -> None:
    from distributed import Client

    with Client(address, timeout=10, set_as_default=False) as client:
        client.wait_for_workers(number, timeout=60)


def test_points_go_to_a_schedulers_workers(probe, task, machine, scheduler, capfd):
    with pytest.raises(
        ServiceError, match=rf"^the scheduler at {scheduler} has no workers: start some with `dask worker {scheduler}`"
    ):
        sweep(_settings(2), name="remote", task=task, repeats=1, scheduler=scheduler)
    _worker(machine, scheduler, "good")
    _await_workers(scheduler, 1)
    for rate in (2, 3):
        probe.behave(rate, _MEET)
    capfd.readouterr()
    made = sweep(_settings(2, 3), name="remote", task=task, repeats=2, scheduler=scheduler)
    assert sorted(results.load(made).p50_ms) == [14.0, 16.0, 21.0, 24.0]
    assert capfd.readouterr().err == ""

    other = probe.folder.parent / "other"
    other.mkdir()
    (other / "probe_task.py").write_text("# not the same\n")
    _worker(machine, scheduler, "bad", PYTHONPATH=os.pathsep.join([str(other), os.environ["PYTHONPATH"]]))
    _await_workers(scheduler, 2)
    ran = len(probe.ran())
    with pytest.raises(ServiceError) as raised:
        sweep(_settings(5), name="remote", task=task, repeats=1, scheduler=scheduler)
    assert re.fullmatch(
        r"worker tcp://127\.0\.0\.1:\d+ has code [0-9a-f]{12}, here it is [0-9a-f]{12}: both must be the same; "
        r"0 of 1 points are saved in .*/remote",
        str(raised.value),
    )
    assert len(probe.ran()) == ran


def test_a_scheduler_that_goes_away_stops_the_sweep(probe, task, machine, scheduler, until, monkeypatch, capfd):
    _worker(machine, scheduler, "good")
    _await_workers(scheduler, 1)

    def save(data, path):
        results.save(data, path)
        machine.scheduler.kill()

    monkeypatch.setattr(sweeps, "save", save)
    for rate in (2, 3, 5):
        probe.behave(rate, probe.only_the_first_ends)
    capfd.readouterr()
    with pytest.raises(ServiceError, match=rf"^the Dask scheduler at {scheduler} or all its workers are gone; 1 of 3 "):
        sweep(_settings(2, 3, 5), name="gone", task=task, repeats=1, scheduler=scheduler)
    assert len(list((places.results() / "gone").glob("*.parquet"))) == 1
    assert capfd.readouterr().err == ""


def test_a_sweep_that_stops_ends_its_points_on_the_workers(probe, task, machine, scheduler, until, monkeypatch):
    _worker(machine, scheduler, "good")
    _await_workers(scheduler, 1)

    def full(data, path):
        until(lambda: (probe.folder / "go").exists(), "another point runs")
        raise ResultError("no space")

    monkeypatch.setattr(sweeps, "save", full)
    for rate in (2, 3, 5):
        probe.behave(rate, probe.only_the_first_ends)
    with pytest.raises(ResultError, match=r"^no space; 0 of 3 points are saved in "):
        sweep(_settings(2, 3, 5), name="stopped", task=task, repeats=1, scheduler=scheduler)
    until(lambda: not any("workbench.sweeps.point" in process.cmdline() for process in machine.processes()), "they have ended")


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_scheduler_that_does_not_answer_is_told_in_one_line(probe, task, monkeypatch, capfd):
    from workbench.sweeps import cluster

    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    address = f"tcp://127.0.0.1:{_closed_port()}"
    with pytest.raises(ServiceError, match=rf"^no Dask scheduler answered at {address} within 1 s; 0 of 1 points are saved in "):
        sweep(_settings(2), name="dead", task=task, repeats=1, scheduler=address)
    assert capfd.readouterr() == ("", "")
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("distributed")]
    assert all(handler.filters == [] for logger in loggers for handler in logger.handlers)  # as it was for the user's own Dask


@pytest.mark.parametrize("address", ["", "nonsense", "foo://x:1", "tcp://127.0.0.1", "tls://127.0.0.1:5"])
def test_what_is_no_address_is_told_in_one_line(probe, task, monkeypatch, capfd, address):
    from workbench.sweeps import cluster

    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    with pytest.raises(ServiceError) as raised:
        sweep(_settings(2), name="dead", task=task, repeats=1, scheduler=address)
    assert str(raised.value).startswith(f"{address!r} is no address of a Dask scheduler, such as tcp://10.0.0.1:8786; 0 of 1")
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")
