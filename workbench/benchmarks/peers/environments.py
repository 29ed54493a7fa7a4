"""A virtual environment for each peer, made when it is first needed: peers never stand among the product's own libraries."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from workbench import places
from workbench.errors import ServiceError, SettingError

_NUMPY = "numpy==2.4.6"
PINS: dict[str, tuple[str, ...]] = {
    "qdrant-edge": ("qdrant-edge-py==0.9.0", _NUMPY),
    "chroma": ("chromadb==1.5.9", _NUMPY),
    "lancedb": ("lancedb==0.40.0", "pyarrow==26.0.1", _NUMPY),
    "milvus-lite": ("milvus-lite==3.2.2", "pymilvus==3.0.2", "faiss-cpu==1.15.1", "pyarrow==26.0.1", _NUMPY),
    "needledb": ("needledb==0.1.0", "faiss-cpu==1.15.1", _NUMPY),
}


def environment(name: str) -> Path:
    """The Python of this peer's environment; the first call makes it, which takes a minute and the network.

    It is kept under the state folder by the hash of its pins. A set-up that was interrupted is begun again, and of two
    processes that want the same one, the second waits for the first.

    Raises:
        SettingError: there is no such peer.
        ServiceError: it cannot be made; the message is the last line that pip said.
    """
    if name not in PINS:
        raise SettingError("peer", name, f"one of {', '.join(PINS)}")
    pins = PINS[name]
    digest = hashlib.sha256("\n".join((sys.version, *pins)).encode()).hexdigest()[:10]
    folder = places.state().absolute() / "peers" / f"{name}-{digest}"
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    with _one_at_a_time(folder.with_name(f"{folder.name}.lock")):
        if not stamp.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(name, sys.executable, "-m", "venv", str(folder))
            _run(name, str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins)
            draft = stamp.with_suffix(".draft")
            draft.write_text(_run(name, str(python), "-m", "pip", "freeze"))  # what came with the pins, for the record
            draft.replace(stamp)
    return python


def _run(name: str, *command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=_plain_environment())
    if done.returncode:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")] or said or ["it said nothing"]
        raise ServiceError(f"the environment of {name} could not be made: {errors[-1]}")
    return done.stdout


def _plain_environment() -> dict[str, str]:
    """Without what would make the new Python see the packages of this one."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


@contextlib.contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
