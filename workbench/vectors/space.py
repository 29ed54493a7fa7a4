"""What all namespaces of one store share: how vectors are compared, how they are indexed, and one lock for whoever writes."""

import threading
from time import monotonic

import numpy as np

from workbench.errors import SettingError, VectorError
from workbench.settings import Index
from workbench.vectors.index import check_index
from workbench.vectors.records import MAX_DIMENSION, METRICS

_MOST_DELAY_S = 3600
_UNIT = 1e-6  # a length this close to 1 counts as 1; float32 cannot tell much finer


def check_delay(seconds: float) -> None:
    """``SettingError`` for a delay out of range."""
    if not 0 <= seconds <= _MOST_DELAY_S:
        raise SettingError("visible_after_s", seconds, f"0 to {_MOST_DELAY_S} seconds")


class Space:
    """``dimension`` and ``metric`` never change; ``index`` may take other query settings.

    ``writing`` is held by whoever changes what a namespace holds. ``delay_s`` is how long a write stays invisible.

    Raises:
        VectorError: the dimension or metric is not allowed.
        SettingError: the index settings contradict themselves or the dimension, or the delay is out of range.
    """

    def __init__(self, dimension: int, metric: str, index: Index, delay_s: float) -> None:
        if type(dimension) is not int or not 1 <= dimension <= MAX_DIMENSION:
            raise VectorError(f"dimension {dimension!r} is not allowed: a whole number from 1 to {MAX_DIMENSION:,}")
        if metric not in METRICS:
            raise VectorError(f"metric {metric!r} is not allowed: {', '.join(METRICS)}")
        check_delay(delay_s)
        self.dimension, self.metric, self.euclidean = dimension, metric, metric == "euclidean"
        self.index, self.delay_s = check_index(index, dimension), delay_s
        self.writing = threading.Lock()
        self.revealing = threading.Lock()  # held while what has become visible is shown
        self.searched_at = 0.0  # monotonic, s

    @property
    def cosine(self) -> bool:
        return self.metric == "cosine"

    def quiet(self) -> bool:
        """Whether nobody has searched for a second: a build may then take every core."""
        return monotonic() - self.searched_at > 1.0

    def scaled(self, vectors: np.ndarray) -> tuple[np.ndarray, list[np.ndarray | None]]:
        """float32[n, d] as it is searched, under cosine at length 1; and the given rows where those differ."""
        if not self.cosine:
            return vectors, [None] * len(vectors)
        # In float32 a tiny vector's squares would vanish.
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
        odd = np.abs(lengths - 1) > _UNIT
        if not odd.any():
            return vectors, [None] * len(vectors)
        scaled, divisors = np.empty_like(vectors), np.where(odd, lengths, 1.0)[:, None]
        np.divide(vectors, divisors, out=scaled, dtype=np.float64, casting="same_kind")  # without a copy in float64
        return scaled, [row.copy() if is_odd else None for row, is_odd in zip(vectors, odd, strict=True)]
