"""Where the project keeps things on disk."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
REPORTS = ROOT / "reports"
STATE = ROOT / ".workbench"  # logs, caches, what runs now; can be deleted when nothing runs
