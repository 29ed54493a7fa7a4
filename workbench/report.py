"""Notebooks to reports: executed by papermill with checked parameters, exported to one HTML file that needs no network."""

import ast
import contextlib
import html
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat

from workbench import places, progress
from workbench.errors import ReportError
from workbench.finding import Finding

_RUNTIME = "JUPYTER_RUNTIME_DIR"  # a short one: the path of a socket may have about 100 characters
_SOCKETS = "wb-"
FAILED = "papermill-error-cell"  # the anchor that papermill puts above the cell that failed

# JupyterLab's own look, without its scripts (they come from the network and a report needs none), the answer first.
_TEMPLATE = """
{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>{{ resources.style }}</style>{% endblock %}
{% block body_header %}{{ super() }}{{ resources.opening }}{% endblock %}
{% block input_group %}<details class="code"><summary>code</summary>{{ super() }}</details>{% endblock %}
"""
_STYLE = """
body { max-width: 70rem; margin: 0 auto; padding: 0 1rem; }
details.code > summary { color: #777; font: small sans-serif; cursor: pointer; }
.finding { border: 1px solid #ccc; border-left: 6px solid #0072b2; padding: .5rem 1.5rem; margin: 1rem 0; }
.finding { font-family: sans-serif; }
.finding p { font-size: 1.1rem; }
.finding table { border-collapse: collapse; } .finding th { text-align: left; font-weight: normal; }
.finding th, .finding td { padding: .15rem 1.5rem .15rem 0; } .finding td { font-weight: bold; }
.finding small, .finding summary, .finding dl { font-size: small; font-weight: normal; color: #555; }
.failed { border-left-color: #d55e00; }
"""


def names() -> list[str]:
    """The notebooks that can be reported."""
    return sorted(path.stem for path in places.NOTEBOOKS.glob("*.ipynb"))


def report(
    name: str, parameters: Mapping[str, str] | None = None, *, output: Path = places.REPORTS
) -> tuple[Path, Finding | None]:
    """Execute ``notebooks/NAME.ipynb`` and write ``NAME.html`` into ``output``; returns its path and what was found.

    Parameters are given as text and read as the notebook's annotations say.

    Raises:
        ReportError: no such notebook or parameter, a file that is no notebook, a value of another type, or a cell that failed
            (the report is written all the same, and opens at that cell).
    """
    path = places.NOTEBOOKS / f"{name}.ipynb"
    if not path.is_file():
        raise ReportError(f"there is no notebook {name!r}: the notebooks are {', '.join(names())}")
    values = _checked(path, parameters or {})
    executed, failure = _execute(path, values)
    notebook = nbformat.read(executed, as_version=4)
    finding = Finding.from_notebook(notebook)
    target = output / f"{name}.html"
    _write(target, _export(notebook, name, finding, failure))
    if failure:
        raise ReportError(f"{name} failed: {failure}; the report opens at the failing cell", path=str(target))
    return target, finding


def _checked(path: Path, given: Mapping[str, str]) -> dict[str, object]:
    from papermill import inspect_notebook

    try:
        known = inspect_notebook(str(path))
    except ValueError as error:
        raise ReportError(f"{path.name} is no notebook: {str(error).splitlines()[0]}") from error
    if not known and given:
        raise ReportError(f"{path.name} has no cell tagged 'parameters'")
    values = {}
    for name, text in given.items():
        if name not in known:
            raise ReportError(f"{path.stem} has no parameter {name!r}: it has {', '.join(known)}")
        values[name] = _parse(name, text, known[name]["inferred_type_name"])
    return values


def _parse(name: str, text: str, wanted: str) -> object:
    """A parameter's value from the command line: text as it is, anything else as a Python literal."""
    if wanted in ("str", "None"):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if wanted == "float" and type(value) is int:
        value = float(value)
    if type(value).__name__ != wanted.partition("[")[0]:
        raise ReportError(f"parameter {name} = {text!r} is no {wanted}")
    return value


def _execute(path: Path, values: dict[str, object]) -> tuple[Path, str | None]:
    """The executed notebook, and one line about the cell that failed, if one did."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    executed = places.state() / "executed" / path.name
    executed.parent.mkdir(parents=True, exist_ok=True)
    _sweep()
    with (
        tempfile.TemporaryDirectory(prefix=f"{_SOCKETS}{os.getpid()}-") as sockets,
        _environment(progress.TERMINAL, progress.terminal()),
        _environment(_RUNTIME, sockets),
    ):
        try:
            papermill.execute_notebook(
                str(path),
                str(executed),
                values,
                cwd=str(places.ROOT),
                kernel_name="python3",
                extra_arguments=["--IPKernelApp.log_level=50"],  # a kernel that is interrupted need not say how it ended
                progress_bar=False,  # the runs inside have their own, which the kernel writes to this terminal
                config=Config({"AsyncKernelManager": {"transport": "ipc"}}),  # no port, and nobody else can listen
            )
        except papermill.PapermillExecutionError as error:
            return executed, f"{error.ename}: {error.evalue}".splitlines()[0]
        except DeadKernelError:
            return executed, "the kernel died"
    return executed, None


def _sweep() -> None:
    """Remove the socket folders of reports that were killed."""
    import psutil

    for folder in Path(tempfile.gettempdir()).glob(f"{_SOCKETS}*"):
        owner = folder.name.removeprefix(_SOCKETS).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """An environment variable for the kernel, which inherits ours."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _export(notebook, name: str, finding: Finding | None, failure: str | None) -> str:
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    _drop_progress(notebook)
    if failure:
        link = f'<a href="#{FAILED}">the cell that failed</a>'
        opening = f'<section class="finding failed"><p>This run failed: {html.escape(failure)} ({link})</p></section>'
    else:
        opening = finding.to_html() if finding else ""
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"report.html.j2": _TEMPLATE})], template_file="report.html.j2", embed_images=True
    )
    resources = {"metadata": {"name": name}, "style": _STYLE, "opening": opening}
    body, _ = exporter.from_notebook_node(notebook, resources=resources)
    return body


def _drop_progress(notebook) -> None:
    """Progress bars say nothing once they are done."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_progress(output)]


def _is_progress(output) -> bool:
    bar = "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    return bar or (output.output_type == "stream" and output.name == "stderr")


def _write(target: Path, text: str) -> None:
    """All of it or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(target)
