"""The vector index alone: how long it takes to build and to ask, and how much of the truth it finds.

The index holds the catalogue's descriptions, as the pipeline's does. Queries are descriptions of products that it does not
hold: what was bought less often. So no query finds itself (facts of the field: ann-benchmarks keeps a test set apart, too).
"""

import time

import numpy as np
import pandas as pd

from workbench.errors import SettingError
from workbench.events import Record
from workbench.provision import make_embedder
from workbench.scenarios import retail
from workbench.settings import Endpoints, Settings
from workbench.tasks import Measured
from workbench.vectors.store import Store

K = 10
QUERIES = 500  # at most
_WARMUP = 50  # queries asked first, and left out
_TIE = 1e-6  # a score this close to the k-th counts as equal: float32 cannot tell much finer
_EVERYTHING = 1_000_000  # more products than the data has


def measure(settings: Settings, cloud: str) -> Measured:
    """Build the settings' index over the catalogue, and ask it one query at a time. ``cloud`` means nothing here.

    ``build_s`` is from the first record given until all are indexed. ``query_us`` is the mean over queries. Recall@10 is
    tie-aware: a neighbour counts if its exact score is at least the tenth exact score. Samples: one row a query, ``recall``
    and ``query_us``.

    Raises:
        SettingError: the catalogue leaves too few products to ask for.
    """
    indexed, asked = _texts(settings)
    embedder = make_embedder(settings, Endpoints())
    vectors, queries = embedder.embed(indexed), embedder.embed(asked)
    store = Store(dimension=embedder.dimension, index=settings.index)
    records = [Record(str(row), vector, {}) for row, vector in enumerate(vectors)]
    begun = time.perf_counter()
    store.upsert(records)
    store.wait_indexed()
    build_s = time.perf_counter() - begun
    for query in queries[:_WARMUP]:
        store.query(query[None], top_k=K)
    queries = queries[_WARMUP:]
    found, query_us = [], []
    for query in queries:
        begun = time.perf_counter()
        matches = store.query(query[None], top_k=K)[0]
        query_us.append((time.perf_counter() - begun) * 1e6)
        found.append([int(match.id) for match in matches])
    recall = tie_aware_recall(queries @ vectors.T, found, K)
    figures = {
        "recall_at_10": float(recall.mean()),
        "recall_p5": float(np.percentile(recall, 5)),
        "build_s": build_s,
        "query_us": float(np.mean(query_us)),
    }
    return Measured(figures, pd.DataFrame({"recall": recall, "query_us": query_us}))


def tie_aware_recall(scores: np.ndarray, found: list[list[int]], k: int) -> np.ndarray:
    """float64[q]: the share of ``k`` neighbours found whose score is at least the k-th best.

    ``scores`` (float32[q, n]) are exact, higher is nearer; ``found`` are rows of the n, different ones, at most k a query.
    """
    kth = np.partition(scores, -k, axis=1)[:, -k]
    near = [np.count_nonzero(scores[query, rows] >= kth[query] - _TIE) for query, rows in enumerate(found)]
    return np.array(near) / k


def _texts(settings: Settings) -> tuple[list[str], list[str]]:
    """What is indexed, and what is asked: the warm-up's queries first."""
    products = retail.load(start=settings.start, events=1, catalogue=_EVERYTHING).catalogue
    indexed = [product.description for product in products[: settings.catalogue]]
    known = set(indexed)  # many products share a description
    others = sorted({product.description for product in products[settings.catalogue :]} - known)
    if len(others) < _WARMUP + K:
        raise SettingError("catalogue", settings.catalogue, f"fewer: {len(others)} other descriptions are left to ask for")
    drawn = np.random.default_rng(settings.seed).choice(len(others), size=min(len(others), _WARMUP + QUERIES), replace=False)
    return indexed, [others[number] for number in drawn]
