"""Runs and frames that are made up, so that what a picture must show is known beforehand."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workbench.measure.timeline import WAY
from workbench.runs import Run
from workbench.scenarios.retail import Retail
from workbench.settings import Settings


def run_of(events: pd.DataFrame, warmup: int = 0) -> Run:
    return Run(
        settings=Settings(warmup=warmup),
        cloud="embedded",
        events=events,
        cold_starts_ms=[],
        recommendations={},
        dead_letters=[],
        replay=Retail([], [], [], [], {}),
        api_url="",
        provenance={},
        resources=pd.DataFrame(),
        findable=None,
    )


def a_run(**parts_ms: object) -> Run:
    """Answered events whose parts of the way take these times; the parts that are not named take none."""
    frame = pd.DataFrame({f"{part}_ms": 0.0 for part in WAY}, index=range(len(next(iter(parts_ms.values())))))
    frame = frame.assign(outcome="answered", batch=1, **{f"{part}_ms": values for part, values in parts_ms.items()})
    frame["latency_ms"] = frame[[f"{part}_ms" for part in WAY]].sum(axis=1)
    return run_of(frame)


def sent(due_s: object, latency_ms: object, **columns: object) -> pd.DataFrame:
    """Events that were due, and sent, at these times, and answered after these."""
    return pd.DataFrame({"due_s": due_s, "send_ms": 0.0, "latency_ms": latency_ms, "outcome": "answered"}).assign(**columns)


def point(placement: str, rate: float, p99s: list[float], **columns: object) -> pd.DataFrame:
    """One design's runs at one rate; each offered 1% less than the one before it, the first exactly the rate."""
    runs = np.arange(len(p99s))
    made = {
        "settings": f"{placement}-{rate}",
        "placement": placement,
        "rate": float(rate),
        "run": runs,
        "offered_per_s": rate * (1 - 0.01 * runs),
        "goodput_per_s": float(rate),
        "mean_ms": np.array(p99s) / 4,
        "p99_ms": p99s,
        "offer_kept_pct": 100.0,
        "backlog_growth_pct": 0.0,
        "lost": 0.0,
        "error": "",
        "smoke": False,
    }
    return pd.DataFrame(made | columns)


def failed(placement: str, rate: float) -> pd.DataFrame:
    """A run that failed: it has no figures."""
    nothing = dict.fromkeys(("offered_per_s", "goodput_per_s", "mean_ms", "offer_kept_pct", "backlog_growth_pct", "lost"), np.nan)
    return point(placement, rate, [np.nan], **nothing, error="the run took more than 900 s")


def title(ax: Axes) -> str:
    """A title without its line breaks."""
    return " ".join(ax.get_title().split())


def texts(ax: Axes) -> list[str]:
    return [text.get_text().strip() for text in ax.texts if text.get_text()]


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def lines_of(ax: Axes, **wanted: object) -> list:
    """The lines that are drawn so and have points, in the order they were drawn."""
    found = [line for line in ax.lines if len(line.get_xdata())]
    return [line for line in found if all(getattr(line, f"get_{name}")() == value for name, value in wanted.items())]
