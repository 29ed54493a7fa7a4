"""What the function reads from and writes to DynamoDB, and how each looks as an item."""

import hashlib

import msgspec
import numpy as np

from workbench.events import Recommendation

_DIGEST_BYTES = 8

Item = dict[str, dict]  # DynamoDB's attribute values: {"name": {"S": "text"}}


class Product(msgspec.Struct, frozen=True):
    """A product as the catalogue knows it. ``popularity`` is in [0, 1]: log purchases, relative to the most bought."""

    product_id: str
    description: str
    popularity: float

    def to_item(self) -> Item:
        return {
            "product_id": {"S": self.product_id},
            "description": {"S": self.description},
            "popularity": {"N": repr(self.popularity)},
        }

    @classmethod
    def from_item(cls, item: Item) -> "Product":
        return cls(item["product_id"]["S"], item["description"]["S"], float(item["popularity"]["N"]))


class Habit(msgspec.Struct, frozen=True):
    """A product that a household keeps buying. ``weight`` counts its baskets, older ones for less."""

    product: Product
    weight: float


class Profile(msgspec.Struct, frozen=True):
    """A household: its demographics as published (may be empty), and its habits, strongest first."""

    user_id: str
    demographics: dict[str, str] = {}
    habits: tuple[Habit, ...] = ()

    def to_item(self) -> Item:
        habits = [{"M": {**habit.product.to_item(), "weight": {"N": repr(habit.weight)}}} for habit in self.habits]
        return {
            "user_id": {"S": self.user_id},
            "demographics": {"M": {name: {"S": value} for name, value in self.demographics.items()}},
            "habits": {"L": habits},
        }

    @classmethod
    def from_item(cls, item: Item) -> "Profile":
        habits = (entry["M"] for entry in item["habits"]["L"])
        return cls(
            item["user_id"]["S"],
            {name: value["S"] for name, value in item["demographics"]["M"].items()},
            tuple(Habit(Product.from_item(habit), float(habit["weight"]["N"])) for habit in habits),
        )


