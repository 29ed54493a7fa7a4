"""Delivered at least once, counted once: the read model and the vectors end as without any redelivery, bit by bit."""

import itertools
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import WriteConflict
from workbench.events import Record
from workbench.function.entities import Activity
from workbench.function.processor import Processor
from workbench.function.tables import put_items
from workbench.function.variants import CATALOGUE
from workbench.settings import Flat, Settings
from workbench.vectors.store import Store

from .world import JSON, MINUTE, NOON, HashEmbedder, event, product, record

SETTINGS = Settings(candidates=40, popularity_weight=0.5, habit_weight=3.0, half_life=2.0)
PRODUCTS = [product(f"p{number}", round(number / 20, 4)) for number in range(20)]
SHARDS = 2


class Crash(Exception):
    """What a worker dies of, or a connection."""


class Frail:
    """A DynamoDB that can fail at the worst moment: before a transaction, or after it, so that its answer is lost."""

    def __init__(self, dynamodb) -> None:
        self._dynamodb, self.fails = dynamodb, ""

    def __getattr__(self, name: str):
        return getattr(self._dynamodb, name)

    def transact_write_items(self, **request) -> dict:
        fails, self.fails = self.fails, ""
        if fails == "before":
            raise Crash
        answer = self._dynamodb.transact_write_items(**request)
        if fails == "after":
            raise Crash
        return answer


class World:
    """The function with an index of its own. ``run`` is a prefix of its users' names, so that runs share the tables."""

    def __init__(self, dynamodb, tables, variant: str) -> None:
        self.run, self._dynamodb, self._tables = uuid.uuid4().hex[:8], Frail(dynamodb), tables
        embedder, self.store = HashEmbedder(), Store(dimension=8, index=Flat())
        self.store.upsert(
            [
                Record(
                    each.product_id,
                    embedder.vector(each.description),
                    {"description": each.description, "popularity": each.popularity},
                )
                for each in PRODUCTS
            ],
            namespace=CATALOGUE,
        )
        self._processor = Processor(
            SETTINGS.but(variant=variant),
            dynamodb=self._dynamodb,
            tables=tables,
            embedder=embedder,
            store=self.store,
            rejects=None,
        )

    def process(self, records: list[dict], *, fails: str = "") -> None:
        """One batch. With ``fails`` its worker dies before or after the read model is written, if there is anything to write."""
        self._dynamodb.fails = fails
        try:
            self._processor.process({"Records": records})
            assert not fails or self._dynamodb.fails == fails, "nothing was new"
        except Crash:
            assert fails
        self._dynamodb.fails = ""

    def records(self, shard: int, events: list[tuple[int, int]]) -> list[dict]:
        """What a shard holds: an event of (user, product) a record, which is in it by its user, the partition key."""
        made = []
        for number, (user, bought) in enumerate(events):
            name = f"{self.run}-{shard}-{user}"
            sent = event(f"{shard}-{number}", name, f"p{bought}", NOON + number * MINUTE)
            each = record(JSON.encode(sent), str(7 + 3 * number))
            each["eventID"] = f"shardId-{shard:012}:{7 + 3 * number}"
            each["kinesis"]["partitionKey"] = name
            made.append(each)
        return made

    def state(self) -> tuple[dict, dict]:
        """All that the function wrote, without the run's name: items by user, and records by namespace."""
        found = self._dynamodb.scan(TableName=self._tables.recommendations, ConsistentRead=True)["Items"]
        items = {item.pop("user_id")["S"].removeprefix(self.run): item for item in found if self.run in str(item["user_id"])}
        for item in items.values():  # origins are digests of names with the run in them
            activity = Activity.from_item(item)
            places = [(place.sequence_number, place.sub_sequence_number) for place in activity.places]
            del item["activity"]
            item["counted"] = activity.recent, activity.older, places, activity.vector.tobytes(), activity.version
        vectors = {}
        for namespace in set(self.store.stats()) - {CATALOGUE}:
            kept = self.store.fetch(list(self.store.ids(namespace=namespace)), namespace=namespace)
            vectors[namespace.replace(self.run, "")] = {
                each.id.removeprefix(self.run): (each.values.tobytes(), each.metadata) for each in kept.values()
            }
        return items, vectors


@pytest.fixture
def make(dynamodb, tables):
    put_items(dynamodb, tables.products, (each.to_item() for each in PRODUCTS))
    return lambda variant: World(dynamodb, tables, variant)


@st.composite
def deliveries(draw) -> tuple[list, list]:
    """Two shards' events, and batches of them (shard, first, end, what fails) with at most what a source may do.

    A shard's next batch begins behind the last one that succeeded, or, after a takeover, anywhere before.
    """
    shards = [draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 19)), min_size=1, max_size=12)) for _ in range(SHARDS)]
    done, plan = [0] * SHARDS, []
    for _ in range(draw(st.integers(0, 14))):
        shard = draw(st.integers(0, SHARDS - 1))
        first = draw(st.one_of(st.just(done[shard]), st.integers(0, done[shard])))
        end = draw(st.integers(first, len(shards[shard])))
        fails = draw(st.sampled_from(["", "", "before", "after"]))
        if first < end:
            plan.append((shard, first, end, fails))
            done[shard] = max(done[shard], 0 if fails else end)
    plan += [(shard, done[shard], len(events), "") for shard, events in enumerate(shards) if done[shard] < len(events)]
    return shards, plan


