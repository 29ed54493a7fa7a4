"""What flows through the pipeline: an event in, matches from the vector store, a recommendation out."""

import msgspec

SCHEMA_VERSION = 1
MAX_ID = 500  # characters


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One customer touching one product.

    ``user_id`` is the stream's partition key, so one user's events keep their order. ``timestamp_ms`` is when it
    happened in the data (Unix time, ms), not when it was sent. ``trace_id`` travels in the payload because tracing
    headers do not pass through Kinesis.
    """

    event_id: str
    user_id: str
    product_id: str
    timestamp_ms: int
    trace_id: str
    schema_version: int = SCHEMA_VERSION


def is_id(text: str) -> bool:
    """Whether text can be the id of an event, user or product, which is a key of DynamoDB and of the vector store.

    DynamoDB takes 1 to 2,048 bytes (a partition key); Pinecone 512 ASCII characters, a namespace's prefix included.
    """
    return 1 <= len(text) <= MAX_ID and text.isascii() and "\0" not in text and text == text.strip()


class Record(msgspec.Struct, frozen=True):
    """One vector to store: ``values`` is float32[d]; ``metadata`` holds strings, numbers, bools and lists of strings."""

    id: str
    values: object
    metadata: dict = {}


class Match(msgspec.Struct, frozen=True):
    """One neighbour. Cosine and dot product: a higher score is nearer; euclidean: the squared distance, lower is nearer."""

    id: str
    score: float
    metadata: dict = {}


class Recommendation(msgspec.Struct, frozen=True):
    """What the front end gets for one user: product ids and readable names, best first."""

    user_id: str
    items: tuple[dict, ...]
    trace_id: str
