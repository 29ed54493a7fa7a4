"""One run: the pipeline wired for one ``Settings`` and one set of services, its events replayed, its times collected."""

import contextlib
import fcntl
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from workbench import places, provision
from workbench.cloud.clients import client
from workbench.cloud.stack import StackOutputs
from workbench.codecs import codec
from workbench.embedding import Embedder
from workbench.errors import SettingError
from workbench.events import Event, Recommendation
from workbench.function.entities import recommendation_from_item
from workbench.function.processor import Processor
from workbench.function.published import Published
from workbench.function.rejects import Rejects
from workbench.function.tables import Tables, batch_get
from workbench.function.variants import USERS
from workbench.measure.findable import FindableProbe
from workbench.measure.provenance import provenance
from workbench.measure.resources import Resources
from workbench.measure.timeline import Timeline
from workbench.planted import Outage, Poisoned, SlowQueries, Stalled
from workbench.progress import progress
from workbench.replay import Prepared, replay
from workbench.runs import Run
from workbench.scenarios import retail
from workbench.scenarios.retail import Retail
from workbench.servers import Services
from workbench.settings import Endpoints, Index, Settings
from workbench.stream.dead_letters import DeadLetters
from workbench.stream.invoke import Inline, Invoker, Lambda
from workbench.vectors import VectorStore, backend


def run(settings: Settings, services: Services, *, spoiled: Sequence[bytes] = ()) -> Run:
    """Provision what is missing, replay the events, wait until each is answered or given up.

    ``spoiled`` is put into the stream first, as it is: records that are no events show what the pipeline does with them.

    Raises:
        SettingError: an index or a planted fault that the placement cannot have.
        ServiceError: a server ended during the run, or nothing moved for a minute. The stream keeps what was not processed.
        WorkbenchError: something could not be provisioned.
    """
    with prepared(settings, services) as ready:
        with watched(ready, foreign=len(spoiled)) as (timeline, resources, probe):
            replay(ready, timeline, spoiled=spoiled)
        endpoints = services.endpoints
        return Run(
            settings=settings,
            cloud=endpoints.cloud,
            events=timeline.frame(),
            cold_starts_ms=ready.cold_starts_ms,
            recommendations=_recommended(ready, timeline),
            dead_letters=_dead_letters(endpoints, ready.outputs).take(timeline.letters),
            resources=resources.frame(),
            findable=probe.frame() if probe else None,
            replay=ready.data,
            api_url=ready.outputs.api_url,
            provenance=provenance(),
        )


@contextlib.contextmanager
def prepared(settings: Settings, services: Services) -> Iterator[Prepared]:
    """Everything that a replay of these settings needs. One at a time on a state folder: others wait until this one is over."""
    _check(settings)
    endpoints = services.endpoints
    with (
        contextlib.ExitStack() as open_until_done,
        _alone(),
        _steps("events", "stack", "tables", "embeddings", "index", "function") as step,
    ):
        data = _data(settings)
        step()
        embedder = open_until_done.enter_context(provision.make_embedder(settings, endpoints))
        outputs = provision.deploy(settings, endpoints, embedder)
        tables = Tables(outputs.profiles_table, outputs.products_table, outputs.recommendations_table)
        step()
        provision.fill_tables(endpoints, outputs, data)
        provision.forget_recommendations(endpoints, tables)
        provision.renew_stream(endpoints, outputs, shards=settings.shards)
        step()
        embedder.warm(product.description for product in data.products)
        step()
        store = open_until_done.enter_context(_store(settings, services, embedder))
        provision.fill_index(store, embedder, data)
        if _in_process(settings):
            store.wait_indexed()  # else the graph is built while the first events are measured
        step()
        invoker = _invoker(settings, services, outputs, tables, embedder, store)
        cold_starts_ms = _warm_up(settings, invoker)
        invoker = _faulty(settings, data.events, invoker)
        step()
        yield Prepared(settings, services, data, outputs, tables, store, invoker, cold_starts_ms)


def _check(settings: Settings) -> None:
    if settings.poison > settings.events:
        raise SettingError("poison", settings.poison, f"at most the {settings.events} events")
    if settings.query_slowdown != 1 and not _in_process(settings):
        raise SettingError("query_slowdown", settings.query_slowdown, "1 unless the placement is inline and the handler batched")


def _in_process(settings: Settings) -> bool:
    """Whether the index is in this process. The published handler opens connections to it, so it must be behind one."""
    return settings.placement == "inline" and settings.handler == "batched"


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two runs at once would share a stack and a machine: the later one waits, whichever process it is in."""
    places.state().mkdir(parents=True, exist_ok=True)
    with (places.state() / "run.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run is under way on this machine: waiting for its end", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _steps(*names: str) -> Iterator[Callable[[], None]]:
    """A bar that names the step under way; call what it gives at the end of each. Gone when all are done."""
    left = list(names)
    with progress(len(names), f"preparing {left[0]}", "step") as bar:

        def step() -> None:
            left.pop(0)
            bar.update()
            if left:
                bar.set_description(f"preparing {left[0]}")
            else:
                bar.close()

        yield step


@contextlib.contextmanager
def watched(ready: Prepared, *, foreign: int = 0) -> Iterator[tuple[Timeline, Resources, FindableProbe | None]]:
    """All that is measured of a replay: its events' times, processors and memory, and when a vector can be found."""
    settings, events = ready.settings, ready.data.events
    processes = {"this process": os.getpid(), **ready.services.pids}
    with contextlib.ExitStack() as running:
        resources = running.enter_context(Resources(processes))
        probe = None
        if settings.variant == "catalogue" and settings.handler == "batched":  # the others write no user's vector
            probe = running.enter_context(FindableProbe(ready.store, events, USERS))
        yield Timeline(events, codec(settings.codec), foreign=foreign, probe=probe), resources, probe


