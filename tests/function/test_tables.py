"""DynamoDB in batches: parts of 100 keys and 25 items, and whatever comes back unprocessed is asked again, eight times.

Reasons for a cancellation are those of TransactionCanceledException in the DynamoDB API reference.
"""

import pytest

from workbench.errors import ServiceError, WriteConflict
from workbench.function.tables import batch_get, batch_write, put_items, put_over, slices


def key(number: int) -> dict:
    return {"user_id": {"S": str(number)}}


def asked(numbers, *, consistent: bool = False) -> dict:
    return {"Keys": [key(number) for number in numbers], "ConsistentRead": consistent}


def test_a_read_asks_for_100_keys_at_a_time_over_all_tables(scripted):
    wanted = [("a", key(number)) for number in range(150)] + [("b", key(number)) for number in range(60)]
    for request in ({"a": asked(range(100))}, {"a": asked(range(100, 150)), "b": asked(range(50))}, {"b": asked(range(50, 60))}):
        answer = {table: keys["Keys"] for table, keys in request.items()}
        scripted.script.add_response("batch_get_item", {"Responses": answer}, {"RequestItems": request})
    assert batch_get(scripted, wanted) == {"a": [key(n) for n in range(150)], "b": [key(n) for n in range(60)]}


def test_only_the_named_tables_are_read_consistently(scripted):
    request = {"a": asked([1]), "b": asked([2], consistent=True)}
    scripted.script.add_response("batch_get_item", {"Responses": {}}, {"RequestItems": request})
    assert batch_get(scripted, [("a", key(1)), ("b", key(2))], consistent=frozenset({"b"})) == {}


def test_unprocessed_keys_are_asked_again_until_none_is_left(scripted, naps):
    left = {"a": asked([2, 3])}
    last = {"a": asked([3])}
    script = scripted.script
    script.add_response(
        "batch_get_item", {"Responses": {"a": [key(1)]}, "UnprocessedKeys": left}, {"RequestItems": {"a": asked([1, 2, 3])}}
    )
    script.add_response("batch_get_item", {"Responses": {"a": [key(2)]}, "UnprocessedKeys": last}, {"RequestItems": left})
    script.add_response("batch_get_item", {"Responses": {"a": [key(3)]}, "UnprocessedKeys": {}}, {"RequestItems": last})
    assert batch_get(scripted, [("a", key(number)) for number in (1, 2, 3)]) == {"a": [key(1), key(2), key(3)]}
    assert len(naps) == 2


def test_keys_that_stay_unprocessed_are_an_error_after_eight_tries(scripted, naps):
    for _ in range(8):
        scripted.script.add_response("batch_get_item", {"Responses": {}, "UnprocessedKeys": {"a": asked([1])}})
    with pytest.raises(ServiceError, match="BatchGetItem unprocessed 8 times: the table is throttled"):
        batch_get(scripted, [("a", key(1))])
    assert all(0 <= nap <= 0.02 * 2**number for number, nap in enumerate(naps)), "longer each time, with jitter"


def test_nothing_wanted_asks_nothing(scripted):
    assert batch_get(scripted, []) == {}
    put_items(scripted, "a", [])


def test_a_write_puts_25_items_at_a_time(scripted):
    for part in (range(25), range(25, 50), range(50, 51)):
        request = {"a": [{"PutRequest": {"Item": key(number)}} for number in part]}
        scripted.script.add_response("batch_write_item", {}, {"RequestItems": request})
    put_items(scripted, "a", (key(number) for number in range(51)))


def test_unprocessed_items_are_written_again_until_none_is_left(scripted, naps):
    puts = [{"PutRequest": {"Item": key(number)}} for number in (1, 2)]
    left = {"a": puts[1:]}
    scripted.script.add_response("batch_write_item", {"UnprocessedItems": left}, {"RequestItems": {"a": puts}})
    scripted.script.add_response("batch_write_item", {"UnprocessedItems": {}}, {"RequestItems": left})
    put_items(scripted, "a", [key(1), key(2)])
    assert len(naps) == 1


def test_items_that_stay_unprocessed_are_an_error_after_eight_tries(scripted, naps):
    deletes = [{"DeleteRequest": {"Key": key(1)}}]
    for _ in range(8):
        scripted.script.add_response("batch_write_item", {"UnprocessedItems": {"a": deletes}}, {"RequestItems": {"a": deletes}})
    with pytest.raises(ServiceError, match="BatchWriteItem unprocessed 8 times"):
        batch_write(scripted, "a", deletes)


def test_what_was_written_in_parts_is_read_in_parts(dynamodb, tables):
    """The real calls, over the wire: 120 items, of which 130 keys are asked for."""
    put_items(dynamodb, tables.profiles, (key(number) for number in range(120)))
    found = batch_get(
        dynamodb, [(tables.profiles, key(number)) for number in range(130)], consistent=frozenset({tables.profiles})
    )
    assert sorted(int(item["user_id"]["S"]) for item in found[tables.profiles]) == list(range(120))
    batch_write(dynamodb, tables.profiles, ({"DeleteRequest": {"Key": key(number)}} for number in range(60)))
    assert dynamodb.scan(TableName=tables.profiles)["Count"] == 60