@pytest.mark.parametrize("variant", ["catalogue", "article"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(planned=deliveries(), size=st.integers(1, 5))
def test_whatever_is_delivered_again_the_end_is_that_of_a_run_in_which_nothing_was(make, variant, planned, size):
    shards, plan = planned
    plain, troubled = make(variant), make(variant)
    for number, events in enumerate(shards):
        records = plain.records(number, events)
        for first in range(0, len(records), size):
            plain.process(records[first : first + size])
    for shard, first, end, fails in plan:
        troubled.process(troubled.records(shard, shards[shard])[first:end], fails=fails)
    items, vectors = troubled.state()
    expected_items, expected_vectors = plain.state()
    assert items == expected_items and vectors == expected_vectors
    users = {f"-{number}-{user}" for number, events in enumerate(shards) for user, _ in events}
    counted = {name: sum(f"-{number}-{user}" == name for number, es in enumerate(shards) for user, _ in es) for name in users}
    assert {name: int(item["version"]["N"]) for name, item in items.items()} == counted


@pytest.mark.parametrize("variant", ["catalogue", "article"])
def test_a_batch_in_whole_in_part_and_in_overlapping_parts_changes_nothing(make, variant):
    world = make(variant)
    records = world.records(0, [(number % 3, number) for number in range(12)])
    world.process(records[:8])
    before = world.state()
    for first, end in itertools.combinations(range(9), 2):
        world.process(records[first:end])
    assert world.state() == before
    world.process(records[4:])  # half of it is new
    world.process(records)
    once = make(variant)
    once.process(once.records(0, [(number % 3, number) for number in range(12)]))
    assert world.state() == once.state()


@pytest.mark.parametrize("again", [slice(0, 1), slice(0, 320), slice(0, None), slice(200, 330)])
def test_a_redelivery_after_more_events_than_ids_are_remembered_changes_nothing(make, again):
    """256 ids of a user are; a shard may go back to its oldest record, and a batch of one user may have 10,000."""
    world = make("catalogue")
    records = world.records(0, [(0, number % 20) for number in range(330)])
    world.process(records[:300])
    world.process(records[300:])
    before = world.state()
    (item,) = before[0].values()
    assert item["version"] == {"N": "330"} and len(item["counted"][0]) == 32
    world.process(records[again])
    assert world.state() == before


def test_a_batch_of_300_events_of_a_user_is_counted_once_although_its_answer_was_lost(make):
    world, once = make("catalogue"), make("catalogue")
    events = [(0, number % 20) for number in range(300)]
    world.process(world.records(0, events), fails="after")
    world.process(world.records(0, events))
    once.process(once.records(0, events))
    assert world.state() == once.state()


def test_an_event_that_its_producer_sent_twice_counts_once(make):
    """The second record has a number of its own: only the event id tells."""
    world, once = make("catalogue"), make("catalogue")
    records = world.records(0, [(0, 1), (0, 2), (0, 3)])
    twin = {**records[0], "kinesis": {**records[0]["kinesis"], "sequenceNumber": "1000"}}
    world.process(records)
    world.process([twin])
    once.process(once.records(0, [(0, 1), (0, 2), (0, 3)]))
    assert world.state() == once.state()


def test_a_user_who_moves_to_a_child_shard_is_counted_from_there_and_a_late_parent_changes_nothing(make):
    """A child's sequence numbers may begin anywhere: they are compared within a shard only."""
    world = make("catalogue")
    parent, child = world.records(0, [(0, 1), (0, 2)]), []
    for number, each in enumerate(world.records(0, [(0, 3), (0, 4), (0, 5)])):
        sent = event(f"child-{number}", f"{world.run}-0-0", f"p{number + 3}", NOON)
        child.append({**record(JSON.encode(sent), str(number)), "eventID": f"shardId-{5:012}:{number}"})
        child[-1]["kinesis"]["partitionKey"] = each["kinesis"]["partitionKey"]
    world.process(parent)
    world.process(child)
    before = world.state()
    (item,) = before[0].values()
    assert [touch.event_id for touch in item["counted"][0]] == ["0-0", "0-1", "child-0", "child-1", "child-2"]
    world.process(parent)
    world.process(child[1:])
    assert world.state() == before


def test_a_worker_that_is_overtaken_between_reading_and_writing_fails_its_batch_and_then_goes_on(make, monkeypatch):
    """Its vectors were upserted, like those of one that dies there: the next upsert of the user writes over them."""
    world, once = make("catalogue"), make("catalogue")
    events = [(0, 1), (1, 2), (0, 3), (1, 4), (0, 5), (1, 6)]
    records, query = world.records(0, events), world.store.query

    def overtaken(*args, **options):
        monkeypatch.undo()
        world.process(records[:4])  # the heir, from the checkpoint on
        return query(*args, **options)

    monkeypatch.setattr(world.store, "query", overtaken)
    with pytest.raises(WriteConflict):
        world.process(records[:2])  # the owner, who lost the lease
    world.process(records[:2])
    world.process(records[4:])
    once.process(once.records(0, events))
    assert world.state() == once.state()
