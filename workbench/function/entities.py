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


class _Stored(msgspec.Struct, array_like=True):
    recent: tuple[Touch, ...]
    vector: bytes
    older: bytes


class Activity(msgspec.Struct, frozen=True):
    """What a user did lately: the newest touches, oldest first, and the decayed mean of all that they touched.

    ``vector`` is float32[d] (not of unit length; None before the first touch). It is stored as float16, which halves the
    item and changes a cosine by less than 0.001. ``older`` holds 8-byte digests of the event ids before ``recent``: the stream
    delivers at least once, and a batch that comes again may hold many events of one user.
    """

    recent: tuple[Touch, ...] = ()
    vector: np.ndarray | None = None
    older: bytes = b""

    REMEMBERED = 32
    REMEMBERED_DIGESTS = 224

    def knows(self, event_id: str) -> bool:
        """Whether this event was counted already; certain for a user's last 256 events."""
        return any(touch.event_id == event_id for touch in self.recent) or _holds(self.older, _digest(event_id))

    def after(self, touch: Touch, vector: np.ndarray, *, half_life: float) -> "Activity":
        """The activity with one touch more; after ``half_life`` further touches it counts half.

        A vector of another dimension came from another model, and is forgotten.
        """
        kept = 0.5 ** (1.0 / half_life)
        alike = self.vector is not None and self.vector.shape == vector.shape
        blended = kept * self.vector + (1.0 - kept) * vector if alike else vector
        recent = (*self.recent, touch)
        leaving = b"".join(_digest(touch.event_id) for touch in recent[: -self.REMEMBERED])
        older = (self.older + leaving)[-self.REMEMBERED_DIGESTS * _DIGEST_BYTES :]
        return Activity(recent[-self.REMEMBERED :], blended.astype(np.float32), older)

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
        return {"B": msgspec.msgpack.encode(_Stored(self.recent, self.vector.astype(np.float16).tobytes(), self.older))}

    @classmethod
    def from_item(cls, item: Item) -> "Activity":
        stored = msgspec.msgpack.decode(item["activity"]["B"], type=_Stored)
        return cls(stored.recent, np.frombuffer(stored.vector, np.float16).astype(np.float32), stored.older)


def _digest(event_id: str) -> bytes:
    return hashlib.blake2b(event_id.encode(), digest_size=_DIGEST_BYTES).digest()


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
        "activity": activity.to_attribute(),
    }


def recommendation_from_item(item: Item) -> Recommendation:
    """The recommendation in a read model's item."""
    items = msgspec.json.decode(item["items"]["S"])
    return Recommendation(item["user_id"]["S"], tuple(items), item["trace_id"]["S"])
