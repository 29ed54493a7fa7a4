"""Notebooks to reports: executed by papermill with checked parameters, exported to one HTML file that needs no network."""

from collections.abc import Mapping
from pathlib import Path

from workbench import places, progress
from workbench.finding import Finding
from workbench.report.batch import Outcome, reports
from workbench.report.execution import FAILED
from workbench.report.notebooks import names, path_of, questions
from workbench.report.single import make

__all__ = ["FAILED", "Outcome", "names", "questions", "report", "reports"]


def report(
    name: str, parameters: Mapping[str, str] | None = None, *, output: Path = places.REPORTS
) -> tuple[Path, Finding | None]:
    """Execute ``notebooks/NAME.ipynb`` and write ``NAME.html`` into ``output``; returns its path and what was found.

    Parameters are given as text and read as the notebook's annotations say. The folder's ``index.html`` is made anew.

    Raises:
        ReportError: no such notebook or parameter, a file that is no notebook, a value of another type, a report that cannot be
            written, or a cell that failed (the report is written all the same, and opens at that cell).
    """
    return make(path_of(name), parameters or {}, output, terminal=progress.terminal())
