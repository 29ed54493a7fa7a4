"""Versions of embeddings side by side: each model's vectors in a store of their own, and an alias that says which is live.

Scores of different models do not compare and their dimensions differ, so a version is an embedder and a store of its own. Any
number of processes read and write through ``Versions``; ``migration`` moves them from one version to another, in steps like those
of F1's schema changes (Rae et al., VLDB 2013): what one process does never harms another that is a step behind.

What could go wrong, and why it does not:

- A process has not seen yet that the alias moved. It trusts a route for ``max_age_s`` at most, and a migration waits for
  ``grace_s`` wherever the next step would hurt who still has the old route; a call that took longer than ``call_s``, and so may
  have outlived that wait, looks at the alias again and is repeated if it moved. To look at every query would cost each a
  request, and gain nothing: until the last step both versions are whole.
- A record is written while it is copied, or by two processes at once. Every write goes to the source first; then whoever wrote
  makes the other versions equal to the source, and looks again until the source did not change meanwhile. The last to write to
  a version has thus seen, later, that the source holds the same, and who changes the source after that writes to it again: all
  versions end up equal, in whatever order the calls meet. Nobody needs a lock, or a store that compares and swaps.
- A deleted record is copied back. To be absent is a value like any other here: what the source has not is deleted.
- A process ends between two of its writes. Its call was not acknowledged; the next copy finds the difference.
- A store is eventually consistent. ``visible_after_s`` is how long a write may stay invisible; a writer waits that long before
  it reads back what it wrote, while more than one version is written.
- When the source is retired, three calls that overlap on one id may end with the second of them. One writer for an id at a
  time, as a stream's partition key gives, rules it out.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np

from workbench.errors import SettingError, VectorError
from workbench.events import Match, Record
from workbench.vectors import VectorStore
from workbench.vectors.alias import Alias, Route

RRF_K = 60  # Cormack, Clarke and Buettcher: Reciprocal Rank Fusion, SIGIR 2009
_T = TypeVar("_T")


class Embeds(Protocol):
    """What is needed of an embedder here; all those of ``workbench.embedding`` have it."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, d], in the order of the texts."""


class Version(NamedTuple):
    """One model's vectors: who makes them, and the store of as many dimensions that holds them and nothing else."""

    name: str
    embedder: Embeds
    store: VectorStore


class Answer(msgspec.Struct, frozen=True):
    """Matches for each query, best first, and the versions they come from.

    Of one version, scores are its store's; of several, they are reciprocal ranks.
    """

    versions: tuple[str, ...]
    matches: list[list[Match]]


