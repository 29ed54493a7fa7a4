"""Progress bars that show in the right place: a widget in JupyterLab, the terminal otherwise, nothing in a log file."""

import functools
import os
import sys
from typing import TextIO

# Set by `workbench report` for the kernel: the path of the terminal that its bars belong on, or "" where there is none.
TERMINAL = "WORKBENCH_TERMINAL"


def progress(total: int, desc: str, unit: str, **options):
    """A tqdm bar of ``total`` units that leaves nothing behind when it is done; ``options`` are tqdm's."""
    options = {"total": total, "desc": desc, "unit": unit, "leave": False, "mininterval": 0.5, **options}
    terminal = os.environ.get(TERMINAL)
    if terminal is not None:
        from tqdm import tqdm

        return tqdm(file=_open(terminal), dynamic_ncols=True, **options) if terminal else tqdm(disable=True, **options)
    if _in_notebook():
        from tqdm.notebook import tqdm

        return tqdm(**options)
    from tqdm import tqdm

    return tqdm(disable=None, **options)  # where standard error is no terminal


def _in_notebook() -> bool:
    """Whether this process is a kernel: jupyter_client imports ipykernel outside of one, too."""
    app = sys.modules.get("ipykernel.kernelapp")
    return app is not None and app.IPKernelApp.initialized()


def terminal() -> str:
    """The path of the terminal that standard error goes to; "" if it goes elsewhere."""
    return os.ttyname(sys.__stderr__.fileno()) if sys.__stderr__.isatty() else ""


@functools.cache
def _open(path: str) -> TextIO:
    """ipykernel captures its own standard error, so the terminal is opened by name, without making it the controlling one."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_NOCTTY), "w")
