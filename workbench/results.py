"""Results on disk: one Parquet file a point and run, its provenance inside, and one tidy DataFrame out of many of them.

A sweep's folder has a manifest, ``sweep.json``, which names every file that belongs to it: nothing is found by a pattern.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pandas as pd


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one point showed in one run. ``figures`` are named as in ``measure.metrics.METRICS``."""

    task: str  # what was done with the settings (see ``workbench.tasks``)
    settings: dict  # ``Settings.to_dict()``
    run: int  # 0, 1, …: which repeat
    seed: int  # settings' seed + run: repeats differ in schedule, and all points of one repeat share it
    cloud: str
    figures: dict[str, float] = {}
    error: str = ""  # one line; "" if the point was measured
    started: str  # ISO 8601, UTC
    took_s: float
    provenance: dict[str, str]


class Point(msgspec.Struct, frozen=True):
    """One line of a manifest: which file holds which settings' which run."""

    settings: dict
    run: int
    file: str


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep's manifest: what belongs to it. ``smoke`` marks one with too few repeats for a published finding."""

    folder: Path
    name: str
    task: str
    cloud: str
    repeats: int
    points: tuple[Point, ...]

    @property
    def smoke(self) -> bool:
        """Fewer than 5 repeats: good to see whether it works, not to conclude from."""
        return self.repeats < 5


def encode(result: Result, samples: pd.DataFrame | None = None) -> bytes:
    """One result as a Parquet file's bytes: ``samples`` (one row an event, floats kept as float32), and the rest inside as JSON."""
    raise NotImplementedError


def save(data: bytes, path: Path) -> None:
    """Write what ``encode`` gave: all of it or nothing, and never over another result.

    Raises:
        ResultError: the file exists, or it cannot be written (a full disk, no permission).
    """
    raise NotImplementedError


def read(path: Path) -> tuple[Result, pd.DataFrame]:
    """One result and its samples.

    Raises:
        ResultError: there is no such file, or it is damaged or no result.
    """
    raise NotImplementedError


def load(sweep: Sweep | str | Path) -> pd.DataFrame:
    """One row a point and run, units in the column names: settings, run, figures, error, provenance."""
    raise NotImplementedError


def samples(sweep: Sweep | str | Path) -> pd.DataFrame:
    """One row an event of every measured point and run: ``settings`` (hash), ``run`` and what the task kept of each event."""
    raise NotImplementedError


def compare(a: pd.DataFrame, b: pd.DataFrame, figures: Sequence[str]) -> pd.DataFrame:
    """Whether ``b`` differs from ``a`` by more than the noise between runs, figure by figure (frames as ``load`` gives them)."""
    raise NotImplementedError
