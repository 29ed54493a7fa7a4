"""Fixtures that several packages' tests share."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from workbench import servers
from workbench.cloud import embedded
from workbench.servers import Services, services
from workbench.settings import Endpoints

# Wants the servers, says whether it had to start them, and stays.
_USER = """
import time
from workbench.servers import services
running = services()
print(running.started, flush=True)
time.sleep(600)
"""


# Started in the background, a process ignores Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def embedded_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """A running embedded cloud, one for the whole session: tests give what they make names of their own."""
    cloud = embedded.start(log=tmp_path_factory.mktemp("cloud") / "cloud.log")
    try:
        yield Endpoints(cloud="embedded", aws_url=cloud.wait_ready())
    finally:
        cloud.stop()


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where this session's servers, logs and caches are, so that those of the user who runs the tests stay as they are."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_STATE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def local_servers(state_folder: Path) -> Iterator[Services]:
    """All local servers, one set for the whole session. Runs and notebooks of the tests join it."""
    with services() as running:
        yield running


class Machine:
    """A state folder of the test's own, and the processes that belong to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen] = []

    def start(self, *arguments: str, **options: object) -> subprocess.Popen:
        """A Python that is gone after the test."""
        self._started.append(subprocess.Popen([sys.executable, *arguments], text=True, **options))
        return self._started[-1]

    def user(self) -> subprocess.Popen:
        """Another process that wants the servers; its first line says whether it had to start them."""
        return self.start("-c", _USER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def processes(self) -> list[psutil.Process]:
        """Everything that was started with this state folder, and lives."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                ours = process.environ().get("WORKBENCH_STATE") == str(self.folder)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def supervisors(self) -> list[psutil.Process]:
        return [process for process in self.processes() if "workbench.supervisor" in process.cmdline()]

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()
        servers.stop()
        until(lambda: self.processes() == [], "nothing is left")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path))
    machine = Machine(tmp_path)
    yield machine
    machine.close()


def until(met: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < deadline, f"still waiting until {what}"
        time.sleep(0.02)


@pytest.fixture(name="until")
def _until() -> Callable[..., None]:
    """Waits until something is so, and fails after 20 s."""
    return until
