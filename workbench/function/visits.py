"""What one batch brings for each user: the unit that upsert, query and act work on."""

import msgspec
import numpy as np

from workbench.function.decode import Arrival
from workbench.function.enrich import Known
from workbench.function.entities import Activity, Place, Product, Profile, Touch


class Visit(msgspec.Struct, frozen=True):
    """One user's new events of a batch, oldest first, and the activity that they lead to.

    ``vectors`` is float32[n, d], one row for each of ``arrivals`` and ``products``.
    """

    profile: Profile
    arrivals: list[Arrival]
    products: list[Product]
    vectors: np.ndarray
    activity: Activity

    @property
    def user_id(self) -> str:
        return self.profile.user_id

    @property
    def trace_id(self) -> str:
        return self.arrivals[-1].event.trace_id

    @property
    def read_version(self) -> int:
        """The version of the activity that was read: each arrival raised it by one. 0: the user has no item yet."""
        return self.activity.version - len(self.arrivals)


def visits(arrivals: list[Arrival], known: Known, vectors: dict[str, np.ndarray], *, half_life: float) -> list[Visit]:
    """One visit a user, in the order of their first event. ``vectors`` is float32[d] by product id.

    Events that the user's activity has counted already (the stream delivers at least once) are left out.
    """
    per_user: dict[str, list[Arrival]] = {}
    for arrival in arrivals:
        per_user.setdefault(arrival.event.user_id, []).append(arrival)
    return [
        visit
        for user, owned in per_user.items()
        if (visit := _visit(known.profiles[user], known.activities[user], owned, known.products, vectors, half_life))
    ]


def _visit(profile, activity, arrivals, products, vectors, half_life) -> Visit | None:
    new = []
    for arrival in arrivals:
        event = arrival.event
        place = Place.of(arrival.origin, arrival.sequence_number, arrival.sub_sequence_number)
        if activity.reaches(place) or activity.knows(event.event_id):
            continue
        new.append(arrival)
        touch = Touch(event.event_id, event.product_id, event.timestamp_ms)
        activity = activity.after(touch, vectors[event.product_id], half_life=half_life, place=place)
    if not new:
        return None
    touched = [products[arrival.event.product_id] for arrival in new]
    return Visit(profile, new, touched, np.stack([vectors[product.product_id] for product in touched]), activity)
