"""How good the recommendations are."""

import functools

import numpy as np

from workbench.benchmarks.claim import Baseline, Claim, claim
from workbench.measure.intervals import bootstrap_ratio
from workbench.pipeline import run
from workbench.servers import services
from workbench.settings import Settings


def hit_rate_vs_popularity(name: str) -> Claim:
    """Hit rate@5 of the next basket, ours over that of the five most bought products."""
    ours, popular, _ = _hits()
    return _ratio(name, ours, "most bought", popular)


def hit_rate_vs_article(name: str) -> Claim:
    """Hit rate@5 of the next basket, ours over that of the article's design."""
    ours, _, article = _hits()
    return _ratio(name, ours, "the article's design", article)


@functools.cache
def _hits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By user, 0.0 or 1.0: ours, the most bought, the article's."""
    settings = Settings(events=6000, warmup=0, rate=0)
    with services() as running:
        ours, article = run(settings, running), run(settings.but(variant="article"), running)
    return ours.hits.to_numpy(), ours.hits_of_popular.to_numpy(), article.hits.to_numpy()


def _ratio(name: str, ours: np.ndarray, baseline_name: str, baseline: np.ndarray) -> Claim:
    """The quotient of two means over the same users, its interval bootstrapped over users."""
    return claim(
        name,
        "times",
        [ours.mean() / baseline.mean()],
        Baseline(f"{baseline_name} at {baseline.mean():.3f}, ours at {ours.mean():.3f}", 1.0),
        interval=bootstrap_ratio(ours, baseline),
        spread=f"95% over {len(ours)} users",
    )
