"""Results of the task "ladder" that are made up, so that what a table must show is known beforehand."""

from pathlib import Path

import numpy as np
import pandas as pd

from workbench import results
from workbench.results import Point, Result, Sweep
from workbench.settings import Settings, index_text, parse_index

BASE = Settings(events=100, warmup=5)
# index as built and asked → p50 in ms, recall; 100 queries each
ASKED = {
    "flat": {"flat": (5.0, 1.0)},
    "hnsw:m=16,ef_construction=100,ef_search=64": {
        "hnsw:m=16,ef_construction=100,ef_search=64": (0.4, 0.98),
        "hnsw:m=16,ef_construction=100,ef_search=32": (0.2, 0.93),
    },
    "ivf:nlist=16,nprobe=8": {"ivf:nlist=16,nprobe=8": (0.8, 0.96), "ivf:nlist=16,nprobe=4": (0.5, 0.91)},
}
BUILT = {  # s, bytes a vector
    "flat": (0.1, 1600.0),
    "hnsw:m=16,ef_construction=100,ef_search=64": (30.0, 3300.0),
    "ivf:nlist=16,nprobe=8": (2.0, 3200.0),
}


def ladder(folder: Path, *, sizes: tuple[int, ...] = (1000,), runs: int = 2, failed: str = "") -> Sweep:
    """A sweep on disk. In run r all takes 1 + r/10 of its time; the build that is ``failed`` has no figures."""
    designs = [BASE.but(catalogue=size, index=parse_index(text)) for size in sizes for text in ASKED]
    points = []
    for run in range(runs):
        for number, design in enumerate(designs):
            text = index_text(design.index)
            point = Point(design.to_dict(), run, f"{number}-{run}.parquet")
            points.append(point)
            build_s, size = BUILT[text]
            figures = {"build_s": build_s, "held_mib": 10.0, "bytes_per_vector": size, "recall_at_10": 0.5}
            result = Result(
                task="ladder",
                settings=point.settings,
                run=run,
                seed=design.seed + run,
                cloud="embedded",
                figures={} if text == failed else figures,
                error="MemoryError: no memory" if text == failed else "",
                started="2026-11-01T10:00:00+00:00",
                took_s=1.0,
                provenance={"machine": "here", "commit": "none", "code": "none"},
            )
            samples = None if text == failed else _samples(ASKED[text], 1 + run / 10)
            results.save(results.encode(result, samples), folder / point.file)
    made = Sweep(folder=folder, name="made", task="ladder", cloud="embedded", repeats=runs, points=tuple(points))
    results.write_manifest(made)
    return made


def _samples(asked: dict[str, tuple[float, float]], times: float) -> pd.DataFrame:
    """One query after the other by one thread; by two, twice as many in the same time."""
    parts = []
    for text, (ms, recall) in asked.items():
        for threads in (1, 2):
            begun_s = np.repeat(np.arange(100 // threads), threads) * ms * times / 1000
            columns = {"begun_s": begun_s, "query_us": ms * times * 1000, "recall": recall}
            parts.append(pd.DataFrame({"index": text, "threads": threads, **columns}))
    return pd.concat(parts, ignore_index=True)
