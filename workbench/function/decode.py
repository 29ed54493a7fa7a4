"""Stage 1: records to valid events. What is no event is set aside one by one; the rest goes on."""

import msgspec

from workbench.codecs import Codec
from workbench.errors import DecodeError
from workbench.events import MAX_ID, SCHEMA_VERSION, Event, is_id
from workbench.function.records import data

_LAST_MS = 253_402_300_799_999  # the end of the year 9999


class Arrival(msgspec.Struct, frozen=True):
    """A valid event and its place in the shard."""

    sequence_number: str
    event: Event


def decode(records: list[dict], codec: Codec) -> tuple[list[Arrival], dict[str, str]]:
    """The valid events of a Lambda Kinesis event's ``Records``, and the reason for each other one by sequence number."""
    arrivals: list[Arrival] = []
    rejected: dict[str, str] = {}
    for record in records:
        sequence_number = record["kinesis"]["sequenceNumber"]
        try:
            arrivals.append(Arrival(sequence_number, _valid(codec.decode(data(record)))))
        except DecodeError as error:
            rejected[sequence_number] = str(error)
    return arrivals, rejected


def _valid(event: Event) -> Event:
    for name in ("event_id", "user_id", "product_id"):
        value = getattr(event, name)
        if not value.strip():
            raise DecodeError("valid", f"{name} is empty")
        if not is_id(value):  # as a key it would fail the calls that all of the batch share
            raise DecodeError("valid", f"{name} = {ascii(value)[:60]} is not 1 to {MAX_ID} ASCII characters without space around")
    if len(event.trace_id) > MAX_ID:
        raise DecodeError("valid", f"trace_id has {len(event.trace_id):,} characters, at most {MAX_ID} are allowed")
    if not 0 <= event.timestamp_ms <= _LAST_MS:
        raise DecodeError("valid", f"timestamp_ms = {event.timestamp_ms} is not between 0 and {_LAST_MS}")
    if event.schema_version > SCHEMA_VERSION:
        raise DecodeError(
            "valid", f"schema_version = {event.schema_version} is newer than {SCHEMA_VERSION}, which this function reads"
        )
    return event
