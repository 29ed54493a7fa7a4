"""Where the project keeps things on disk."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
REPORTS = ROOT / "reports"


def state() -> Path:
    """Results, logs, caches, what runs now. Nothing but results is lost with it. ``WORKBENCH_STATE`` names another folder."""
    return Path(os.environ.get("WORKBENCH_STATE") or ROOT / ".workbench")


def services_file() -> Path:
    """Where the supervisor of the local servers answers, and its token."""
    return state() / "services.json"


def embeddings_file() -> Path:
    """Every embedding that was ever computed on this machine."""
    return state() / "embeddings.sqlite"


def results() -> Path:
    """What sweeps measured: a folder for each, by its name."""
    return state() / "results"
