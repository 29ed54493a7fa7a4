"""What can be done with one ``Settings`` in a process of its own: each task gives a point's figures and raw samples."""

from collections.abc import Callable

import msgspec
import pandas as pd

from workbench.registry import implementation
from workbench.settings import Settings


class Task(msgspec.Struct, frozen=True):
    """``function`` is "module:function". ``alone``: neighbours on the machine would disturb what it measures."""

    function: str
    alone: bool


TASKS = {
    "pipeline": Task("workbench.tasks.pipeline:measure", alone=True),
    "index": Task("workbench.tasks.index:measure", alone=False),
}


class Measured(msgspec.Struct, frozen=True):
    """What a task gives: figures named as in ``measure.metrics.METRICS``, and samples, one row each, units in their names."""

    figures: dict[str, float]
    samples: pd.DataFrame


def task(name: str) -> Callable[[Settings, str], Measured]:
    """The function behind a task's name: it takes the settings and the cloud's name.

    Raises:
        SettingError: there is no such task.
    """
    return implementation({name: task.function for name, task in TASKS.items()}, name, "task")
