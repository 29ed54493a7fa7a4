"""A small world to test the function in: products whose vectors a test chooses, events, records and a DynamoDB that obeys."""

import base64
import hashlib

import msgspec
import numpy as np

from workbench.codecs import codec
from workbench.events import Event
from workbench.function.entities import Product

JSON = codec("json")
MINUTE = 60_000
NOON = 1_510_000_000_000
ORIGIN = "arn:aws:kinesis:us-east-1:000000000000:stream/events/shardId-000000000000/1"  # of every record


class HashEmbedder:
    """A text's vector is drawn by its hash: always the same, and unlike any other text's. Remembers what it was asked for."""

    def __init__(self, dimension: int = 8) -> None:
        self.model, self.dimension = "hash-1", dimension
        self.calls: list[list[str]] = []

    def embed(self, texts: list[str]) -> np.ndarray:
        self.calls.append(list(texts))
        return np.stack([self.vector(text) for text in texts])

    def vector(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        drawn = np.random.default_rng(seed).normal(size=self.dimension).astype(np.float32)
        return drawn / np.linalg.norm(drawn)


def event(event_id: str, user: str = "u1", product: str = "p1", at: int = NOON) -> Event:
    return Event(event_id=event_id, user_id=user, product_id=product, timestamp_ms=at, trace_id=f"trace-{event_id}")


def product(product_id: str, popularity: float = 0.5) -> Product:
    return Product(product_id, f"Product {product_id}, Grocery", popularity)


def record(data: bytes | str, sequence_number: str) -> dict:
    """As Lambda hands a Kinesis record over (docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html)."""
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "1",
            "sequenceNumber": sequence_number,
            "data": base64.b64encode(data).decode() if isinstance(data, bytes) else data,
            "approximateArrivalTimestamp": 1545084650.987,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"shardId-000000000000:{sequence_number}",
        "eventName": "aws:kinesis:record",
        "awsRegion": "us-east-1",
        "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/events",
    }


def batch(*entries: Event | bytes | str, first: int = 1) -> dict:
    """Lambda's event of these events, raw bytes or data as it is, numbered "1", "2", ... or from ``first`` on."""
    data = (JSON.encode(entry) if isinstance(entry, Event) else entry for entry in entries)
    return {"Records": [record(each, str(number)) for number, each in enumerate(data, first)]}


def fields(entry: Event) -> dict:
    return msgspec.to_builtins(entry)
