"""Environments of peers: one real one, with a package made here; the order of steps with pretended ones."""

import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from workbench import places
from workbench.benchmarks.peers import environments
from workbench.benchmarks.peers.environments import PINS, environment
from workbench.errors import ServiceError, SettingError


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_STATE", str(tmp_path / "state"))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every command that would be run; nothing is."""
    commands: list[list[str]] = []

    def pretend(name: str, *command: str) -> str:
        commands.append(list(command))
        if "venv" in command:
            Path(command[-1]).mkdir()
        return "tiny==1.0\n"

    monkeypatch.setattr(environments, "_run", pretend)
    monkeypatch.setattr(environments, "PINS", {"tiny": ("tiny==1.0",)})
    return commands


def _wheel(folder: Path) -> Path:
    """The smallest package that pip installs (packaging.python.org: binary distribution format)."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "VALUE = 42\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\n")
    return path


def test_an_environment_has_the_pinned_package_and_none_of_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "PINS", {"tiny": (str(_wheel(tmp_path)),)})
    python = environment("tiny")
    told = subprocess.run([python, "-I", "-c", "import tiny; print(tiny.VALUE)"], capture_output=True, text=True, check=True)
    assert told.stdout == "42\n"
    assert subprocess.run([python, "-I", "-c", "import workbench"], capture_output=True).returncode == 1
    assert "tiny" in (python.parents[1] / "installed.txt").read_text()
    monkeypatch.setattr(environments, "_run", lambda *_: pytest.fail("it is made once"))
    assert environment("tiny") == python


def test_it_is_made_installed_and_recorded_in_that_order(steps):
    python = environment("tiny")
    folder = python.parents[1]
    assert folder.parent == places.state() / "peers" and folder.name.startswith("tiny-")
    assert [command[:3] for command in steps] == [
        [sys.executable, "-m", "venv"],
        [str(python), "-m", "pip"],
        [str(python), "-m", "pip"],
    ]
    assert steps[1][3] == "install" and steps[1][-1] == "tiny==1.0" and steps[2][3] == "freeze"
    assert (folder / "installed.txt").read_text() == "tiny==1.0\n"


def test_other_pins_are_another_environment(steps, monkeypatch):
    first = environment("tiny")
    monkeypatch.setattr(environments, "PINS", {"tiny": ("tiny==1.1",)})
    assert environment("tiny") != first


def test_an_interrupted_set_up_is_begun_again(steps, monkeypatch):
    pretend = environments._run

    def interrupted(name: str, *command: str) -> str:
        if "install" in command:
            raise KeyboardInterrupt
        return pretend(name, *command)

    monkeypatch.setattr(environments, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment("tiny")
    (folder,) = (path for path in (places.state() / "peers").iterdir() if path.is_dir())
    (folder / "half").touch()
    monkeypatch.setattr(environments, "_run", pretend)
    steps.clear()
    environment("tiny")
    assert len(steps) == 3 and not (folder / "half").exists() and (folder / "installed.txt").exists()


def test_of_two_at_once_the_second_waits_for_the_first(steps):
    threads = [threading.Thread(target=environment, args=["tiny"]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(steps) == 3


def test_what_pip_refuses_is_said_in_one_line():
    said = "import sys; print('ERROR: No matching distribution found for tiny==9', file=sys.stderr); print('a hint'); sys.exit(1)"
    with pytest.raises(ServiceError) as caught:
        environments._run("tiny", sys.executable, "-c", said)
    message = "the environment of tiny could not be made: ERROR: No matching distribution found for tiny==9"
    assert str(caught.value) == message


def test_a_failed_set_up_leaves_no_stamp(steps, monkeypatch):
    def failing(name: str, *command: str) -> str:
        raise ServiceError("no network")

    monkeypatch.setattr(environments, "_run", failing)
    with pytest.raises(ServiceError, match="no network"):
        environment("tiny")
    assert list(places.state().rglob("installed.txt")) == []


def test_an_unknown_peer_is_refused():
    with pytest.raises(SettingError, match=r"peer = 'pinecone' is not allowed: one of qdrant-edge, chroma, lancedb, milvus-lite"):
        environment("pinecone")


def test_every_pin_is_exact():
    assert all(pin.count("==") == 1 and "*" not in pin for pins in PINS.values() for pin in pins)


def test_it_is_named_in_full_whatever_the_state_folder_is_called(steps, tmp_path, monkeypatch):
    """Runs have a working folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_STATE", "here")
    assert environment("tiny").is_relative_to(tmp_path / "here")
