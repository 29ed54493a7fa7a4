"""Progress bars that show in the right place: a widget in JupyterLab, the terminal otherwise, nothing in a log file."""

import os
import sys

TERMINAL = "WORKBENCH_PROGRESS"  # set by `workbench report`: the kernel's bars belong on the terminal that started it


def progress(total: int, desc: str, unit: str, **options):
    """A tqdm bar of ``total`` units that leaves nothing behind when it is done; ``options`` are tqdm's."""
    options = {"total": total, "desc": desc, "unit": unit, "leave": False, "mininterval": 0.5, **options}
    if os.environ.get(TERMINAL):
        from tqdm import tqdm

        return tqdm(file=sys.__stderr__, disable=None, **options)
    from tqdm.auto import tqdm

    in_notebook = "ipykernel" in sys.modules  # a widget's file is no terminal, and must not be disabled for it
    return tqdm(disable=False if in_notebook else None, **options)
