"""How a batch reaches the function: in this process, or through Lambda's Invoke API. Both get AWS's event, both answer alike."""

import base64
from collections.abc import Callable
from typing import Protocol

import msgspec

from workbench.errors import FunctionFailed, FunctionNotReached


class Invoker(Protocol):
    """Calls the function with a Lambda event."""

    def __call__(self, event: dict) -> dict:
        """The function's answer.

        Raises:
            FunctionNotReached: it was not called, which is no attempt.
            FunctionFailed: it gave none; the one line says why.
        """


class Inline:
    """The function in this process: no network, no cold start."""

    def __init__(self, function: Callable[[dict], dict]) -> None:
        self._function = function

    def __call__(self, event: dict) -> dict:
        try:
            return self._function(event)
        except Exception as error:  # whatever a function raises fails its batch, as in Lambda
            raise FunctionFailed(_line(error)) from error


class Lambda:
    """The deployed function, synchronously invoked."""

    def __init__(self, client, name: str) -> None:
        self._client, self._name = client, name

    def __call__(self, event: dict) -> dict:
        try:
            answer = self._client.invoke(FunctionName=self._name, Payload=msgspec.json.encode(event))
            payload = answer["Payload"].read()
        except Exception as error:  # throttled, not found, connection lost: the function never saw the batch, or nobody knows
            raise FunctionNotReached(_line(error)) from error
        if "FunctionError" in answer:
            raise FunctionFailed(_reason(payload))
        return msgspec.json.decode(payload)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _reason(payload: bytes) -> str:
    try:
        error = msgspec.json.decode(payload)
        return f"{error.get('errorType', 'Error')}: {str(error.get('errorMessage', '')).splitlines()[0]}"
    except (msgspec.DecodeError, AttributeError, IndexError):
        return f"the function failed with {payload[:200]!r}"


def kinesis_event(records: list[dict], *, shard_id: str, stream_arn: str, function: str) -> dict:
    """AWS's event for a batch of one shard, from the records that GetRecords gave.

    Source: "Using AWS Lambda with Amazon Kinesis", Lambda developer guide.
    """
    region = stream_arn.split(":")[3]
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": record["PartitionKey"],
                    "sequenceNumber": record["SequenceNumber"],
                    "data": base64.b64encode(record["Data"]).decode(),
                    "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"].timestamp(),
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{shard_id}:{record['SequenceNumber']}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": function,
                "awsRegion": region,
                "eventSourceARN": stream_arn,
            }
            for record in records
        ]
    }
