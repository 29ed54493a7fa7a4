"""The vector store against FAISS alone and against its peers, on 100,000 embeddings of real texts."""

import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from workbench import places, results
from workbench.benchmarks.claim import Baseline, Claim, claim
from workbench.benchmarks.peers.comparison import at_equal_recall, compare
from workbench.benchmarks.peers.subjects import SUBJECTS
from workbench.benchmarks.peers.workload import UNFILTERED, WARMUP, K, of_baskets
from workbench.errors import MeasureError
from workbench.events import Record
from workbench.measure.intervals import ratio_interval
from workbench.settings import HNSW
from workbench.vectors.index import ApproximateIndex
from workbench.vectors.store import Store

COUNT = 100_000  # vectors
_GOAL = 0.95  # recall@10
_COMMITS = 500

# Fills a folder and is killed, or opens it and says how long that took.
_FILL = """
import json, os, sys
import numpy as np
from pathlib import Path
from workbench.events import Record
from workbench.vectors.store import Store
workload, folder = map(Path, sys.argv[1:])
vectors = np.load(workload / "vectors.npy")
metadata = [json.loads(line) for line in (workload / "metadata.jsonl").open(encoding="utf-8")]
store = Store(dimension=vectors.shape[1], path=folder)
for start in range(0, len(vectors), 1000):
    part = range(start, min(start + 1000, len(vectors)))
    store.upsert([Record(str(row), vectors[row], metadata[row]) for row in part])
store.wait_indexed(3600)
os.kill(os.getpid(), 9)
"""
_OPEN = """
import sys, time
from pathlib import Path
from workbench.vectors.store import Store
begun = time.perf_counter()
store = Store(dimension=int(sys.argv[2]), path=Path(sys.argv[1]))
print(time.perf_counter() - begun, store.recovered.records, store.recovered.graphs)
store.close()
"""


def served_query_overhead_ms(name: str) -> Claim:
    """p50 of a served top-10 query, by a bare HTTP client, less that of FAISS alone in process; baseline: FAISS."""
    frame = _compared("faiss", "server", "needledb")
    ours, theirs = (_at_goal(frame, subject, "p50_ms") for subject in ("server", "faiss"))
    note = f"server {np.median(ours):.3g} ms at recall@10 of {_GOAL} or more"
    return claim(name, "ms", ours - theirs, Baseline("FAISS in process", float(np.median(theirs))), note=note)


def query_rate_vs_needledb(name: str) -> Claim:
    """Served queries/s of one caller over needledb's, both at recall@10 of 0.95 or more."""
    return _rates(name, _compared("faiss", "server", "needledb"), "server", "needledb")


def query_rate_vs_qdrant_edge(name: str) -> Claim:
    """Queries/s in process, with metadata, over Qdrant Edge's, both at recall@10 of 0.95 or more."""
    return _rates(name, _compared("store", "qdrant-edge"), "store", "qdrant-edge")


def upsert_rate_vs_needledb(name: str) -> Claim:
    """Records/s upserted over HTTP, 250 a call, over needledb's; what was acknowledged survives kill -9 in both."""
    return _ratio(name, _compared("faiss", "server", "needledb"), "needledb", "server", "insert_s")


def upsert_rate_vs_qdrant_edge(name: str) -> Claim:
    """Records/s upserted in process, 1,000 a call, over Qdrant Edge's; what was acknowledged survives kill -9 in both."""
    return _ratio(name, _compared("store", "qdrant-edge"), "qdrant-edge", "store", "insert_s")


def ready_vs_qdrant_edge(name: str) -> Claim:
    """Time from the first vector to a built index: Qdrant Edge's over ours."""
    return _ratio(name, _compared("store", "qdrant-edge"), "qdrant-edge", "store", "ready_s")


def recovery_s(name: str) -> Claim:
    """Time to open a store of 100,000 vectors whose process was killed, graph and all; baseline: reading the bytes it needs."""
    workload = of_baskets(COUNT)
    with tempfile.TemporaryDirectory(dir=places.state()) as scratch:
        folder = Path(scratch) / "store"
        _python(_FILL, workload.folder, folder, ends_with=-9)
        seconds, reading = [], []
        for number in range(results.PUBLISHED):
            copy = Path(scratch) / str(number)  # opening tidies what the killed process left
            shutil.copytree(folder, copy)
            reading.append(_timed(lambda copy=copy: [path.read_bytes() for path in copy.rglob("*") if path.is_file()]))
            spent, records, graphs = _python(_OPEN, copy, workload.vectors.shape[1]).split()
            if (int(records), int(graphs)) != (COUNT, 1):
                raise MeasureError(f"{records} records and {graphs} graphs came back of {COUNT:,} and 1")
            seconds.append(float(spent))
            shutil.rmtree(copy)
    return claim(name, "s", seconds, Baseline("reading its files", float(np.median(reading))))


