"""Vectors in place of embedded texts: drawn by a seed, so that nothing has to be embedded."""

from collections.abc import Callable

import numpy as np
import pytest

from workbench.settings import Settings
from workbench.tasks import baskets


def unit(rows: int, dimension: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(rows, dimension))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], baskets.Baskets]:
    """What ``baskets.load`` gives meanwhile: vectors of 16 dimensions, the same ones each time."""

    def load(settings: Settings) -> baskets.Baskets:
        every = unit(settings.warmup + settings.events + settings.catalogue, 16, seed=5)
        asked = settings.warmup + settings.events
        return baskets.Baskets(every[asked:], every[:asked])

    monkeypatch.setattr(baskets, "load", load)
    return load
