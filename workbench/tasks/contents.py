"""What an index holds while it is written to, by acknowledged operation, and recall against exactly that."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from workbench.tasks.recall import TIE, K

_BLOCK_BYTES = 2**28  # of scores at a time


class Write(NamedTuple):
    """One call: ``ids`` now have the vectors of these texts (``rows``), or none (-1)."""

    called_ns: int
    acknowledged_ns: int
    ids: np.ndarray
    rows: np.ndarray


class Contents:
    """``count`` records' ids, the last ``spare`` of which are not in the index at first; record i begins with text i.

    Every text but the spare ones is in the index under one id, so that no two records are equal.
    """

    def __init__(self, count: int, spare: int, *, seed: int) -> None:
        self.count, self.spare, self._draw = count, spare, random.Random(seed)

    def at_first(self) -> np.ndarray:
        """int64[count]: by id the text whose vector it has, or -1."""
        rows = np.arange(self.count)
        rows[self.count - self.spare :] = -1
        return rows

    def writes(self, batch: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """("insert" | "replace" | "delete", ids, rows) without end, in turn, ``batch`` records each."""
        live = list(range(self.count - self.spare))
        gone = list(range(self.count - self.spare, self.count))  # ids that are free
        rows = self.at_first()
        texts = list(gone)  # that no record has

        def chosen(among: list[int]) -> list[int]:
            """``batch`` of them, which are taken out."""
            taken = []
            for _ in range(batch):
                place = self._draw.randrange(len(among))
                among[place], among[-1] = among[-1], among[place]
                taken.append(among.pop())
            return taken

        while True:
            ids, new = chosen(gone), chosen(texts)
            rows[ids] = new
            live += ids
            yield "insert", np.array(ids), np.array(new)
            ids, new = chosen(live), chosen(texts)
            texts += rows[ids].tolist()
            rows[ids] = new
            live += ids
            yield "replace", np.array(ids), np.array(new)
            ids = chosen(live)
            texts += rows[ids].tolist()
            rows[ids] = -1
            gone += ids
            yield "delete", np.array(ids), np.full(batch, -1)


def recalls(
    asked: Sequence[tuple[int, int, list[int]]],
    writes: Sequence[Write],
    contents: Contents,
    vectors: np.ndarray,
    queries: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """By query recall@10, float64[q], and how many matches no state that it may have seen holds, int64[q].

    ``asked`` is when each query was sent and answered (ns) and which ids it found; ``writes`` are in the order of their calls,
    each of which begins after the one before it was acknowledged. A query sees all of a write or nothing: whichever state
    between the last acknowledged before it was sent and the last called before it was answered explains its answer best.
    """
    order = np.argsort([sent for sent, _, _ in asked], kind="stable")
    rows, done = contents.at_first(), 0
    recall, stale = np.zeros(len(asked)), np.zeros(len(asked), np.int64)
    size = max(1, _BLOCK_BYTES // (4 * len(vectors)))
    for start in range(0, len(order), size):
        block = order[start : start + size]
        for number, scores in zip(block, queries[block] @ vectors.T, strict=True):
            sent, answered, found = asked[number]
            while done < len(writes) and writes[done].acknowledged_ns <= sent:
                rows[writes[done].ids] = writes[done].rows
                done += 1
            states = [rows]
            for write in writes[done:]:
                if write.called_ns >= answered:
                    break
                after = states[-1].copy()
                after[write.ids] = write.rows
                states.append(after)
            recall[number] = max(_recall(scores, state, found) for state in states)
            stale[number] = sum(all(state[id] < 0 for state in states) for id in found)
    return recall, stale


def _recall(scores: np.ndarray, rows: np.ndarray, found: Sequence[int]) -> float:
    """Tie-aware, over what lives. ``scores`` are by text."""
    live = scores[rows[rows >= 0]]
    k = min(K, len(live))
    least = np.partition(live, -k)[-k] - TIE
    held = rows[list(dict.fromkeys(found[:K]))] if found else np.empty(0, np.int64)
    return float(np.count_nonzero(scores[held[held >= 0]] >= least)) / k
