"""What the notebook says at the top of its report; every number comes from the results."""

import pandas as pd

from workbench.experiments.index.frames import GOALS, cheapest
from workbench.experiments.index.tables import written_per_s
from workbench.finding import Figure, Finding
from workbench.plots.style import number
from workbench.summaries import percentile_of
from workbench.tasks.filters import WAYS

_EXACT = "exact"
_WON = {"query_p50_ms": "answers soonest", "bytes_per_vector": "needs the least memory", "build_s": "is built soonest"}


def finding(
    frame: pd.DataFrame,
    *,
    goal: float,
    filtered: pd.DataFrame,
    churned: pd.DataFrame,
    served: pd.DataFrame,
    peers: pd.DataFrame | None,
    question: str,
    provenance: dict[str, str],
) -> Finding:
    """``frame`` is what ``pairs`` gives, ``filtered`` the samples of the task "filters", the fields in words, ``churned`` the
    frame of the task "churn"; ``served`` and ``peers`` are tables of the same names (None: no peers)."""
    size = frame.catalogue.max()
    largest = frame[frame.catalogue == size]
    failed = int((frame.error != "").sum() + (churned.error != "").sum())
    return Finding(
        question=question,
        answer=_answer(cheapest(largest, goal), size, goal) + (_TRIAL if frame.smoke.any() else "."),
        figures=(
            *(_soonest(cheapest(rows, each), count, each) for count, rows in frame.groupby("catalogue") for each in GOALS),
            *_filters(filtered),
            *_churn(churned),
            *(
                Figure(label=f"p50 of a query, {way}", value=f"{number(row.p50_ms)} ms, {row['queries/s']:,.0f} queries/s")
                for way, row in served.iterrows()
            ),
            *(() if peers is None else (_peer(name, row) for name, row in peers.iterrows())),
            Figure(label="runs that failed", value=f"{failed}"),
        ),
        provenance=provenance
        | {
            "runs a point": f"{frame.run.nunique()}, each in a fresh process, interleaved; seeds {_range(frame.seed)}",
            "measured": _range(frame.started.dt.strftime("%Y-%m-%d %H:%M UTC")),
        },
    )


_TRIAL = " (fewer than 5 runs a point: a trial, not a finding)."


def _answer(rows: pd.DataFrame, size: int, goal: float) -> str:
    """Who wins what, among the builds that reach the goal; exact search reaches all, and has nothing to build or to hold."""
    medians = rows.groupby(["build", "asked"])[list(_WON)].median().reset_index("asked")
    indexes = medians.drop(index=_EXACT, errors="ignore")
    among = f"Among {size:,} texts at recall@10 ≥ {goal:g}"
    if indexes.empty:
        return f"{among} there is exact search alone: no index finds enough"
    wins: dict[str, list[str]] = {}
    for figure, words in _WON.items():
        winner = indexes[figure].idxmin()
        wins.setdefault(winner, []).append(f"{words} ({_value(figure, indexes.loc[winner, figure])})")
    said = "; ".join(f"{build} ({indexes.asked[build]}) {' and '.join(words)}" for build, words in wins.items())
    if _EXACT not in medians.index:
        return f"{among}: {said}"
    times = medians.query_p50_ms[_EXACT] / indexes.query_p50_ms.min()
    if times < 1:
        return f"{among}: {said}; but exact search is quicker still ({_value('query_p50_ms', medians.query_p50_ms[_EXACT])})"
    return f"{among}: {said}; exact search takes {number(times)} times as long as the quickest"


def _value(figure: str, value: float) -> str:
    unit = {"query_p50_ms": "ms (p50)", "bytes_per_vector": "bytes a vector", "build_s": "s"}[figure]
    return f"{number(value)} {unit}"


def _soonest(rows: pd.DataFrame, size: int, goal: float) -> Figure:
    label = f"quickest at recall@10 ≥ {goal:g}, {size:,} texts"
    if rows.empty:
        return Figure(label=label, value="none reaches it")
    medians = rows.groupby(["build", "asked"])[["query_p50_ms", "query_p99_ms", "recall_at_10"]].median()
    (build, asked), best = medians.query_p50_ms.idxmin(), medians.loc[medians.query_p50_ms.idxmin()]
    p99 = f", p99 {number(best.query_p99_ms)} ms" if best.query_p99_ms == best.query_p99_ms else ""
    how = f"{build}, {asked}" if asked else build
    return Figure(label=label, value=f"{how}: p50 {number(best.query_p50_ms)} ms{p99} (recall {best.recall_at_10:.3f})")


def _filters(samples: pd.DataFrame) -> list[Figure]:
    narrow = samples[samples.share_pct == samples.share_pct.min()]
    return [
        Figure(
            label=f"recall@10 under a filter of {narrow.share_pct.iloc[0]:g}%, {field}",
            value=" / ".join(
                f"{way} {rows.recall[rows.way == way].mean():.3f}, {_p50(rows.query_us[rows.way == way])}" for way in WAYS
            ),
        )
        for field, rows in narrow.groupby("field", sort=False)
    ]


def _p50(query_us: pd.Series) -> str:
    p50 = percentile_of(query_us / 1000, 50)
    return "too few queries for a p50" if p50 != p50 else f"{number(p50)} ms"


def _churn(frame: pd.DataFrame) -> list[Figure]:
    figures = []
    for rate, runs in frame.groupby(written_per_s(frame)):
        median = runs[["recall_at_10", "query_p50_ms", "quiet_p50_ms", "fresh_p50_ms", "fresh_max_ms"]].median()
        value = (
            f"recall {median.recall_at_10:.3f}, query p50 {number(median.query_p50_ms)} ms (before the first write"
            f" {number(median.quiet_p50_ms)}), findable after {number(median.fresh_p50_ms)} ms (at most"
            f" {number(runs.fresh_max_ms.max())})"
        )
        figures.append(Figure(label=f"while {rate:,g} records/s are written", value=value))
    return [*figures, Figure(label="deleted records found, all runs", value=f"{frame.stale.sum():.0f}")]


def _peer(name: str, row: pd.Series) -> Figure:
    value = "does not reach the recall" if row.p50_ms != row.p50_ms else f"{number(row.p50_ms)} ms ({row.setting})"
    return Figure(label=f"p50 at equal recall, {name}", value=value)


def _range(values: pd.Series) -> str:
    return f"{values.min()} to {values.max()}"
