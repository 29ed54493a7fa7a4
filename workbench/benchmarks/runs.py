"""Runs for benchmarks: fresh processes, interleaved, servers up from the first to the last; what fails is an error."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from workbench import results
from workbench.errors import WorkbenchError
from workbench.servers import services
from workbench.settings import Settings
from workbench.sweeps import sweep


class Runs(NamedTuple):
    """What ``results.load`` and ``results.samples`` give."""

    frame: pd.DataFrame
    samples: pd.DataFrame

    def of(self, settings: Settings) -> "Runs":
        """Those of one design."""
        return Runs(*(table[table.settings == settings.hash] for table in self))


def measured(settings: Sequence[Settings], *, repeats: int = results.PUBLISHED) -> Runs:
    """``repeats`` runs of each of these settings.

    Raises:
        WorkbenchError: a run failed or lost events.
    """
    with tempfile.TemporaryDirectory() as folder, services():
        made = sweep(settings, name="benchmark", repeats=repeats, folder=Path(folder))
        runs = Runs(results.load(made), results.samples(made))
    if (failed := runs.frame.error[runs.frame.error != ""]).any():
        raise WorkbenchError(f"a run failed: {failed.iloc[0]}")
    if runs.frame.lost.any():
        raise WorkbenchError(f"{runs.frame.lost.max():.0f} events were lost in a run")
    return runs
