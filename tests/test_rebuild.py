"""Event sourcing: read model and index, made again from the stream alone, are the live ones."""

import contextlib
import threading
import uuid
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from workbench import pipeline, provision
from workbench.cloud.clients import client
from workbench.codecs import codec
from workbench.function.processor import Processor
from workbench.function.tables import Tables
from workbench.function.variants import CATALOGUE, USERS
from workbench.measure.timeline import Timeline
from workbench.replay import Prepared, replay
from workbench.servers import Services
from workbench.settings import Settings
from workbench.stream.invoke import Inline
from workbench.stream.rebuild import Rebuilt, rebuild
from workbench.vectors.store import Store

_SETTINGS = Settings(events=280, warmup=20, catalogue=300, rate=150, shards=2)


class _Untold:
    """Takes rejected records, and tells nobody: the live function did."""

    def send(self, records: object, reasons: object) -> None:
        pass


class Both:
    """A live run's read model and index, and those made again from its stream."""

    def __init__(self, ready: Prepared, *, batch_size: int) -> None:
        endpoints, outputs = ready.services.endpoints, ready.outputs
        self._dynamodb = client("dynamodb", endpoints)
        self._live, self._tables = ready.tables, Tables(ready.tables.profiles, ready.tables.products, f"again-{uuid.uuid4().hex}")
        self._dynamodb.create_table(
            TableName=self._tables.recommendations,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "user_id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "user_id", "KeyType": "HASH"}],
        )
        with contextlib.closing(provision.make_embedder(ready.settings, endpoints)) as embedder:
            again = Store(dimension=embedder.dimension, index=ready.settings.index)
            provision.fill_index(again, embedder, ready.data)
            made = Processor(
                ready.settings,
                dynamodb=self._dynamodb,
                tables=self._tables,
                embedder=embedder,
                store=again,
                rejects=_Untold(),
            )
            self.rebuilt: Rebuilt = rebuild(
                client("kinesis", endpoints),
                outputs.stream_name,
                Inline(made.process),
                stream_arn=outputs.stream_arn,
                function=outputs.process_function,
                batch_size=batch_size,
            )
        self.stores = (ready.store, again)
        self.items = tuple(self._scan(tables) for tables in (self._live, self._tables))

    def _scan(self, tables: Tables) -> dict[str, dict]:
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=tables.recommendations, ConsistentRead=True)
        return {item["user_id"]["S"]: item for page in pages for item in page["Items"]}

    def vectors(self, namespace: str) -> list[dict[str, tuple[bytes, dict]]]:
        """Of the live index and the other: each record's bytes and metadata by id."""
        found = []
        for store in self.stores:
            records = store.fetch(sorted(store.ids(namespace=namespace)), namespace=namespace)
            found.append({id: (np.asarray(each.values, np.float32).tobytes(), each.metadata) for id, each in records.items()})
        return found

    def close(self) -> None:
        self._dynamodb.delete_table(TableName=self._tables.recommendations)


@contextlib.contextmanager
def _both(
    settings: Settings, services: Services, *, batch_size: int, reshard: dict[int, int], spoiled: Sequence[bytes]
) -> Iterator[tuple[Both, Prepared]]:
    """``reshard`` is the shard count to go to once so many records were given to the function."""
    with pipeline.prepared(settings, services) as ready:
        kinesis, lock, given, left = client("kinesis", services.endpoints), threading.Lock(), [0], dict(reshard)

        def invoke(event: dict) -> dict:
            with lock:
                given[0] += len(event["Records"])
                for at in [at for at in left if at <= given[0]]:
                    kinesis.update_shard_count(
                        StreamName=ready.outputs.stream_name, TargetShardCount=left.pop(at), ScalingType="UNIFORM_SCALING"
                    )
            return ready.invoker(event)

        timeline = Timeline(ready.data.events, codec(settings.codec), foreign=len(spoiled))
        replay(ready._replace(invoker=invoke), timeline, spoiled=spoiled)
        assert set(timeline.frame().outcome) == {"answered"} and left == {}
        with contextlib.closing(Both(ready, batch_size=batch_size)) as both:
            yield both, ready


@pytest.mark.parametrize(
    ("batch_size", "again", "reshard", "shards", "spoiled"),
    [(10, 100, {}, 2, []), (1, 7, {60: 4, 180: 2}, 8, [b"junk", b"\xff"])],
    ids=["larger batches", "resharded, spoiled"],
)
def test_a_rebuild_equals_the_live_read_model_and_index_bit_for_bit(local_servers, batch_size, again, reshard, shards, spoiled):
    settings = _SETTINGS.but(batch_size=batch_size)
    with _both(settings, local_servers, batch_size=again, reshard=reshard, spoiled=spoiled) as (both, ready):
        listed = client("kinesis", local_servers.endpoints).list_shards(StreamName=ready.outputs.stream_name)["Shards"]
        assert len(listed) == shards
        assert both.rebuilt.records == 300 + len(spoiled) and both.rebuilt.calls < 60
        live, made = both.items
        assert live.keys() == {event.user_id for event in ready.data.events} and made == live
        for namespace in (USERS, CATALOGUE):
            live, made = both.vectors(namespace)
            assert len(live) > 0 and made == live
