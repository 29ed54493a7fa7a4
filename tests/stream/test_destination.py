"""What the on-failure destination is sent, against the example in AWS's guide."""

import json
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest

from workbench.cloud.clients import client
from workbench.errors import ServiceError
from workbench.stream.batch import Condition, Discarded
from workbench.stream.dead_letters import DeadLetter, DeadLetters
from workbench.stream.destination import OnFailure

_FUNCTION = "arn:aws:lambda:us-east-2:123456789012:function:myfunction"
_STREAM = "arn:aws:kinesis:us-east-2:123456789012:stream/mystream"
_FIRST = datetime(2019, 11, 14, 0, 38, 4, 835_000, UTC)


def _records(count: int) -> list[dict]:
    return [
        {"SequenceNumber": str(100 + number), "ApproximateArrivalTimestamp": _FIRST + timedelta(milliseconds=10 * number)}
        for number in range(count)
    ]


@pytest.fixture
def queue(embedded_cloud):
    """(ARN, URL, what is in it)."""
    sqs = client("sqs", embedded_cloud)
    url = sqs.create_queue(QueueName=f"failed-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    yield arn, url, lambda: [message["Body"] for message in sqs.receive_message(QueueUrl=url).get("Messages", ())]
    sqs.delete_queue(QueueUrl=url)


def _sender(arn, embedded_cloud) -> OnFailure:
    return OnFailure(arn, lambda service: client(service, embedded_cloud), function=_FUNCTION, stream_arn=_STREAM)


def test_the_document_is_awss(queue, embedded_cloud):
    arn, _, contents = queue
    before = datetime.now(UTC)
    _sender(arn, embedded_cloud)("shardId-000000000001", Discarded(_records(75), Condition.RETRIES, 3), "ValueError: away")
    (body,) = contents()
    document = json.loads(body)
    assert uuid.UUID(document["requestContext"].pop("requestId")).version == 4
    sent = document.pop("timestamp")
    assert sent.endswith("Z") and abs((datetime.fromisoformat(sent) - before).total_seconds()) < 60
    assert document == {  # "Example invocation record"
        "requestContext": {"functionArn": _FUNCTION, "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 3},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "KinesisBatchInfo": {
            "shardId": "shardId-000000000001",
            "startSequenceNumber": "100",
            "endSequenceNumber": "174",
            "approximateArrivalOfFirstRecord": "2019-11-14T00:38:04.835Z",
            "approximateArrivalOfLastRecord": "2019-11-14T00:38:05.575Z",
            "batchSize": 75,
            "streamArn": _STREAM,
        },
    }


def test_what_was_too_old_for_a_call_has_no_response(queue, embedded_cloud):
    arn, url, contents = queue
    _sender(arn, embedded_cloud)("shard", Discarded(_records(1), Condition.AGE, 0), "")
    (letter,) = DeadLetters(client("sqs", embedded_cloud), url).take({"100"})
    assert letter == DeadLetter("shard", "100", "100", 1, "RecordAgeExceeded", 0)
    assert contents() == []


def test_what_became_too_old_after_calls_has_no_response_either(queue, embedded_cloud):
    """As recorded of AWS: LocalStack's snapshot of test_kinesis_maximum_record_age_exceeded[expire-while-retrying]."""
    arn, _, contents = queue
    _sender(arn, embedded_cloud)("shard", Discarded(_records(1), Condition.AGE, 3), "ValueError: away")
    (body,) = contents()
    document = json.loads(body)
    assert set(document) == {"requestContext", "version", "timestamp", "KinesisBatchInfo"}
    assert document["requestContext"]["condition"] == "RecordAgeExceeded"
    assert document["requestContext"]["approximateInvokeCount"] == 3


def test_a_queue_that_does_not_exist_is_told_in_one_line(embedded_cloud):
    arn = "arn:aws:sqs:us-east-1:000000000000:nowhere"
    with pytest.raises(ServiceError, match=rf"^{arn} cannot be the destination of what is given up: ") as caught:
        _sender(arn, embedded_cloud)
    assert "\n" not in str(caught.value)


def test_times_are_told_in_utc(queue, embedded_cloud):
    arn, _, contents = queue
    local = _FIRST.astimezone(timezone(timedelta(hours=-7)))
    _sender(arn, embedded_cloud)(
        "shard", Discarded([{"SequenceNumber": "1", "ApproximateArrivalTimestamp": local}], Condition.AGE, 0), ""
    )
    (body,) = contents()
    assert json.loads(body)["KinesisBatchInfo"]["approximateArrivalOfFirstRecord"] == "2019-11-14T00:38:04.835Z"


def test_a_topic_passes_it_on(queue, embedded_cloud):
    arn, _, contents = queue
    sns = client("sns", embedded_cloud)
    topic = sns.create_topic(Name=f"failed-{uuid.uuid4().hex[:8]}")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    _sender(topic, embedded_cloud)("shard", Discarded(_records(2), Condition.RETRIES, 1), "ValueError: away")
    (body,) = contents()
    assert json.loads(body)["KinesisBatchInfo"]["batchSize"] == 2


def test_a_destination_that_is_gone_is_told_in_one_line(queue, embedded_cloud):
    arn, url, _ = queue
    send = _sender(arn, embedded_cloud)
    sqs = client("sqs", embedded_cloud)
    name = url.rpartition("/")[2]
    sqs.delete_queue(QueueUrl=url)
    try:
        with pytest.raises(ServiceError, match=r"does not take what was given up: .*") as caught:
            send("shard", Discarded(_records(1), Condition.RETRIES, 1), "ValueError: away")
        assert "\n" not in str(caught.value)
    finally:
        sqs.create_queue(QueueName=name)