def _warm_up(settings: Settings, invoker: Invoker) -> list[float]:
    """Wake one execution environment a shard with an empty batch each, at once; how long each call took, in ms.

    Only Lambda has cold starts; inline there is nothing to wake.
    """

    def wake(_: int) -> float:
        begun = time.perf_counter()
        invoker({"Records": []})
        return (time.perf_counter() - begun) * 1000

    if settings.placement == "inline":
        return []
    with ThreadPoolExecutor(settings.shards) as pool:
        return list(pool.map(wake, range(settings.shards)))


@functools.lru_cache(maxsize=4)
def _load(start: str, events: int, catalogue: int, source: str, seed: int) -> Retail:
    return retail.load(start=start, events=events, catalogue=catalogue, source=source, seed=seed)


def _data(settings: Settings) -> Retail:
    seed = settings.seed if settings.source == "synthetic" else 0  # recorded events are the same for every seed
    return _load(settings.start, settings.warmup + settings.events, settings.catalogue, settings.source, seed)


@contextlib.contextmanager
def _store(settings: Settings, services: Services, embedder: Embedder) -> Iterator[VectorStore]:
    """In this process the index outlives the run; else it is the vector server's."""
    name = provision.index_name(settings, embedder)
    if _in_process(settings):
        yield _local_store(name, embedder.dimension, settings.index)
    else:
        with contextlib.closing(_client(services.endpoints, name, embedder.dimension, settings.index)) as store:
            yield store


@functools.lru_cache(maxsize=2)
def _local_store(name: str, dimension: int, index: Index) -> VectorStore:
    return backend("faiss")(dimension=dimension, index=index)


def _client(endpoints: Endpoints, name: str, dimension: int, index: Index) -> VectorStore:
    return backend("pinecone")(url=endpoints.vectors_url, key=endpoints.vectors_key, name=name, dimension=dimension, index=index)


def _invoker(
    settings: Settings, services: Services, outputs: StackOutputs, tables: Tables, embedder: Embedder, store: VectorStore
) -> Invoker:
    endpoints = services.endpoints
    if settings.placement == "lambda":
        return Lambda(client("lambda", endpoints), outputs.process_function)
    dynamodb = client("dynamodb", endpoints)
    if settings.handler == "batched":
        if settings.query_slowdown != 1:
            store = SlowQueries(store, settings.query_slowdown)
        rejects = Rejects(client("sqs", endpoints), outputs.dead_letter_queue_url)
        made = Processor(settings, dynamodb=dynamodb, tables=tables, embedder=embedder, store=store, rejects=rejects)
        return Inline(made.process)
    published = Published(
        settings,
        dynamodb=dynamodb,
        tables=tables,
        make_embedder=functools.partial(
            provision.remote_embedder, settings, endpoints, model=embedder.model, dimension=embedder.dimension
        ),
        make_store=lambda: contextlib.closing(
            _client(endpoints, provision.index_name(settings, embedder), embedder.dimension, settings.index)
        ),
    )
    return Inline(published.process)


def _faulty(settings: Settings, events: Sequence[Event], invoker: Invoker) -> Invoker:
    """With the faults that the settings plant."""
    half_way = settings.warmup + settings.events // 2
    if settings.stall_s:
        invoker = Stalled(invoker, after=half_way, stall_s=settings.stall_s)
    if settings.outage_s:
        invoker = Outage(invoker, after=half_way, outage_s=settings.outage_s)
    if settings.poison:
        measured = events[settings.warmup :]
        step = len(measured) / settings.poison
        bad = {measured[int((number + 0.5) * step)].event_id for number in range(settings.poison)}
        invoker = Poisoned(invoker, bad, codec(settings.codec))
    return invoker


def _dead_letters(endpoints: Endpoints, outputs: StackOutputs) -> DeadLetters:
    return DeadLetters(client("sqs", endpoints), outputs.dead_letter_queue_url)


def _recommended(ready: Prepared, timeline: Timeline) -> dict[str, Recommendation]:
    """What the read model holds at the end; of the published handler, which writes none, its last answer for each user."""
    if ready.settings.handler == "published":
        made = {user: items for answer in timeline.answers for user, items in answer["recommendations"].items()}
        return {user: Recommendation(user, tuple(items), "") for user, items in made.items()}
    return _read_model(ready.services.endpoints, ready.tables, ready.data.events)


def _read_model(endpoints: Endpoints, tables: Tables, events: Sequence[Event]) -> dict[str, Recommendation]:
    users = dict.fromkeys(event.user_id for event in events)
    wanted = [(tables.recommendations, {"user_id": {"S": user}}) for user in users]
    items = batch_get(client("dynamodb", endpoints), wanted, consistent=frozenset({tables.recommendations}))
    return {item["user_id"]["S"]: recommendation_from_item(item) for item in items.get(tables.recommendations, ())}
