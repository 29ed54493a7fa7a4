"""Records as GetRecords gives them, made up."""

from datetime import UTC, datetime


def record(number: int, *, key: str = "user", data: bytes = b"{}", at_s: float = 1_000_000.0) -> dict:
    return {
        "SequenceNumber": str(number),
        "ApproximateArrivalTimestamp": datetime.fromtimestamp(at_s, UTC),
        "Data": data,
        "PartitionKey": key,
    }


def numbers(records: list[dict]) -> list[int]:
    return [int(each["SequenceNumber"]) for each in records]