def filtered_recall(name: str) -> Claim:
    """Recall@10 under a filter that lets 1% through; baseline: plain HNSW (ef_search 128), filtered afterwards."""
    workload, index = of_baskets(COUNT), HNSW()
    metadata = (workload.folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    truth = workload.truth["1%"]
    with Store(dimension=workload.vectors.shape[1], index=index) as store:
        store.upsert([Record(str(row), vector, json.loads(metadata[row])) for row, vector in enumerate(workload.vectors)])
        store.wait_indexed(3600)
        asked = workload.queries[WARMUP:]
        answers = store.query(asked, top_k=K, filter={"bucket": {"$lt": 10}})
    graph = ApproximateIndex(index, workload.vectors.shape[1], euclidean=False, unit_length=True)
    for _ in graph.add(workload.vectors, threads=2):
        pass
    _, near, _ = graph.search(asked, index.ef_search, None, workload.vectors, index)
    plain = workload.recall("1%", [row[truth.allowed[row]].tolist() for row in near])
    ours = workload.recall("1%", [[int(match.id) for match in matches] for matches in answers])
    low = float(np.percentile(ours, 5))
    return claim(
        name,
        "recall@10",
        [float(ours.mean())],
        Baseline("plain HNSW, filtered afterwards", float(plain.mean())),
        interval=(low, float(ours.max())),
        spread=f"5th percentile to best of {len(ours):,} queries",
    )


def full_sync_cost_ms(name: str) -> Claim:
    """Time of a write of one record that survives a power cut; baseline: one that survives kill -9 only."""
    policies = ("full", "normal", "off", None)
    spent = np.array([[_commit_ms(sync) for sync in policies] for _ in range(results.PUBLISHED)])
    full, normal, off, memory = spent.T
    note = f"off {np.median(off):.3g} ms, in memory {np.median(memory):.3g} ms"
    return claim(name, "ms", full, Baseline("sync=normal", float(np.median(normal))), note=note)


def _commit_ms(sync: str | None) -> float:
    """The median of single writes, ms."""
    vectors = np.random.default_rng(0).standard_normal((_COMMITS, 384)).astype(np.float32)
    with tempfile.TemporaryDirectory(dir=places.state()) as folder:
        kept = {"path": Path(folder) / "store", "sync": sync} if sync else {}
        with Store(dimension=384, **kept) as store:
            spent = []
            for row, vector in enumerate(vectors):
                begun = time.perf_counter()
                store.upsert([Record(str(row), vector, {})])
                spent.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(spent))


@functools.cache
def _compared(*subjects: str) -> pd.DataFrame:
    """One comparison serves every figure that is taken from it."""
    return compare([SUBJECTS[name] for name in subjects], of_baskets(COUNT), results.PUBLISHED)


def _at_goal(frame: pd.DataFrame, subject: str, figure: str) -> np.ndarray:
    best = at_equal_recall(frame[frame["filter"] == UNFILTERED], _GOAL)
    values = best[best.subject == subject].sort_values("repeat")[figure].to_numpy()
    if np.isnan(values).any():
        raise MeasureError(f"{subject} did not reach recall@10 of {_GOAL} in every run")
    return values


def _rates(name: str, frame: pd.DataFrame, subject: str, peer: str) -> Claim:
    ours, theirs = (_at_goal(frame, each, "queries_per_s") for each in (subject, peer))
    tails = {each: np.median(_at_goal(frame, each, "p99_ms")) for each in (subject, peer)}
    note = f"p99 {tails[subject]:.3g} ms, {peer} {tails[peer]:.3g} ms"
    return _quotient(name, ours, theirs, f"{peer} at {np.median(theirs):,.0f}/s, ours {np.median(ours):,.0f}/s", note)


def _ratio(name: str, frame: pd.DataFrame, above: str, below: str, figure: str) -> Claim:
    """``above``'s seconds over ``below``'s, run by run."""
    runs = frame.drop_duplicates(["subject", "repeat"]).sort_values("repeat")
    theirs, ours = (runs.loc[runs.subject == each, figure].to_numpy() for each in (above, below))
    return _quotient(name, theirs, ours, f"{above} in {np.median(theirs):.3g} s, ours in {np.median(ours):.3g} s")


def _quotient(name: str, above: np.ndarray, below: np.ndarray, baseline: str, note: str = "") -> Claim:
    interval = ratio_interval(below, above, paired=True)
    return claim(
        name, "times", above / below, Baseline(baseline, 1.0), interval=interval, spread="95% over pairs of runs", note=note
    )


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _python(code: str, *arguments: object, ends_with: int = 0) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=places.ROOT, capture_output=True, text=True)
    if done.returncode != ends_with:
        raise MeasureError(f"a process ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout
