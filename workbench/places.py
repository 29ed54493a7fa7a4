"""Where the project keeps things on disk."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
REPORTS = ROOT / "reports"


def state() -> Path:
    """Logs, caches, what runs now: can be deleted when nothing runs. ``WORKBENCH_STATE`` names another folder."""
    return Path(os.environ.get("WORKBENCH_STATE") or ROOT / ".workbench")


def services_file() -> Path:
    """Where the supervisor of the local servers answers, and its token."""
    return state() / "services.json"


def embeddings_file() -> Path:
    """Every embedding that was ever computed on this machine."""
    return state() / "embeddings.sqlite"
