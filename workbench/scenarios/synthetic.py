"""Events that never happened: any number of them, drawn from what a purchase history shows.

Who buys, how often they buy what they bought before, and how fast purchases follow each other are measured from the history.
Baskets, the time of day, the season and a household's changing taste are not modelled: the load is alike, the story is not.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbench.events import Event
from workbench.function.entities import Product, Profile


def draw(
    history: pd.DataFrame,
    *,
    start: pd.Timestamp,
    profiles: Sequence[Profile],
    catalogue: Sequence[Product],
    events: int,
    seed: int,
) -> list[Event]:
    """``events`` purchases from ``start`` on, in time order; the first n of a longer draw are the shorter draw.

    ``history`` has a row for each purchase before ``start``, in time order (household_id, product_id,
    transaction_timestamp), ``profiles`` one for each of its households. Each event's household is drawn by its share of the
    purchases. With the history's share of repeat purchases the product is one of the household's habits, drawn by their
    weights; else, and always for a household without habits, it is of the catalogue, drawn by purchases (and may happen
    to be a habit, too). Gaps are exponential, of the history's mean.
    """
    # A stream of its own for each question: then no answer depends on how many events are drawn.
    who, whether, which, when = np.random.default_rng(seed).spawn(4)
    households = _pick(_reached(history.household_id, [profile.user_id for profile in profiles]), who.random(events))
    listed = [product.product_id for product in catalogue]
    chances = which.random(events)
    products = np.array(listed, object)[_pick(_reached(history.product_id, listed), chances)]

    owned, reached = _habits(profiles)
    repeats = (whether.random(events) < repeat_share(history)) & (reached[households, -1] > 0)
    of = households[repeats]
    habit = (reached[of] <= (chances[repeats] * reached[of, -1])[:, None]).sum(axis=1)
    products[repeats] = owned[of, habit]

    # Whole ms, at least one: times rise, and the last bit of a machine's logarithm makes no difference.
    gaps = 1 + np.floor(when.standard_exponential(events) * mean_gap_ms(history, start)).astype(np.int64)
    times = int(start.timestamp() * 1000) + np.cumsum(gaps)
    return [
        Event(
            event_id=(event_id := f"synthetic-{seed}-{number}"),
            user_id=profiles[household].user_id,
            product_id=product,
            timestamp_ms=time_ms,
            trace_id=hashlib.sha256(event_id.encode()).hexdigest()[:32],
        )
        for number, (household, product, time_ms) in enumerate(zip(households.tolist(), products, times.tolist(), strict=True))
    ]


def repeat_share(history: pd.DataFrame) -> float:
    """The share of purchases whose household had bought that product before, as far back as the history goes."""
    return float(history.duplicated(["household_id", "product_id"]).mean())


def mean_gap_ms(history: pd.DataFrame, start: pd.Timestamp) -> float:
    """Milliseconds from one purchase to the next, on average between the first one and ``start``."""
    return (start - history.transaction_timestamp.iloc[0]) / pd.Timedelta(milliseconds=1) / len(history)


def _reached(bought: pd.Series, ids: Sequence[str]) -> np.ndarray:
    """int64[n]: the running sum of how many purchases each of ``ids`` has."""
    return np.cumsum(bought.value_counts().loc[[int(each) for each in ids]].to_numpy())


def _pick(reached: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """int64[n]: for each chance in [0, 1) an index, drawn by the weights whose running sum is ``reached``."""
    return np.searchsorted(reached, chances * reached[-1], side="right")


def _habits(profiles: Sequence[Profile]) -> tuple[np.ndarray, np.ndarray]:
    """Each household's habits, a row each, padded: product ids (object[n, h]) and the running sums of weights (float64[n, h])."""
    most = max([1, *(len(profile.habits) for profile in profiles)])
    owned, weights = np.full((len(profiles), most), "", object), np.zeros((len(profiles), most))
    for row, profile in enumerate(profiles):
        for column, habit in enumerate(profile.habits):
            owned[row, column], weights[row, column] = habit.product.product_id, habit.weight
    return owned, np.cumsum(weights, axis=1)
