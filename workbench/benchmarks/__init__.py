"""The figures that this project claims, each measured side by side with its baseline and with its spread.

A benchmark is a function that yields one ``Claim``; ``BENCHMARKS`` names them. Runs are fresh processes, subject and baseline
in turn, so that a machine that slows down slows down both.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from workbench.benchmarks import kills, latency, overhead, quality, source, startup, stream_kills, throughput, truth, vectors
from workbench.benchmarks.claim import Claim, held, save
from workbench.errors import SettingError

BENCHMARKS: dict[str, Callable[[str], Claim]] = {
    benchmark.__name__: benchmark
    for benchmark in (
        latency.e2e_inline_p99_ms,
        latency.e2e_lambda_p99_ms,
        throughput.inline_events_per_s,
        throughput.throughput_vs_article,
        overhead.measuring_overhead_pct,
        truth.planted_stage_ratio,
        truth.equal_called_different_pct,
        quality.hit_rate_vs_popularity,
        quality.hit_rate_vs_article,
        vectors.served_query_overhead_ms,
        vectors.query_rate_vs_needledb,
        vectors.query_rate_vs_qdrant_edge,
        vectors.upsert_rate_vs_needledb,
        vectors.upsert_rate_vs_qdrant_edge,
        vectors.ready_vs_qdrant_edge,
        vectors.recovery_s,
        vectors.filtered_recall,
        vectors.full_sync_cost_ms,
        kills.survived_kills,
        stream_kills.survived_worker_kills,
        source.source_overhead_p99_ms,
        source.source_events_per_s,
        startup.import_s,
        startup.help_s,
    )
}


def described() -> dict[str, str]:
    """Each benchmark's name and what it measures."""
    return {name: benchmark.__doc__.splitlines()[0] for name, benchmark in BENCHMARKS.items()}


def measure(names: Sequence[str], output: Path) -> Iterator[Claim]:
    """Measure these benchmarks (all, if none is named), writing each figure into ``output`` as soon as it is there.

    Figures of other benchmarks that the file holds are kept.

    Raises:
        SettingError: there is no benchmark of that name.
        ResultError: ``output`` is a file of something else.
        WorkbenchError: a run failed or lost events.
    """
    for name in names:
        if name not in BENCHMARKS:
            raise SettingError("benchmark", name, f"one of {', '.join(BENCHMARKS)}")
    held(output)  # else it is found out after hours
    for name in names or BENCHMARKS:
        result = BENCHMARKS[name](name)
        save(result, output)
        yield result
