"""From due to recommended at the rate of the worked example."""

from workbench.benchmarks.claim import Baseline, Claim, claim
from workbench.benchmarks.runs import measured
from workbench.settings import Settings
from workbench.summaries import EMULATED


def e2e_inline_p99_ms(name: str) -> Claim:
    """p99 from due to recommended at 100 events/s, inline; baseline: the same without a vector index (embed, AWS calls)."""
    settings = Settings()
    return _latency(name, settings, "no index, the AWS calls only", settings.but(variant="none"))


def e2e_lambda_p99_ms(name: str) -> Claim:
    """p99 from due to recommended at 100 events/s, in Lambda; baseline: inline."""
    return _latency(name, Settings(placement="lambda"), "inline", Settings())


def _latency(name: str, subject: Settings, baseline_name: str, baseline: Settings) -> Claim:
    runs = measured([subject, baseline])
    ours, theirs = runs.of(subject).frame, runs.of(baseline).frame
    emulator = ours[[f"{part}_ms" for part in EMULATED]].sum(axis=1) / ours.mean_ms
    return claim(
        name,
        "ms",
        ours.p99_ms.tolist(),
        Baseline(baseline_name, float(theirs.p99_ms.median())),
        note=f"mean {ours.mean_ms.median():.3g} ms, of which at most {emulator.median():.0%} are calls to the emulated cloud",
    )
