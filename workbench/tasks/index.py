"""The vector index alone: how long it takes to build and to ask, and how much of the truth it finds.

The index holds the catalogue's descriptions, as the pipeline's does. Queries are descriptions of products that it does not
hold: what was bought less often. So no query finds itself (facts of the field: ann-benchmarks keeps a test set apart, too).
"""

import time

import numpy as np
import pandas as pd

from workbench.errors import SettingError
from workbench.provision import make_embedder
from workbench.scenarios import retail
from workbench.settings import Endpoints, Settings
from workbench.tasks import Measured, asking
from workbench.tasks.recall import K, kth_scores, tie_aware
from workbench.vectors.store import Store

QUERIES = 500  # at most
_WARMUP = 50  # queries asked first, and left out
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
    warm, queries = queries[:_WARMUP], queries[_WARMUP:]
    with Store(dimension=embedder.dimension, index=settings.index) as store:
        begun = time.perf_counter()
        asking.fill(store, vectors)
        store.wait_indexed()
        build_s = time.perf_counter() - begun
        caller = asking.of_store(store, K)
        asking.ask([caller], warm)
        answers = asking.ask([caller], queries)
    recall = tie_aware(queries, vectors, answers.found, kth_scores(queries, vectors))
    figures = {
        "recall_at_10": float(recall.mean()),
        "recall_p5": float(np.percentile(recall, 5)),
        "build_s": build_s,
        "query_us": float(answers.query_us.mean()),
    }
    return Measured(figures, pd.DataFrame({"recall": recall, "query_us": answers.query_us}))


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
