"""Records that could not be processed, in SQS: AWS's on-failure payload, and what it lacks, the reason and the data.

AWS sends metadata only; when the stream's retention ends, the data is gone. Ours carries it, so that nothing is lost.
"""

import base64
import json
import time
import uuid
from datetime import UTC, datetime

_MOST_BYTES = 256 * 1024  # an SQS message's limit until August 2025; emulators still have it
_ENVELOPE_BYTES = 16 * 1024  # a reason and a key in another script than Latin take 6 bytes a character, or 12
_ARRIVAL_S = 10.0


class DeadLetters:
    """The stack's dead-letter queue."""

    def __init__(self, sqs, queue_url: str, *, function: str, stream_arn: str) -> None:
        self._sqs, self._queue_url, self._function, self._stream_arn = sqs, queue_url, function, stream_arn

    def send(self, shard_id: str, record: dict, *, reason: str, attempts: int) -> None:
        """One record that was given up after ``attempts`` tries."""
        self._sqs.send_message(
            QueueUrl=self._queue_url, MessageBody=json.dumps(self._message(shard_id, record, reason, attempts))
        )

    def take(self, sequence_numbers: set[str]) -> list[dict]:
        """Receive and delete the letters of these records, in the order they come; other letters stay.

        One that is not in the queue within a few seconds is missing from the answer.
        """
        wanted, letters, deadline = set(sequence_numbers), [], time.monotonic() + _ARRIVAL_S
        while wanted and time.monotonic() < deadline:
            answer = self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", ()):
                letter = json.loads(message["Body"])
                number = letter["KinesisBatchInfo"]["startSequenceNumber"]
                if number in wanted:
                    wanted.remove(number)
                    letters.append(letter)
                    self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
        return letters

    def _message(self, shard_id: str, record: dict, reason: str, attempts: int) -> dict:
        arrived = record["ApproximateArrivalTimestamp"].astimezone(UTC).isoformat()
        data = base64.b64encode(record["Data"]).decode()
        return {
            "requestContext": {
                "requestId": str(uuid.uuid4()),
                "functionArn": self._function,
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": attempts,
            },
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": datetime.now(UTC).isoformat(),
            "KinesisBatchInfo": {
                "shardId": shard_id,
                "startSequenceNumber": record["SequenceNumber"],
                "endSequenceNumber": record["SequenceNumber"],
                "approximateArrivalOfFirstRecord": arrived,
                "approximateArrivalOfLastRecord": arrived,
                "batchSize": 1,
                "streamArn": self._stream_arn,
            },
            "workbench": {
                "reason": reason[:1000],
                "partitionKey": record["PartitionKey"],
                # larger ones stay in the stream, where KinesisBatchInfo says, until its retention ends
                "data": data if len(data) <= _MOST_BYTES - _ENVELOPE_BYTES else None,
            },
        }
