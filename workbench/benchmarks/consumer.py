"""A consumer of a stream of retail events, wired by hand: what is killed, and what it is compared with."""

import hashlib
import os
import time
import uuid
from collections.abc import Sequence

import msgspec
import numpy as np

from workbench.cloud.clients import client
from workbench.codecs import codec
from workbench.errors import MeasureError, ServiceError
from workbench.function.processor import Processor
from workbench.function.rejects import Rejects
from workbench.function.tables import Tables
from workbench.settings import Endpoints, Flat, Settings
from workbench.stream.batch import Discarded
from workbench.stream.invoke import Inline
from workbench.stream.leases import Leases
from workbench.stream.mapping import EventSourceMapping
from workbench.stream.source import EventSource
from workbench.stream.worker import Consumer, Delivery
from workbench.vectors.pinecone import PineconeStore

# Every touch of a user still weighs in the vector at the end, so one that is lost or counted twice shows in it.
SETTINGS = Settings(source="synthetic", catalogue=300, half_life=200.0, index=Flat(), poll_interval_ms=50)
CODEC = codec(SETTINGS.codec)
_MAPPING = EventSourceMapping(
    batch_size=50, parallelization_factor=2, bisect_batch_on_function_error=True, report_batch_item_failures=True
)
_LEASE_S = 2.0
_LOOK_S = 0.1
_PATIENCE_S = 60.0


class Wiring(msgspec.Struct, frozen=True):
    """What a worker is given. The index is named after the consumer; ``journal`` is a file that all its workers share."""

    aws_url: str
    vectors_url: str
    stream: str
    stream_arn: str
    leases: str
    tables: Tables
    queue_url: str
    consumer: str
    journal: str

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(aws_url=self.aws_url)


class Drawn:
    """An embedder without a model, so that a worker is at work soon: a text's vector is drawn by the text's hash."""

    model, dimension = "drawn", 32

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        seeds = (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) for text in texts)
        drawn = np.array([np.random.default_rng(seed).normal(size=self.dimension) for seed in seeds], np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


class Journal:
    """The event ids that each call settled, a line a call. Lines of several processes do not mix, and outlive their kills."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def delivered(self, delivery: Delivery) -> None:
        done = [CODEC.decode(each["Data"]).event_id for each in delivery.records if each["SequenceNumber"] in delivery.settled]
        os.write(self._file, msgspec.json.encode(done) + b"\n")

    def expired(self, shard_id: str, discarded: Discarded) -> None:
        """Nothing does: the mapping has no maximum age."""

    def close(self) -> None:
        os.close(self._file)


def index(wiring: Wiring, key: str) -> PineconeStore:
    """The consumer's index; waits for a vector server that is just being started.

    Raises:
        ServiceError: nothing answers for a minute.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return PineconeStore(
                url=wiring.vectors_url, key=key, name=wiring.consumer, dimension=Drawn.dimension, index=SETTINGS.index
            )
        except ServiceError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_S)


def source(wiring: Wiring, store: PineconeStore, journal: Journal) -> EventSource:
    """A worker of the consumer."""
    kinesis, dynamodb, sqs = (client(service, wiring.endpoints) for service in ("kinesis", "dynamodb", "sqs"))
    rejects = Rejects(sqs, wiring.queue_url)
    made = Processor(SETTINGS, dynamodb=dynamodb, tables=wiring.tables, embedder=Drawn(), store=store, rejects=rejects)
    leases = Leases(dynamodb, wiring.leases, consumer=wiring.consumer, worker=f"worker-{uuid.uuid4().hex}", duration_s=_LEASE_S)
    consumer = Consumer(_MAPPING, Inline(made.process), wiring.consumer, wiring.stream_arn, journal, _given_up)
    poll_interval_s = SETTINGS.poll_interval_ms / 1000
    return EventSource(kinesis, wiring.stream, consumer=consumer, leases=leases, poll_interval_s=poll_interval_s)


def _given_up(shard_id: str, discarded: Discarded, failure: str) -> None:
    raise MeasureError(f"{len(discarded.records)} records of {shard_id} were given up: {failure}")
