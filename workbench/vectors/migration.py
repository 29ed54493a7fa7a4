"""From one version of the embeddings to another while users search and write: the steps, in their order.

::

    begin    writes go to the old version and the new one        the new one cannot be queried
    copy     re-embeds what the old one holds                    may end anywhere and be called again
    admit    verifies the new one; from now on it can be queried
    switch   moves the alias                                     and moves it back: both versions are still written
    retire   writes go to the new one alone; the old one is emptied

All that is known of a migration is in the alias's ``Route`` and in the stores, so any process can take the next step, or repeat
one whose process ended. ``versions`` says why the steps are safe. Only one migration may be under way: nothing here can keep two
operators apart who begin in the same moment.
"""

import time
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from workbench.errors import SettingError, VectorError
from workbench.progress import progress
from workbench.vectors.alias import Route
from workbench.vectors.versions import Synced, Versions, content

_TOP_K = 10
_SAME = 0.999  # cosine of two embeddings of one text by one model: batches of other lengths change the last digits
_LOOKED_AT = 500  # records of one fetch
_LOOK_S = 0.05  # between two looks at records that differ, as those do that are just being written


class Copied(msgspec.Struct, frozen=True):
    """What a copy took: records re-embedded, left as they were, deleted, and done again as they had changed meanwhile.

    ``paused_s`` is the part of ``seconds`` in which the limit of the rate held it back.
    """

    written: int
    kept: int
    deleted: int
    changed: int
    seconds: float
    paused_s: float


class Verification(msgspec.Struct, frozen=True):
    """How a version compares with the source.

    ``differing`` records are in one alone, or were sampled and have other metadata. ``findable`` is the share of ``sampled``
    records whose vector is the model's of their text, and that a search for it finds among the first ten. ``agreement`` is the
    mean share of the first ten that both versions give for the given queries; None without queries.
    """

    source: int
    target: int
    differing: int
    sampled: int
    findable: float
    agreement: float | None

    def __str__(self) -> str:
        found = f"{self.differing} of {self.source:,} records differ, {self.findable:.1%} of {self.sampled} sampled are found"
        return found if self.agreement is None else f"{found}, top {_TOP_K} agree by {self.agreement:.0%}"


def begin(versions: Versions, target: str) -> None:
    """Send writes to ``target``, too, and return once no process writes without it. Repeating it only waits again.

    Raises:
        VectorError: the version is unknown (404), can be queried already, or another migration is under way (409).
    """
    route = versions.alias.read()
    for name in route.writes:
        if name not in route.complete and name != target:
            raise VectorError(f"a migration to version {name!r} is under way: admit or retire it first", 409)
    if target in route.complete:
        raise VectorError(f"version {target!r} is complete: there is nothing to copy", 409)
    if target not in route.writes:
        versions.redirect(Route(route.live, route.complete, (*route.writes, target)))
    time.sleep(versions.grace_s)


def copy(versions: Versions, target: str, *, batch: int = 64, rate: float = 0.0) -> Copied:
    """Make ``target`` equal to the source: re-embed what it lacks, delete what the source has not.

    Reads ``batch`` records at a time, and re-embeds at most ``rate`` of them a second on average (0: as fast as it goes). What is
    there already with the same metadata is left alone, so that a copy which was interrupted goes on where it was.

    Raises:
        SettingError: ``batch`` below 1, or a negative ``rate``.
        VectorError: ``target`` is not being written, or no longer: ``begin`` comes first (409).
    """
    if batch < 1:
        raise SettingError("batch", batch, "at least 1 record")
    if not rate >= 0:
        raise SettingError("rate", rate, "0 (no limit) or more records/s")
    begun, done, seen, paused_s = time.monotonic(), Synced(), 0, 0.0
    source = _source(versions, target)
    with progress(sum(versions[source].store.stats().values()), f"re-embedding for {target}", "record") as bar:
        for namespace, ids in _batches(versions, source, target, batch):
            _source(versions, target)
            part_begun = time.monotonic()
            part = versions.sync(source, target, ids, namespace=namespace, resume=True)
            done, seen = done.plus(part), seen + len(ids)
            bar.update(len(ids))
            if rate and (left_s := part_begun + part.written / rate - time.monotonic()) > 0:
                time.sleep(left_s)
                paused_s += left_s
    kept = seen + done.changed - done.written - done.deleted
    return Copied(done.written, kept, done.deleted, done.changed, time.monotonic() - begun, paused_s)


def verify(
    versions: Versions, target: str, *, sample: int = 200, queries: Sequence[str] = (), namespace: str = "", seed: int = 0
) -> Verification:
    """Compare every id of ``target`` with the source's, and the metadata, vectors and findability of ``sample`` drawn records.

    Writes may go on: what differs is looked at again for as long as a call may take. ``queries`` are asked in ``namespace``.

    Raises:
        VectorError: ``target`` is not being written (409).
    """
    source = _source(versions, target)
    mine, theirs = _ids(versions, source), _ids(versions, target)
    both = sorted(mine & theirs)
    drawn = np.random.default_rng(seed).choice(len(both), min(sample, len(both)), replace=False) if both else []
    sampled = {both[number] for number in drawn}
    differing, deadline = (mine ^ theirs) | sampled, time.monotonic() + versions.call_s + versions.visible_after_s
    while differing := _differing(versions, source, target, differing):
        if time.monotonic() >= deadline:
            break
        time.sleep(_LOOK_S)
    found = [_findable(versions, target, *each) for each in sampled]
    known = [each for each in found if each is not None]  # without those deleted meanwhile
    return Verification(
        source=len(mine),
        target=len(theirs),
        differing=len(differing),
        sampled=len(known),
        findable=sum(known) / len(known) if known else 1.0,
        agreement=_agreement(versions, source, target, queries, namespace) if queries else None,
    )


