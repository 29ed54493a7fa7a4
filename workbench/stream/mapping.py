"""The parameters of an event source mapping: AWS's names, ranges and defaults.

Source: CreateEventSourceMapping (Lambda API reference) and "Lambda parameters for Amazon Kinesis Data Streams event source
mappings" (Lambda developer guide).
"""

import dataclasses
import math
import re
from typing import Annotated, Literal

import msgspec

from workbench.errors import SettingError
from workbench.stream.pattern import compile_pattern

_DESTINATION = re.compile(r"arn:aws[a-z-]*:(sqs|sns):[a-z0-9-]+:\d{12}:[\w.-]+")
_MOST_FILTERS = 5  # of one mapping, unless AWS raises the quota

Attempts = Annotated[int, msgspec.Meta(ge=-1, le=10_000)]
BatchSize = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Factor = Annotated[int, msgspec.Meta(ge=1, le=10)]
RecordAge = Annotated[int, msgspec.Meta(ge=-1, le=604_800)]
TumblingWindow = Annotated[int, msgspec.Meta(ge=0, le=900)]
Window = Annotated[int, msgspec.Meta(ge=0, le=300)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventSourceMapping:
    """How batches form, how often they are tried, and where what is given up goes. -1 stands for no limit.

    ``filters`` are FilterCriteria's patterns, JSON texts: a record that none of them matches is discarded without a call.
    ``on_failure`` is the ARN of an SQS queue or an SNS topic. ``starting_position_timestamp`` is Unix time in seconds.

    Raises:
        SettingError: a value is outside AWS's range, two contradict each other, or a pattern is none.
    """

    batch_size: BatchSize = 100
    maximum_batching_window_in_seconds: Window = 0
    parallelization_factor: Factor = 1
    starting_position: Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"] = "TRIM_HORIZON"
    starting_position_timestamp: float | None = None
    maximum_retry_attempts: Attempts = -1
    maximum_record_age_in_seconds: RecordAge = -1
    bisect_batch_on_function_error: bool = False
    report_batch_item_failures: bool = False
    tumbling_window_in_seconds: TumblingWindow = 0
    filters: tuple[str, ...] = ()
    on_failure: str | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            try:
                msgspec.convert(value, field.type)
            except msgspec.ValidationError as error:
                raise SettingError(field.name, value, str(error).replace("`", "")) from None
        if 0 <= self.maximum_record_age_in_seconds < 60:
            raise SettingError("maximum_record_age_in_seconds", self.maximum_record_age_in_seconds, "-1, or 60 to 604,800")
        at = self.starting_position_timestamp
        if (at is not None) != (self.starting_position == "AT_TIMESTAMP"):
            raise SettingError("starting_position_timestamp", at, "Unix seconds with AT_TIMESTAMP, and only with it")
        if at is not None and not (math.isfinite(at) and at >= 0):
            raise SettingError("starting_position_timestamp", at, "Unix seconds, 0 or more")
        if len(self.filters) > _MOST_FILTERS:
            raise SettingError("filters", f"{len(self.filters)} patterns", f"at most {_MOST_FILTERS}")
        for text in self.filters:
            compile_pattern(text)
        if self.on_failure is not None and not _DESTINATION.fullmatch(self.on_failure):
            raise SettingError("on_failure", self.on_failure, "the ARN of an SQS queue or an SNS topic")

    def to_aws(self) -> dict[str, object]:
        """CreateEventSourceMapping's arguments, but for the stream and the function."""
        given = {
            "BatchSize": self.batch_size,
            "MaximumBatchingWindowInSeconds": self.maximum_batching_window_in_seconds,
            "ParallelizationFactor": self.parallelization_factor,
            "StartingPosition": self.starting_position,
            "MaximumRetryAttempts": self.maximum_retry_attempts,
            "MaximumRecordAgeInSeconds": self.maximum_record_age_in_seconds,
            "BisectBatchOnFunctionError": self.bisect_batch_on_function_error,
        }
        if self.starting_position_timestamp is not None:
            given["StartingPositionTimestamp"] = self.starting_position_timestamp
        if self.report_batch_item_failures:
            given["FunctionResponseTypes"] = ["ReportBatchItemFailures"]
        if self.tumbling_window_in_seconds:
            given["TumblingWindowInSeconds"] = self.tumbling_window_in_seconds
        if self.filters:
            given["FilterCriteria"] = {"Filters": [{"Pattern": text} for text in self.filters]}
        if self.on_failure:
            given["DestinationConfig"] = {"OnFailure": {"Destination": self.on_failure}}
        return given
