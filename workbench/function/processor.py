"""A batch through all stages: decode → enrich → embed → upsert → query → act.

The same object runs inside Lambda's handler and in the event source's worker; what it is given differs, not what it does.
"""

from contextlib import contextmanager
from time import perf_counter_ns

import msgspec

from workbench.clock import now_ns
from workbench.codecs import codec
from workbench.embedding import Embedder
from workbench.errors import WriteConflict
from workbench.function.act import act
from workbench.function.decode import Arrival, decode
from workbench.function.enrich import Enricher, Known
from workbench.function.rejects import Rejects
from workbench.function.tables import Tables
from workbench.function.variants import variant
from workbench.function.visits import Visit, visits
from workbench.settings import Settings
from workbench.vectors import VectorStore

STAGES = ("decode", "enrich", "embed", "upsert", "query", "act")


class Processor:
    """One design of the function. Thread-safe if its parts are: the workers of all shards share one."""

    def __init__(
        self, settings: Settings, *, dynamodb, tables: Tables, embedder: Embedder, store: VectorStore, rejects: Rejects
    ) -> None:
        self._settings, self._dynamodb, self._tables = settings, dynamodb, tables
        self._embedder, self._store, self._rejects = embedder, store, rejects
        self._codec = codec(settings.codec)
        self._enricher = Enricher(dynamodb, tables, ttl_s=settings.cache_ttl_s)
        self._variant = variant(
            settings.variant,
            candidates=settings.candidates,
            popularity_weight=settings.popularity_weight,
            habit_weight=settings.habit_weight,
        )

    def process(self, event: dict) -> dict:
        """Lambda's Kinesis event in, its partial batch response out.

        No record is reported: what can be processed was, and what never can be is in the dead-letter queue. Besides AWS's
        ``batchItemFailures`` the answer carries ``rejected`` (reason by ``Arrival.place``), ``started_ns`` (Unix time) and
        ``stages_ns`` (how long each stage took); Lambda ignores them, the workbench reads them.

        Raises:
            Exception: a dependency failed; the whole batch is to be tried again.
        """
        spent: dict[str, int] = dict.fromkeys(STAGES, 0)
        started_ns = now_ns()
        with timed(spent, "decode"):
            arrivals, rejected = decode(event.get("Records", []), self._codec)
        if arrivals:
            with timed(spent, "enrich"):
                known = self._enricher.enrich([arrival.event for arrival in arrivals])
                arrivals = _of_known_products(arrivals, known, rejected)
        if arrivals:
            self._recommend(arrivals, known, spent)
        if rejected:
            self._rejects.send(event["Records"], rejected)
        return {
            "batchItemFailures": [],
            "rejected": rejected,
            "started_ns": started_ns,
            "stages_ns": spent,
        }

    def _recommend(self, arrivals: list[Arrival], known: Known, spent: dict[str, int]) -> None:
        with timed(spent, "embed"):
            touched = {arrival.event.product_id: known.products[arrival.event.product_id] for arrival in arrivals}
            vectors = self._embedder.embed([product.description for product in touched.values()])
            made = visits(arrivals, known, dict(zip(touched, vectors, strict=True)), half_life=self._settings.half_life)
        with timed(spent, "upsert"):
            self._variant.upsert(self._store, made)
        with timed(spent, "query"):
            recommended = self._variant.query(self._store, made)
        with timed(spent, "act"):
            try:
                act(self._dynamodb, self._tables, made, recommended)
            except WriteConflict:
                self._put_back(made)
                raise

    def _put_back(self, made: list[Visit]) -> None:
        """Another worker was faster, so its vectors in the index may be newer than those that this call wrote over them.

        The index is given what the read model says, until that no longer changes meanwhile. The other worker may be done with
        these users, and this one may have lost its lease: then nobody else would ever do it.
        """
        events, versions = [visit.arrivals[-1].event for visit in made], None
        while True:
            activities = self._enricher.enrich(events).activities
            if versions == (versions := {user: activity.version for user, activity in activities.items()}):
                return
            written = [visit for visit in made if versions[visit.user_id]]
            current = [msgspec.structs.replace(visit, activity=activities[visit.user_id]) for visit in written]
            self._variant.upsert(self._store, current)


@contextmanager
def timed(spent: dict[str, int], stage: str):
    """Add the ns that the block takes to those of its stage."""
    begun = perf_counter_ns()
    yield
    spent[stage] += perf_counter_ns() - begun


def _of_known_products(arrivals: list[Arrival], known: Known, rejected: dict[str, str]) -> list[Arrival]:
    for arrival in arrivals:
        if arrival.event.product_id not in known.products:
            rejected[arrival.place] = f"product {arrival.event.product_id!r} is not in the products table"
    return [arrival for arrival in arrivals if arrival.place not in rejected]