class Touch(msgspec.Struct, frozen=True, array_like=True):
    """One remembered event of a user."""

    event_id: str
    product_id: str
    timestamp_ms: int


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where an event is in the stream. Within one origin (8-byte digest of its name) events are processed in this order."""

    origin: bytes
    sequence_number: str
    sub_sequence_number: int

    @classmethod
    def of(cls, origin: str, sequence_number: str, sub_sequence_number: int | None) -> "Place":
        """``sub_sequence_number`` is None in a record that holds one event as it is."""
        return cls(_digest(origin), sequence_number, sub_sequence_number or 0)

    def reaches(self, other: "Place") -> bool:
        """Whether this is of the same origin as ``other``, and not before it."""
        return self.origin == other.origin and self._order() >= other._order()

    def _order(self) -> tuple[int, int]:
        return int(self.sequence_number), self.sub_sequence_number


class _Stored(msgspec.Struct, array_like=True):
    recent: tuple[Touch, ...]
    vector: bytes
    older: bytes
    places: tuple[Place, ...] = ()


# Made at import: msgspec 0.22 crashes the process if the first calls of decode(..., type=) come from several threads at once.
_STORED = msgspec.msgpack.Decoder(_Stored)


class Activity(msgspec.Struct, frozen=True):
    """What a user did lately: the newest touches, oldest first, and the decayed mean of all that they touched.

    ``vector`` is float32[d] (not of unit length; None before the first touch), of values that a float16 holds: it is stored as
    float16, which halves the item and changes a cosine by less than 0.001, and it is rounded after each touch, so that the
    same events give the same bits, whichever batches they came in. ``version`` is how many events were counted.

    The stream delivers at least once; an event counts once. There are two ways for it to come again:

    * A batch is delivered again, at any time and in any part. ``places`` says how far each origin is counted, for the four
      that were counted last (a user has one, and another after each resharding, while the user id is the partition key). What
      is not behind them was counted or given up: "Sequence numbers increase over time and are specific to a shard" (PutRecord,
      Kinesis API reference), and Lambda keeps the order of each partition key. Records that were given up are put into the
      stream anew to be counted.
    * A producer sends an event twice, because no answer came. Its second record has a sequence number of its own, but the
      same event id: ``recent`` and ``older`` (8-byte digests of the ids before) know the last 256.
    """

    recent: tuple[Touch, ...] = ()
    vector: np.ndarray | None = None
    older: bytes = b""
    places: tuple[Place, ...] = ()
    version: int = 0

    REMEMBERED = 32
    REMEMBERED_DIGESTS = 224
    REMEMBERED_PLACES = 4

    def knows(self, event_id: str) -> bool:
        """Whether this event was counted already; certain for a user's last 256 events."""
        return any(touch.event_id == event_id for touch in self.recent) or _holds(self.older, _digest(event_id))

    def reaches(self, place: Place) -> bool:
        """Whether the stream was counted as far as this place."""
        return any(reached.reaches(place) for reached in self.places)

    def after(self, touch: Touch, vector: np.ndarray, *, half_life: float, place: Place | None = None) -> "Activity":
        """The activity with one touch more; after ``half_life`` further touches it counts half. ``place`` is its event's.

        A vector of another dimension came from another model, and is forgotten.
        """
        kept = 0.5 ** (1.0 / half_life)
        alike = self.vector is not None and self.vector.shape == vector.shape
        blended = kept * self.vector + (1.0 - kept) * vector if alike else vector
        recent = (*self.recent, touch)
        leaving = b"".join(_digest(touch.event_id) for touch in recent[: -self.REMEMBERED])
        older = (self.older + leaving)[-self.REMEMBERED_DIGESTS * _DIGEST_BYTES :]
        places = self.places
        if place is not None:
            others = (each for each in places if each.origin != place.origin)
            places = (*others, place)[-self.REMEMBERED_PLACES :]
        rounded = blended.astype(np.float16).astype(np.float32)
        return Activity(recent[-self.REMEMBERED :], rounded, older, places, self.version + 1)

    def session(self, gap_ms: int) -> frozenset[str]:
        """The products of the newest session: touches that follow each other within ``gap_ms``."""
        seen: set[str] = set()
        newest = None
        for touch in sorted(self.recent, key=lambda touch: -touch.timestamp_ms):
            if newest is not None and newest - touch.timestamp_ms > gap_ms:
                break
            newest = touch.timestamp_ms
            seen.add(touch.product_id)
        return frozenset(seen)

    def to_attribute(self) -> dict:
        stored = _Stored(self.recent, self.vector.astype(np.float16).tobytes(), self.older, self.places)
        return {"B": msgspec.msgpack.encode(stored)}

    @classmethod
    def from_item(cls, item: Item) -> "Activity":
        """An item that was written before there were versions has version 0, like one that is not there."""
        stored = _STORED.decode(item["activity"]["B"])
        vector = np.frombuffer(stored.vector, np.float16).astype(np.float32)
        return cls(stored.recent, vector, stored.older, stored.places, int(item.get("version", {"N": "0"})["N"]))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()


def _holds(digests: bytes, digest: bytes) -> bool:
    place = digests.find(digest)
    while place > 0 and place % _DIGEST_BYTES:  # a match across two neighbours is none
        place = digests.find(digest, place + 1)
    return place >= 0


def recommendation_item(recommendation: Recommendation, activity: Activity) -> Item:
    """The read model's item: what the API answers, and the activity that the next event of this user goes on from.

    The recommended items are one JSON text: nobody asks DynamoDB about their parts, and each nested attribute is checked,
    packed and unpacked one by one, which made a write take half as much processor time again in the emulator.
    """
    return {
        "user_id": {"S": recommendation.user_id},
        "items": {"S": msgspec.json.encode(recommendation.items).decode()},
        "trace_id": {"S": recommendation.trace_id},
        "version": {"N": str(activity.version)},
        "activity": activity.to_attribute(),
    }


def recommendation_from_item(item: Item) -> Recommendation:
    """The recommendation in a read model's item."""
    items = msgspec.json.decode(item["items"]["S"])
    return Recommendation(item["user_id"]["S"], tuple(items), item["trace_id"]["S"])
