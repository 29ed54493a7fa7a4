"""What is inserted and what is asked, the same for every subject, and what an exact search finds.

A workload is a folder: ``vectors.npy`` (float32[n, d], unit length), ``queries.npy`` (float32[q, d], none of them among the
vectors), ``metadata.jsonl`` (one object a vector), ``filters.json`` (name → conditions, all of which must hold) and
``truth.npz``. A record's id is its row. Runners read the first four, and never the truth.
"""

import dataclasses
import json
import secrets
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench import places
from workbench.errors import DataError, SettingError
from workbench.progress import progress
from workbench.provision import make_embedder
from workbench.scenarios import baskets
from workbench.settings import Endpoints, Settings

K = 10
WARMUP = 100  # queries asked first, and left out
QUERIES = 1_000  # measured: what a p99 takes
UNFILTERED = "none"
SHARES = {"0.1%": 1, "1%": 10, "10%": 100, "50%": 500, "100%": 1_000}  # name → of 1,000 buckets, how many it lets through
_LEAST = 100  # vectors: below it a filter may match nothing
_TIE = 1e-6  # a score this close to the k-th counts as equal: float32 cannot tell much finer
_AISLES = 12
_SLICE = 2_048  # texts embedded at a time
_BLOCK = 100  # queries scored at a time

Condition = tuple[str, str, str | float | bool]  # field, "==" or "<", value


@dataclasses.dataclass(frozen=True)
class Truth:
    """One filter's exact answer: the rows it lets through, bool[n], and the k nearest of them by query, nearest first.

    ``rows`` (int64[q, k]) and ``scores`` (float32[q, k], cosine): k is 10, or less where the filter lets fewer through.
    """

    allowed: np.ndarray
    rows: np.ndarray
    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Workload:
    """A folder, read. ``truth`` is for the queries after the warm-up only."""

    folder: Path
    vectors: np.ndarray = dataclasses.field(repr=False)
    queries: np.ndarray = dataclasses.field(repr=False)
    filters: dict[str, list[Condition]]
    truth: dict[str, Truth] = dataclasses.field(repr=False)

    def recall(self, filter: str, found: Sequence[Sequence[int]]) -> np.ndarray:
        """float64[q]: the share of the truth that ``found`` (rows by query, after the warm-up) holds.

        Tie-aware: a row counts if the filter lets it through and it is as near as the k-th of the truth. A row that is named
        twice counts once, and what stands behind the tenth does not count.
        """
        truth = self.truth[filter]
        near = [
            self._as_near(query, rows, truth, kth)
            for query, rows, kth in zip(self.queries[WARMUP:], found, truth.scores[:, -1], strict=True)
        ]
        return np.array(near) / truth.scores.shape[1]

    def _as_near(self, query: np.ndarray, rows: Sequence[int], truth: Truth, kth: float) -> int:
        different = np.array(list(dict.fromkeys(rows[:K])), np.int64)
        different = different[truth.allowed[different]]
        return np.count_nonzero(self.vectors[different] @ query >= kth - _TIE)


def of_baskets(count: int, *, queries: int = QUERIES, seed: int = 0) -> Workload:
    """``count`` embedded texts of what was bought together, and ``queries`` others besides those of the warm-up.

    Made once and kept under the state folder; embeddings come from the cache that all runs share.

    Raises:
        SettingError: too few vectors, or more texts than there are.
    """
    folder = places.state() / "peers" / f"baskets-{count}-{queries}-{seed}"
    if not folder.exists():
        # The queries come first, so that they are the same whatever the count.
        texts = baskets.texts(WARMUP + queries + count, seed=seed)
        vectors = _embedded(texts)
        asked, indexed = np.split(vectors, [WARMUP + queries])
        write(folder, indexed, asked, metadata(texts[WARMUP + queries :], seed=seed))
    return read(folder)


