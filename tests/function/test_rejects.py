"""What the function puts aside, and what a reader of the queue finds."""

import base64
import json
import uuid

import pytest

from workbench.cloud.clients import client
from workbench.errors import DecodeError, ServiceError
from workbench.function import rejects as module
from workbench.function.rejects import Rejects
from workbench.stream.dead_letters import DeadLetter, DeadLetters, parse

from .world import record

_LIMIT = 256 * 1024


@pytest.fixture
def queue(embedded_cloud):
    """(SQS, the queue's URL)."""
    sqs = client("sqs", embedded_cloud)
    url = sqs.create_queue(QueueName=f"rejects-{uuid.uuid4().hex[:8]}", Attributes={"VisibilityTimeout": "1"})["QueueUrl"]
    yield sqs, url
    sqs.delete_queue(QueueUrl=url)


def test_each_rejected_record_is_a_letter_with_reason_and_data_and_the_others_are_none(queue):
    records = [record(b"one", "1"), record(b"\xff\xfe", "2"), record(b"three", "3")]
    Rejects(*queue).send(records, {"2": "not a json event", "3": "product 'p9' is not in the products table"})
    letters = {letter.first: letter for letter in DeadLetters(*queue).take({"1", "2", "3"} - {"1"})}
    assert letters == {
        "2": DeadLetter("shardId-000000000000", "2", "2", 1, "not a json event", 1, b"\xff\xfe", "1"),
        "3": DeadLetter("shardId-000000000000", "3", "3", 1, "product 'p9' is not in the products table", 1, b"three", "1"),
    }
    assert queue[0].receive_message(QueueUrl=queue[1]).get("Messages", []) == []


def test_taking_leaves_the_letters_of_others(queue):
    Rejects(*queue).send([record(b"x", str(number)) for number in range(3)], dict.fromkeys("012", "bad"))
    assert [letter.first for letter in DeadLetters(*queue).take({"1"})] == ["1"]
    assert {letter.first for letter in DeadLetters(*queue).take({"0", "2"})} == {"0", "2"}
    assert DeadLetters(*queue).take(set()) == []


def test_a_record_that_was_put_aside_twice_is_one_letter(queue):
    for _ in range(2):
        Rejects(*queue).send([record(b"x", "7")], {"7": "bad"})
    assert len(DeadLetters(*queue).take({"7"})) == 1


def test_the_reasons_of_an_aggregated_record_are_in_its_letter(queue):
    Rejects(*queue).send([record(b"x", "7"), record(b"y", "77")], {"7:0": "first", "7:4": "fifth"})
    (letter,) = DeadLetters(*queue).take({"7"})
    assert letter.reason == "first; fifth"


class _Sqs:
    """Takes what it is sent, but for the places in each call that the script names."""

    def __init__(self, *script: set[int]) -> None:
        self._script, self.calls = list(script), []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict]) -> dict:  # noqa: N803
        self.calls.append([entry["MessageBody"] for entry in Entries])
        assert len({entry["Id"] for entry in Entries}) == len(Entries) <= 10
        assert sum(len(entry["MessageBody"].encode()) for entry in Entries) <= _LIMIT
        refused = self._script.pop(0) if self._script else set()
        return {"Failed": [{"Id": entry["Id"]} for place, entry in enumerate(Entries) if place in refused]}


def _texts(call: list[str]) -> list[str]:
    return [base64.b64decode(json.loads(body)["record"]["kinesis"]["data"]).decode() for body in call]


def test_a_call_has_ten_messages_at_most_and_those_that_are_refused_are_sent_again():
    sqs = _Sqs({1, 3}, {0})
    Rejects(sqs, "url").send([record(str(n).encode(), str(n)) for n in range(12)], {str(n): "bad" for n in range(12)})
    assert [_texts(call) for call in sqs.calls] == [[str(n) for n in range(10)], ["1", "3"], ["1"], ["10", "11"]]


