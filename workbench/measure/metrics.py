"""What every figure is called: its label, unit, which way is better, and between which limits it can lie.

``load()`` names its columns by this table, plots take their axes from it, and a comparison its words.
"""

from typing import Literal

import msgspec

from workbench.measure.timeline import PARTS


class Metric(msgspec.Struct, frozen=True):
    """One kind of figure. ``lowest`` and ``highest`` are what is possible, for checks and axes; None: no limit."""

    label: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    lowest: float | None = 0.0
    highest: float | None = None

    @property
    def axis(self) -> str:
        """The label with its unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


METRICS: dict[str, Metric] = {
    # the load
    "offered_per_s": Metric("offered load", "events/s", "neither"),
    "sent_per_s": Metric("load that was really sent", "events/s", "neither"),
    "offer_kept_pct": Metric("share of the offered rate that was sent", "%", "higher"),
    # answers
    "goodput_per_s": Metric("events answered", "events/s", "higher"),
    "mean_ms": Metric("mean latency, due → recommended", "ms", "lower"),
    "p50_ms": Metric("p50 latency, due → recommended", "ms", "lower"),
    "p95_ms": Metric("p95 latency, due → recommended", "ms", "lower"),
    "p99_ms": Metric("p99 latency, due → recommended", "ms", "lower"),
    "p999_ms": Metric("p99.9 latency, due → recommended", "ms", "lower"),
    "service_p50_ms": Metric("p50 service time, sent → recommended", "ms", "lower"),
    "service_p99_ms": Metric("p99 service time, sent → recommended", "ms", "lower"),
    "freshness_p50_ms": Metric("p50 freshness, put → findable", "ms", "lower"),
    "freshness_p95_ms": Metric("p95 freshness, put → findable", "ms", "lower"),
    "probed_freshness_ms": Metric("median put → found by a search", "ms", "lower"),
    "cold_start_ms": Metric("mean cold start", "ms", "lower"),
    **{f"{part}_ms": Metric(f"mean time: {label}", "ms", "lower", None) for part, label in PARTS.items()},
    "events_per_batch": Metric("events a batch", "events", "neither"),
    # what became of the events
    "answered": Metric("events answered", "events", "neither"),
    "dead": Metric("events dead-lettered", "events", "lower"),
    "refused": Metric("events that the stream could not take", "events", "lower"),
    "lost": Metric("events lost", "events", "lower"),
    "retried": Metric("events delivered more than once", "events", "lower"),
    "good_given_up": Metric("good events given up", "events", "lower"),
    "deliveries_per_event": Metric("times an event was given to the function, mean", "times", "lower"),
    "standstill_s": Metric("longest time without an answer while events waited", "s", "lower"),
    "backlog_growth_pct": Metric("growth of the backlog over the run", "% of the events", "lower", None),
    "backlog_max": Metric("largest backlog", "events", "lower"),
    # what it took
    "cpu_cores": Metric("processor time used", "cores", "lower"),
    "memory_mib": Metric("memory at most", "MiB", "lower"),
    # what it was worth
    "hit_rate": Metric("users whose next basket has one of the five", "share", "higher", 0.0, 1.0),
    "recall_at_10": Metric("recall@10 against exact search", "share", "higher", 0.0, 1.0),
    "recall_p5": Metric("recall@10, the worst 5% of queries", "share", "higher", 0.0, 1.0),
    "build_s": Metric("time to build the index", "s", "lower"),
    "query_us": Metric("time of a query, one thread", "µs", "lower"),
    "index_mib": Metric("size of the index", "MiB", "lower"),
    # an index alone
    "query_p50_ms": Metric("p50 latency of a query", "ms", "lower"),
    "query_p99_ms": Metric("p99 latency of a query", "ms", "lower"),
    "throughput": Metric("queries answered, one thread", "queries/s", "higher"),
    "throughput_2": Metric("queries answered, two threads", "queries/s", "higher"),
    "held_mib": Metric("memory for contents and index", "MiB", "lower"),
    "bytes_per_vector": Metric("memory for contents and index, a vector", "bytes", "lower"),
    "quiet_p50_ms": Metric("p50 latency of a query before the first write", "ms", "lower"),
    "quiet_p99_ms": Metric("p99 latency of a query before the first write", "ms", "lower"),
    "write_p50_ms": Metric("p50 time of a write", "ms", "lower"),
    "fresh_p50_ms": Metric("p50 acknowledged → found by a search", "ms", "lower"),
    "fresh_max_ms": Metric("longest acknowledged → found by a search", "ms", "lower"),
    "stale": Metric("matches that had been deleted before the query", "matches", "lower"),
}
