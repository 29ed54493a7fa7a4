"""A workload of drawn vectors, for tests."""

from pathlib import Path

import numpy as np

from workbench.benchmarks.peers import workload
from workbench.benchmarks.peers.workload import WARMUP, Workload


def drawn(folder: Path, count: int, *, queries: int = 30, dimension: int = 16) -> Workload:
    """``count`` vectors around a few centres, all of unit length, and ``queries`` more besides those of the warm-up."""
    draw = np.random.default_rng(3)
    centres = draw.normal(size=(8, dimension))
    total = count + WARMUP + queries
    vectors = centres[draw.integers(8, size=total)] + 0.5 * draw.normal(size=(total, dimension))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    texts = [f"thing {number % 20}; other {number}" for number in range(count)]
    workload.write(folder, vectors[:count], vectors[count:], workload.metadata(texts))
    return workload.read(folder)
