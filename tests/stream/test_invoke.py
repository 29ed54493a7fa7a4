import io
import json
from datetime import UTC, datetime

import pytest

from workbench.cloud.clients import client
from workbench.errors import FunctionFailed
from workbench.stream.invoke import Inline, Lambda, kinesis_event

# "Using AWS Lambda with Amazon Kinesis", Lambda developer guide: the sample event, in full.
_SAMPLE = {
    "Records": [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "1",
                "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
                "data": "SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
                "approximateArrivalTimestamp": 1545084650.987,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": "shardId-000000000006:49590338271490256608559692538361571095921575989136588898",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
            "awsRegion": "us-east-2",
            "eventSourceARN": "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
        },
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "1",
                "sequenceNumber": "49590338271490256608559692540925702759324208523137515618",
                "data": "VGhpcyBpcyBvbmx5IGEgdGVzdC4=",
                "approximateArrivalTimestamp": 1545084711.166,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": "shardId-000000000006:49590338271490256608559692540925702759324208523137515618",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
            "awsRegion": "us-east-2",
            "eventSourceARN": "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
        },
    ]
}


def _record(number: str, data: bytes, arrived: float) -> dict:
    """As GetRecords gives it."""
    return {
        "SequenceNumber": number,
        "Data": data,
        "PartitionKey": "1",
        "ApproximateArrivalTimestamp": datetime.fromtimestamp(arrived, UTC),
    }


class _Client:
    """Lambda's Invoke, with a scripted answer."""

    def __init__(self, payload: bytes, **answer: str) -> None:
        self._answer, self._payload = answer, payload
        self.asked: dict = {}

    def invoke(self, **asked: object) -> dict:
        self.asked = asked
        return {"StatusCode": 200, "Payload": io.BytesIO(self._payload), **self._answer}


def test_a_batch_looks_as_aws_documents_it():
    records = [
        _record("49590338271490256608559692538361571095921575989136588898", b"Hello, this is a test.", 1545084650.987),
        _record("49590338271490256608559692540925702759324208523137515618", b"This is only a test.", 1545084711.166),
    ]
    event = kinesis_event(
        records,
        shard_id="shardId-000000000006",
        stream_arn="arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
        function="arn:aws:iam::123456789012:role/lambda-role",
    )
    assert event == _SAMPLE


def test_bytes_that_are_no_text_travel_unharmed():
    event = kinesis_event([_record("1", bytes(range(256)), 1.0)], shard_id="s", stream_arn="a:b:c:d", function="f")
    assert json.loads(json.dumps(event))["Records"][0]["kinesis"]["data"].startswith("AAECAwQFBgcICQoLDA0ODxAREhMUFRYX")


def test_inline_gives_the_event_and_returns_the_answer():
    assert Inline(lambda event: {"got": event})({"Records": [1]}) == {"got": {"Records": [1]}}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such user"), "ValueError: no such user"),
        (RuntimeError("first line\nsecond line"), "RuntimeError: first line"),
        (KeyError(), "KeyError: "),
    ],
)
def test_what_an_inline_function_raises_fails_its_batch_in_one_line(error, line):
    def function(event: dict) -> dict:
        raise error

    with pytest.raises(FunctionFailed) as failed:
        Inline(function)({})
    assert str(failed.value) == line
    assert failed.value.__cause__ is error


def test_an_inline_function_that_is_interrupted_does_not_count_as_failed():
    def function(event: dict) -> dict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Inline(function)({})


def test_lambda_is_invoked_by_name_and_answers():
    functions = _Client(b'{"batchItemFailures": []}')
    assert Lambda(functions, "process")({"Records": []}) == {"batchItemFailures": []}
    assert functions.asked == {"FunctionName": "process", "Payload": b'{"Records":[]}'}


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (b'{"errorType": "ValueError", "errorMessage": "no such user", "stackTrace": ["a", "b"]}', "ValueError: no such user"),
        (b'{"errorType": "VectorError", "errorMessage": "refused\\nby the store"}', "VectorError: refused"),
        (b'{"errorMessage": "Task timed out after 3.00 seconds"}', "Error: Task timed out after 3.00 seconds"),
        (b"out of memory", "the function failed with b'out of memory'"),
        (b'["odd"]', "the function failed with b'[\"odd\"]'"),
        (b'{"errorType": "Quiet"}', 'the function failed with b\'{"errorType": "Quiet"}\''),
    ],
)
def test_what_a_deployed_function_raises_fails_its_batch_in_one_line(payload, line):
    with pytest.raises(FunctionFailed) as failed:
        Lambda(_Client(payload, FunctionError="Unhandled"), "process")({})
    assert str(failed.value) == line


def test_a_function_that_is_not_there_fails_the_batch(embedded_cloud):
    with pytest.raises(FunctionFailed, match=r"ResourceNotFoundException.*no-such-function") as failed:
        Lambda(client("lambda", embedded_cloud), "no-such-function")({})
    assert "\n" not in str(failed.value)
