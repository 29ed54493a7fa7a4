"""A whole batch through all stages: real tables on the embedded cloud, the real store, vectors that a test can work out."""

import threading

import numpy as np
import pytest

from workbench.errors import VectorError
from workbench.events import Record
from workbench.function.entities import Activity, Habit, Profile, recommendation_from_item
from workbench.function.processor import STAGES, Processor
from workbench.function.tables import put_items
from workbench.function.variants import CATALOGUE, USERS
from workbench.settings import Flat, Settings
from workbench.vectors.store import Store

from .world import MINUTE, NOON, HashEmbedder, batch, event, product

SETTINGS = Settings(candidates=40, popularity_weight=0.5, habit_weight=3.0, half_life=2.0)
PRODUCTS = [product(f"p{number}", round(number / 20, 4)) for number in range(20)]
HABITS = (Habit(PRODUCTS[3], 4.0), Habit(PRODUCTS[1], 1.0))


class World:
    """The tables filled, the catalogue indexed, and a processor over both."""

    def __init__(self, dynamodb, tables, settings=SETTINGS) -> None:
        self.dynamodb, self.tables, self.embedder = dynamodb, tables, HashEmbedder()
        self.store = Store(dimension=8, index=Flat())
        self.aside: list[dict[str, str]] = []  # reasons by sequence number, of each call that put records aside
        put_items(dynamodb, tables.products, (each.to_item() for each in PRODUCTS))
        put_items(dynamodb, tables.profiles, [Profile("anna", {"age": "65+"}, HABITS).to_item()])
        self.store.upsert(
            [
                Record(each.product_id, self.vector(each), {"description": each.description, "popularity": each.popularity})
                for each in PRODUCTS
            ],
            namespace=CATALOGUE,
        )
        self.processor = self.make(settings)

    def make(self, settings: Settings) -> Processor:
        return Processor(
            settings, dynamodb=self.dynamodb, tables=self.tables, embedder=self.embedder, store=self.store, rejects=self
        )

    def send(self, records: list[dict], reasons: dict[str, str]) -> None:
        """What the dead-letter queue is given."""
        assert set(reasons) <= {record["kinesis"]["sequenceNumber"] for record in records}
        self.aside.append(dict(reasons))

    def vector(self, bought) -> np.ndarray:
        return self.embedder.vector(bought.description)

    def items(self) -> dict[str, dict]:
        """The read model, by user."""
        found = self.dynamodb.scan(TableName=self.tables.recommendations, ConsistentRead=True)["Items"]
        return {item["user_id"]["S"]: item for item in found}

    def best(self, taste: np.ndarray, *, without: set[str], habits=()) -> list[tuple[str, float]]:
        """The five that the rule gives, by arithmetic of its own."""
        taste = taste / np.linalg.norm(taste)
        weight = {habit.product.product_id: habit.weight for habit in habits}
        scores = {
            each.product_id: float(taste @ self.vector(each))
            + 0.5 * each.popularity
            + 3.0 * np.log(1 + weight.get(each.product_id, 0))
            for each in PRODUCTS
        }
        return sorted(((name, s) for name, s in scores.items() if name not in without), key=lambda pair: -pair[1])[:5]


@pytest.fixture
def world(dynamodb, tables):
    return World(dynamodb, tables)


def test_a_batch_lands_in_the_read_model(world):
    answer = world.processor.process(
        batch(event("e1", "anna", "p0"), event("e2", "ben", "p5"), event("e3", "anna", "p7", NOON + MINUTE))
    )
    assert answer["batchItemFailures"] == [] and answer["rejected"] == {}
    items = world.items()
    assert items.keys() == {"anna", "ben"}
    kept = 0.5**0.5
    tastes = {
        "anna": kept * world.vector(PRODUCTS[0]) + (1 - kept) * world.vector(PRODUCTS[7]),
        "ben": world.vector(PRODUCTS[5]),
    }
    expected = {
        "anna": world.best(tastes["anna"], without={"p0", "p7"}, habits=HABITS),
        "ben": world.best(tastes["ben"], without={"p5"}),
    }
    for user, best in expected.items():
        made, activity = recommendation_from_item(items[user]), Activity.from_item(items[user])
        assert [entry["product_id"] for entry in made.items] == [name for name, _ in best]
        assert [entry["score"] for entry in made.items] == pytest.approx(
            [score for _, score in best], abs=5e-4
        )  # a float16 vector
        assert all(entry["description"] == f"Product {entry['product_id']}, Grocery" for entry in made.items)
        np.testing.assert_allclose(activity.vector, tastes[user], atol=1e-3)
    assert recommendation_from_item(items["anna"]).trace_id == "trace-e3"
    assert [touch.event_id for touch in Activity.from_item(items["anna"]).recent] == ["e1", "e3"]
    assert recommendation_from_item(items["anna"]).items[0]["product_id"] == "p3", "the strongest habit"
    assert world.store.stats()[USERS] == 2


def test_the_batch_is_embedded_in_one_call_each_product_once(world):
    world.processor.process(batch(*(event(str(n), f"u{n}", f"p{n % 3}") for n in range(9))))
    assert world.embedder.calls == [[PRODUCTS[0].description, PRODUCTS[1].description, PRODUCTS[2].description]]


def test_the_next_batch_goes_on_from_the_one_before_in_another_processor(world):
    """State is in the read model, not in the process."""
    world.processor.process(batch(event("e1", "ben", "p5")))
    world.make(SETTINGS).process(batch(event("e2", "ben", "p6", NOON + 1), first=2))
    activity = Activity.from_item(world.items()["ben"])
    assert [touch.event_id for touch in activity.recent] == ["e1", "e2"]
    kept = 0.5**0.5
    np.testing.assert_allclose(
        activity.vector, kept * world.vector(PRODUCTS[5]) + (1 - kept) * world.vector(PRODUCTS[6]), atol=2e-3
    )


