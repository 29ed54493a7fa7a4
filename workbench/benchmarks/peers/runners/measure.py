"""Drives one subject in a fresh process: insert, wait, ask; one line of JSON on standard output.

``python measure.py JOB``, where JOB is JSON: subject (a file), options, workload and data (folders), batch, settings, filters,
warmup. Everything is read before the clock starts, and queries are asked one at a time.
"""

import gc
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    job = json.loads(sys.argv[1])
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a product prints is no result
    workload = Path(job["workload"])
    vectors, queries = (np.load(workload / f"{name}.npy") for name in ("vectors", "queries"))
    metadata = [json.loads(line) for line in (workload / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    filters = json.loads((workload / "filters.json").read_text(encoding="utf-8"))
    subject = _load(job["subject"]).Subject(Path(job["data"]), vectors.shape[1], job["options"])
    try:
        batches = [
            subject.batch(range(start, min(start + job["batch"], len(vectors))), vectors[part], metadata[part])
            for start in range(0, len(vectors), job["batch"])
            for part in [slice(start, start + job["batch"])]
        ]
        base = _memory(subject.pid)["VmRSS"]
        begun = time.perf_counter()
        for batch in batches:
            subject.insert(batch)
        insert_s = time.perf_counter() - begun
        subject.wait_indexed()
        ready_s = time.perf_counter() - begun
        del batches, vectors, metadata
        gc.collect()
        gc.freeze()  # what is left of the loading is not looked through again between queries
        runs = [
            {"setting": setting, "filter": name, **_asked(subject, queries, filters[name], job["warmup"])}
            for setting in job["settings"]
            for _ in [subject.tune(setting)]
            for name in job["filters"]
        ]
        most = _memory(subject.pid)["VmHWM"]
    finally:
        subject.close()
    print(
        json.dumps(
            {
                "insert_s": insert_s,
                "ready_s": ready_s,
                "base_rss_bytes": base,
                "max_rss_bytes": most,
                "disk_bytes": _disk(Path(job["data"])),
                "runs": runs,
            }
        ),
        file=result,
        flush=True,
    )
    result.flush()
    os._exit(0)  # a product's own threads may not hold up the end


def _load(path: str):
    spec = importlib.util.spec_from_file_location("subject", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _asked(subject, queries: np.ndarray, conditions: list, warmup: int) -> dict:
    """Each measured query's time, ns, and the rows found."""
    requests = [subject.request(query, conditions) for query in queries]
    for request in requests[:warmup]:
        subject.query(request)
    took, found = [], []
    for request in requests[warmup:]:
        begun = time.perf_counter_ns()
        answer = subject.query(request)
        took.append(time.perf_counter_ns() - begun)
        found.append(subject.rows(answer))
    return {"ns": took, "rows": found}


def _memory(pid: int) -> dict[str, int | None]:
    """Resident set now and at most, bytes; None where there is no /proc.

    Not from getrusage: Linux counts into a child's maximum what its parent had when it started it.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {"VmRSS": None, "VmHWM": None}
    return {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines) if name[:2] == "Vm"}


def _disk(folder: Path) -> int:
    """Bytes that the files really take: a preallocated log's holes are not counted."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
