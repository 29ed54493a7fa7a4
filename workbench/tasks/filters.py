"""Searches that only some records may answer, from one in a thousand to all, in two ways.

One field has nothing to do with the vectors, the other everything: how much a text is like a certain one. An index that looks
near the query meets matches of the first at the filter's own rate, of the second in whole regions or not at all.
"""

import numpy as np
import pandas as pd

from workbench.settings import Settings
from workbench.tasks import Measured, asking, baskets
from workbench.tasks.recall import K, kth_scores, tie_aware
from workbench.vectors.store import Store

SHARES = (0.1, 1.0, 10.0, 50.0, 100.0)  # % of the records that a filter lets through
FIELDS = {"bucket": "independent of the vectors", "likeness": "correlated with them"}
WAYS = ("filtered search", "search, then filter")
FETCHED = 100  # what "search, then filter" searches for: ten times as many as are asked for
_PARTS = 1_000  # of the records, which a field numbers
_BUILD_S = 7_200.0


def measure(settings: Settings, cloud: str) -> Measured:
    """Index ``catalogue`` texts, then ask ``events`` others under every filter. ``cloud`` means nothing here.

    Figures are of the store's filtered searches, all filters together. Samples: one row a query, with ``field``, ``share_pct``,
    ``way``, ``query_us`` and ``recall``: against exact search among the records that match, of which there may be fewer than
    ten. "Search, then filter" is the textbook's way: the 100 nearest, less those that do not match.
    """
    vectors, queries = baskets.load(settings)
    warm, queries = queries[: settings.warmup], queries[settings.warmup :]
    numbers = fields(vectors, seed=settings.seed)
    metadata = [dict(zip(numbers, row, strict=True)) for row in np.column_stack(list(numbers.values())).tolist()]
    parts = []
    with Store(dimension=vectors.shape[1], index=settings.index) as store:
        asking.fill(store, vectors, metadata)
        store.wait_indexed(timeout_s=_BUILD_S)
        for field, share in ((field, share) for field in FIELDS for share in SHARES):
            most = round(share * _PARTS / 100)
            allowed = np.flatnonzero(numbers[field] < most)
            k = min(K, len(allowed))
            kth = kth_scores(queries, vectors[allowed], k)
            for way, caller in zip(WAYS, (_filtered(store, field, most), _afterwards(store, field, most)), strict=True):
                asking.ask([caller], warm)
                asked = asking.ask([caller], queries)
                recall = tie_aware(queries, vectors, asked.found, kth, k)
                about = {"field": field, "share_pct": share, "way": way, "matching": len(allowed)}
                parts.append(pd.DataFrame({**about, "query_us": asked.query_us, "recall": recall}))
    samples = pd.concat(parts, ignore_index=True)
    ours = samples[samples.way == WAYS[0]]
    figures = {
        "recall_at_10": float(ours.recall.mean()),
        "recall_p5": float(np.percentile(ours.recall, 5)),
        "query_us": float(ours.query_us.mean()),
    }
    return Measured(figures, samples)


def fields(vectors: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:
    """int64[n] from 0 to 999 by field, each number as often as any: at random, and by likeness to one of the vectors."""
    draw, count = np.random.default_rng(seed), len(vectors)
    even = np.arange(count) * _PARTS // count
    likeness = np.empty(count, np.int64)
    likeness[np.argsort(-(vectors @ vectors[draw.integers(count)]), kind="stable")] = even
    return {"bucket": draw.permutation(even), "likeness": likeness}


def _filtered(store: Store, field: str, most: int) -> asking.Caller:
    condition = {field: {"$lt": most}}
    return lambda query: [int(match.id) for match in store.query(query[None], top_k=K, filter=condition)[0]]


def _afterwards(store: Store, field: str, most: int) -> asking.Caller:
    def call(query: np.ndarray) -> list[int]:
        near = store.query(query[None], top_k=FETCHED)[0]
        return [int(match.id) for match in near if match.metadata[field] < most][:K]

    return call
