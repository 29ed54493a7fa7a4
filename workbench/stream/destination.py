"""The on-failure destination: an SQS queue or an SNS topic gets a document for what was given up, as AWS sends it.

Source: "Retain discarded batch records for a Kinesis Data Streams event source in Lambda" (Lambda developer guide). It tells
where the records are, and carries none of them: they are lost when the stream's retention ends.

For records that became too old AWS leaves ``responseContext`` out, though the function was called for them before; the guide
shows no such document, LocalStack's recordings of AWS do (github.com/localstack/localstack, tests/aws/services/lambda_,
test_kinesis_maximum_record_age_exceeded, April 2025). In those ``approximateInvokeCount`` is 1 even where there was no call at
all; here it is the number of calls.
"""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from workbench.errors import ServiceError
from workbench.stream.batch import Condition, Discarded


class OnFailure:
    """Sends to the queue or topic ``arn``. ``client`` gives boto3's client of a service by its name.

    Raises:
        ServiceError: there is no such queue, or it cannot be asked for.
    """

    def __init__(self, arn: str, client: Callable[[str], object], *, function: str, stream_arn: str) -> None:
        self._arn, self._function, self._stream_arn = arn, function, stream_arn
        _, _, service, _, account, name = arn.split(":")
        if service == "sqs":
            queue = client("sqs")
            try:
                url = queue.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
            except Exception as error:  # boto3's own: not there, not allowed, or no answer
                raise ServiceError(f"{arn} cannot be the destination of what is given up: {error}") from error
            self._send = lambda text: queue.send_message(QueueUrl=url, MessageBody=text)
        else:
            topic = client("sns")
            self._send = lambda text: topic.publish(TopicArn=arn, Message=text)

    def __call__(self, shard_id: str, discarded: Discarded, failure: str) -> None:
        """Tell of what was given up; ``failure`` is the function's last error, of which AWS says only that there was one.

        Raises:
            ServiceError: the destination did not take it. The records are not dealt with then.
        """
        try:
            self._send(json.dumps(self._document(shard_id, discarded)))
        except Exception as error:  # refused, not there, or no answer: boto3 has tried again
            raise ServiceError(f"{self._arn} does not take what was given up: {error}") from error

    def _document(self, shard_id: str, discarded: Discarded) -> dict:
        first, last = discarded.records[0], discarded.records[-1]
        called = {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
        return {
            "requestContext": {
                "requestId": str(uuid.uuid4()),
                "functionArn": self._function,
                "condition": discarded.condition.value,
                "approximateInvokeCount": discarded.invocations,
            },
            **({"responseContext": called} if discarded.condition is Condition.RETRIES else {}),
            "version": "1.0",
            "timestamp": _time(datetime.now(UTC)),
            "KinesisBatchInfo": {
                "shardId": shard_id,
                "startSequenceNumber": first["SequenceNumber"],
                "endSequenceNumber": last["SequenceNumber"],
                "approximateArrivalOfFirstRecord": _time(first["ApproximateArrivalTimestamp"]),
                "approximateArrivalOfLastRecord": _time(last["ApproximateArrivalTimestamp"]),
                "batchSize": len(discarded.records),
                "streamArn": self._stream_arn,
            },
        }


def _time(at: datetime) -> str:
    """As AWS writes it: UTC, milliseconds, Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
