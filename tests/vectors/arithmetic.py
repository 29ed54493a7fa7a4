"""Scores by definition, to hold every backend to."""

import numpy as np


def reference_scores(metric, queries, values):
    """float64[q, n], by Pinecone's definitions; independent of the code under test."""
    queries, values = np.asarray(queries, np.float64), np.asarray(values, np.float64)
    if metric == "euclidean":
        return ((queries[:, None, :] - values[None, :, :]) ** 2).sum(axis=2)
    scores = queries @ values.T
    if metric == "cosine":
        scores /= np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(values, axis=1)[None, :]
    return scores


def best_first(metric, scores):
    """Row numbers, nearest first."""
    return np.argsort(scores if metric == "euclidean" else -scores, axis=-1, kind="stable")
