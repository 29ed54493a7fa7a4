"""Everything ready for one design, and its events sent through it: what is timed, and nothing besides."""

import contextlib
import dataclasses
import gc
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np

from workbench.clock import now_ns
from workbench.cloud.clients import client
from workbench.cloud.stack import StackOutputs
from workbench.codecs import codec
from workbench.errors import ServiceError
from workbench.function.tables import Tables
from workbench.progress import progress
from workbench.scenarios.retail import Retail
from workbench.servers import Services
from workbench.settings import Settings
from workbench.stream.batch import Discarded
from workbench.stream.closed import ClosedLoop
from workbench.stream.destination import OnFailure
from workbench.stream.invoke import Invoker
from workbench.stream.leases import Leases
from workbench.stream.mapping import EventSourceMapping
from workbench.stream.producer import Observer, Producer
from workbench.stream.schedule import schedule
from workbench.stream.source import EventSource
from workbench.stream.worker import Consumer, Delivery
from workbench.vectors import VectorStore

_LOOK_S = 0.5  # between two looks at what runs
_STALLED_S = 60.0  # without any event being settled
_HEAD_START_NS = 200_000_000  # between now and the first event that is due: threads are up by then


class Prepared(NamedTuple):
    """A design of which everything stands: tables and index are filled, the function is warm, the stream is empty."""

    settings: Settings
    services: Services
    data: Retail
    outputs: StackOutputs
    tables: Tables
    store: VectorStore
    invoker: Invoker
    cold_starts_ms: list[float]


class Watcher(Observer, Protocol):
    """Follows the events of one replay; producer and event source call it from their threads."""

    due_ns: np.ndarray  # int64[events], Unix ns: written before the first event is sent

    def delivered(self, delivery: Delivery) -> None:
        """One call of the function."""

    def expired(self, shard_id: str, discarded: Discarded) -> None:
        """Records that became too old before a call."""

    def wait(self, timeout_s: float) -> int:
        """Wait for progress at most this long; returns how many records are still on their way."""


def replay(prepared: Prepared, watcher: Watcher, *, spoiled: Sequence[bytes] = ()) -> None:
    """Send everything while the event source reads; returns when each event is settled, and each of ``spoiled``.

    Raises:
        ServiceError: a server ended meanwhile, or nothing moved for a minute. The stream keeps what was not processed.
    """
    settings, services = prepared.settings, prepared.services
    kinesis, stop = client("kinesis", services.endpoints), threading.Event()
    generator = _generator(prepared, kinesis, watcher)
    plan = schedule(len(prepared.data.events), rate=settings.rate, arrivals=settings.arrivals, seed=settings.seed)
    with _uncollected(), _source(prepared, kinesis, watcher) as source, ThreadPoolExecutor(1) as pool:
        for data in spoiled:
            kinesis.put_record(StreamName=prepared.outputs.stream_name, Data=data, PartitionKey="spoiled")
        watcher.due_ns[:] = plan + now_ns() + _HEAD_START_NS
        sending = pool.submit(generator.send, prepared.data.events, watcher.due_ns, stop=stop)
        try:
            _await(watcher, source, services, sending, settings)
            services.check()  # a server that ended may have failed its batches quickly, and all of them
        finally:
            stop.set()


def _generator(prepared: Prepared, kinesis, watcher: Watcher) -> Producer | ClosedLoop:
    settings, stream = prepared.settings, prepared.outputs.stream_name
    if settings.loop == "closed":
        return ClosedLoop(kinesis, stream, codec(settings.codec), observer=watcher, clients=settings.clients)
    return Producer(kinesis, stream, codec(settings.codec), observer=watcher, linger_ms=settings.linger_ms)


def _source(prepared: Prepared, kinesis, watcher: Watcher) -> EventSource:
    settings, outputs, endpoints = prepared.settings, prepared.outputs, prepared.services.endpoints
    function, stream_arn = outputs.process_function, outputs.stream_arn
    on_failure = OnFailure(
        outputs.dead_letter_queue_arn,
        lambda service: client(service, endpoints),
        function=function,
        stream_arn=stream_arn,
    )
    leases = Leases(
        client("dynamodb", endpoints), outputs.checkpoints_table, consumer=function, worker=f"replay-{uuid.uuid4().hex}"
    )
    mapping = mapping_of(settings, outputs)
    return EventSource(
        kinesis,
        outputs.stream_name,
        consumer=Consumer(mapping, prepared.invoker, function, stream_arn, watcher, on_failure),
        leases=leases,
        poll_interval_s=settings.poll_interval_ms / 1000,
    )


def mapping_of(settings: Settings, outputs: StackOutputs) -> EventSourceMapping:
    """The event source mapping that the settings ask for, which are named as its parameters."""
    names = {field.name for field in dataclasses.fields(EventSourceMapping)}
    given = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings) if field.name in names}
    return EventSourceMapping(**given, on_failure=outputs.dead_letter_queue_arn)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector off what is here before: a notebook's libraries and data would stop the pipeline for 0.1 s."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _await(watcher: Watcher, source: EventSource, services: Services, sending: Future, settings: Settings) -> None:
    """Until every event is settled."""
    total = left = watcher.wait(0.0)
    moved, patience_s = time.monotonic(), _STALLED_S + settings.stall_s
    with progress(total, f"{settings.placement} {settings.variant}", "event") as bar:
        while left:
            now_left = watcher.wait(_LOOK_S)
            if now_left < left:
                moved = time.monotonic()
            elif time.monotonic() - moved > _LOOK_S:  # nothing moved: has something broken?
                services.check()
                source.check()
            bar.update(left - now_left)
            left = now_left
            if sending.done():
                sending.result()  # raises what stopped it
            # In an open loop the next event may be due much later; in a closed one nobody sends before an answer.
            waiting = sending.done() or settings.loop == "closed"
            if waiting and time.monotonic() - moved > patience_s:
                raise ServiceError(f"{left} of {total} events were neither answered nor given up in {patience_s:.0f} s")
