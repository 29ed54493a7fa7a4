"""One index built once over a given number of texts, and asked at each of its query settings.

A build of a hundred thousand vectors takes half a minute, a thousand queries half a second: so one process builds, and asks at
the settings' own query setting and at its halves. Samples hold each pair of build and query settings.
"""

import gc
import random
import time

import msgspec
import pandas as pd
import psutil

from workbench.settings import Index, Settings, index_text
from workbench.tasks import Measured, asking, baskets
from workbench.tasks.recall import K, kth_scores, tie_aware
from workbench.vectors.store import Store

THREADS = (1, 2)
_LEAST = {"ef_search": 16, "nprobe": 1}  # what a search's width is called, and down to where it is halved
_BUILD_S = 7_200.0  # the longest build
_MIB = 2**20


def measure(settings: Settings, cloud: str) -> Measured:
    """Index ``catalogue`` texts, then ask ``events`` others at every query setting of ``rungs``. ``cloud`` means nothing here.

    Figures are those of the settings' own query setting; ``build_s`` is from the first record given until all are indexed,
    ``held_mib`` what the process grew by meanwhile. Samples: one row a query, with ``index`` (the pair as text), ``threads``,
    ``begun_s``, ``query_us`` and ``recall``. Every setting is first asked ``warmup`` queries that are left out.
    """
    vectors, queries = baskets.load(settings)
    warm, queries = queries[: settings.warmup], queries[settings.warmup :]
    gc.collect()
    held = psutil.Process().memory_info().rss
    with Store(dimension=vectors.shape[1], index=settings.index) as store:
        begun = time.perf_counter()
        asking.fill(store, vectors)
        store.wait_indexed(timeout_s=_BUILD_S)
        build_s = time.perf_counter() - begun
        gc.collect()
        held = psutil.Process().memory_info().rss - held
        kth, caller = kth_scores(queries, vectors), asking.of_store(store, K)
        pairs, parts = rungs(settings.index), []
        random.Random(settings.seed).shuffle(pairs)  # whatever drifts on the machine hits no setting always
        for index in pairs:
            store.tune(index)
            asking.ask([caller], warm)
            for threads in THREADS:
                asked = asking.ask([caller] * threads, queries)
                recall = tie_aware(queries, vectors, asked.found, kth)
                columns = {"begun_s": asked.begun_s, "query_us": asked.query_us, "recall": recall}
                parts.append(pd.DataFrame({"index": index_text(index), "threads": threads, **columns}))
    samples = pd.concat(parts, ignore_index=True)
    figures = asking.figures(samples[samples["index"] == index_text(settings.index)])
    memory = {"held_mib": held / _MIB, "bytes_per_vector": held / len(vectors)}
    return Measured({**figures, "build_s": build_s, **memory}, samples)


def rungs(index: Index) -> list[Index]:
    """The index with its own query setting and with its halves, widest first: ``ef_search`` to 16, ``nprobe`` to 1."""
    field = next((name for name in _LEAST if name in index.query_fields), None)
    if field is None:
        return [index]
    width, widths = getattr(index, field), []
    while width >= _LEAST[field] or not widths:
        widths.append(width)
        width //= 2
    return [msgspec.structs.replace(index, **{field: width}) for width in widths]
