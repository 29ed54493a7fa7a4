"""One run: the pipeline wired for one ``Settings`` and one set of services, its events replayed, its times collected."""

import contextlib
import functools
import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from workbench import provision
from workbench.clock import now_ns
from workbench.cloud.clients import client
from workbench.cloud.stack import StackOutputs
from workbench.codecs import codec
from workbench.embedding import Embedder
from workbench.errors import ServiceError, SettingError
from workbench.events import Event, Recommendation
from workbench.function.entities import recommendation_from_item
from workbench.function.processor import Processor
from workbench.function.tables import Tables, batch_get
from workbench.measure.provenance import provenance
from workbench.measure.timeline import Timeline
from workbench.progress import progress
from workbench.runs import Run
from workbench.scenarios import retail
from workbench.scenarios.retail import Retail
from workbench.servers import Services
from workbench.settings import HNSW, Endpoints, Index, Settings
from workbench.stream.checkpoints import Checkpoints
from workbench.stream.dead_letters import DeadLetters
from workbench.stream.invoke import Inline, Invoker, Lambda
from workbench.stream.producer import Producer
from workbench.stream.schedule import schedule
from workbench.stream.source import EventSource, Rules
from workbench.vectors import VectorStore, backend

_LOOK_S = 0.5  # between two looks at what runs
_STALLED_S = 60.0  # without any event being settled
_HEAD_START_NS = 200_000_000  # between now and the first event that is due: threads are up by then


def run(settings: Settings, services: Services, *, spoiled: Sequence[bytes] = ()) -> Run:
    """Provision what is missing, replay the events, wait until each is answered or given up.

    ``spoiled`` is put into the stream first, as it is: records that are no events show what the pipeline does with them.

    Raises:
        SettingError: an index that the placement cannot have.
        ServiceError: a server ended during the run, or nothing moved for a minute. The stream keeps what was not processed.
        WorkbenchError: something could not be provisioned.
    """
    if settings.placement == "lambda" and settings.index != HNSW():  # Pinecone's protocol has no word for index settings
        raise SettingError("index", settings.to_dict()["index"], "the vector server builds HNSW() only; inline takes any index")
    endpoints = services.endpoints
    with contextlib.ExitStack() as open_until_done:
        with _steps("events", "stack", "tables", "embeddings", "index", "function") as step:
            replay = _replay(settings)
            step()
            embedder = open_until_done.enter_context(provision.make_embedder(settings, endpoints))
            outputs = provision.deploy(settings, endpoints, embedder)
            tables = Tables(outputs.profiles_table, outputs.products_table, outputs.recommendations_table)
            step()
            provision.fill_tables(endpoints, outputs, replay)
            provision.forget_recommendations(endpoints, tables)
            provision.renew_stream(endpoints, outputs, shards=settings.shards)
            step()
            embedder.warm(product.description for product in replay.products)
            step()
            store = _store(settings, services, embedder, open_until_done)
            provision.fill_index(store, embedder, replay)
            if settings.placement == "inline":
                store.wait_indexed()  # else the graph is built while the first events are measured
            step()
            invoker = _invoker(settings, services, outputs, tables, embedder, store)
            cold_starts = _warm_up(settings, invoker)
            step()
        timeline = Timeline(replay.events, codec(settings.codec), foreign=len(spoiled))
        dead_letters = _dead_letters(endpoints, outputs)
        _replay_events(settings, services, outputs, replay, invoker, dead_letters, timeline, spoiled)
        return Run(
            settings=settings,
            cloud=endpoints.cloud,
            events=timeline.frame(),
            cold_starts_ms=cold_starts,
            recommendations=_read_model(endpoints, tables, replay.events),
            dead_letters=dead_letters.take({record["SequenceNumber"] for record, _ in timeline.dead}),
            replay=replay,
            api_url=outputs.api_url,
            provenance=provenance(),
        )


def _replay_events(
    settings: Settings,
    services: Services,
    outputs: StackOutputs,
    replay: Retail,
    invoker: Invoker,
    dead_letters: DeadLetters,
    timeline: Timeline,
    spoiled: Sequence[bytes],
) -> None:
    """Send everything on schedule while the event source reads; returns when each event is settled."""
    kinesis, stop = client("kinesis", services.endpoints), threading.Event()
    producer = Producer(kinesis, outputs.stream_name, codec(settings.codec), observer=timeline, linger_ms=settings.linger_ms)
    plan = schedule(len(replay.events), rate=settings.rate, arrivals=settings.arrivals, seed=settings.seed)
    with (
        _uncollected(),
        _source(settings, services, outputs, invoker, dead_letters, timeline) as source,
        ThreadPoolExecutor(1) as pool,
    ):
        for data in spoiled:
            kinesis.put_record(StreamName=outputs.stream_name, Data=data, PartitionKey="spoiled")
        timeline.due_ns[:] = plan + now_ns() + _HEAD_START_NS
        sending = pool.submit(producer.send, replay.events, timeline.due_ns, stop=stop)
        try:
            _await(timeline, source, services, sending, f"{settings.placement} {settings.variant}")
            services.check()  # a server that ended may have failed its batches quickly, and all of them
        finally:
            stop.set()


