"""DynamoDB in batches, with its rules: at most 100 keys a read, 25 items a write, and whatever comes back unprocessed again.

Limits: BatchGetItem and BatchWriteItem in the DynamoDB API reference.
"""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from workbench.errors import ServiceError
from workbench.function.entities import Item

_KEYS_A_READ = 100
_ITEMS_A_WRITE = 25
_ATTEMPTS = 8


class Tables(msgspec.Struct, frozen=True):
    """The stack's table names."""

    profiles: str
    products: str
    recommendations: str


def batch_get(dynamodb, wanted: Sequence[tuple[str, Item]], *, consistent: frozenset[str] = frozenset()) -> dict[str, list[Item]]:
    """The items that exist among (table, key) pairs, by table. Tables in ``consistent`` are read strongly consistently.

    Raises:
        ServiceError: keys stayed unprocessed (throttling) after several tries with backoff.
    """
    found: dict[str, list[Item]] = {}
    for slice_ in slices(wanted, _KEYS_A_READ):
        request: dict[str, dict] = {}
        for table, key in slice_:
            request.setdefault(table, {"Keys": [], "ConsistentRead": table in consistent})["Keys"].append(key)
        for pause in _pauses("BatchGetItem"):
            answer = dynamodb.batch_get_item(RequestItems=request)
            for table, items in answer["Responses"].items():
                found.setdefault(table, []).extend(items)
            request = answer.get("UnprocessedKeys")
            if not request:
                break
            pause()
    return found


def batch_write(dynamodb, table: str, requests: Iterable[dict]) -> None:
    """Write ``{"PutRequest": …}`` and ``{"DeleteRequest": …}`` entries, no key twice.

    Raises:
        ServiceError: items stayed unprocessed (throttling) after several tries with backoff.
    """
    for slice_ in slices(requests, _ITEMS_A_WRITE):
        request = {table: slice_}
        for pause in _pauses("BatchWriteItem"):
            request = dynamodb.batch_write_item(RequestItems=request).get("UnprocessedItems")
            if not request:
                break
            pause()


def put_items(dynamodb, table: str, items: Iterable[Item]) -> None:
    """Insert or replace items."""
    batch_write(dynamodb, table, ({"PutRequest": {"Item": item}} for item in items))


def slices(entries: Iterable, size: int) -> Iterator[list]:
    """Lists of ``size`` entries, the last one maybe shorter."""
    entries = iter(entries)
    while slice_ := list(islice(entries, size)):
        yield slice_


def _pauses(call: str) -> Iterator:
    """One pause to take after each failed try: exponential with full jitter, as AWS advises."""
    for attempt in range(_ATTEMPTS):
        yield lambda attempt=attempt: time.sleep(random.uniform(0, 0.02 * 2**attempt))
    raise ServiceError(f"DynamoDB left part of a {call} unprocessed {_ATTEMPTS} times: the table is throttled")