@pytest.mark.parametrize(("count", "lengths"), [(0, []), (1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3])])
def test_slices_keep_every_entry_in_order(count, lengths):
    parts = list(slices(iter(range(count)), 3))
    assert [len(part) for part in parts] == lengths
    assert [entry for part in parts for entry in part] == list(range(count))


def versioned(number: int, version: int) -> dict:
    return {**key(number), "version": {"N": str(version)}}


def cancelled(scripted, *codes: str) -> None:
    """DynamoDB's next answer: a reason for each item, "None" where it is none."""
    reasons = [{"Code": code, "Message": f"why {code}"} if code != "None" else {"Code": code} for code in codes]
    scripted.script.add_client_error(
        "transact_write_items", "TransactionCanceledException", modeled_fields={"CancellationReasons": reasons}
    )


def put(scripted, count: int = 2) -> None:
    put_over(scripted, "a", ((versioned(number, 1), 0) for number in range(count)), key="user_id")


def test_each_item_is_put_over_the_version_that_was_read(scripted):
    new, known = versioned(1, 1), versioned(2, 8)
    puts = [
        {"Put": {"TableName": "a", "Item": new, "ConditionExpression": "attribute_not_exists(version)"}},
        {
            "Put": {
                "TableName": "a",
                "Item": known,
                "ConditionExpression": "version = :read",
                "ExpressionAttributeValues": {":read": {"N": "5"}},
            }
        },
    ]
    scripted.script.add_response("transact_write_items", {}, {"TransactItems": puts})
    put_over(scripted, "a", [(new, 0), (known, 5)], key="user_id")


def test_a_transaction_has_100_items(scripted):
    sent = []
    scripted.meta.events.register("provide-client-params.dynamodb.TransactWriteItems", lambda params, **_: sent.append(params))
    for _ in range(3):
        scripted.script.add_response("transact_write_items", {})
    put(scripted, 201)
    put(scripted, 0)
    assert [len(params["TransactItems"]) for params in sent] == [100, 100, 1]


@pytest.mark.parametrize("code", ["ConditionalCheckFailed", "TransactionConflict"])
@pytest.mark.parametrize("other", ["None", "ThrottlingError", "ValidationError"])
def test_an_item_that_somebody_wrote_or_writes_is_a_conflict_whatever_else_there_was(scripted, naps, code, other):
    cancelled(scripted, other, code, "None", code)
    with pytest.raises(WriteConflict, match=r"^table a: 1, 3 changed since read: read again, then write$") as raised:
        put(scripted, 4)
    assert (raised.value.table, raised.value.keys, naps) == ("a", ["1", "3"], [])


def test_a_conflict_names_three_items_at_most(scripted):
    cancelled(scripted, *["ConditionalCheckFailed"] * 5)
    with pytest.raises(WriteConflict, match=r"^table a: 0, 1, 2, … changed since read") as raised:
        put(scripted, 5)
    assert raised.value.keys == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceeded", "ThrottlingError"])
def test_a_throttled_transaction_is_tried_again_as_a_whole(scripted, naps, code):
    cancelled(scripted, "None", code)
    cancelled(scripted, code, code)
    scripted.script.add_response("transact_write_items", {})
    put(scripted)
    assert len(naps) == 2


def test_a_transaction_that_stays_throttled_is_an_error_after_eight_tries(scripted, naps):
    for _ in range(8):
        cancelled(scripted, "None", "ThrottlingError")
    with pytest.raises(ServiceError, match=r"^DynamoDB left a TransactWriteItems unprocessed 8 times: the table is throttled$"):
        put(scripted)
    assert all(0 <= nap <= 0.02 * 2**number for number, nap in enumerate(naps)), "longer each time, with jitter"


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        (["None", "ValidationError"], "ValidationError: why ValidationError"),
        (["ThrottlingError", "ItemCollectionSizeLimitExceeded"], "ItemCollectionSizeLimitExceeded: why"),
        (["None", "None"], "it gave no reason"),
    ],
)
def test_another_reason_is_an_error_at_once(scripted, naps, codes, why):
    cancelled(scripted, *codes)
    with pytest.raises(ServiceError, match=rf"^DynamoDB cancelled a TransactWriteItems of table a: {why}"):
        put(scripted)
    assert naps == []


def test_what_was_not_written_by_a_transaction_before_it_is_not_touched(scripted):
    """The error names items of the transaction that failed; what earlier ones wrote stays."""
    scripted.script.add_response("transact_write_items", {})
    cancelled(scripted, "None", "ConditionalCheckFailed")
    with pytest.raises(WriteConflict) as raised:
        put(scripted, 102)
    assert raised.value.keys == ["101"]
