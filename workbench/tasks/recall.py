"""Recall against exact search, tie-aware: a neighbour counts when it is as near as the k-th (as ann-benchmarks counts)."""

from collections.abc import Sequence

import numpy as np

K = 10
TIE = 1e-6  # a score this close to the k-th counts as equal: float32 cannot tell much finer
_BLOCK_BYTES = 2**28  # of scores at a time


def kth_scores(queries: np.ndarray, vectors: np.ndarray, k: int = K) -> np.ndarray:
    """float32[q]: the k-th best inner product of each of float32[q, d] with float32[n, d]; the worst, if n is less than k."""
    k = min(k, len(vectors))
    size = max(1, _BLOCK_BYTES // (4 * len(vectors)))
    blocks = (queries[start : start + size] @ vectors.T for start in range(0, len(queries), size))
    return np.concatenate([np.partition(scores, -k, axis=1)[:, -k] for scores in blocks])


def tie_aware(
    queries: np.ndarray, vectors: np.ndarray, found: Sequence[Sequence[int]], kth: np.ndarray, k: int = K
) -> np.ndarray:
    """float64[q]: the share of ``k`` neighbours found whose score is at least the k-th best.

    ``found`` are rows of ``vectors`` by query, ``kth`` (float32[q]) what ``kth_scores`` gives. A row that is named twice counts
    once, and what stands behind the k-th does not count.
    """
    near = [
        np.count_nonzero(vectors[list(dict.fromkeys(rows[:k]))] @ query >= least - TIE) if len(rows) else 0
        for query, rows, least in zip(queries, found, kth, strict=True)
    ]
    return np.array(near) / k
