"""AWS's ranges, and what is sent to CreateEventSourceMapping."""

import dataclasses

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from workbench.errors import SettingError
from workbench.stream.mapping import EventSourceMapping

_QUEUE = "arn:aws:sqs:us-east-1:123456789012:dead"


def test_the_defaults_are_awss():
    """Lambda developer guide, "Lambda parameters for Amazon Kinesis Data Streams event source mappings"."""
    assert EventSourceMapping().to_aws() == {
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 0,
        "ParallelizationFactor": 1,
        "StartingPosition": "TRIM_HORIZON",  # AWS has none: it must be said
        "MaximumRetryAttempts": -1,
        "MaximumRecordAgeInSeconds": -1,
        "BisectBatchOnFunctionError": False,
    }


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("batch_size", 1, 10_000),
        ("maximum_batching_window_in_seconds", 0, 300),
        ("parallelization_factor", 1, 10),
        ("maximum_retry_attempts", -1, 10_000),
        ("maximum_record_age_in_seconds", -1, 604_800),
        ("tumbling_window_in_seconds", 0, 900),
    ],
)
def test_each_range_is_awss(name, least, most):
    for value in (least, most):
        assert getattr(EventSourceMapping(**{name: value}), name) == value
    for value in (least - 1, most + 1, 1.5, "1", None, True):
        with pytest.raises(SettingError, match=rf"^{name} = ") as caught:
            EventSourceMapping(**{name: value})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"maximum_record_age_in_seconds": 59}, "maximum_record_age_in_seconds = 59 is not allowed: -1, or 60 to 604,800"),
        ({"starting_position": "LAST"}, "starting_position = 'LAST' is not allowed"),
        (
            {"starting_position": "AT_TIMESTAMP"},
            "starting_position_timestamp = None is not allowed: Unix seconds with AT_TIMESTAMP",
        ),
        (
            {"starting_position_timestamp": 5.0},
            "starting_position_timestamp = 5.0 is not allowed: Unix seconds with AT_TIMESTAMP",
        ),
        (
            {"starting_position": "AT_TIMESTAMP", "starting_position_timestamp": float("nan")},
            "starting_position_timestamp = nan is not allowed: Unix seconds, 0 or more",
        ),
        ({"filters": ("{}",) * 6}, "filters = '6 patterns' is not allowed: at most 5"),
        ({"filters": ("click",)}, "filters = 'click' is not allowed"),
        ({"on_failure": "dead"}, "on_failure = 'dead' is not allowed: the ARN of an SQS queue or an SNS topic"),
        ({"on_failure": "arn:aws:sqs:x"}, "on_failure = 'arn:aws:sqs:x' is not allowed"),
        ({"on_failure": "arn:aws:s3:::bucket"}, "on_failure = 'arn:aws:s3:::bucket' is not allowed"),
    ],
)
def test_what_aws_refuses_is_refused_with_what_is_allowed(given, said):
    with pytest.raises(SettingError) as caught:
        EventSourceMapping(**given)
    assert str(caught.value).startswith(said)


def test_boto3_takes_all_of_it():
    """Every parameter under the name and type that the API has, checked by boto3's own model of it."""
    mapping = EventSourceMapping(
        batch_size=7,
        starting_position="AT_TIMESTAMP",
        starting_position_timestamp=1_700_000_000.0,
        report_batch_item_failures=True,
        tumbling_window_in_seconds=60,
        filters=('{"data": {"kind": ["click"]}}',),
        on_failure=_QUEUE,
    )
    assert len(mapping.to_aws()) == len(dataclasses.fields(mapping))
    aws = boto3.client("lambda", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b", config=Config())
    stream = "arn:aws:kinesis:us-east-1:123456789012:stream/s"
    with Stubber(aws) as stub:
        stub.add_response("create_event_source_mapping", {})
        aws.create_event_source_mapping(EventSourceArn=stream, FunctionName="f", **mapping.to_aws())
