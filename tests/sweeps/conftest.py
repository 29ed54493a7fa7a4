"""A task of the test's own: it notes that it ran, then does what the test wants of it."""

import os
from pathlib import Path

import pytest

_MODULE = """
import os, signal, sys, time
from pathlib import Path
import pandas as pd
from workbench.tasks import Measured

FOLDER = Path({folder!r})


def measure(settings, cloud):
    with (FOLDER / "ran").open("a") as file:
        file.write(f"{{os.getpid()}} {{settings.rate:g}} {{settings.seed}}\\n")
    print("said on standard output")
    figures = {{"p50_ms": settings.rate * settings.seed}}
    wanted = FOLDER / f"rate-{{settings.rate:g}}.py"
    if wanted.exists():
        exec(wanted.read_text())
    return Measured(figures, pd.DataFrame({{"latency_ms": [settings.rate, settings.seed + 0.5]}}))
"""


_ONLY_THE_FIRST_ENDS = """
try:
    (FOLDER / "first").touch(exist_ok=False)
except FileExistsError:
    (FOLDER / "go").touch()
    time.sleep(600)
"""


class Probe:
    """The task "probe_task:measure", which gives p50_ms = rate · seed."""

    name = "probe_task:measure"
    only_the_first_ends = _ONLY_THE_FIRST_ENDS  # behaviour: all others touch "go" and hang

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write()

    def write(self, more: str = "") -> None:
        """The module's source, with ``more`` at its end."""
        (self.folder / "probe_task.py").write_text(_MODULE.format(folder=str(self.folder)) + more)

    def behave(self, rate: float, code: str) -> None:
        """What points of that rate do before they return; "" takes it back."""
        (self.folder / f"rate-{rate:g}.py").write_text(code)

    def ran(self) -> list[tuple[int, float, int]]:
        """(process id, rate, seed) of each execution, in order."""
        path = self.folder / "ran"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), float(rate), int(seed)) for pid, rate, seed in map(str.split, lines)]


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Probe:
    folder = tmp_path / "probe"
    folder.mkdir()
    probe = Probe(folder)
    monkeypatch.syspath_prepend(str(folder))
    above = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *([above] if above else [])]))
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path))
    return probe
