"""What is kept in DynamoDB comes back as it was, and an activity's vector is the decayed mean that it claims to be."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.events import Recommendation
from workbench.function.entities import (
    Activity,
    Habit,
    Place,
    Product,
    Profile,
    Touch,
    recommendation_from_item,
    recommendation_item,
)

from .world import MINUTE, NOON, product

LISTED = (
    {"product_id": "p2", "description": "Milk, 1 GAL", "score": 1.2345},
    {"product_id": "p9", "description": "", "score": -0.0001},
)
PROFILE = Profile("7", {"age": "65+", "income": "35-49K"}, (Habit(product("p1"), 2.25), Habit(product("p2", 0.0), 0.0001)))


def touches(*at: int) -> tuple[Touch, ...]:
    return tuple(Touch(f"e{number}", f"p{number}", ms) for number, ms in enumerate(at))


def through_dynamodb(dynamodb, table: str, item: dict) -> dict:
    dynamodb.put_item(TableName=table, Item=item)
    key = next(name for name in ("user_id", "product_id") if name in item)
    return dynamodb.get_item(TableName=table, Key={key: item[key]})["Item"]


def test_a_product_comes_back_as_it_was(dynamodb, tables):
    for popularity in (0.0, 1.0, 0.1234, 1 / 3, 1e-7):
        kept = Product("p1", "Bananas, “Tropical” Fruit 🍌", popularity)
        assert Product.from_item(through_dynamodb(dynamodb, tables.products, kept.to_item())) == kept


@pytest.mark.parametrize("profile", [PROFILE, Profile("8"), Profile("9", {"age": "65+"})])
def test_a_profile_comes_back_as_it_was_habits_strongest_first(dynamodb, tables, profile):
    assert Profile.from_item(through_dynamodb(dynamodb, tables.profiles, profile.to_item())) == profile


def test_a_recommendation_comes_back_as_it_was_and_with_it_the_activity(dynamodb, tables):
    made = Recommendation("7", LISTED, "trace-1")
    activity = Activity(touches(NOON, NOON + 5), np.array([0.6, -0.8, 1e-3], np.float32))
    item = through_dynamodb(dynamodb, tables.recommendations, recommendation_item(made, activity))
    assert recommendation_from_item(item) == made
    kept = Activity.from_item(item)
    assert kept.recent == activity.recent and kept.vector.dtype == np.float32
    assert kept.vector.tolist() == activity.vector.astype(np.float16).tolist()


def test_nothing_to_recommend_is_kept_as_nothing():
    made = Recommendation("7", (), "t")
    assert recommendation_from_item(recommendation_item(made, Activity((), np.ones(2, np.float32)))) == made


def test_what_is_recommended_is_one_json_text():
    item = recommendation_item(Recommendation("7", LISTED, "t"), Activity((), np.ones(2, np.float32)))
    assert item["items"].keys() == {"S"} and json.loads(item["items"]["S"]) == list(LISTED)


def test_keeping_a_vector_changes_a_cosine_by_less_than_a_thousandth():
    drawn = np.random.default_rng(1).normal(size=(50, 384)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    kept = np.stack([Activity.from_item({"activity": Activity((), row).to_attribute()}).vector for row in drawn])
    cosines = (kept / np.linalg.norm(kept, axis=1, keepdims=True)) @ drawn.T
    assert np.abs(cosines - drawn @ drawn.T).max() < 1e-3


def test_the_vector_is_the_decayed_mean_of_all_touches():
    """Σ of weight × vector, where each further touch multiplies a weight by 0.5^(1/half-life); the weights add up to 1."""
    half_life, count = 3.0, 12
    vectors = np.random.default_rng(2).normal(size=(count, 5)).astype(np.float32)
    activity = Activity()
    for touch, vector in zip(touches(*range(count)), vectors, strict=True):
        activity = activity.after(touch, vector, half_life=half_life)
    ages = np.arange(count)[::-1]
    weights = 2.0 ** (-ages / half_life)
    weights[1:] *= 1 - 2.0 ** (-1 / half_life)  # the first touch starts the mean and has the whole of it
    assert weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(activity.vector, weights @ vectors, rtol=1e-3, atol=2e-3)  # float16 after each touch
    assert activity.vector.dtype == np.float32


@pytest.mark.parametrize("half_life", [1, 4, 10])
def test_after_half_life_touches_a_touch_counts_half(half_life):
    first, other = np.eye(2, dtype=np.float32)
    activity = Activity().after(touches(0)[0], first, half_life=half_life)
    for touch in touches(*range(half_life)):
        activity = activity.after(touch, other, half_life=half_life)
    assert activity.vector.tolist() == pytest.approx([0.5, 0.5], abs=1e-3)  # float16 after each touch


def test_an_activity_is_not_changed_by_its_successor():
    before = Activity(touches(1), np.array([1.0, 0.0], np.float32))
    before.after(touches(1, 2)[1], np.array([0.0, 1.0], np.float32), half_life=1.0)
    assert before.vector.tolist() == [1.0, 0.0] and before.recent == touches(1)


def test_the_newest_touches_are_remembered_oldest_first():
    activity = Activity()
    for touch in touches(*range(40)):
        activity = activity.after(touch, np.ones(2, np.float32), half_life=10.0)
    assert activity.recent == touches(*range(40))[8:] and len(activity.recent) == Activity.REMEMBERED
    assert all(activity.knows(f"e{number}") for number in range(40))
    assert not activity.knows("e40") and not Activity().knows("e0")


def test_ids_of_the_last_256_events_are_known_and_survive_the_table():
    activity = Activity()
    for number in range(300):
        activity = activity.after(Touch(f"e{number}", "p1", NOON), np.ones(2, np.float32), half_life=10.0)
    kept = Activity.from_item({"activity": activity.to_attribute()})
    assert [number for number in range(300) if kept.knows(f"e{number}")] == list(range(300 - 256, 300))


def test_a_thousand_roundings_change_a_cosine_by_less_than_a_thousandth():
    """Old roundings fade like old touches."""
    drawn = np.random.default_rng(3).normal(size=(1000, 384)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    kept, exact, activity = 0.5 ** (1 / 10), drawn[0].astype(float), Activity()
    for number, row in enumerate(drawn):
        exact = kept * exact + (1 - kept) * row
        activity = activity.after(Touch(str(number), "p1", NOON), row, half_life=10.0)
    cosines = drawn @ (activity.vector / np.linalg.norm(activity.vector))
    assert np.abs(cosines - drawn @ (exact / np.linalg.norm(exact))).max() < 1e-3


@given(cuts=st.sets(st.integers(1, 39)))
def test_the_same_events_give_the_same_bits_whichever_batches_they_came_in(cuts):
    """Between two batches an activity goes through the table."""
    drawn = np.random.default_rng(4).normal(size=(40, 16)).astype(np.float32)
    at_once = in_batches = Activity()
    for number, row in enumerate(drawn):
        if number in cuts:
            item = recommendation_item(Recommendation("7", (), "t"), in_batches)
            in_batches = Activity.from_item(item)
        step = {"half_life": 3.0, "place": Place.of("a", str(number), None)}
        touch = Touch(f"e{number}", "p1", NOON + number)
        at_once, in_batches = (each.after(touch, row, **step) for each in (at_once, in_batches))
    assert in_batches.to_attribute() == at_once.to_attribute() and in_batches.vector.tobytes() == at_once.vector.tobytes()
    assert in_batches.version == at_once.version == 40


@pytest.mark.parametrize(
    ("counted", "asked", "reached"),
    [
        (("a", "9", None), ("a", "9", None), True),
        (("a", "9", None), ("a", "10", None), False),  # numbers, not texts
        (("a", "10", None), ("a", "9", None), True),
        (("a", "9", None), ("b", "9", None), False),  # sequence numbers are specific to a shard
        (("a", "9", 3), ("a", "9", 3), True),
        (("a", "9", 3), ("a", "9", 4), False),
        (("a", "9", 3), ("a", "8", 5), True),
        (("a", "9" * 56, None), ("a", "9" * 55 + "8", None), True),  # as long as AWS's are
    ],
)
def test_a_place_reaches_what_is_not_behind_it_in_its_origin(counted, asked, reached):
    activity = Activity().after(touches(0)[0], np.ones(2, np.float32), half_life=1.0, place=Place.of(*counted))
    kept = Activity.from_item({"activity": activity.to_attribute()})
    assert kept.reaches(Place.of(*asked)) is activity.reaches(Place.of(*asked)) is reached


def test_the_places_of_the_four_origins_counted_last_are_remembered():
    activity = Activity()
    for number, origin in enumerate("abcdaebe"):
        place = Place.of(origin, str(number), None)
        activity = activity.after(Touch(str(number), "p1", NOON), np.ones(2, np.float32), half_life=1.0, place=place)
    assert activity.places == tuple(Place.of(*place, None) for place in (("d", "3"), ("a", "4"), ("b", "6"), ("e", "7")))
    assert not activity.reaches(Place.of("c", "2", None)) and activity.knows("2"), "then the ids help"


def test_an_item_of_before_there_were_versions_and_places_can_be_read():
    stored = msgspec.msgpack.encode([[["e1", "p1", NOON]], np.ones(2, np.float16).tobytes(), b""])
    activity = Activity.from_item({"activity": {"B": stored}})
    assert (activity.version, activity.places, activity.recent) == (0, (), (Touch("e1", "p1", NOON),))


def test_a_vector_of_another_models_dimension_is_forgotten():
    before = Activity(touches(1), np.array([1.0, 0.0], np.float32))
    after = before.after(touches(1, 2)[1], np.array([0.0, 3.0, 4.0], np.float32), half_life=1.0)
    assert after.vector.tolist() == [0.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("minutes", "session"),
    [
        ([], ""),
        ([0], "0"),
        ([0, 10, 20], "012"),
        ([0, 30, 60], "012"),  # each within 30 of the next, though the ends are an hour apart
        ([0, 31, 40], "12"),
        ([0, 10, 100], "2"),
        ([40, 0, 31], "02"),  # delivered out of order: the same session as in order
        ([100, 0, 10], "0"),
        ([50, 50, 50], "012"),
    ],
)
def test_a_session_is_what_follows_within_the_gap_whatever_the_order_of_delivery(minutes, session):
    activity = Activity(touches(*(NOON + each * MINUTE for each in minutes)))
    assert activity.session(30 * MINUTE) == {f"p{number}" for number in session}


def test_a_session_names_a_product_once():
    activity = Activity((Touch("e1", "p1", NOON), Touch("e2", "p1", NOON + 1)))
    assert activity.session(MINUTE) == {"p1"}


def test_what_is_stored_of_an_activity_stays_small():
    """32 touches and 384 numbers: far below DynamoDB's 400 KB an item, and below 4 KB, which one read unit covers.

    A place takes 70 bytes, and one is what a user has while nobody splits or merges shards.
    """
    recent = tuple(Touch("31198570044-1234567", "1082185", NOON) for _ in range(Activity.REMEMBERED))
    place = Place.of("a", "9" * 56, 1_000_000)
    assert len(Activity(recent, np.ones(384, np.float32), b"", (place,)).to_attribute()["B"]) < 4096
    four = Activity(recent, np.ones(384, np.float32), b"\1" * 8 * Activity.REMEMBERED_DIGESTS, (place,) * 4, 10**9)
    none = msgspec.structs.replace(four, places=())
    assert len(four.to_attribute()["B"]) - len(none.to_attribute()["B"]) < 4 * 80
    assert len(four.to_attribute()["B"]) < 5 * 1024, "all that may be remembered of a user who did hundreds of things"


def test_a_broken_activity_is_an_error_not_a_fresh_start():
    with pytest.raises(msgspec.DecodeError):
        Activity.from_item({"activity": {"B": b"\x00"}})
