import base64
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest

from workbench.stream.dead_letters import DeadLetters

_ARRIVED = datetime(2026, 11, 23, 10, 30, 0, 250_000, UTC)
_SQS_BYTES = 256 * 1024


def _record(data: bytes, *, key: str = "user-1", number: str = "42") -> dict:
    return {"SequenceNumber": number, "Data": data, "PartitionKey": key, "ApproximateArrivalTimestamp": _ARRIVED}


def test_the_payload_is_awss_and_carries_reason_and_data(wired):
    before = datetime.now(UTC)
    wired.dead_letters.send("shardId-000000000003", _record(b"not \xff an event"), reason="not a json event", attempts=3)
    (letter,) = wired.dead(1)
    assert uuid.UUID(letter["requestContext"].pop("requestId")).version == 4
    assert before <= datetime.fromisoformat(letter.pop("timestamp")) <= datetime.now(UTC)
    assert letter == {  # fields: "Configuring destinations for failed invocations", Lambda developer guide
        "requestContext": {"functionArn": "process", "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 3},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "KinesisBatchInfo": {
            "shardId": "shardId-000000000003",
            "startSequenceNumber": "42",
            "endSequenceNumber": "42",
            "approximateArrivalOfFirstRecord": "2026-11-23T10:30:00.250000+00:00",
            "approximateArrivalOfLastRecord": "2026-11-23T10:30:00.250000+00:00",
            "batchSize": 1,
            "streamArn": wired.arn,
        },
        "workbench": {
            "reason": "not a json event",
            "partitionKey": "user-1",
            "data": base64.b64encode(b"not \xff an event").decode(),
        },
    }


def test_arrival_is_told_in_utc(wired):
    local = _ARRIVED.astimezone(timezone(timedelta(hours=-7)))
    wired.dead_letters.send("shard", _record(b"x") | {"ApproximateArrivalTimestamp": local}, reason="r", attempts=1)
    (letter,) = wired.dead(1)
    assert letter["KinesisBatchInfo"]["approximateArrivalOfFirstRecord"] == "2026-11-23T10:30:00.250000+00:00"


class _Queue:
    """SQS, which only looks how large a message is."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:  # noqa: N803
        self.sizes.append(len(MessageBody.encode()))


@pytest.mark.parametrize("size", [180 * 1024, 184 * 1024, 186 * 1024, 188 * 1024, 190 * 1024, 192 * 1024, 1024 * 1024])
@pytest.mark.parametrize("letter", ["a", "ш", "😀"])
def test_no_message_exceeds_the_queues_limit(size, letter):
    queue = _Queue()
    letters = DeadLetters(queue, "url", function="f" * 140, stream_arn="arn:aws:kinesis:us-east-1:000000000000:" + "s" * 128)
    letters.send("shardId-000000000000", _record(b"x" * size, key=letter * 256), reason=letter * 5000, attempts=10_001)
    assert queue.sizes[0] <= _SQS_BYTES
    assert (queue.sizes[0] > size) == (size < 1024 * 1024 and size * 4 / 3 <= _SQS_BYTES - 16 * 1024)  # the data, if it fits


def test_taking_letters_receives_those_that_are_named_and_leaves_the_others(wired):
    for number in ("1", "2", "3"):
        wired.dead_letters.send("shard", _record(number.encode(), number=number), reason=f"reason {number}", attempts=1)
    taken = wired.dead_letters.take({"1", "3"})
    assert sorted(letter["workbench"]["reason"] for letter in taken) == ["reason 1", "reason 3"]
    (left,) = wired.dead(1)  # once it is visible again
    assert left["workbench"]["reason"] == "reason 2"
    assert wired.dead_letters.take(set()) == []


def test_a_record_of_1_mib_is_sent_without_its_data(wired):
    wired.dead_letters.send("shard", _record(b"x" * 1024 * 1024, number="99"), reason="too much", attempts=3)
    (letter,) = wired.dead(1)
    assert letter["workbench"] == {"reason": "too much", "partitionKey": "user-1", "data": None}
    assert letter["KinesisBatchInfo"]["startSequenceNumber"] == "99"  # where it stays until the stream's retention ends