def metadata(texts: Sequence[str], *, seed: int = 0) -> list[dict]:
    """One object a text, drawn by ``seed``.

    ``bucket`` (0 to 999) is spread evenly and at random, so that ``bucket < 10`` lets 1% through. ``aisle`` goes with the
    text, as a real category does with a vector; ``price``, ``in_stock`` and the bucket do not. ``products`` is a list.
    """
    draw = np.random.default_rng(seed)
    buckets = draw.permutation(len(texts)) * 1_000 // len(texts)
    prices = draw.lognormal(1.0, 0.6, len(texts)).round(2)
    stocked = draw.random(len(texts)) < 0.9
    return [
        {
            "aisle": f"aisle-{zlib.crc32(text.partition(';')[0].encode()) % _AISLES}",
            "price": price,
            "in_stock": in_stock,
            "products": text.split("; "),
            "bucket": bucket,
        }
        for text, price, in_stock, bucket in zip(texts, prices.tolist(), stocked.tolist(), buckets.tolist(), strict=True)
    ]


def write(folder: Path, vectors: np.ndarray, queries: np.ndarray, metadata: Sequence[dict]) -> None:
    """Find the truth and write the folder: all of it or nothing. One that is there already stays.

    Raises:
        SettingError: fewer than 100 vectors.
    """
    if len(vectors) < _LEAST:
        raise SettingError("count", len(vectors), f"at least {_LEAST} vectors")
    aisles = [each["aisle"] for each in metadata]
    filters: dict[str, list[Condition]] = {
        UNFILTERED: [],
        "aisle": [("aisle", "==", max(sorted(set(aisles)), key=aisles.count)), ("in_stock", "==", True)],
        **{name: [("bucket", "<", buckets)] for name, buckets in SHARES.items()},
    }
    truth = {name: _exact(vectors, queries[WARMUP:], _allowed(metadata, conditions)) for name, conditions in filters.items()}
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.draft")
    draft.mkdir(parents=True)
    try:
        np.save(draft / "vectors.npy", vectors)
        np.save(draft / "queries.npy", queries)
        (draft / "metadata.jsonl").write_text("".join(json.dumps(each) + "\n" for each in metadata), encoding="utf-8")
        (draft / "filters.json").write_text(json.dumps(filters), encoding="utf-8")
        arrays = {f"{name}:{part}": array for name, found in truth.items() for part, array in vars(found).items()}
        np.savez(draft / "truth.npz", **arrays)
        if not folder.exists():
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read(folder: Path) -> Workload:
    """
    Raises:
        DataError: the folder is not there, or is none of a workload.
    """
    try:
        filters = json.loads((folder / "filters.json").read_text(encoding="utf-8"))
        with np.load(folder / "truth.npz") as arrays:
            parts = [field.name for field in dataclasses.fields(Truth)]
            truth = {name: Truth(**{part: arrays[f"{name}:{part}"] for part in parts}) for name in filters}
        vectors, queries = (np.load(folder / f"{name}.npy") for name in ("vectors", "queries"))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} holds no workload: {str(error).splitlines()[0]}") from None
    filters = {name: [tuple(condition) for condition in conditions] for name, conditions in filters.items()}
    return Workload(folder, vectors, queries, filters, truth)


def _embedded(texts: list[str]) -> np.ndarray:
    with make_embedder(Settings(), Endpoints()) as embedder, progress(len(texts), "embedding", "text") as bar:
        vectors = np.empty((len(texts), embedder.dimension), np.float32)
        for start in range(0, len(texts), _SLICE):
            part = texts[start : start + _SLICE]
            vectors[start : start + _SLICE] = embedder.embed(part)
            bar.update(len(part))
    return vectors


def _allowed(metadata: Sequence[dict], conditions: list[Condition]) -> np.ndarray:
    allowed = np.ones(len(metadata), bool)
    for field, operator, value in conditions:
        column = np.array([each[field] for each in metadata])
        allowed &= column == value if operator == "==" else column < value
    return allowed


def _exact(vectors: np.ndarray, queries: np.ndarray, allowed: np.ndarray) -> Truth:
    numbers = np.flatnonzero(allowed)
    among, k = vectors[numbers], min(K, len(numbers))
    rows, scores = [], []
    for start in range(0, len(queries), _BLOCK):
        every = queries[start : start + _BLOCK] @ among.T
        near = np.argpartition(-every, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(near, np.argsort(-np.take_along_axis(every, near, axis=1), axis=1, kind="stable"), axis=1)
        rows.append(numbers[near])
        scores.append(np.take_along_axis(every, near, axis=1))
    return Truth(allowed, np.concatenate(rows), np.concatenate(scores))
