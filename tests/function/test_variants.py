"""Both designs of the index over the real in-process store; scores are checked against arithmetic done by hand."""

import math

import msgspec
import numpy as np
import pytest

from workbench.errors import SettingError
from workbench.events import Record
from workbench.function.decode import Arrival
from workbench.function.entities import Activity, Habit, Product, Profile, Touch
from workbench.function.variants import CATALOGUE, USERS, Catalogue, PerUserNamespace, variant
from workbench.function.visits import Visit
from workbench.settings import Flat
from workbench.vectors.store import Store

from .world import MINUTE, NOON, event, product


def on_circle(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def filled(**placed: tuple[list[float], float]) -> Store:
    """A store with these products in the catalogue: (vector, popularity)."""
    store = Store(dimension=2, index=Flat())
    records = [
        Record(name, np.array(vector, np.float32), {"description": f"Product {name}, Grocery", "popularity": popularity})
        for name, (vector, popularity) in placed.items()
    ]
    store.upsert(records, namespace=CATALOGUE)
    return store


def visit(user: str, vector: list[float], *, touched: tuple[Touch, ...] = (), habits: tuple[Habit, ...] = ()) -> Visit:
    touched = touched or (Touch("e0", "elsewhere", NOON),)
    arrival = Arrival("1", event(touched[-1].event_id, user, touched[-1].product_id, touched[-1].timestamp_ms))
    rows = np.array([vector], np.float32)
    return Visit(Profile(user, {}, habits), [arrival], [product(touched[-1].product_id)], rows, Activity(touched, rows[0]))


def shown(items: list[dict]) -> list[tuple[str, float]]:
    return [(item["product_id"], item["score"]) for item in items]


CIRCLE = {f"a{degrees}": (on_circle(degrees), popularity) for degrees, popularity in [(0, 0.2), (60, 1.0), (90, 0.0), (180, 0.9)]}


def test_a_score_is_similarity_and_weighted_popularity_and_weighted_habit():
    habits = (Habit(Product("a90", "Product a90, Grocery", 0.0), math.e - 1), Habit(Product("far", "Far, Home", 0.4), 1.0))
    ours = Catalogue(candidates=40, popularity_weight=0.5, habit_weight=0.25)
    ((items),) = ours.query(filled(**CIRCLE), [visit("anna", [0.5, 0.0], habits=habits)])
    assert shown(items) == [
        ("a0", 1.1),  # cos 0° = 1, + 0.5 * 0.2
        ("a60", 1.0),  # cos 60° = 0.5, + 0.5 * 1.0
        ("far", round(0.2 + 0.25 * math.log(2), 4)),  # in no catalogue: 0.5 * 0.4 + 0.25 * log(1 + 1)
        ("a90", 0.25),  # cos 90° = 0, + 0 + 0.25 * log(e)
        ("a180", -0.55),  # cos 180° = -1, + 0.5 * 0.9
    ]
    assert items[2]["description"] == "Far, Home" and items[0]["description"] == "Product a0, Grocery"


def test_without_weights_the_nearest_come_first():
    plain = Catalogue(candidates=40, popularity_weight=0.0, habit_weight=0.0)
    (items,) = plain.query(filled(**CIRCLE), [visit("anna", on_circle(100))])
    assert [item["product_id"] for item in items] == ["a90", "a60", "a180", "a0"]
    assert items[0]["score"] == round(math.cos(math.radians(10)), 4)


def test_the_running_session_is_left_out_and_an_earlier_one_is_not():
    touched = (Touch("e1", "a0", NOON - 61 * MINUTE), Touch("e2", "a60", NOON - 30 * MINUTE), Touch("e3", "a90", NOON))
    habits = (Habit(product("a60"), 9.0),)  # not even a habit comes back within the session
    ours = Catalogue(candidates=40, popularity_weight=0.5, habit_weight=3.0)
    (items,) = ours.query(filled(**CIRCLE), [visit("anna", [1.0, 0.0], touched=touched, habits=habits)])
    assert {item["product_id"] for item in items} == {"a180", "a0"}


@pytest.mark.parametrize("remembered", [1, Activity.REMEMBERED])
def test_there_are_always_five_however_long_the_session(remembered):
    """The fewest candidates that settings allow, and a session of the products that are nearest."""
    store = filled(**{f"p{number}": (on_circle(number), 0.0) for number in range(100)})
    session = tuple(Touch(f"e{number}", f"p{number}", NOON + number) for number in range(remembered))
    ours = Catalogue(candidates=40, popularity_weight=0.0, habit_weight=0.0)
    (items,) = ours.query(store, [visit("anna", on_circle(0), touched=session)])
    assert [item["product_id"] for item in items] == [f"p{number}" for number in range(remembered, remembered + 5)]


def test_each_visit_gets_its_own_answer():
    ours = Catalogue(candidates=40, popularity_weight=0.0, habit_weight=0.0)
    answers = ours.query(
        filled(**CIRCLE), [visit("anna", on_circle(0)), visit("ben", on_circle(180)), visit("cem", on_circle(60))]
    )
    assert [items[0]["product_id"] for items in answers] == ["a0", "a180", "a60"]


def test_a_taste_is_kept_for_each_user():
    store = filled(**CIRCLE)
    Catalogue(candidates=40, popularity_weight=0.0, habit_weight=0.0).upsert(
        store, [visit("anna", [0.5, 0.0]), visit("ben", [0.0, 0.25], touched=(Touch("e1", "a0", NOON + 7),))]
    )
    kept = store.fetch(["anna", "ben"], namespace=USERS)
    assert kept["ben"].values.tolist() == [0.0, 0.25] and kept["ben"].metadata == {"updated_ms": NOON + 7}
    assert kept["anna"].values.tolist() == [0.5, 0.0] and store.stats() == {CATALOGUE: 4, USERS: 2}


def test_a_taste_that_cancelled_out_is_that_of_the_newest_touch():
    """A zero vector is near to nothing, and the store would refuse the whole batch for it."""
    store = filled(**CIRCLE)
    ours = Catalogue(candidates=40, popularity_weight=0.0, habit_weight=1.0)
    ben, cem = visit("ben", on_circle(180)), visit("cem", on_circle(90))
    nowhere = [
        msgspec.structs.replace(each, activity=Activity(each.activity.recent, np.array([tiny, 0.0], np.float32)))
        for each, tiny in ((ben, 0.0), (cem, 1e-7))
    ]
    ours.upsert(store, nowhere)
    assert store.stats()[USERS] == 2
    assert ours.query(store, nowhere) == ours.query(store, [ben, cem])
    assert [shown(items)[0] for items in ours.query(store, nowhere)] == [("a180", 1.0), ("a90", 1.0)]


def test_no_visit_asks_and_writes_nothing():
    store = filled(**CIRCLE)
    ours = Catalogue(candidates=40, popularity_weight=0.5, habit_weight=1.0)
    ours.upsert(store, [])
    assert ours.query(store, []) == [] and USERS not in store.stats()


# The article's design


def clicks(user: str, *degrees: int, start: int = 0) -> Visit:
    names = [f"a{each}" for each in degrees]
    arrivals = [Arrival(str(n), event(f"{user}-{n}", user, name)) for n, name in enumerate(names, start)]
    rows = np.array([on_circle(each) for each in degrees], np.float32)
    return Visit(Profile(user), arrivals, [product(name) for name in names], rows, Activity((), rows[-1]))


def test_the_articles_design_returns_the_users_own_clicks_nearest_to_the_newest_without_it():
    store, article = Store(dimension=2, index=Flat()), PerUserNamespace()
    both = [clicks("anna", 0, 10, 30, 60, 100, 4), clicks("ben", 4, 6)]
    article.upsert(store, both)
    anna, ben = article.query(store, both)
    assert [item["product_id"] for item in anna] == ["a0", "a10", "a30", "a60"]  # five asked for; the newest, a4, is dropped
    assert anna[2] == {"product_id": "a30", "description": "Product a30, Grocery", "score": round(math.cos(math.radians(26)), 4)}
    assert [item["product_id"] for item in ben] == ["a4"]


def test_the_articles_design_remembers_the_clicks_of_earlier_batches_once():
    store, article = Store(dimension=2, index=Flat()), PerUserNamespace()
    first, second = clicks("anna", 0, 10), clicks("anna", 20, start=2)
    for batch in (first, first, second):
        article.upsert(store, [batch])
    assert store.stats() == {"user-anna": 3}
    assert [item["product_id"] for item in article.query(store, [second])[0]] == ["a10", "a0"]


def test_a_first_click_has_nothing_to_recommend_in_the_articles_design():
    store, article = Store(dimension=2, index=Flat()), PerUserNamespace()
    article.upsert(store, [clicks("anna", 0)])
    assert article.query(store, [clicks("anna", 0)]) == [[]]


def test_variants_are_chosen_by_name():
    weights = {"candidates": 50, "popularity_weight": 0.5, "habit_weight": 3.0}
    assert type(variant("catalogue", **weights)) is Catalogue and type(variant("article", **weights)) is PerUserNamespace
    with pytest.raises(SettingError, match="one of catalogue, article"):
        variant("best", **weights)
