"""Results as frames: one row for each pair of build and query settings in each run."""

from collections.abc import Sequence

import pandas as pd

from workbench import results
from workbench.experiments.index.designs import build_text, query_text
from workbench.results import PUBLISHED, Sweep
from workbench.settings import Settings, parse_index
from workbench.tasks import asking

GOALS = (0.90, 0.95, 0.99)
_OF_THE_BUILD = ("build_s", "held_mib", "bytes_per_vector")
_KEPT = ("catalogue", "run", "seed", "error", "smoke", "cloud", "machine", "started")


def pairs(sweep: Sweep) -> pd.DataFrame:
    """One row for each pair and run of a sweep of the task "ladder", with the figures of ``METRICS``.

    ``settings`` is the hash of the pair; ``build`` and ``asked`` are its two halves in words. A point that failed is one row.
    """
    frame, samples = results.load(sweep), dict(tuple(results.samples(sweep).groupby(["settings", "run"])))
    designs = {design.hash: design for design in (Settings.from_dict(point.settings) for point in sweep.points)}
    rows = []
    for _, point in frame.iterrows():
        design, about = designs[point.settings], {name: point[name] for name in _KEPT}
        if point.error:
            rows.append({"settings": point.settings, "build": build_text(design.index), "asked": "", **about})
            continue
        built = {name: point[name] for name in _OF_THE_BUILD}
        for text, asked in samples[point.settings, point.run].groupby("index"):
            index = parse_index(text)
            names = {"settings": design.but(index=index).hash, "build": build_text(index), "asked": query_text(index)}
            rows.append({**names, **about, **asking.figures(asked), **built})
    made = pd.DataFrame(rows)
    return made.sort_values(["catalogue", "build", "run"], key=_in_order, kind="stable", ignore_index=True)


def _in_order(values: pd.Series) -> pd.Series:
    """Texts whatever their case, so that builds have one order, and one look, in every picture."""
    return values.str.lower() if pd.api.types.is_string_dtype(values) else values


def cheapest(frame: pd.DataFrame, goal: float) -> pd.DataFrame:
    """All runs of the query setting with the least median latency whose mean recall@10 is ``goal`` or more: one for each build
    and number of texts, or none."""
    chosen = []
    for _, rows in frame[frame.error == ""].groupby(["catalogue", "build"], sort=False):
        means = rows.groupby("settings").agg({"recall_at_10": "mean", "query_p50_ms": "median"})
        reached = means[means.recall_at_10 >= goal]
        if len(reached):
            chosen.append(rows[rows.settings == reached.query_p50_ms.idxmin()])
    return pd.concat(chosen, ignore_index=True) if chosen else frame.iloc[:0]


def at_equal_recall(frame: pd.DataFrame, goals: Sequence[float] = GOALS) -> pd.DataFrame:
    """For each number of texts and goal, the builds that reach it, quickest first; medians over runs."""
    tables = []
    for goal in goals:
        rows = cheapest(frame, goal)
        figures = ["recall_at_10", "recall_p5", "query_p50_ms", "query_p99_ms", "throughput", "throughput_2"]
        keys = ["catalogue", "build", "asked"]
        table = rows.groupby(keys, sort=False)[figures].median().reset_index()
        tables.append(table.assign(goal=goal))
    shown = pd.concat(tables).rename(columns={"catalogue": "texts"})
    return shown.sort_values(["texts", "goal", "query_p50_ms"]).set_index(["texts", "goal", "build"]).round(4)


def peers_as_pairs(compared: pd.DataFrame) -> pd.DataFrame:
    """What ``benchmarks.peers.comparison.compare`` gives without filters, named as ``pairs`` names it."""
    return pd.DataFrame(
        {
            "settings": compared.subject + " " + compared.setting,
            "build": compared.subject,
            "asked": compared.setting,
            "run": compared.repeat,
            "error": "",
            "smoke": compared.repeat.nunique() < PUBLISHED,
            "recall_at_10": compared.recall_at_10,
            "recall_p5": compared.recall_p5,
            "query_p50_ms": compared.p50_ms,
            "query_p99_ms": compared.p99_ms,
            "throughput": compared.queries_per_s,
            "build_s": compared.ready_s,
            "held_mib": compared.max_rss_mib,
        }
    )
