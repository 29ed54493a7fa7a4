"""What a stream's events left behind, compared with what the same events leave where nothing goes wrong."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np

from workbench.benchmarks.consumer import Wiring, index
from workbench.cloud.clients import client
from workbench.events import Event, Record
from workbench.function.entities import Activity, Item, Profile, recommendation_from_item
from workbench.function.tables import batch_get
from workbench.function.variants import USERS


class Effects(NamedTuple):
    """Figures of some events. ``repeated`` counts deliveries of an event that had been delivered before.

    ``lost`` are events that the read model does not know. ``disordered`` are users of whom an event was first processed before
    an earlier one, or is remembered so. ``differing`` are users whose recommendation, activity or vector is not, bit for bit,
    what it should be: an event that was counted twice shows here.
    """

    events: int
    repeated: int
    lost: int
    disordered: int
    differing: int

    @property
    def intact(self) -> bool:
        return not (self.lost or self.disordered or self.differing)


class Left(NamedTuple):
    """What there is of a user at the end: the read model's item, and the record in the index; None if there is none."""

    item: Item | None
    record: Record | None

    @property
    def activity(self) -> Activity:
        return Activity() if self.item is None else Activity.from_item(self.item)

    def same(self, other: "Left") -> bool:
        """Whether nobody could tell the two apart: neither the user nor the user's next event."""
        return self._seen() == other._seen()

    def _seen(self) -> tuple:
        if self.item is None or self.record is None:
            return self.item, self.record
        activity, record = self.activity, self.record
        shown = recommendation_from_item(self.item)
        return shown, activity.recent, activity.vector.tobytes(), np.asarray(record.values).tobytes(), record.metadata


def left(wiring: Wiring, key: str, profiles: Sequence[Profile]) -> dict[str, Left]:
    """What a consumer left of these users, by user id."""
    table, users = wiring.tables.recommendations, [profile.user_id for profile in profiles]
    keys = [(table, {"user_id": {"S": user}}) for user in users]
    found = batch_get(client("dynamodb", wiring.endpoints), keys, consistent=frozenset({table})).get(table, ())
    items = {item["user_id"]["S"]: item for item in found}
    with closing(index(wiring, key)) as store:
        records = store.fetch(users, namespace=USERS)
    return {user: Left(items.get(user), records.get(user)) for user in users}


def compared(events: Sequence[Event], delivered: Sequence[str], found: Mapping[str, Left], wanted: Mapping[str, Left]) -> Effects:
    """The figures of ``events``, in the order they were put, at most 256 of a user.

    ``delivered`` are event ids in the order they were processed, one for each delivery; ``found`` and ``wanted`` what is left of
    each user, and what should be.
    """
    put: dict[str, list[str]] = {}
    for event in events:
        put.setdefault(event.user_id, []).append(event.event_id)
    turn = {event_id: place for place, event_id in reversed(list(enumerate(delivered)))}  # of an event's first delivery
    lost = disordered = differing = 0
    for user, ids in put.items():
        activity = found[user].activity
        lost += sum(not activity.knows(event_id) for event_id in ids)
        turns = [turn[event_id] for event_id in ids if event_id in turn]
        remembered = [touch.event_id for touch in activity.recent]
        in_turn = [event_id for event_id in ids if event_id in remembered]
        disordered += turns != sorted(turns) or remembered != in_turn
        differing += not found[user].same(wanted[user])
    return Effects(len(events), len(delivered) - len(turn), lost, disordered, differing)
