"""What the notebook shows as tables: medians over runs, units in the names."""

import pandas as pd

from workbench.summaries import percentile_of
from workbench.tasks import asking
from workbench.tasks.filters import WAYS


def builds(frame: pd.DataFrame) -> pd.DataFrame:
    """What each build takes: seconds, MiB and bytes a vector, whatever is asked of it. ``frame`` is what ``pairs`` gives."""
    known = frame[frame.error == ""].drop_duplicates(["catalogue", "build", "run"])
    rows = known.groupby(["catalogue", "build"], sort=False)[["build_s", "held_mib", "bytes_per_vector"]].median()
    return rows.rename_axis(["texts", "build"]).round(1)


def filters(samples: pd.DataFrame) -> pd.DataFrame:
    """Recall and p50 of both ways under each filter. ``samples`` are those of the task "filters", the fields in words."""
    rows = {}
    for (field, share), asked in samples.groupby(["field", "share_pct"], sort=False):
        rows[field, f"{share:g}%"] = {
            f"{figure}, {way}": value
            for way in WAYS
            for figure, value in {
                "recall@10": asked.recall[asked.way == way].mean(),
                "p50_ms": percentile_of(asked.query_us[asked.way == way] / 1000, 50),
            }.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["the field is", "matching"]).round(3)


def churn(frame: pd.DataFrame) -> pd.DataFrame:
    """By records written a second: what queries and writes took and found. ``frame`` is that of the task "churn"."""
    shown = frame[frame.error == ""].assign(written_per_s=written_per_s(frame))
    figures = ["recall_at_10", "recall_p5", "quiet_p50_ms", "query_p50_ms", "query_p99_ms", "write_p50_ms"]
    fresh = ["fresh_p50_ms", "fresh_max_ms", "stale"]
    table = shown.groupby("written_per_s")[[*figures, *fresh]].median().round(3)
    return table.rename_axis("records written/s")


def written_per_s(frame: pd.DataFrame) -> pd.Series:
    """Records written a second: ``batch_size`` every ``poll_interval_ms``."""
    return frame.batch_size * 1000 / frame.poll_interval_ms


def served(samples: pd.DataFrame) -> pd.DataFrame:
    """Each way of asking: latency of one caller, throughput of one and of two. ``samples`` are those of the task "served"."""
    rows = {}
    for way, asked in samples.groupby("way", sort=False):
        alone = asked[asked.threads == 1]
        runs = [asking.figures(run) for _, run in asked.groupby(["settings", "run"])]
        rows[way] = {
            "recall@10": alone.recall.mean(),
            "p50_ms": percentile_of(alone.query_us / 1000, 50),
            "p99_ms": percentile_of(alone.query_us / 1000, 99),
            "queries/s": pd.Series([run["throughput"] for run in runs]).median(),
            "queries/s, two callers": pd.Series([run["throughput_2"] for run in runs]).median(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").round(3)


def peers(compared: pd.DataFrame, reached: pd.DataFrame) -> pd.DataFrame:
    """By subject: the cheapest setting at equal recall, what it costs, and what inserting and building took.

    ``compared`` and ``reached`` are what ``compare`` and ``at_equal_recall`` of ``benchmarks.peers`` give.
    """
    asked = reached.groupby("subject", sort=False)[["recall_at_10", "p50_ms", "p99_ms", "queries_per_s"]].median()
    asked.insert(0, "setting", reached.groupby("subject", sort=False).setting.first())
    built = compared.groupby("subject", sort=False)[["insert_s", "ready_s", "max_rss_mib", "disk_mib"]].median()
    return asked.join(built).sort_values("p50_ms").round(3)