@contextlib.contextmanager
def _steps(*names: str) -> Iterator[Callable[[], None]]:
    """A bar that names the step under way; call what it gives at the end of each."""
    done: list[object] = []
    with progress(len(names), f"preparing {names[0]}", "step") as bar:

        def step() -> None:
            done.append(bar.update())
            bar.set_description(f"preparing {names[min(len(done), len(names) - 1)]}")

        yield step


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector off what is here before: a notebook's libraries and data would stop the pipeline for 0.1 s."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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


def _await(timeline: Timeline, source: EventSource, services: Services, sending: Future, label: str) -> None:
    """Until every event is settled."""
    total = left = timeline.wait(0.0)
    moved = time.monotonic()
    with progress(total, label, "event") as bar:
        while left:
            now_left = timeline.wait(_LOOK_S)
            if now_left < left:
                moved = time.monotonic()
            elif time.monotonic() - moved > _LOOK_S:  # nothing moved: has something broken?
                services.check()
                source.check()
            bar.update(left - now_left)
            left = now_left
            if sending.done():
                sending.result()  # raises what stopped it
            if time.monotonic() - moved > _STALLED_S and sending.done():
                raise ServiceError(f"{left} of {total} events were neither answered nor given up in {_STALLED_S:.0f} s")


@functools.lru_cache(maxsize=4)
def _load(start: str, events: int, catalogue: int) -> Retail:
    return retail.load(start=start, events=events, catalogue=catalogue)


def _replay(settings: Settings) -> Retail:
    return _load(settings.start, settings.warmup + settings.events, settings.catalogue)


def _store(settings: Settings, services: Services, embedder: Embedder, open_until_done: contextlib.ExitStack) -> VectorStore:
    """Inline, the index is in this process and outlives the run; else it is the vector server's."""
    name = provision.index_name(settings, embedder)
    if settings.placement == "inline":
        return _local_store(name, embedder.dimension, settings.index)
    endpoints = services.endpoints
    store = backend("pinecone")(url=endpoints.vectors_url, key=endpoints.vectors_key, name=name, dimension=embedder.dimension)
    return open_until_done.enter_context(contextlib.closing(store))


@functools.lru_cache(maxsize=2)
def _local_store(name: str, dimension: int, index: Index) -> VectorStore:
    return backend("faiss")(dimension=dimension, index=index)


def _invoker(
    settings: Settings, services: Services, outputs: StackOutputs, tables: Tables, embedder: Embedder, store: VectorStore
) -> Invoker:
    if settings.placement == "lambda":
        return Lambda(client("lambda", services.endpoints), outputs.process_function)
    dynamodb = client("dynamodb", services.endpoints)
    return Inline(Processor(settings, dynamodb=dynamodb, tables=tables, embedder=embedder, store=store).process)


def _dead_letters(endpoints: Endpoints, outputs: StackOutputs) -> DeadLetters:
    return DeadLetters(
        client("sqs", endpoints),
        outputs.dead_letter_queue_url,
        function=outputs.process_function,
        stream_arn=outputs.stream_arn,
    )


def _source(
    settings: Settings,
    services: Services,
    outputs: StackOutputs,
    invoker: Invoker,
    dead_letters: DeadLetters,
    timeline: Timeline,
) -> EventSource:
    endpoints = services.endpoints
    return EventSource(
        client("kinesis", endpoints),
        outputs.stream_name,
        invoker=invoker,
        checkpoints=Checkpoints(client("dynamodb", endpoints), outputs.checkpoints_table, consumer=outputs.process_function),
        dead_letters=dead_letters,
        rules=Rules(
            batch_size=settings.batch_size,
            batching_window_s=settings.batching_window_ms / 1000,
            maximum_retry_attempts=settings.maximum_retry_attempts,
            poll_interval_s=settings.poll_interval_ms / 1000,
        ),
        function=outputs.process_function,
        stream_arn=outputs.stream_arn,
        delivered=timeline.delivered,
    )


def _read_model(endpoints: Endpoints, tables: Tables, events: Sequence[Event]) -> dict[str, Recommendation]:
    users = dict.fromkeys(event.user_id for event in events)
    wanted = [(tables.recommendations, {"user_id": {"S": user}}) for user in users]
    items = batch_get(client("dynamodb", endpoints), wanted, consistent=frozenset({tables.recommendations}))
    return {item["user_id"]["S"]: recommendation_from_item(item) for item in items.get(tables.recommendations, ())}