class Synced(NamedTuple):
    """What it took to make one version equal to another: records written, deleted, and looked at again as they had changed."""

    written: int = 0
    deleted: int = 0
    changed: int = 0

    def plus(self, other: "Synced") -> "Synced":
        return Synced(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Versions:
    """Reads and writes by text, over whatever versions the alias names. Any number of threads may use it.

    Args:
        versions: all that the alias may come to name: a process is given a new one before a migration to it begins.
        alias: what every process reads; its first route is written with ``alias.write(Route.only(name))``.
        text: what is embedded of a record: a function of its id and metadata, and of nothing else.
        max_age_s: how old a route may be. 0 looks at the alias in every call.
        call_s: how long a call may take; a migration waits for those under way.
        visible_after_s: how long a write may stay invisible in any of the stores.

    Raises:
        SettingError: one of the times is negative, or two versions share a name.
    """

    def __init__(
        self,
        versions: Iterable[Version],
        alias: Alias,
        text: Callable[[str, dict], str],
        *,
        max_age_s: float = 1.0,
        call_s: float = 10.0,
        visible_after_s: float = 0.0,
    ) -> None:
        versions = list(versions)
        self._versions = {version.name: version for version in versions}
        if len(self._versions) < len(versions):
            raise SettingError("versions", [version.name for version in versions], "each name once")
        for name, seconds in (("max_age_s", max_age_s), ("call_s", call_s), ("visible_after_s", visible_after_s)):
            if not seconds >= 0:
                raise SettingError(name, seconds, "0 s or more")
        self.alias, self.text = alias, text
        self.max_age_s, self.call_s, self.visible_after_s = max_age_s, call_s, visible_after_s
        self._seen: tuple[Route, float] | None = None  # and the monotonic time before it was read
        self._looking = threading.Lock()

    @property
    def grace_s(self) -> float:
        """After so long nobody acts by a route that was replaced."""
        return self.max_age_s + self.call_s + self.visible_after_s

    def __getitem__(self, name: str) -> Version:
        """Raises: VectorError: this process was not given that version (404)."""
        if name not in self._versions:
            raise VectorError(f"version {name!r} is not known here: {', '.join(self._versions) or 'none is'}", 404)
        return self._versions[name]

    def route(self) -> Route:
        """The alias's route, at most ``max_age_s`` old; no call goes on if it cannot be read: raises as ``Alias.read``."""
        seen = self._seen
        if seen is None or time.monotonic() - seen[1] >= self.max_age_s:
            with self._looking:
                if self._seen is seen:  # else another thread has just looked
                    self._look()
                seen = self._seen
        return seen[0]

    def redirect(self, route: Route) -> None:
        """Move the alias; this process sees it at once, the others within ``max_age_s``. ``migration`` says when that is safe."""
        for name in route.writes:
            self[name]  # one that is not known here is refused
        with self._looking:
            self.alias.write(route)
            self._seen = route, time.monotonic()

    def query(
        self,
        texts: Sequence[str],
        *,
        top_k: int,
        across: Sequence[str] | None = None,
        depth: int = 50,
        namespace: str = "",
        filter: dict | None = None,
    ) -> Answer:
        """The ``top_k`` nearest to each text in the live version, in another one, or in several together.

        ``across`` names the versions. The rankings of several, each ``depth`` long (at least ``top_k``), are merged by reciprocal
        rank: a record's score is the sum of 1 / (60 + rank) over those it is in, and it is listed once, with the metadata that
        the first of them has.

        Raises:
            VectorError: a version is unknown (404) or not complete (409), or as the stores.
            SettingError: ``across`` names none, or one twice.
        """
        if across is not None and (not across or len(set(across)) < len(across)):
            raise SettingError("across", list(across), "one or more versions, each once")

        def ask(route: Route) -> Answer:
            names = (route.live,) if across is None else tuple(across)
            for name in names:
                self[name]
                if name not in route.complete:
                    raise VectorError(f"version {name!r} is not complete: {', '.join(route.complete)} can be queried", 409)
            longest = top_k if len(names) == 1 else max(top_k, depth)
            rankings = [
                version.store.query(version.embedder.embed(texts), top_k=longest, namespace=namespace, filter=filter)
                for version in map(self.__getitem__, names)
            ]
            if len(names) == 1:
                return Answer(names, rankings[0])
            return Answer(names, [merged(of_one_text)[:top_k] for of_one_text in zip(*rankings, strict=True)])

        return self._by_route(ask)

    def upsert(self, metadata: Mapping[str, dict], *, namespace: str = "") -> int:
        """Insert or replace records by id in every version that is written; returns how many. The vectors are made here.

        If it raises, versions may differ in these ids until the call is repeated, or they are copied.
        """

        def write(route: Route) -> int:
            source = self[route.writes[0]]
            records = self.embedded(source, [Record(id, None, about) for id, about in metadata.items()])
            source.store.upsert(records, namespace=namespace)
            self._follow(route, metadata, namespace)
            return len(records)

        return self._by_route(write) if metadata else 0

    def delete(self, ids: Sequence[str], *, namespace: str = "") -> None:
        """Delete these ids from every version that is written. Unknown ones are ignored. If it raises: as for ``upsert``."""
        if isinstance(ids, str):
            raise VectorError(f"ids must be a list of strings, not the string {ids[:60]!r}")

        def write(route: Route) -> None:
            self[route.writes[0]].store.delete(ids, namespace=namespace)
            self._follow(route, ids, namespace)

        self._by_route(write)

    def embedded(self, version: Version, records: Sequence[Record]) -> list[Record]:
        """The same records with the version's vectors of their texts."""
        vectors = version.embedder.embed([self.text(record.id, record.metadata) for record in records])
        return [Record(record.id, row, record.metadata) for record, row in zip(records, vectors, strict=True)]

    def sync(self, source: str, target: str, ids: Iterable[str], *, namespace: str = "", resume: bool = False) -> Synced:
        """Make ``target`` hold of these ids what ``source`` holds, until that did not change meanwhile.

        ``resume`` leaves alone what already has the same metadata.
        """
        mine, theirs, done = self[source].store, self[target], Synced()
        ids = list(ids)
        while ids:
            before = mine.fetch(ids, namespace=namespace)
            held = theirs.store.fetch(ids, namespace=namespace) if resume else {}
            lacking = [each for each in before.values() if each.id not in held or held[each.id].metadata != each.metadata]
            gone = [id for id in ids if id not in before and (id in held or not resume)]
            if lacking:
                theirs.store.upsert(self.embedded(theirs, lacking), namespace=namespace)
            if gone:
                theirs.store.delete(gone, namespace=namespace)
            after = mine.fetch(ids, namespace=namespace) if lacking or gone else before
            ids = [id for id in ids if content(before, id) != content(after, id)]
            done = done.plus(Synced(len(lacking), len(gone), len(ids)))
        return done

    def _follow(self, route: Route, ids: Iterable[str], namespace: str) -> None:
        """Make the other versions equal to the source, which was just written."""
        source, *others = route.writes
        if others and self.visible_after_s:
            time.sleep(self.visible_after_s)
        for target in others:
            self.sync(source, target, ids, namespace=namespace)

    def _by_route(self, call: Callable[[Route], _T]) -> _T:
        """What the call gives; repeated if it may have outlived the migration's wait, and the alias has moved."""
        while True:
            begun = time.monotonic()
            route = self.route()
            answer = call(route)
            if time.monotonic() - begun <= self.call_s or self._look() == route:
                return answer

    def _look(self) -> Route:
        begun = time.monotonic()
        self._seen = self.alias.read(), begun
        return self._seen[0]


def merged(rankings: Iterable[Sequence[Match]]) -> list[Match]:
    """Rankings of one query as one, by reciprocal rank; each id once, ties in the order of their ids."""
    scores: dict[str, float] = defaultdict(float)
    metadata: dict[str, dict] = {}
    for ranking in rankings:
        for rank, match in enumerate(ranking, 1):
            scores[match.id] += 1 / (RRF_K + rank)
            metadata.setdefault(match.id, match.metadata)
    return [Match(id, scores[id], metadata[id]) for id in sorted(scores, key=lambda id: (-scores[id], id))]


def content(records: Mapping[str, Record], id: str) -> dict | None:
    """What counts of a record: its metadata, from which its text follows; None if there is none."""
    return records[id].metadata if id in records else None
