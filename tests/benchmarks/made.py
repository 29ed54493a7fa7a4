"""Runs that never were, as ``measured`` gives them."""

import pandas as pd

from workbench.benchmarks.runs import Runs
from workbench.settings import Settings

KEPT_UP = {"offer_kept_pct": 100.0, "backlog_growth_pct": 0.0, "lost": 0.0}


def runs_of(figures: dict[Settings, list[dict]], samples: dict[Settings, list[pd.DataFrame]] | None = None) -> Runs:
    """``figures`` has one dictionary a run, by design; what is not named was as it should be."""
    rows = [
        {"settings": each.hash, "placement": each.placement, "rate": each.rate, "run": run, **KEPT_UP, **found}
        for each, runs in figures.items()
        for run, found in enumerate(runs)
    ]
    events = [
        frame.assign(settings=each.hash, run=run) for each, runs in (samples or {}).items() for run, frame in enumerate(runs)
    ]
    return Runs(pd.DataFrame(rows), pd.concat(events) if events else pd.DataFrame({"settings": []}))