def test_what_is_refused_to_the_last_try_fails_the_batch():
    with pytest.raises(ServiceError, match=r"^1 rejected records were refused by url$"):
        Rejects(_Sqs(*[{0}] * module._TRIES), "url").send([record(b"x", "1")], {"1": "bad"})


@pytest.mark.parametrize("size", [0, 100_000, 180_000, 196_000, 1_048_576])
@pytest.mark.parametrize("letter", ["a", "ш", "😀"])
def test_no_message_and_no_call_exceeds_the_queues_limit(size, letter):
    sqs = _Sqs()
    records = [record(b"x" * size, str(number)) for number in range(7)]
    Rejects(sqs, "url").send(records, {str(number): letter * 5000 for number in range(7)})
    held = [json.loads(body) for call in sqs.calls for body in call]
    assert [one["record"]["kinesis"]["sequenceNumber"] for one in held] == [str(number) for number in range(7)]
    assert all((one["record"]["kinesis"]["data"] is not None) == (size <= 180_000) for one in held)
    assert all(set(one["rejected"].values()) == {letter * 1000} for one in held)


def test_an_aggregated_record_with_very_many_reasons_fits_too():
    sqs = _Sqs()
    Rejects(sqs, "url").send([record(b"x", "1")], {f"1:{number}": "😀" * 1000 for number in range(500)})
    assert sum(map(len, sqs.calls)) == 1


def test_where_there_is_no_room_for_all_the_data_goes_before_the_reasons():
    """3,000 user records in one of 37 KB, all bad: 4/3 of that has room in a message, 3,000 reasons have not."""
    sqs, data, reasons = _Sqs(), b"x" * 37_000, {f"1:{number}": f"reason {number}" + "." * 100 for number in range(3000)}
    Rejects(sqs, "url").send([record(data, "1")], reasons)
    letter = parse(sqs.calls[0][0])
    told = letter.reason.split("; ")
    assert letter.data == data and len(told) == 20
    assert told[:19] == list(reasons.values())[:19]
    assert told[19] == reasons["1:19"] + " (and 2,980 more, whose reasons have no room here)"


def test_without_room_for_the_data_every_reason_is_told_that_has_room():
    sqs, reasons = _Sqs(), {f"1:{number}": f"reason {number}" for number in range(100)}
    Rejects(sqs, "url").send([record(b"x" * 300_000, "1")], reasons)
    letter = parse(sqs.calls[0][0])
    assert letter.data is None and letter.reason.split("; ") == list(reasons.values())


@pytest.mark.parametrize(
    ("text", "data"),
    [("%%%", b"%%%"), ("abc", b"abc"), ("é", "é".encode()), ("a\ud800", b"a\\ud800"), (5, b"5"), ([], b"[]"), (None, None)],
)
def test_data_that_is_not_base64_is_in_the_letter_as_it_was(text, data):
    sqs = _Sqs()
    Rejects(sqs, "url").send([record(text, "1")], {"1": "not a base64 event"})
    assert parse(sqs.calls[0][0]) == DeadLetter("shardId-000000000000", "1", "1", 1, "not a base64 event", 1, data, "1")


FOREIGN = [
    "hello",
    "",
    "{}",
    "[]",
    "null",
    '"KinesisBatchInfo"',
    '{"rejected": {}}',
    '{"rejected": 1, "record": 2}',
    "[" * 100_000,
]


@pytest.mark.parametrize("body", FOREIGN, ids=range(len(FOREIGN)))
def test_a_message_of_somebody_else_is_no_letter(body):
    with pytest.raises(DecodeError, match=r"^not a dead-letter event: "):
        parse(body)


def test_messages_of_others_stay_and_cost_no_letter(queue):
    sqs, url = queue
    sqs.send_message(QueueUrl=url, MessageBody="hello")
    Rejects(sqs, url).send([record(b"x", "7")], {"7": "bad"})
    assert [letter.first for letter in DeadLetters(sqs, url).take({"7"})] == ["7"]
    (left,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=3)["Messages"]  # once it is visible again
    assert left["Body"] == "hello"
