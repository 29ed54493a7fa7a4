"""The log without what no longer counts: entries of records that died, and what killed them.

One pass goes through the log in order, a few entries a transaction, while the store is written to and read. Each entry is
rewritten in its place with what of it still lives; several small ones become one, in the last one's place. Replaying the log
gives the same store after every single transaction:

* a live record has its id to itself, so it does not matter before or after which other entry it stands;
* a deletion goes once all before it have been gone through, because nothing that it killed is left then. What is written
  while the pass is under way stands behind its end and is not touched.
"""

from collections.abc import Callable

import numpy as np

from workbench.vectors.log import CREATE, UPSERT, Entry, Log

_MOST = 1_000  # records in an entry
_READ = 16  # entries read at once: at most some 25 MB of 384 dimensions

Alive = Callable[[Entry], np.ndarray]  # of an upsert, bool[n]: which of its records still count


class _Waiting:
    """What is to become one entry of a namespace."""

    def __init__(self) -> None:
        self.lsns: list[int] = []
        self.parts: list[Entry] = []  # upserts, less what died
        self.records = self.dead = 0


def compact(log: Log, last: int, alive: Alive, created: Callable[[str], bool], stopping: Callable[[], bool]) -> int:
    """Go through the entries up to the lsn ``last``, all of which have been applied.

    ``created`` says whether a namespace was made to stay though it is empty. Returns how many records that part of the log
    holds afterwards, if it was not stopped.

    Raises:
        VectorError: the log cannot be written; it is as good as before.
    """
    waiting: dict[str, _Waiting] = {}
    first = left = 0
    while (entries := log.between(first, last, _READ)) and not stopping():
        for entry in entries:
            left += _take(log, entry, alive, created, waiting)
        first = entries[-1].lsn + 1
    for group in waiting.values():
        _flush(log, group)
    while not stopping() and log.shrink():
        pass
    return left


def _take(log: Log, entry: Entry, alive: Alive, created: Callable[[str], bool], waiting: dict[str, _Waiting]) -> int:
    """Make it wait to be rewritten, if need be; how many of its records live."""
    if entry.kind == CREATE and created(entry.namespace):
        return 0
    living = 0
    group = waiting.setdefault(entry.namespace, _Waiting())
    if entry.kind == UPSERT:
        mask = alive(entry)
        living = int(mask.sum())
        if living == len(mask) and 2 * living > _MOST:
            return living
        group.records, group.dead = group.records + living, group.dead + len(mask) - living
        if living:
            group.parts.append(_only(entry, mask))
    group.lsns.append(entry.lsn)
    if group.records > _MOST / 2:
        _flush(log, waiting.pop(entry.namespace))
    return living


def _flush(log: Log, group: _Waiting) -> None:
    if len(group.lsns) == len(group.parts) and len(group.lsns) < 2 and not group.dead:
        return  # nothing would change
    if not group.parts:
        log.rewrite(group.lsns, [])
        return
    joined = Entry(
        group.parts[-1].lsn,
        group.parts[-1].namespace,
        UPSERT,
        [id for part in group.parts for id in part.ids],
        np.concatenate([part.versions for part in group.parts]),
        np.concatenate([part.vectors for part in group.parts]),
        [each for part in group.parts for each in part.metadata],
    )
    log.rewrite(group.lsns, [joined])


def _only(entry: Entry, mask: np.ndarray) -> Entry:
    kept = mask.nonzero()[0]
    return entry._replace(
        ids=[entry.ids[position] for position in kept],
        versions=entry.versions[kept],
        vectors=entry.vectors[kept],
        metadata=[entry.metadata[position] for position in kept],
    )
