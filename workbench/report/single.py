"""One notebook, from its file to its report and the index of reports."""

import datetime
from collections.abc import Mapping
from pathlib import Path

from workbench.errors import ReportError
from workbench.finding import Finding
from workbench.measure.provenance import provenance
from workbench.report import files, index
from workbench.report.execution import execute
from workbench.report.notebooks import names_in, question
from workbench.report.page import INDEX, export
from workbench.report.parameters import checked
from workbench.report.picture import picture, thumbnail
from workbench.report.summary import Summary


def make(path: Path, given: Mapping[str, str], output: Path, *, terminal: str) -> tuple[Path, Finding | None]:
    """``report`` for a notebook's path; progress bars go to ``terminal``."""
    values = checked(path, given)
    name, target = path.stem, output / f"{path.stem}.html"
    if target.name == INDEX:
        raise ReportError(f"a notebook cannot be named {name!r}: {INDEX} lists the reports")
    files.folder(output)
    commit = provenance()["commit"]  # of what runs now, whatever is committed meanwhile
    notebook, failure = execute(path, values, terminal=terminal)
    finding = None if failure else Finding.from_notebook(notebook)
    image = "" if failure else picture(notebook)  # a run that failed may have drawn half of it
    summary = Summary(
        name=name,
        question=finding.question if finding else question(notebook, name),
        made=datetime.datetime.now(datetime.UTC),
        commit=commit,
        parameters={key: str(value) for key, value in values.items()},
        answer=finding.answer if finding else None,
        failure=failure,
        thumbnail=thumbnail(image),
    )
    files.write(target, export(notebook, summary, finding, image))
    index.remake(output, names_in(path.parent))
    if failure:
        raise ReportError(f"{name} failed: {failure}; the report opens at the failing cell", path=str(target))
    return target, finding
