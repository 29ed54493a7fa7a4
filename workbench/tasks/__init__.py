"""What can be done with one ``Settings`` in a process of its own: each task gives a point's figures and raw samples.

Besides the names in ``TASKS``, a task may be a function of one's own, as "module:function": it takes what ``measure`` of the
modules here takes and gives ``Measured``. Nothing is known of it, so it is measured alone, and gets no servers.
"""

import msgspec
import pandas as pd

from workbench.errors import SettingError


class Task(msgspec.Struct, frozen=True):
    """``function`` is "module:function" and takes (settings, the cloud's name).

    ``alone``: neighbours on the machine would disturb what it measures. ``services``: it joins the local servers, which a
    sweep then keeps from its first point to its last. ``main``: the figures to show first, of ``measure.metrics.METRICS``.
    """

    function: str
    alone: bool
    services: bool = False
    main: tuple[str, ...] = ()


TASKS = {
    "pipeline": Task(
        "workbench.tasks.pipeline:measure", alone=True, services=True, main=("goodput_per_s", "p50_ms", "p99_ms", "lost")
    ),
    "index": Task("workbench.tasks.index:measure", alone=False, main=("recall_at_10", "recall_p5", "query_us", "build_s")),
    "ladder": Task(
        "workbench.tasks.ladder:measure",
        alone=True,
        main=("recall_at_10", "query_p50_ms", "query_p99_ms", "throughput_2", "bytes_per_vector", "build_s"),
    ),
    "filters": Task("workbench.tasks.filters:measure", alone=True, main=("recall_at_10", "recall_p5", "query_us")),
    "churn": Task(
        "workbench.tasks.churn:measure",
        alone=True,
        main=("recall_at_10", "query_p50_ms", "query_p99_ms", "fresh_p50_ms", "stale"),
    ),
    "served": Task("workbench.tasks.served:measure", alone=True, main=("recall_at_10", "query_p50_ms", "throughput_2")),
}


class Measured(msgspec.Struct, frozen=True):
    """What a task gives: figures named as in ``measure.metrics.METRICS``, and samples, one row each, units in their names."""

    figures: dict[str, float]
    samples: pd.DataFrame


def task(name: str) -> Task:
    """The task of that name, or of one's own function.

    Raises:
        SettingError: there is no such task.
    """
    if name in TASKS:
        return TASKS[name]
    module, _, function = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise SettingError("task", name, f"one of {', '.join(TASKS)}, or a function of your own as module:function")
    return Task(name, alone=True)
