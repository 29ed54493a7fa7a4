"""Runs subjects in turn, each in a fresh process, and makes a table of what they did."""

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench import places
from workbench.benchmarks.peers.environments import environment
from workbench.benchmarks.peers.subjects import Setting, Subject
from workbench.benchmarks.peers.workload import UNFILTERED, WARMUP, Workload
from workbench.errors import ServiceError, SettingError
from workbench.progress import progress
from workbench.summaries import percentile_of

_RUNNERS = Path(__file__).parent / "runners"
_MIB = 2**20
_REACHED = ["setting", "recall_at_10", "recall_p5", "queries_per_s", "p50_ms", "p99_ms"]


def compare(
    subjects: Sequence[Subject],
    workload: Workload,
    repeats: int,
    *,
    filters: Sequence[str] = (UNFILTERED,),
    timeout_s: float = 7_200.0,
) -> pd.DataFrame:
    """Every subject ``repeats`` times, in turn: one row for each subject, repeat, filter and setting.

    Queries are asked one at a time; a build may use every core. ``queries_per_s`` is of one caller, one over the mean time.
    ``insert_s`` is from the first vector to the last one's acknowledgement, ``ready_s`` from the first vector until the index
    is built. ``max_rss_mib`` is of the process that holds the vectors, which in-process had ``base_rss_mib`` before the first
    insert: the data itself. ``disk_mib`` is what is left after closing. Percentiles that so few queries do not carry are NaN.

    Raises:
        SettingError: no subject, no repeat, or a filter that the workload has not.
        ServiceError: an environment could not be made, or a run failed or took longer than ``timeout_s``.
    """
    if not subjects or repeats < 1:
        raise SettingError("repeats", repeats, "at least 1, of at least one subject")
    for name in filters:
        if name not in workload.filters:
            raise SettingError("filter", name, f"one of {', '.join(workload.filters)}")
    pythons = {each.environment: environment(each.environment) for each in subjects if each.environment}
    rows = []
    with progress(repeats * len(subjects), "comparing", "run") as bar:
        for repeat, subject in itertools.product(range(repeats), subjects):
            python = pythons.get(subject.environment, Path(sys.executable))
            measured = run(subject, workload, python, filters=filters, timeout_s=timeout_s)
            named = {"subject": subject.name, "durability": subject.durability, "repeat": repeat}
            rows += [{**named, **row} for row in _rows(measured, workload)]
            bar.update(1)
    return pd.DataFrame(rows)


def run(subject: Subject, workload: Workload, python: Path, *, filters: Sequence[str], timeout_s: float) -> dict[str, Any]:
    """One run in a fresh process, its data in a folder that is gone afterwards; what ``runners/measure.py`` prints.

    Raises:
        ServiceError: the process failed or took too long; the message carries its last line.
    """
    scratch = places.state() / "peers"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=f"{subject.name}-data-", ignore_cleanup_errors=True) as data:
        job = {
            "subject": str(_RUNNERS / f"{subject.runner}.py"),
            "options": subject.options,
            "workload": str(workload.folder.absolute()),  # the run has a folder of its own
            "data": data,
            "batch": subject.batch,
            "settings": subject.settings,
            "filters": list(filters),
            "warmup": WARMUP,
        }
        # A peer sees nothing but its own packages; ours is this tree, wherever it is installed.
        isolation, path = ("-I", {}) if subject.environment else ("-P", {"PYTHONPATH": str(places.ROOT)})
        return _output(
            subject.name, [str(python), isolation, str(_RUNNERS / "measure.py"), json.dumps(job)], path, timeout_s, Path(data)
        )


def at_equal_recall(frame: pd.DataFrame, goal: float = 0.95) -> pd.DataFrame:
    """Of each subject, repeat and filter the cheapest setting whose mean recall@10 is ``goal`` or more, from ``compare``'s rows.

    One that no setting brings there has its best recall and no figures.

    Raises:
        SettingError: ``goal`` is no share.
    """
    if not 0 < goal <= 1:
        raise SettingError("goal", goal, "a share above 0, at most 1")
    chosen = []
    for (subject, repeat, filter), runs in frame.groupby(["subject", "repeat", "filter"], sort=False):
        reached = runs[runs.recall_at_10 >= goal]
        if len(reached):
            figures = reached.loc[reached.queries_per_s.idxmax(), _REACHED].to_dict()
        else:
            figures = {**dict.fromkeys(_REACHED, np.nan), "setting": "", "recall_at_10": runs.recall_at_10.max()}
        chosen.append({"subject": subject, "repeat": repeat, "filter": filter, **figures})
    return pd.DataFrame(chosen)


def setting_text(setting: Setting) -> str:
    """``ef_search=64``."""
    return ",".join(f"{name}={value}" for name, value in setting.items())


def _rows(measured: dict[str, Any], workload: Workload) -> list[dict[str, Any]]:
    sizes = {f"{name}_mib": _mib(measured[f"{name}_bytes"]) for name in ("base_rss", "max_rss", "disk")}
    rows = []
    for asked in measured["runs"]:
        ms = np.array(asked["ns"]) / 1e6
        recall = workload.recall(asked["filter"], asked["rows"])
        rows.append(
            {
                "filter": asked["filter"],
                "setting": setting_text(asked["setting"]),
                "recall_at_10": float(recall.mean()),
                "recall_p5": float(np.percentile(recall, 5)),
                "queries_per_s": 1e3 / float(ms.mean()),
                "p50_ms": percentile_of(pd.Series(ms), 50),
                "p99_ms": percentile_of(pd.Series(ms), 99),
                "insert_s": measured["insert_s"],
                "ready_s": measured["ready_s"],
                **sizes,
            }
        )
    return rows


def _mib(size: int | None) -> float:
    return np.nan if size is None else size / _MIB


def _output(name: str, command: list[str], environment: dict[str, str], timeout_s: float, home: Path) -> dict[str, Any]:
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=home,
            env={**os.environ, **environment},
            start_new_session=True,  # so that what it starts can be ended with it
        )
        try:
            printed, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise ServiceError(f"{name} took longer than {timeout_s:g} s") from None
        finally:
            _end(process)
        errors.seek(0)
        said = [line.strip() for line in errors.read().splitlines() if line.strip()]
    try:
        return json.loads(printed)
    except ValueError:
        ended = f"{name} ended with {process.returncode} and without a result"
        raise ServiceError(f"{ended}: {said[-1] if said else 'it said nothing'}") from None


def _end(process: subprocess.Popen) -> None:
    """The runner and the server it may have left, whatever happened."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        process.wait()
        process.stdout.close()
