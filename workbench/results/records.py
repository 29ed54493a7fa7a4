"""What is kept: the result of one point in one run, and the list of those that belong together."""

from pathlib import Path

import msgspec

PUBLISHED = 5  # runs of each point that a published finding needs


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
    file: str  # relative to the sweep's folder


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
        return self.repeats < PUBLISHED
