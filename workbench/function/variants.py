"""Stages 4 and 5, upsert and query: how a batch's visits become vectors, and what is asked of the index.

A variant is one design of the index. ``Catalogue`` is ours; ``PerUserNamespace`` is the published article's and ``NoIndex``
is none at all, kept to be compared with.
"""

from typing import Protocol

import numpy as np

from workbench.errors import SettingError
from workbench.events import Match, Record
from workbench.function.visits import Visit
from workbench.vectors import VectorStore

CATALOGUE = "catalogue"  # the namespace that holds every product
USERS = "users"  # the namespace that holds every user's recent taste
RECOMMENDED = 5
_SESSION_GAP_MS = 30 * 60 * 1000
_LEAST_NORM = 1e-6


class Variant(Protocol):
    """One design of the index."""

    def upsert(self, store: VectorStore, visits: list[Visit]) -> None:
        """Write what these visits add to the index."""

    def query(self, store: VectorStore, visits: list[Visit]) -> list[list[dict]]:
        """For each visit the recommended items, best first: product_id, description, score."""


class Catalogue:
    """The catalogue lies in one namespace; a user's recent taste is one vector and asks it for the nearest products.

    Candidates are those products and the household's habits. An item's score is its similarity + ``popularity_weight`` ×
    popularity + ``habit_weight`` × log(1 + habit). What the user touched in the running session is left out.
    """

    def __init__(self, *, candidates: int, popularity_weight: float, habit_weight: float) -> None:
        self._candidates, self._popularity_weight, self._habit_weight = candidates, popularity_weight, habit_weight

    def upsert(self, store: VectorStore, visits: list[Visit]) -> None:
        records = [
            Record(visit.user_id, taste, {"updated_ms": visit.activity.recent[-1].timestamp_ms})
            for visit, taste in zip(visits, _tastes(visits), strict=True)
        ]
        if records:
            store.upsert(records, namespace=USERS)

    def query(self, store: VectorStore, visits: list[Visit]) -> list[list[dict]]:
        if not visits:
            return []
        answers = store.query(_tastes(visits), top_k=self._candidates, namespace=CATALOGUE)
        return [self._rank(visit, matches) for visit, matches in zip(visits, answers, strict=True)]

    def _rank(self, visit: Visit, matches: list[Match]) -> list[dict]:
        seen = visit.activity.session(_SESSION_GAP_MS)
        scores: dict[str, float] = {}
        descriptions: dict[str, str] = {}
        for match in matches:
            scores[match.id] = match.score + self._popularity_weight * match.metadata["popularity"]
            descriptions[match.id] = match.metadata["description"]
        for habit in visit.profile.habits:
            product = habit.product
            descriptions[product.product_id] = product.description
            unmatched = self._popularity_weight * product.popularity
            scores[product.product_id] = scores.get(product.product_id, unmatched) + self._habit_weight * float(
                np.log1p(habit.weight)
            )
        best = sorted((product_id for product_id in scores if product_id not in seen), key=lambda product_id: -scores[product_id])
        return [
            {"product_id": product_id, "description": descriptions[product_id], "score": round(scores[product_id], 4)}
            for product_id in best[:RECOMMENDED]
        ]


class PerUserNamespace:
    """The article's way: each click is stored in a namespace of its user, and that namespace is asked for the top five.

    It can only return what the user clicked, and the newest click is nearest to itself: dropping it leaves four.
    """

    def upsert(self, store: VectorStore, visits: list[Visit]) -> None:
        for visit in visits:
            records = [
                Record(arrival.event.event_id, vector, {"product_id": product.product_id, "description": product.description})
                for arrival, product, vector in zip(visit.arrivals, visit.products, visit.vectors, strict=True)
            ]
            store.upsert(records, namespace=_own(visit))

    def query(self, store: VectorStore, visits: list[Visit]) -> list[list[dict]]:
        return [self._ask(store, visit) for visit in visits]

    def _ask(self, store: VectorStore, visit: Visit) -> list[dict]:
        newest = visit.arrivals[-1].event.event_id
        (matches,) = store.query(visit.vectors[-1:], top_k=RECOMMENDED, namespace=_own(visit))
        return [
            {
                "product_id": match.metadata["product_id"],
                "description": match.metadata["description"],
                "score": round(match.score, 4),
            }
            for match in matches
            if match.id != newest
        ]


class NoIndex:
    """No vector index at all: nothing is written, asked or recommended. What remains is the cost of everything else."""

    def upsert(self, store: VectorStore, visits: list[Visit]) -> None:
        pass

    def query(self, store: VectorStore, visits: list[Visit]) -> list[list[dict]]:
        return [[] for _ in visits]


def _tastes(visits: list[Visit]) -> np.ndarray:
    """float32[n, d]: each user's decayed mean; the newest touch where opposite ones cancelled out to no direction at all."""
    means = [visit.activity.vector for visit in visits]
    return np.array(
        [mean if np.linalg.norm(mean) > _LEAST_NORM else visit.vectors[-1] for mean, visit in zip(means, visits, strict=True)]
    )


def _own(visit: Visit) -> str:
    return f"user-{visit.user_id}"


def variant(name: str, **weights) -> Variant:
    """The variant of that name.

    Raises:
        SettingError: there is no such variant.
    """
    if name == "catalogue":
        return Catalogue(**weights)
    if name == "article":
        return PerUserNamespace()
    if name == "none":
        return NoIndex()
    raise SettingError("variant", name, "one of catalogue, article, none")
