"""Whether what measures can be believed: a planted difference is found, and none where there is none."""

import numpy as np

from workbench import results
from workbench.benchmarks.claim import Baseline, Claim, claim
from workbench.benchmarks.runs import measured
from workbench.settings import Flat, Settings

_SHORT = Settings(events=400, warmup=100, rate=200, catalogue=2000)
_PLANTED = 1.2
_RUNS = 20
_TRIALS = 200


def planted_stage_ratio(name: str) -> Claim:
    """How much slower a query is found that really takes 1.2 times as long; baseline: what was planted."""
    plain = _SHORT.but(events=2000, catalogue=10_000, index=Flat())  # a query that takes long enough to be told from noise
    slow = plain.but(query_slowdown=_PLANTED)
    runs = measured([plain, slow], repeats=2 * results.PUBLISHED)
    found = results.compare(runs.of(plain).frame, runs.of(slow).frame, ["query_ms"]).loc["query_ms"]
    return claim(
        name,
        "times",
        [found.ratio],
        Baseline("planted", _PLANTED),
        interval=(found.low, found.high),
        spread="95% over pairs of runs",
        runs=4 * results.PUBLISHED,
        note=f"verdict: {found.verdict} {found.meaning}".strip(),
    )


def equal_called_different_pct(name: str) -> Claim:
    """How often two equal designs are called different, in trials of 5 of 20 runs each; baseline: what the method allows."""
    a, b = _SHORT, _SHORT.but(clients=_SHORT.clients + 1)  # which mean nothing in an open loop: the same design twice
    runs = measured([a, b], repeats=_RUNS)
    ours, theirs = runs.of(a).frame, runs.of(b).frame
    draw = np.random.default_rng(0)

    def differ(numbers: np.ndarray) -> bool:
        chosen = (frame[frame.run.isin(numbers)] for frame in (ours, theirs))
        return results.compare(*chosen, ["mean_ms"]).loc["mean_ms"].verdict != "not distinguishable"

    called = [differ(draw.choice(_RUNS, results.PUBLISHED, replace=False)) for _ in range(_TRIALS)]
    apart = [differ(numbers) for numbers in draw.permutation(_RUNS).reshape(-1, results.PUBLISHED)]
    return claim(
        name,
        "%",
        [100 * float(np.mean(called))],
        Baseline("allowed", 5.0),
        interval=(100 * min(apart), 100 * max(apart)),
        spread=f"of {len(apart)} trials without a run in common, {sum(apart)} called them different",
        runs=2 * _RUNS,
    )
