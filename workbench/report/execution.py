"""A notebook executed by papermill, in a kernel that only this process can reach."""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat

from workbench import places, progress
from workbench.errors import ReportError

FAILED = "papermill-error-cell"  # the anchor that papermill puts above the cell that failed
_RUNTIME = "JUPYTER_RUNTIME_DIR"  # a short one: the path of a socket may have about 100 characters
_SOCKETS = "wb-"


def execute(path: Path, values: dict[str, object], *, terminal: str) -> tuple[nbformat.NotebookNode, str | None]:
    """The executed notebook, and one line about the cell that failed, if one did. A copy stays in the state folder.

    ``terminal`` is the path of the terminal that progress bars belong on, or "".

    Raises:
        ReportError: the copy cannot be written.
    """
    try:
        copy = places.state() / "executed" / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        failure = _execute(path, copy, values, terminal)
    except OSError as error:
        raise ReportError(f"{path.stem} could not be executed: {error}") from error
    return _marked(nbformat.read(copy, as_version=4), failure), failure


def _execute(path: Path, copy: Path, values: dict[str, object], terminal: str) -> str | None:
    import papermill
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    _sweep()
    with (
        tempfile.TemporaryDirectory(prefix=f"{_SOCKETS}{os.getpid()}-") as sockets,
        _silence(),
        _environment(progress.TERMINAL, terminal),
        _environment(_RUNTIME, sockets),
    ):
        try:
            papermill.execute_notebook(
                str(path),
                str(copy),
                values,
                cwd=str(places.ROOT),
                kernel_name="python3",
                extra_arguments=["--IPKernelApp.log_level=50"],  # a kernel that is interrupted need not say how it ended
                progress_bar=False,  # the runs inside have their own, which the kernel writes to this terminal
                # No port, and nobody else can listen. Without "ip", kernels that start together would share their sockets.
                config=Config({"AsyncKernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
            )
        except papermill.PapermillExecutionError as error:
            return f"{error.ename}: {error.evalue}".splitlines()[0]
        except DeadKernelError:
            return "the kernel died"
    return None


def _marked(notebook: nbformat.NotebookNode, failure: str | None) -> nbformat.NotebookNode:
    """With the anchor above the last cell that began, where papermill set none: it sets none when the kernel died."""
    begun = [place for place, cell in enumerate(notebook.cells) if cell.metadata.get("papermill", {}).get("start_time")]
    if failure and begun and not any(f'id="{FAILED}"' in cell.source for cell in notebook.cells):
        anchor = nbformat.v4.new_markdown_cell(f'<strong id="{FAILED}">Here the execution stopped.</strong>')
        notebook.cells.insert(begun[-1], anchor)
    return notebook


def _sweep() -> None:
    """Remove the socket folders of reports that were killed."""
    import psutil

    for folder in Path(tempfile.gettempdir()).glob(f"{_SOCKETS}*"):
        owner = folder.name.removeprefix(_SOCKETS).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """No log lines: what fails is told once, by the report. After Ctrl-C also what is left behind says nothing of its end."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    except Exception:
        logging.disable(before)
        raise
    else:
        logging.disable(before)


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
