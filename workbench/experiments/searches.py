"""Searches and writes that go on by a schedule while something happens to the store, and what each search should have found."""

import gc
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Self

import numpy as np
import pandas as pd

from workbench.clock import now_ns
from workbench.errors import MeasureError
from workbench.stream.schedule import schedule
from workbench.vectors.versions import Embeds, Versions

TEXT = "description"  # the metadata field that holds a record's text
_TOP_K = 10
_TIE = 1e-5  # scores of float32 that differ by less are equal: the order of a sum changes as much
_HEAD_START_S = 0.1
_EVER_NS = 2**62  # Unix ns, about the year 2116


class Write(NamedTuple):
    """One write to come: the record's new text, or None to delete it. A text is never written twice for one id."""

    id: str
    text: str | None


class Load:
    """Open loop: while the context is open, every search and write is made when it is due, however long those before it take.

    Searches are made by ``threads`` threads, writes one after the other (so that what each id held when is known). Latency counts
    from the due time. Leaving the context waits for what is under way.

    Raises:
        MeasureError: on leaving, if the schedule of ``longest_s`` seconds or the writes were used up before.
    """

    def __init__(
        self,
        versions: Versions,
        *,
        searches: Sequence[str],
        writes: Iterable[Write],
        rate: float,
        write_rate: float,
        seed: int = 0,
        threads: int = 4,
        longest_s: float = 900.0,
    ) -> None:
        self.searches = list(searches)
        self._versions, self._writes, self._threads = versions, iter(writes), threads
        self._plans = [
            schedule(max(1, round(each * longest_s)), rate=each, arrivals="poisson", seed=seed + number)
            for number, each in enumerate((rate, write_rate))
        ]
        self._asked = np.random.default_rng(seed).integers(len(self.searches), size=len(self._plans[0])).tolist()
        self._searched: list[dict] = []
        self._written: list[dict] = []
        self._stop = threading.Event()
        self._ran_out: str | None = None
        self.began_ns = 0

    def __enter__(self) -> Self:
        gc.collect()
        gc.freeze()  # a collection of all that a notebook holds would stop every thread for 0.1 s
        self.began_ns = now_ns() + round(_HEAD_START_S * 1e9)
        self._senders = [threading.Thread(target=run, daemon=True) for run in (self._search_on, self._write_on)]
        for sender in self._senders:
            sender.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        for sender in self._senders:
            sender.join()
        gc.unfreeze()
        if kind is None and self._ran_out:
            raise MeasureError(f"the load was not kept up to the end: there were too few {self._ran_out}")

    def seconds(self) -> float:
        """Since the first search was due."""
        return (now_ns() - self.began_ns) / 1e9

    def searched(self) -> pd.DataFrame:
        """One row a search, by due time: t_s (due, since the first), latency_ms, text (its number), version, found (id and text
        of each match), error ("" for none), began_ns and done_ns (Unix).
        """
        return self._frame(self._searched)

    def written(self) -> pd.DataFrame:
        """One row a write: t_s, latency_ms, id, text ("" for a deletion), error, began_ns and done_ns."""
        return self._frame(self._written)

    def _frame(self, rows: list[dict]) -> pd.DataFrame:
        frame = pd.DataFrame(sorted(rows, key=lambda row: row["due_ns"]))
        frame.insert(0, "t_s", (frame.due_ns - self.began_ns) / 1e9)
        frame.insert(1, "latency_ms", (frame.done_ns - frame.due_ns) / 1e6)
        return frame.drop(columns="due_ns")

    def _search_on(self) -> None:
        with ThreadPoolExecutor(self._threads, thread_name_prefix="search") as pool:
            for due_ns, number in zip(self._due(self._plans[0], "searches"), self._asked, strict=False):
                pool.submit(self._search, due_ns, number)

    def _write_on(self) -> None:
        for due_ns in self._due(self._plans[1], "writes"):
            write = next(self._writes, None)
            if write is None:
                self._ran_out = "writes"
                return
            self._write(due_ns, write)

    def _due(self, plan: np.ndarray, what: str) -> Iterable[int]:
        """Each due time, Unix ns, when it has come."""
        for due_ns in (plan + self.began_ns).tolist():
            if self._stop.wait(max(0.0, (due_ns - now_ns()) / 1e9)):
                return
            yield due_ns
        self._ran_out = what

    def _search(self, due_ns: int, number: int) -> None:
        row = {"due_ns": due_ns, "text": number, "version": "", "found": (), "error": "", "began_ns": now_ns()}
        try:
            answer = self._versions.query([self.searches[number]], top_k=_TOP_K)
            row |= {"version": answer.versions[0], "found": [(match.id, match.metadata[TEXT]) for match in answer.matches[0]]}
        except Exception as error:  # a search that fails is what is being looked for
            row["error"] = str(error) or type(error).__name__
        self._searched.append(row | {"done_ns": now_ns()})

    def _write(self, due_ns: int, write: Write) -> None:
        row = {"due_ns": due_ns, "id": write.id, "text": write.text or "", "error": "", "began_ns": now_ns()}
        try:
            if write.text is None:
                self._versions.delete([write.id])
            else:
                self._versions.upsert({write.id: {TEXT: write.text}})
        except Exception as error:
            row["error"] = str(error) or type(error).__name__
        self._written.append(row | {"done_ns": now_ns()})


