"""What lies in the dead-letter queue: batches that the event source gave up, and records that the function put aside."""

import base64
import json
import time

import msgspec

from workbench.errors import DecodeError

_ARRIVAL_S = 10.0


class DeadLetter(msgspec.Struct, frozen=True):
    """One message. A batch that was given up carries no data, as AWS sends it, and its condition for a reason.

    The ``data`` of a record whose data was not base64 is that text itself.
    """

    shard_id: str
    first: str  # sequence number
    last: str
    records: int
    reason: str
    calls: int  # of the function, as far as they were counted
    data: bytes | None = None
    partition_key: str | None = None


class DeadLetters:
    """The stack's dead-letter queue, read."""

    def __init__(self, sqs, queue_url: str) -> None:
        self._sqs, self._queue_url = sqs, queue_url

    def take(self, numbers: set[str]) -> list[DeadLetter]:
        """Receive and delete the letters whose first record has one of these sequence numbers; whatever else is there stays.

        In the order they come, each once, though a queue or the function may have sent it twice. One that is not in the queue
        within a few seconds of the last one is missing from the answer.
        """
        wanted, letters, deadline = set(numbers), [], time.monotonic() + _ARRIVAL_S
        while wanted and time.monotonic() < deadline:
            answer = self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", ()):
                try:
                    letter = parse(message["Body"])
                except DecodeError:  # somebody else's message, which must not cost a run its letters
                    continue
                if letter.first in numbers:
                    self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
                if letter.first in wanted:
                    wanted.remove(letter.first)
                    letters.append(letter)
                    deadline = time.monotonic() + _ARRIVAL_S  # from the last one on: there may be thousands
        return letters


def parse(body: str) -> DeadLetter:
    """A message of the queue: ``stream.destination``'s document or ``function.rejects``' message.

    Raises:
        DecodeError: it is neither.
    """
    try:
        return _parsed(json.loads(body))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DecodeError("dead-letter", f"{type(error).__name__}: {error}") from None


def _parsed(told: dict) -> DeadLetter:
    if "rejected" in told:
        record = told["record"]["kinesis"]
        return DeadLetter(
            shard_id=told["record"]["eventID"].partition(":")[0],
            first=record["sequenceNumber"],
            last=record["sequenceNumber"],
            records=1,
            reason="; ".join(told["rejected"].values()),
            calls=1,
            data=None if record["data"] is None else _data(record["data"]),
            partition_key=record["partitionKey"],
        )
    info = told["KinesisBatchInfo"]
    return DeadLetter(
        shard_id=info["shardId"],
        first=info["startSequenceNumber"],
        last=info["endSequenceNumber"],
        records=info["batchSize"],
        reason=told["requestContext"]["condition"],
        calls=told["requestContext"]["approximateInvokeCount"],
    )


def _data(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        return str(text).encode(errors="backslashreplace")