def test_what_is_malformed_is_put_aside_one_by_one_and_the_rest_goes_on(world):
    answer = world.processor.process(
        batch(
            b"junk", event("e1", "ben", "p5"), event("e2", "ben", "p99"), "%%%", event("e3", "ben", "p6"), event("e4", "", "p6")
        )
    )
    assert answer["batchItemFailures"] == [] and list(answer["rejected"]) == ["1", "4", "6", "3"]
    assert world.aside == [answer["rejected"]]
    assert answer["rejected"]["3"] == "product 'p99' is not in the products table"
    assert "not a json event" in answer["rejected"]["1"] and "base64" in answer["rejected"]["4"]
    assert "user_id is empty" in answer["rejected"]["6"]
    assert [touch.event_id for touch in Activity.from_item(world.items()["ben"]).recent] == ["e1", "e3"]


@pytest.mark.parametrize("records", [[b"junk"], ["%%%"], [event("e1", "ben", "p99")]])
def test_a_batch_without_a_good_record_writes_nothing(world, records):
    before = world.store.stats()
    assert list(world.processor.process(batch(*records))["rejected"]) == ["1"] and len(world.aside) == 1
    assert world.items() == {} and world.store.stats() == before and world.embedder.calls == []


def test_a_batch_whose_bad_records_cannot_be_put_aside_is_to_be_tried_again(world, monkeypatch):
    monkeypatch.setattr(world, "send", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.processor.process(batch(b"junk", event("e1", "ben", "p5")))


@pytest.mark.parametrize("nothing", [{"Records": []}, {}])
def test_an_empty_batch_is_answered(world, nothing):
    answer = world.processor.process(nothing)
    assert answer["batchItemFailures"] == [] and answer["rejected"] == {} and answer["stages_ns"].keys() == set(STAGES)
    assert world.items() == {}


@pytest.mark.parametrize("variant", ["catalogue", "article"])
def test_a_batch_that_is_delivered_again_changes_nothing(world, variant):
    """The stream delivers at least once."""
    processor = world.make(SETTINGS.but(variant=variant))
    sent = batch(event("e1", "anna", "p0"), event("e2", "ben", "p5"), event("e3", "anna", "p7"))
    processor.process(sent)
    before, stored = world.items(), world.store.stats()
    assert processor.process(sent)["batchItemFailures"] == []
    assert world.make(SETTINGS.but(variant=variant)).process({"Records": sent["Records"][1:]})["batchItemFailures"] == []
    assert world.items() == before and world.store.stats() == stored


def test_the_articles_design_lands_in_the_read_model_too(world):
    article = world.make(SETTINGS.but(variant="article"))
    article.process(batch(*(event(f"e{n}", "ben", f"p{n}", NOON + n) for n in range(6))))
    made = recommendation_from_item(world.items()["ben"])
    newest = world.vector(PRODUCTS[5])
    nearest = sorted(range(5), key=lambda n: -float(newest @ world.vector(PRODUCTS[n])))[:4]
    assert [entry["product_id"] for entry in made.items] == [f"p{n}" for n in nearest]


@pytest.mark.parametrize("call", ["upsert", "query"])
def test_a_store_that_fails_fails_the_batch_and_leaves_the_read_model_as_it_was(world, monkeypatch, call):
    def refuse(*args, **kwargs):
        raise VectorError("the index is gone", 404)

    monkeypatch.setattr(world.store, call, refuse)
    with pytest.raises(VectorError, match="the index is gone"):
        world.processor.process(batch(event("e1", "ben", "p5")))
    assert world.items() == {}
    monkeypatch.undo()
    world.processor.process(batch(event("e1", "ben", "p5")))  # the retry
    assert [touch.event_id for touch in Activity.from_item(world.items()["ben"]).recent] == ["e1"]


@pytest.mark.parametrize("hostile", ["ü", "x" * 3000, "a\0b"])
def test_an_id_that_no_store_takes_does_not_fail_its_batch(world, hostile):
    sent = batch(event("e1", "ben", "p5"), event("e2", hostile, "p5"), event("e3", "ben", hostile), event(hostile, "ben", "p6"))
    assert list(world.processor.process(sent)["rejected"]) == ["2", "3", "4"]
    assert world.items().keys() == {"ben"}


def test_the_answer_tells_when_it_began_and_how_long_each_stage_took(world):
    spent = world.processor.process(batch(event("e1", "ben", "p5")))
    assert list(spent["stages_ns"]) == list(STAGES) and all(ns > 0 for ns in spent["stages_ns"].values())
    skipped = world.processor.process(batch(b"junk"))["stages_ns"]
    assert skipped["decode"] > 0 and all(skipped[stage] == 0 for stage in STAGES[1:])
    assert skipped["decode"] < 10**9 < spent["started_ns"]


def test_the_workers_of_several_shards_share_one_processor(world):
    """Users of different shards at once: each user's activity has exactly its own events."""
    failures = []

    def work(shard: int) -> None:
        for number in range(4):
            entries = (event(f"{shard}-{number}-{u}", f"s{shard}u{u}", f"p{(number + u) % 20}") for u in range(3))
            sent = batch(*entries, first=3 * number + 1)
            failures.extend(world.processor.process(sent)["batchItemFailures"])

    threads = [threading.Thread(target=work, args=(shard,)) for shard in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recent = {user: [touch.event_id for touch in Activity.from_item(item).recent] for user, item in world.items().items()}
    assert failures == []
    assert recent == {f"s{s}u{u}": [f"{s}-{n}-{u}" for n in range(4)] for s in range(4) for u in range(3)}
