"""Results and sweeps as the tests make them."""

import numpy as np
import pandas as pd

from workbench.results import Point, Result, Sweep, encode, save, write_manifest
from workbench.settings import Settings

MACHINE = {"machine": "a processor, 2 cores, 4 GiB", "commit": "0123456789ab", "code": "ba9876543210"}
_DEFAULT = Settings()


def result(design: Settings = _DEFAULT, number: int = 0, **changes) -> Result:
    values = {
        "task": "pipeline",
        "settings": design.to_dict(),
        "run": number,
        "seed": design.seed + number,
        "cloud": "embedded",
        "figures": {"p50_ms": 12.5, "lost": 0.0},
        "started": f"2026-01-02T03:04:0{number}+00:00",
        "took_s": 1.5,
        "provenance": MACHINE,
    }
    return Result(**{**values, **changes})


def events(rows: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "event_id": [f"event-{number}" for number in range(rows)],
            "latency_ms": np.linspace(0.1, 7.7, rows),
            "attempts": np.arange(rows),
            "cold": [number == 0 for number in range(rows)],
            "outcome": ["answered"] * rows,
        }
    )


def sweep(folder, settings=(_DEFAULT,), repeats=1, results=None, kept=None) -> Sweep:
    """A sweep whose files are all there; ``results`` are by (settings' place, run) what differs from the usual."""
    points = [Point(each.to_dict(), run, f"{each.hash}-{run}.parquet") for run in range(repeats) for each in settings]
    made = Sweep(folder=folder, name="a sweep", task="pipeline", cloud="embedded", repeats=repeats, points=tuple(points))
    write_manifest(made)
    for run in range(repeats):
        for place, each in enumerate(settings):
            one = result(each, run, **(results or {}).get((place, run), {}))
            save(encode(one, kept(one) if kept else None), folder / f"{each.hash}-{run}.parquet")
    return made
