"""Enrich: one read a batch for what the caches lack; what users did is always read fresh."""

import functools

import numpy as np
import pytest
from cachetools import TTLCache

from workbench.events import Recommendation
from workbench.function.enrich import Enricher
from workbench.function.entities import Activity, Habit, Profile, Touch, recommendation_item
from workbench.function.tables import put_items

from .world import NOON, event, product

ANNA = Profile("anna", {"age": "65+"}, (Habit(product("p1"), 1.5),))
TOUCHED = Activity((Touch("e0", "p1", NOON),), np.array([1.0, 0.5], np.float32))


class Recorder:
    """The real client; notes the keys of each read by table, and which tables were read consistently."""

    def __init__(self, dynamodb):
        self._dynamodb = dynamodb
        self.reads: list[dict[str, list[str]]] = []
        self.consistent: set[str] = set()

    def batch_get_item(self, *, RequestItems):  # noqa: N803 (boto3's name)
        self.reads.append(
            {table: [value["S"] for key in asked["Keys"] for value in key.values()] for table, asked in RequestItems.items()}
        )
        self.consistent |= {table for table, asked in RequestItems.items() if asked["ConsistentRead"]}
        return self._dynamodb.batch_get_item(RequestItems=RequestItems)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The caches' time."""
    clock = Clock()
    monkeypatch.setattr("workbench.function.enrich.TTLCache", functools.partial(TTLCache, timer=clock))
    return clock


@pytest.fixture
def recorder(dynamodb, tables):
    put_items(dynamodb, tables.profiles, [ANNA.to_item()])
    put_items(dynamodb, tables.products, [product(name).to_item() for name in ("p1", "p2")])
    put_items(dynamodb, tables.recommendations, [recommendation_item(Recommendation("anna", (), "t"), TOUCHED)])
    return Recorder(dynamodb)


def test_a_batch_is_one_read_of_each_key_once(recorder, tables):
    events = [event("e1", "anna", "p1"), event("e2", "ben", "p2"), event("e3", "anna", "p2"), event("e4", "anna", "p1")]
    known = Enricher(recorder, tables, ttl_s=60).enrich(events)
    asked = {tables.recommendations: ["anna", "ben"], tables.profiles: ["anna", "ben"], tables.products: ["p1", "p2"]}
    assert recorder.reads == [asked] and recorder.consistent == {tables.recommendations}
    assert known.profiles == {"anna": ANNA, "ben": Profile("ben")}
    assert known.products == {"p1": product("p1"), "p2": product("p2")}
    assert known.activities["anna"].recent == TOUCHED.recent and known.activities["anna"].vector.tolist() == [1.0, 0.5]
    assert known.activities["ben"].recent == () and known.activities["ben"].vector is None


def test_a_batch_of_more_than_100_keys_is_read_in_parts(recorder, tables):
    known = Enricher(recorder, tables, ttl_s=60).enrich([event(str(n), f"user-{n}", "p1") for n in range(70)])
    assert [sum(map(len, read.values())) for read in recorder.reads] == [100, 41]  # 70 activities, 70 profiles, 1 product
    assert known.profiles.keys() == known.activities.keys() == {f"user-{n}" for n in range(70)}


def test_what_is_cached_is_not_read_again_but_activities_are(recorder, tables, clock, dynamodb):
    enricher = Enricher(recorder, tables, ttl_s=60)
    enricher.enrich([event("e1", "anna", "p1"), event("e2", "ben", "p1")])
    later = Activity((*TOUCHED.recent, Touch("e1", "p1", NOON)), np.array([0.0, 1.0], np.float32))
    put_items(dynamodb, tables.recommendations, [recommendation_item(Recommendation("anna", (), "t"), later)])
    put_items(dynamodb, tables.profiles, [Profile("ben", {"age": "19-24"}).to_item()])
    clock.now += 59.9
    known = enricher.enrich([event("e3", "anna", "p2"), event("e4", "ben", "p1")])
    assert recorder.reads[1:] == [{tables.recommendations: ["anna", "ben"], tables.products: ["p2"]}]
    assert known.activities["anna"].recent == later.recent
    assert known.profiles == {"anna": ANNA, "ben": Profile("ben")}  # having no profile is remembered as well
    assert known.products == {"p1": product("p1"), "p2": product("p2")}


def test_what_is_older_than_the_ttl_is_read_again(recorder, tables, clock, dynamodb):
    enricher = Enricher(recorder, tables, ttl_s=60)
    enricher.enrich([event("e1", "anna", "p1")])
    moved = Profile("anna", {"age": "19-24"})
    put_items(dynamodb, tables.profiles, [moved.to_item()])
    put_items(dynamodb, tables.products, [product("p1", 0.75).to_item()])
    clock.now += 60.1
    known = enricher.enrich([event("e2", "anna", "p1")])
    assert known.profiles["anna"] == moved and known.products["p1"].popularity == 0.75


def test_without_a_ttl_everything_is_read_every_time(recorder, tables):
    enricher = Enricher(recorder, tables, ttl_s=0)
    for _ in range(2):
        known = enricher.enrich([event("e1", "anna", "p1")])
        assert known.profiles == {"anna": ANNA} and known.products == {"p1": product("p1")}
    assert recorder.reads[0] == recorder.reads[1] and len(recorder.reads[1]) == 3


def test_an_unknown_product_is_absent_and_asked_for_again(recorder, tables, dynamodb):
    """It may be added at any time; only what exists is cached."""
    enricher = Enricher(recorder, tables, ttl_s=60)
    assert enricher.enrich([event("e1", "anna", "p3")]).products == {}
    put_items(dynamodb, tables.products, [product("p3").to_item()])
    assert enricher.enrich([event("e2", "anna", "p3")]).products == {"p3": product("p3")}


def test_a_batchs_knowledge_is_its_own(recorder, tables):
    """What a caller does to it does not reach the next batch."""
    enricher = Enricher(recorder, tables, ttl_s=60)
    enricher.enrich([event("e1", "anna", "p1")]).products.clear()
    assert enricher.enrich([event("e2", "anna", "p1")]).products == {"p1": product("p1")}
