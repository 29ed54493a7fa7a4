"""Can the embedding model change while users search? What notebook 14 measures and concludes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, cycle
from typing import NamedTuple

import numpy as np
import pandas as pd

from workbench.embedding import Embedder
from workbench.embedding.cache import CachedEmbedder
from workbench.experiments.searches import TEXT, Load, Write, judged
from workbench.experiments.second_model import KnownTexts
from workbench.finding import Figure, Finding
from workbench.function.entities import Product
from workbench.settings import Flat
from workbench.summaries import percentile_of
from workbench.vectors import migration
from workbench.vectors.alias import DIMENSION, Alias, Route
from workbench.vectors.migration import Copied, Verification
from workbench.vectors.store import Store
from workbench.vectors.versions import Version, Versions

OLD, NEW = "old", "new"
WARMUP = "warm-up"
BEFORE, BOTH, COPYING, CHECKING, AFTER, RETIRED = (
    "before",
    "writes go to both",
    "re-embedding",
    "verifying",
    "after the switch",
    "old one retired",
)
LEAST_RECALL = 0.9999  # of exact search: the rest is rounding among ties
_BATCH = 256  # records of a call that fills the old version


class Switch(NamedTuple):
    """One switch under load: its searches, judged, and its writes (see ``searches``); when each phase began, s; what it took."""

    searched: pd.DataFrame
    written: pd.DataFrame
    phases: dict[str, float]
    copied: Copied
    verification: Verification
    models: dict[str, str]

    @property
    def measured(self) -> dict[str, float]:
        """The phases without the warm-up."""
        return {phase: began for phase, began in self.phases.items() if phase != WARMUP}


def writes(held: Sequence[Product], others: Sequence[Product], *, seed: int) -> Iterator[Write]:
    """Without an end, in turn: a product comes in, one gets another text, one is deleted; which, is drawn by ``seed``."""
    drawn = np.random.default_rng(seed)
    known, coming = [product.product_id for product in held], cycle(others)
    texts = {product.product_id: product.description for product in [*held, *others]}
    for number in count(1):
        new = next(coming).product_id
        yield Write(new, f"{texts[new]}, delivery {number}")
        changed, gone = drawn.choice(len(known), 2, replace=False).tolist()
        yield Write(known[changed], f"{texts[known[changed]]}, offer {number}")
        yield Write(known.pop(gone), None)
        if new not in known:
            known.append(new)


def measure(
    embedder: CachedEmbedder,
    newer: Embedder,
    *,
    held: Sequence[Product],
    others: Sequence[Product],
    searches: Sequence[str],
    rate: float,
    write_rate: float,
    limit: float,
    batch: int,
    seconds: float,
    max_age_s: float,
    call_s: float,
    seed: int = 0,
) -> Switch:
    """Move ``held`` from the model ``embedder`` to ``newer``, in stores in this process, while searches and writes go on.

    The stores search exactly, so that a recall below 1 can only be records that are missing.

    What is re-embedded and what is written is computed anew in every run, so that it costs what it costs; the searches' texts are
    known to both models' caches before. ``limit`` is in records re-embedded a second (0: none); ``seconds`` is how long the load
    goes on before the first step and after the last two. For the other times see ``Versions``.
    """
    texts = {product.product_id: product.description for product in held}
    models = {OLD: KnownTexts(embedder, [*texts.values(), *searches]), NEW: CachedEmbedder(newer)}
    stores = {name: Store(dimension=model.dimension, index=Flat()) for name, model in models.items()}
    alias = Alias(Store(dimension=DIMENSION))
    alias.write(Route.only(OLD))
    versions = Versions(
        [Version(name, models[name], stores[name]) for name in models],
        alias,
        lambda id, metadata: metadata[TEXT],
        max_age_s=max_age_s,
        call_s=call_s,
    )
    ids = list(texts)
    for start in range(0, len(ids), _BATCH):
        versions.upsert({id: {TEXT: texts[id]} for id in ids[start : start + _BATCH]})
    for model in models.values():
        model.embed(searches)
    load = Load(
        versions,
        searches=searches,
        writes=writes(held, others, seed=seed),
        rate=rate,
        write_rate=write_rate,
        seed=seed,
    )
    phases: dict[str, float] = {}
    with load:
        phases[WARMUP] = 0.0
        time.sleep(min(1.0, seconds))
        phases[BEFORE] = load.seconds()
        time.sleep(seconds)
        phases[BOTH] = load.seconds()
        migration.begin(versions, NEW)
        phases[COPYING] = load.seconds()
        copied = migration.copy(versions, NEW, batch=batch, rate=limit)
        phases[CHECKING] = load.seconds()
        verification = migration.admit(versions, NEW, queries=searches)
        phases[AFTER] = load.seconds()
        migration.switch(versions, NEW)
        time.sleep(seconds)
        phases[RETIRED] = load.seconds()
        migration.retire(versions, OLD)
        time.sleep(seconds)
    written = load.written()
    searched = judged(load.searched(), written, held=texts, texts=searches, models=models)
    for store in stores.values():
        store.close()
    return Switch(
        searched.drop(columns="found"), written, phases, copied, verification, {name: each.model for name, each in models.items()}
    )


def by_phase(switch: Switch) -> pd.DataFrame:
    """By phase, without the warm-up: s, searches, their latency, who answered, recall; writes and their latency.

    A percentile is NaN where there are too few samples for it.
    """
    searched, written = (frame.assign(phase=_phase(frame.t_s, switch.phases)) for frame in (switch.searched, switch.written))
    ends = [*list(switch.phases.values())[1:], searched.t_s.max()]
    rows = {}
    for (phase, began_s), end_s in zip(switch.phases.items(), ends, strict=True):
        if phase == WARMUP:
            continue
        mine, writes_ = searched[searched.phase == phase], written[written.phase == phase]
        rows[phase] = {
            "seconds": end_s - began_s,
            "searches": len(mine),
            **{f"p{each}_ms": percentile_of(mine.latency_ms, each) for each in (50, 95, 99)},
            "failed": int((mine.error != "").sum()),
            "answered by": ", ".join(sorted(set(mine.version[mine.version != ""]))),
            "recall@10": mine.recall.mean(),
            "least recall": mine.recall.min(),
            "writes": len(writes_),
            "write p50_ms": percentile_of(writes_.latency_ms, 50),
            "slowest write_ms": writes_.latency_ms.max(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").round(3)


def within_versions(switch: Switch) -> pd.DataFrame:
    """By version: its model, the searches it answered, their recall (mean, worst 5%), and matches that were not there."""
    rows = {}
    for name, mine in switch.searched[switch.searched.error == ""].groupby("version", sort=False):
        rows[name] = {
            "model": switch.models[name],
            "searches": len(mine),
            "recall@10": mine.recall.mean(),
            "recall@10, worst 5%": mine.recall.quantile(0.05),
            "matches that were not there": int(mine.ghosts.sum()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").round(4)


def costs(switches: Mapping[str, Switch]) -> pd.DataFrame:
    """By switch: what re-embedding took, and what searches waited meanwhile, beside what they waited before."""
    rows = {}
    for name, switch in switches.items():
        table, copied = by_phase(switch), switch.copied
        rows[name] = {
            "records re-embedded": copied.written,
            "already there": copied.kept,
            "done again": copied.changed,
            "seconds": copied.seconds,
            "held back, seconds": copied.paused_s,
            "records/s": copied.written / copied.seconds,
            **{f"p{each} before_ms": table[f"p{each}_ms"].get(BEFORE) for each in (50, 95, 99)},
            **{f"p{each} meanwhile_ms": table[f"p{each}_ms"].get(COPYING) for each in (50, 95, 99)},
            "slowest write meanwhile_ms": table["slowest write_ms"].get(COPYING),
        }
    return pd.DataFrame.from_dict(rows, orient="columns").round(2)


def finding(switches: Mapping[str, Switch], *, rate: float, question: str, provenance: Mapping[str, str]) -> Finding:
    """What the notebook says at the top of its report; every number comes from the switches."""
    searched = pd.concat([each.searched for each in switches.values()])
    failed, ghosts = int((searched.error != "").sum()), int(searched.ghosts.sum())
    recalls = searched.groupby("version").recall.mean()
    waits = "; ".join(f"{name}: {_waits(switch)}" for name, switch in switches.items())
    verdict = "Yes" if not failed and not ghosts and recalls.min() >= LEAST_RECALL else "No"
    return Finding(
        question=question,
        answer=(
            f"{verdict}: of {len(searched):,} searches while every record was re-embedded {failed} failed, {ghosts} matches "
            f"were not there, {_share(recalls.min())} of the ten nearest were found; at {rate:g} searches/s (one run), {waits}."
        ),
        figures=(
            *(
                Figure(label=f"recall@10 within the {name} version, against exact search", value=f"{recalls[name]:.3f}")
                for name in (OLD, NEW)
            ),
            *(Figure(label=f"re-embedding, {name}", value=_took(each.copied)) for name, each in switches.items()),
            *(Figure(label=f"slowest write, {name}", value=_slowest_write(each)) for name, each in switches.items()),
            *(Figure(label=f"top ten that both models give, {name}", value=_agree(each)) for name, each in switches.items()),
            Figure(label="writes meanwhile", value=f"{sum(len(each.written) for each in switches.values()):,}"),
        ),
        provenance={**provenance, **{f"{name} model": model for name, model in next(iter(switches.values())).models.items()}},
    )


def _share(recall: float) -> str:
    return "all" if recall >= LEAST_RECALL else f"only {recall:.1%}"


def _took(copied: Copied) -> str:
    return f"{copied.written:,} records in {copied.seconds:.1f} s, {copied.paused_s:.1f} s of it held back"


def _agree(switch: Switch) -> str:
    return f"{switch.verification.agreement:.0%}"


def _waits(switch: Switch) -> str:
    """The highest percentile that there are enough searches for, before and meanwhile."""
    table = by_phase(switch)
    for each in (99, 95, 50):
        before, meanwhile = (table[f"p{each}_ms"].get(phase) for phase in (BEFORE, COPYING))
        if before == before and meanwhile == meanwhile:
            return f"p{each} {_ms(before)} before, {_ms(meanwhile)} meanwhile"
    return "too few searches for a percentile"


def _slowest_write(switch: Switch) -> str:
    table = by_phase(switch)["slowest write_ms"]
    before, meanwhile = ("none" if each != each else _ms(each) for each in (table[BEFORE], table[COPYING]))
    return f"{before} before, {meanwhile} meanwhile"


def _phase(t_s: pd.Series, phases: Mapping[str, float]) -> np.ndarray:
    names, starts = list(phases), np.array(list(phases.values()))
    return np.array(names, object)[np.searchsorted(starts, t_s, side="right") - 1]


def _ms(value: float) -> str:
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"
