"""Stage 2: what is known about a batch's users and products, in one read."""

import threading

import msgspec
from cachetools import TTLCache

from workbench.events import Event
from workbench.function.entities import Activity, Item, Product, Profile
from workbench.function.tables import Tables, batch_get

_CACHED = 100_000  # entries a cache holds before the least recently used goes


class Known(msgspec.Struct, frozen=True):
    """What the tables hold about one batch. Users without a profile have an empty one; unknown products are absent."""

    profiles: dict[str, Profile]
    products: dict[str, Product]
    activities: dict[str, Activity]


class Enricher:
    """Profiles and products come from a cache while they are younger than ``ttl_s``; activities are always read fresh."""

    def __init__(self, dynamodb, tables: Tables, *, ttl_s: float) -> None:
        self._dynamodb, self._tables = dynamodb, tables
        self._profiles: TTLCache = TTLCache(_CACHED, ttl_s)
        self._products: TTLCache = TTLCache(_CACHED, ttl_s)
        self._lock = threading.Lock()  # cachetools leaves locking to its users; shard workers share one Enricher

    def enrich(self, events: list[Event]) -> Known:
        """One BatchGetItem (in parts of 100 keys) for what the caches lack and for every user's activity."""
        users = list(dict.fromkeys(event.user_id for event in events))
        products = list(dict.fromkeys(event.product_id for event in events))
        with self._lock:
            known = Known(_cached(self._profiles, users), _cached(self._products, products), dict.fromkeys(users, Activity()))
        new_users = [user for user in users if user not in known.profiles]
        new_products = [product for product in products if product not in known.products]
        self._read(known, users, new_users, new_products)
        for user in new_users:
            known.profiles.setdefault(user, Profile(user))
        with self._lock:
            self._profiles.update((user, known.profiles[user]) for user in new_users)
            self._products.update((product, known.products[product]) for product in new_products if product in known.products)
        return known

    def _read(self, known: Known, users: list[str], new_users: list[str], new_products: list[str]) -> None:
        tables = self._tables
        wanted: list[tuple[str, Item]] = [(tables.recommendations, {"user_id": {"S": user}}) for user in users]
        wanted += [(tables.profiles, {"user_id": {"S": user}}) for user in new_users]
        wanted += [(tables.products, {"product_id": {"S": product}}) for product in new_products]
        found = batch_get(self._dynamodb, wanted, consistent=frozenset({tables.recommendations}))
        for item in found.get(tables.profiles, ()):
            known.profiles[item["user_id"]["S"]] = Profile.from_item(item)
        for item in found.get(tables.products, ()):
            known.products[item["product_id"]["S"]] = Product.from_item(item)
        for item in found.get(tables.recommendations, ()):
            known.activities[item["user_id"]["S"]] = Activity.from_item(item)


def _cached(cache: TTLCache, keys: list[str]) -> dict:
    entries = ((key, cache.get(key)) for key in keys)
    return {key: entry for key, entry in entries if entry is not None}
