"""Queries in an open loop while records are inserted, replaced and deleted: what is found, and how soon.

A fifth of the run is quiet, to compare with. Then, every ``poll_interval_ms``, one call writes ``batch_size`` records: it
inserts new ones, replaces the vectors of old ones, or deletes, in turn, so that the number of records stays what it is.
"""

import gc
import itertools
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from workbench.errors import SettingError
from workbench.events import Record
from workbench.settings import Settings
from workbench.stream.schedule import schedule
from workbench.summaries import percentile_of
from workbench.tasks import Measured, asking, baskets
from workbench.tasks.contents import Contents, Write, recalls
from workbench.tasks.recall import K
from workbench.vectors.store import Store

QUIET = 0.2  # of the run
_SPARE = 0.1  # of the texts are not in the index: what is inserted next
_PROBE_EVERY_NS = 100_000_000
_GIVE_UP_S = 5.0
_NEVER = 2**63 - 1  # ns
_LOOK_S = 0.02  # between two looks at what the store does in the background
_HEAD_START_S = 0.1
_BUILD_S = 7_200.0


def measure(settings: Settings, cloud: str) -> Measured:
    """Index nine tenths of ``catalogue`` texts and ask ``events`` others, ``rate`` a second, by ``clients`` threads.

    ``cloud`` means nothing here. Recall is against exact search over what the index held at that query; a write that was under
    way meanwhile may count or not. Latency counts from the time a query was due. Freshness is acknowledged → found by a
    search for the record's own vector. Samples have ``what``:

    - "query": ``t_s`` (due), ``latency_ms``, ``service_ms``, ``recall``, ``stale`` (matches that had been deleted before).
    - "write": ``t_s`` (called), ``latency_ms`` (until acknowledged).
    - "probe": ``t_s`` (acknowledged), ``latency_ms`` (until found; NaN after 5 s without).
    - "upkeep": ``t_s``, ``jobs`` (under way or waiting in the background), ``scanned`` (rows that no index covers).

    Raises:
        SettingError: a rate of 0, or fewer than three calls' records to spare.
    """
    if settings.rate == 0:
        raise SettingError("rate", settings.rate, "more than 0: queries come in an open loop")
    spare = round(_SPARE * settings.catalogue)
    if spare < 3 * settings.batch_size:
        raise SettingError("batch_size", settings.batch_size, f"at most {spare // 3}: a tenth of the catalogue is three calls")
    vectors, queries = baskets.load(settings)
    warm, queries = queries[: settings.warmup], queries[settings.warmup :]
    contents = Contents(len(vectors), spare, seed=settings.seed)
    with Store(dimension=vectors.shape[1], index=settings.index) as store:
        asking.fill(store, vectors[: len(vectors) - spare])
        store.wait_indexed(timeout_s=_BUILD_S)
        asking.ask([asking.of_store(store, K)], warm)
        run = _Run(settings, store, vectors, queries, contents)
        gc.collect()
        gc.freeze()  # what is there already is not looked through again during the run
        run.run()
        gc.unfreeze()
    recall, stale = recalls(run.asked, run.writes, contents, vectors, queries)
    samples = run.samples(recall, stale)
    return Measured(_figures(samples), samples)