def judged(
    searched: pd.DataFrame,
    written: pd.DataFrame,
    *,
    held: Mapping[str, str],
    texts: Sequence[str],
    models: Mapping[str, Embeds],
) -> pd.DataFrame:
    """Each search held to exact search over what its version held at that moment: ``searched`` with ``recall`` and ``ghosts``.

    ``recall`` is the share of the ten that are as near as the tenth nearest, ties included; what was being written while the
    search was under way may be found or not. ``ghosts`` counts matches that were not there: deleted before it, or replaced. A
    search that failed has recall 0.

    Args:
        searched, written: of ``Load``; no write may have failed.
        held: text by id before the first write.
        texts: the searches' texts by number.
        models: each version's, by name.

    Raises:
        MeasureError: a write failed.
    """
    for error in written.error[written.error != ""].head(1):
        raise MeasureError(f"what a search should have found cannot be told: a write failed: {error}")
    lives = _lives(held, written)
    born, died = lives[["born_began_ns", "born_done_ns"]].to_numpy(), lives[["died_began_ns", "died_done_ns"]].to_numpy()
    number_of = {key: number for number, key in enumerate(zip(lives.id, lives.text, strict=True))}
    scores = {
        name: model.embed(texts) @ model.embed(lives.text.tolist()).T
        for name, model in models.items()
        if name in set(searched.version)
    }
    recalls, ghosts = [], []
    for row in searched.itertuples():
        if row.error:
            recalls.append(0.0)
            ghosts.append(0)
            continue
        surely = (born[:, 1] <= row.began_ns) & (died[:, 0] >= row.done_ns)
        maybe = (born[:, 0] <= row.done_ns) & (died[:, 1] >= row.began_ns)
        near = scores[row.version][row.text]
        tenth = np.partition(near[surely], -_TOP_K)[-_TOP_K]
        found = [number_of[key] for key in row.found]
        recalls.append(sum(bool(maybe[each] and near[each] >= tenth - _TIE) for each in found) / _TOP_K)
        ghosts.append(int(sum(not maybe[each] for each in found)))
    return searched.assign(recall=recalls, ghosts=ghosts)


def _lives(held: Mapping[str, str], written: pd.DataFrame) -> pd.DataFrame:
    """One row for each text that an id had: when its write began and was done, and when the write that ended it."""
    rows, last = [], {}
    for id, text in held.items():
        last[id] = {"id": id, "text": text, "born_began_ns": 0, "born_done_ns": 0}
    for write in written.itertuples():
        if write.id in last:
            rows.append(last.pop(write.id) | {"died_began_ns": write.began_ns, "died_done_ns": write.done_ns})
        if write.text:
            last[write.id] = {"id": write.id, "text": write.text, "born_began_ns": write.began_ns, "born_done_ns": write.done_ns}
    return pd.DataFrame([*rows, *(row | {"died_began_ns": _EVER_NS, "died_done_ns": _EVER_NS} for row in last.values())])