def admit(
    versions: Versions,
    target: str,
    *,
    least_findable: float = 0.95,
    least_agreement: float = 0.0,
    sample: int = 200,
    queries: Sequence[str] = (),
    namespace: str = "",
) -> Verification:
    """Verify ``target`` and let it be queried. Whether another model must agree with the old one at all is the caller's word.

    Where a store builds an index in the background, wait for that first: what is searched exactly until then is always found.

    Raises:
        VectorError: a record differs, or one of the two shares is too low; nothing was changed (409).
    """
    found = verify(versions, target, sample=sample, queries=queries, namespace=namespace)
    if found.differing or found.findable < least_findable or (found.agreement or 0.0) < least_agreement:
        raise VectorError(f"version {target!r} is not complete: {found}; copy it again, or retire it and begin anew", 409)
    route = versions.alias.read()
    if target not in route.complete:
        versions.redirect(Route(route.live, (*route.complete, target), route.writes))
    return found


def switch(versions: Versions, target: str) -> None:
    """Make ``target`` live: forth, and back again, as long as both versions are written. Every reader follows in ``max_age_s``.

    Raises:
        VectorError: it is not complete: ``admit`` comes first (409).
    """
    route = versions.alias.read()
    if target not in route.complete:
        raise VectorError(f"version {target!r} is not complete: {', '.join(route.complete)} can be made live", 409)
    versions.redirect(Route(target, route.complete, route.writes))


def retire(versions: Versions, name: str) -> None:
    """Give up a version: no more queries, then no more writes, then it is emptied. It also ends a migration that is not wanted.

    Waits ``grace_s`` before each of the last two, for whoever still has an older route. Repeating it goes on where it was.

    Raises:
        VectorError: it is live, or was begun again meanwhile (409); it is not known here (404).
    """
    store, route = versions[name].store, versions.alias.read()
    if name == route.live:
        raise VectorError(f"version {name!r} is live: switch to another one first", 409)
    if name in route.writes:
        route = Route(route.live, _without(route.complete, name), route.writes)
        versions.redirect(route)
        time.sleep(versions.grace_s)
        versions.redirect(Route(route.live, route.complete, _without(route.writes, name)))
    time.sleep(versions.grace_s)
    if name in versions.alias.read().writes:
        raise VectorError(f"version {name!r} is written again: it is not emptied", 409)
    for namespace in store.stats():
        store.delete(namespace=namespace)


def _source(versions: Versions, target: str) -> str:
    """The version that writes go to first, if ``target`` follows it."""
    versions[target]
    source, *others = versions.alias.read().writes
    if target not in others:
        raise VectorError(f"version {target!r} is not written beside {source!r}: begin its migration first", 409)
    return source


def _batches(versions: Versions, source: str, target: str, batch: int) -> Iterator[tuple[str, list[str]]]:
    """All ids of either version; one that was added meanwhile is its writer's care."""
    for namespace in sorted({*versions[source].store.stats(), *versions[target].store.stats()}):
        held = (versions[name].store.ids(namespace=namespace) for name in (source, target))
        ids = sorted(set().union(*held))
        yield from ((namespace, ids[start : start + batch]) for start in range(0, len(ids), batch))


def _ids(versions: Versions, name: str) -> set[tuple[str, str]]:
    store = versions[name].store
    return {(namespace, id) for namespace in store.stats() for id in store.ids(namespace=namespace)}


def _differing(versions: Versions, source: str, target: str, records: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the records (namespace, id) that are in one version alone, or have other metadata in the other."""
    found = set()
    for namespace in {namespace for namespace, _ in records}:
        ids = [id for within, id in records if within == namespace]
        for start in range(0, len(ids), _LOOKED_AT):
            part = ids[start : start + _LOOKED_AT]
            mine, theirs = (versions[name].store.fetch(part, namespace=namespace) for name in (source, target))
            found |= {(namespace, id) for id in part if content(mine, id) != content(theirs, id)}
    return found


def _findable(versions: Versions, target: str, namespace: str, id: str) -> bool | None:
    """None for a record that is no more."""
    version = versions[target]
    record = version.store.fetch([id], namespace=namespace).get(id)
    if record is None:
        return None
    wanted = versions.embedded(version, [record])[0].values
    values = np.asarray(record.values)
    if not np.dot(values, wanted) >= _SAME * np.linalg.norm(values) * np.linalg.norm(wanted):
        return False
    (matches,) = version.store.query(wanted[np.newaxis], top_k=_TOP_K, namespace=namespace)
    tied = len(matches) == _TOP_K and np.isclose(matches[0].score, matches[-1].score, rtol=1e-5)  # many of the same text
    return bool(tied or any(match.id == id for match in matches))


def _agreement(versions: Versions, source: str, target: str, queries: Sequence[str], namespace: str) -> float:
    tops = []
    for name in (source, target):
        version = versions[name]
        rankings = version.store.query(version.embedder.embed(queries), top_k=_TOP_K, namespace=namespace)
        tops.append([{match.id for match in ranking} for ranking in rankings])
    return float(np.mean([len(one & other) / max(len(one), len(other), 1) for one, other in zip(*tops, strict=True)]))


def _without(names: Sequence[str], name: str) -> tuple[str, ...]:
    return tuple(each for each in names if each != name)