class _Run:
    """The threads of one run: a writer, the clients, one that looks for what was written, one that watches the store."""

    def __init__(self, settings: Settings, store: Store, vectors: np.ndarray, queries: np.ndarray, contents: Contents) -> None:
        self._settings, self._store, self._vectors, self._queries = settings, store, vectors, queries
        self._plan = contents.writes(settings.batch_size)
        due = schedule(len(queries), rate=settings.rate, arrivals=settings.arrivals, seed=settings.seed)
        self._due_ns = due + time.perf_counter_ns() + round(_HEAD_START_S * 1e9)
        self._ended = threading.Event()
        self._to_find: queue.SimpleQueue[Write | None] = queue.SimpleQueue()  # None: there is nothing more
        self._not_before_ns = 0  # no probe of what is acknowledged earlier; also while one is under way
        self.asked: list[tuple[int, int, list[int]]] = [(0, 0, [])] * len(queries)  # sent, answered (ns), found
        self.writes: list[Write] = []
        self._probes: list[tuple[int, float]] = []
        self._upkeep: list[tuple[int, int, int]] = []

    def run(self) -> None:
        """Until every query is answered."""
        numbers = itertools.count()
        beside = (self._write, self._probe, self._watch)
        with ThreadPoolExecutor(self._settings.clients + len(beside)) as pool:
            others = [pool.submit(each) for each in beside]
            try:
                for client in [pool.submit(self._ask, numbers) for _ in range(self._settings.clients)]:
                    client.result()
            finally:
                self._ended.set()
                self._to_find.put(None)
            for other in others:
                other.result()

    def samples(self, recall: np.ndarray, stale: np.ndarray) -> pd.DataFrame:
        """See ``measure``."""
        sent, answered = (np.array([each[place] for each in self.asked]) for place in (0, 1))
        at = self._at_s
        tables = (
            {
                "what": "query",
                "t_s": at(self._due_ns),
                "latency_ms": (answered - self._due_ns) / 1e6,
                "service_ms": (answered - sent) / 1e6,
                "recall": recall,
                "stale": stale,
            },
            {
                "what": "write",
                "t_s": at([write.called_ns for write in self.writes]),
                "latency_ms": [(write.acknowledged_ns - write.called_ns) / 1e6 for write in self.writes],
            },
            {"what": "probe", "t_s": at([ns for ns, _ in self._probes]), "latency_ms": [ms for _, ms in self._probes]},
            {
                "what": "upkeep",
                "t_s": at([ns for ns, _, _ in self._upkeep]),
                "jobs": [jobs for _, jobs, _ in self._upkeep],
                "scanned": [rows for _, _, rows in self._upkeep],
            },
        )
        return pd.concat([pd.DataFrame(table) for table in tables], ignore_index=True)

    def _at_s(self, ns: object) -> np.ndarray:
        return (np.asarray(ns, np.int64) - self._due_ns[0]) / 1e9

    def _ask(self, numbers: Iterator[int]) -> None:
        while (number := next(numbers)) < len(self._queries):
            _sleep_until(int(self._due_ns[number]))
            sent = time.perf_counter_ns()
            matches = self._store.query(self._queries[number][None], top_k=K)[0]
            self.asked[number] = (sent, time.perf_counter_ns(), [int(match.id) for match in matches])

    def _write(self) -> None:
        quiet_ns = round(QUIET * (self._due_ns[-1] - self._due_ns[0]))
        due_ns = int(self._due_ns[0]) + quiet_ns
        for kind, ids, rows in self._plan:
            if self._ended.wait(max(0.0, (due_ns - time.perf_counter_ns()) / 1e9)):
                return
            called = time.perf_counter_ns()
            if kind == "delete":
                self._store.delete([str(id) for id in ids])
            else:
                self._store.upsert([Record(str(id), self._vectors[row], {}) for id, row in zip(ids, rows, strict=True)])
            done = Write(called, time.perf_counter_ns(), ids, rows)
            self.writes.append(done)
            if kind != "delete" and done.acknowledged_ns >= self._not_before_ns:
                self._not_before_ns = _NEVER
                self._to_find.put(done)
            due_ns += self._settings.poll_interval_ms * 1_000_000

    def _probe(self) -> None:
        for write in iter(self._to_find.get, None):
            self._probes.append((write.acknowledged_ns, self._found_after_ms(write)))
            self._not_before_ns = write.acknowledged_ns + _PROBE_EVERY_NS

    def _found_after_ms(self, write: Write) -> float:
        id, vector = str(write.ids[-1]), self._vectors[write.rows[-1]][None]
        while (time.perf_counter_ns() - write.acknowledged_ns) / 1e9 < _GIVE_UP_S:
            if any(match.id == id for match in self._store.query(vector, top_k=K)[0]):
                return (time.perf_counter_ns() - write.acknowledged_ns) / 1e6
        return float("nan")

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self._upkeep.append((time.perf_counter_ns(), self._store.building, self._store.scanned()))


def _sleep_until(due_ns: int) -> None:
    while (left := due_ns - time.perf_counter_ns()) > 0:
        time.sleep(left / 1e9)


def _figures(samples: pd.DataFrame) -> dict[str, float]:
    """Of queries while records were written, but for what is quiet by name."""
    query, probe, write = (samples[samples.what == what] for what in ("query", "probe", "write"))
    begun = write.t_s.min() if len(write) else float("inf")
    during, quiet = query[query.t_s >= begun], query[query.t_s < begun]
    known = probe.latency_ms.dropna()
    return {
        "recall_at_10": float(during.recall.mean()),
        "recall_p5": float(np.percentile(during.recall, 5)) if len(during) else float("nan"),
        "query_p50_ms": percentile_of(during.latency_ms, 50),
        "query_p99_ms": percentile_of(during.latency_ms, 99),
        "quiet_p50_ms": percentile_of(quiet.latency_ms, 50),
        "quiet_p99_ms": percentile_of(quiet.latency_ms, 99),
        "write_p50_ms": percentile_of(write.latency_ms, 50),
        "fresh_p50_ms": percentile_of(known, 50),
        "fresh_max_ms": float(probe.latency_ms.max()) if len(known) == len(probe) else float("nan"),
        "stale": float(query.stale.sum()),
    }
