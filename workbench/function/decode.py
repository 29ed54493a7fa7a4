"""Stage 1: records to valid events, one a record, or several where the KPL aggregated them.

What is no event is set aside one by one; the rest goes on.
"""

import msgspec

from workbench.codecs import Codec
from workbench.errors import DecodeError
from workbench.events import MAX_ID, SCHEMA_VERSION, Event, is_id
from workbench.function.aggregation import unpack
from workbench.function.records import data

_LAST_MS = 253_402_300_799_999  # the end of the year 9999


class Arrival(msgspec.Struct, frozen=True):
    """A valid event and its place in the shard.

    The events of one aggregated record share its sequence number; ``sub_sequence_number`` counts them from 0 (the KCL's name
    for it) and is None for a record that holds one event as it is. ``origin`` names stream, shard and partition key: what
    these three have in common is processed in the order of its sequence numbers, and nothing else is.
    """

    sequence_number: str
    event: Event
    sub_sequence_number: int | None = None
    origin: str = ""

    @property
    def place(self) -> str:
        """What names it among the rejected: SEQUENCE, or SEQUENCE:INDEX within an aggregated record."""
        return _place(self.sequence_number, self.sub_sequence_number)


def decode(records: list[dict], codec: Codec) -> tuple[list[Arrival], dict[str, str]]:
    """The valid events of a Lambda Kinesis event's ``Records``, and the reason for each other one by its place.

    A place is the sequence number; within an aggregated record SEQUENCE:INDEX, from 0. An aggregated record whose message is
    damaged is rejected as a whole, by its sequence number.
    """
    arrivals: list[Arrival] = []
    rejected: dict[str, str] = {}
    for record in records:
        sequence_number = record["kinesis"]["sequenceNumber"]
        try:
            parts = _parts(data(record))
        except DecodeError as error:
            rejected[sequence_number] = str(error)
            continue
        origin = _origin(record)
        for index, part in parts:
            try:
                arrivals.append(Arrival(sequence_number, _valid(codec.decode(part)), index, origin))
            except DecodeError as error:
                rejected[_place(sequence_number, index)] = str(error)
    return arrivals, rejected


def _parts(raw: bytes) -> list[tuple[int | None, bytes]]:
    """What is to be decoded: index and data of each user record, or the data as it is, without an index."""
    aggregated = unpack(raw)
    return [(None, raw)] if aggregated is None else [(index, each.data) for index, each in enumerate(aggregated)]


def _origin(record: dict) -> str:
    shard_id = record["eventID"].partition(":")[0]
    return f"{record['eventSourceARN']}/{shard_id}/{record['kinesis']['partitionKey']}"


def _place(sequence_number: str, index: int | None) -> str:
    return sequence_number if index is None else f"{sequence_number}:{index}"


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
