"""DynamoDB in batches, with its rules: at most 100 keys a read, 25 items a write, and whatever comes back unprocessed again.

Limits: BatchGetItem, BatchWriteItem and TransactWriteItems in the DynamoDB API reference.
"""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from workbench.errors import ServiceError, WriteConflict
from workbench.function.entities import Item

_KEYS_A_READ = 100
_ITEMS_A_WRITE = 25
_ITEMS_A_TRANSACTION = 100  # and 4 MB in all
_CONFLICTS = {"ConditionalCheckFailed", "TransactionConflict"}
_THROTTLED = {"ProvisionedThroughputExceeded", "ThrottlingError"}
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
        for pause in _pauses("part of a BatchGetItem"):
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
        for pause in _pauses("part of a BatchWriteItem"):
            request = dynamodb.batch_write_item(RequestItems=request).get("UnprocessedItems")
            if not request:
                break
            pause()


def put_items(dynamodb, table: str, items: Iterable[Item]) -> None:
    """Insert or replace items."""
    batch_write(dynamodb, table, ({"PutRequest": {"Item": item}} for item in items))


def put_over(dynamodb, table: str, replacements: Iterable[tuple[Item, int]], *, key: str) -> None:
    """Put each item over the version of it that was read, 0 where there was none: only if nobody has written it since.

    Items carry a number ``version`` that rises with each write; ``key`` names the table's partition key, and no item comes
    twice. 100 items are one transaction, of which all are written or none; more are several, one after the other.

    Raises:
        WriteConflict: some were written since, or are being written. What earlier transactions wrote stays.
        ServiceError: the table stayed throttled after several tries with backoff, or DynamoDB cancelled for another reason.
    """
    for slice_ in slices(replacements, _ITEMS_A_TRANSACTION):
        actions = [{"Put": {"TableName": table, "Item": item, **_unchanged(version)}} for item, version in slice_]
        for pause in _pauses("a TransactWriteItems"):
            try:
                dynamodb.transact_write_items(TransactItems=actions)
                break
            except dynamodb.exceptions.TransactionCanceledException as error:
                reasons = error.response.get("CancellationReasons", [])
                _raise_unless_throttled(table, [item[key]["S"] for item, _ in slice_], reasons)
            pause()


def _unchanged(version: int) -> dict:
    if not version:
        return {"ConditionExpression": "attribute_not_exists(version)"}
    return {"ConditionExpression": "version = :read", "ExpressionAttributeValues": {":read": {"N": str(version)}}}


def _raise_unless_throttled(table: str, keys: list[str], reasons: list[dict]) -> None:
    """``reasons`` are in the order of the items; those that are no reason for the cancellation have the code "None"."""
    conflicts = [key for key, reason in zip(keys, reasons, strict=False) if reason["Code"] in _CONFLICTS]
    if conflicts:
        raise WriteConflict(table, conflicts)
    others = [reason for reason in reasons if reason["Code"] not in _THROTTLED | {"None"}]
    if others or all(reason["Code"] == "None" for reason in reasons):
        why = f"{others[0]['Code']}: {others[0].get('Message')}" if others else "it gave no reason"
        raise ServiceError(f"DynamoDB cancelled a TransactWriteItems of table {table}: {why}")


def slices(entries: Iterable, size: int) -> Iterator[list]:
    """Lists of ``size`` entries, the last one maybe shorter."""
    entries = iter(entries)
    while slice_ := list(islice(entries, size)):
        yield slice_


def _pauses(call: str) -> Iterator:
    """One pause to take after each failed try: exponential with full jitter, as AWS advises."""
    for attempt in range(_ATTEMPTS):
        yield lambda attempt=attempt: time.sleep(random.uniform(0, 0.02 * 2**attempt))
    raise ServiceError(f"DynamoDB left {call} unprocessed {_ATTEMPTS} times: the table is throttled")
