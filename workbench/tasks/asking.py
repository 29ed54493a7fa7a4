"""Queries one after the other, by one thread or several, each timed."""

import gc
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd

from workbench.events import Record
from workbench.summaries import percentile_of
from workbench.vectors import VectorStore

BATCH = 250  # records of an upsert: about 1 MB of JSON, half of what Pinecone takes
Caller = Callable[[np.ndarray], list[int]]  # float32[d] → the rows found, nearest first


class Asked(NamedTuple):
    """By query: when it was begun, s after the first; how long it took, µs; and the rows found."""

    begun_s: np.ndarray
    query_us: np.ndarray
    found: list[list[int]]


def fill(store: VectorStore, vectors: np.ndarray, metadata: Sequence[dict] | None = None) -> None:
    """Upsert float32[n, d] under their rows as ids; ``metadata`` is one object a row."""
    for start in range(0, len(vectors), BATCH):
        rows = range(start, min(start + BATCH, len(vectors)))
        store.upsert([Record(str(row), vectors[row], metadata[row] if metadata else {}) for row in rows])


def ask(callers: Sequence[Caller], queries: np.ndarray) -> Asked:
    """Every query (float32[q, d]) once, by as many threads as there are callers, each asking the next that nobody has asked."""
    gc.freeze()  # what is there already is not looked through again between queries
    begun_ns, ended_ns = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.int64)
    found: list[list[int]] = [[]] * len(queries)
    numbers = itertools.count()

    def run(caller: Caller) -> None:
        while (number := next(numbers)) < len(queries):
            query = queries[number]
            begun_ns[number] = time.perf_counter_ns()
            found[number] = caller(query)
            ended_ns[number] = time.perf_counter_ns()

    try:
        if len(callers) == 1:
            run(callers[0])
        else:
            with ThreadPoolExecutor(len(callers)) as pool:
                for done in [pool.submit(run, caller) for caller in callers]:
                    done.result()
    finally:
        gc.unfreeze()
    return Asked((begun_ns - begun_ns.min()) / 1e9, (ended_ns - begun_ns) / 1e3, found)


def of_store(store: VectorStore, k: int) -> Caller:
    """Asks a store for the ``k`` nearest. Any number of threads may share it."""
    return lambda query: [int(match.id) for match in store.query(query[None], top_k=k)[0]]


def rate(begun_s: Sequence[float], query_us: Sequence[float]) -> float:
    """Queries per second, from the first one's begin to the last one's end."""
    begun, took = np.asarray(begun_s, np.float64), np.asarray(query_us, np.float64)
    return float(len(begun) / (begun + took / 1e6).max())


def figures(samples: pd.DataFrame) -> dict[str, float]:
    """Of samples with ``threads``, ``begun_s``, ``query_us`` and ``recall``, of one setting in one run.

    Latency is of one thread. Percentiles that so few queries do not carry are NaN.
    """
    alone = samples[samples.threads == 1]
    ms = alone.query_us / 1000
    two = samples[samples.threads == 2]
    return {
        "recall_at_10": float(alone.recall.mean()),
        "recall_p5": float(np.percentile(alone.recall, 5)),
        "query_us": float(alone.query_us.mean()),
        "query_p50_ms": percentile_of(ms, 50),
        "query_p99_ms": percentile_of(ms, 99),
        "throughput": rate(alone.begun_s, alone.query_us),
        "throughput_2": rate(two.begun_s, two.query_us) if len(two) else float("nan"),
    }
