"""What waits for the function in one key group of a shard, and when a batch of it is due. Pure: no thread, clock or network.

"Before invoking the function, Lambda continues to read records from the stream until it has gathered a full batch, the
batching window expires, or the batch reaches the payload limit of 6 MB" (Lambda developer guide, "Batching behavior").
"""

import zlib
from collections import deque
from typing import NamedTuple

from workbench.stream.batch import arrived_s
from workbench.stream.mapping import EventSourceMapping

PAYLOAD_BYTES = 6_291_556  # of a synchronous invocation, as Lambda's error message states its limit
_ENVELOPE_BYTES = 700  # of a record in the event besides its data and key; 630 with the longest names of stream and function


class Read(NamedTuple):
    """A record as GetRecords gave it, and when, Unix ns."""

    record: dict
    at_ns: int

    @property
    def payload_bytes(self) -> int:
        """What it takes in the function's event: base64 is 4/3 of the data."""
        return 4 * ((len(self.record["Data"]) + 2) // 3) + len(self.record["PartitionKey"]) + _ENVELOPE_BYTES


class Lane:
    """Records of one key group, in order; one batch of them is under way at a time."""

    def __init__(self, mapping: EventSourceMapping) -> None:
        self._mapping = mapping
        self._waiting: deque[Read] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, read: Read) -> None:
        """One more, behind all others."""
        self._waiting.append(read)

    def first(self) -> Read | None:
        """The one that has waited longest."""
        return self._waiting[0] if self._waiting else None

    def wait_s(self, now_ns: int) -> float | None:
        """How long until a batch is due: 0 if one is; None while nothing waits."""
        if not self._waiting:
            return None
        if self._full():
            return 0.0
        over_ns = self._waiting[0].at_ns + self._mapping.maximum_batching_window_in_seconds * 1_000_000_000
        return max(0.0, (over_ns - now_ns) / 1e9)

    def take(self) -> list[Read]:
        """The next batch: up to ``batch_size`` records of one tumbling window and one payload."""
        return [self._waiting.popleft() for _ in range(self._count()[0])]

    def _full(self) -> bool:
        count, cut = self._count()
        return cut or count == self._mapping.batch_size

    def _count(self) -> tuple[int, bool]:
        """How many records the next batch has, and whether what comes behind them cannot be in it."""
        size, window = 0, None
        for count, read in enumerate(self._waiting):
            if count == self._mapping.batch_size:
                return count, True
            size += read.payload_bytes
            if count and size > PAYLOAD_BYTES:
                return count, True
            begins = window_start(read.record, self._mapping)
            if window is not None and begins != window:
                return count, True
            window = begins
        return len(self._waiting), False


def group_of(partition_key: str, factor: int) -> int:
    """The key group that a key belongs to: 0 … factor-1. All records of a key are in one, so their order is kept."""
    return zlib.crc32(partition_key.encode(errors="replace")) % factor if factor > 1 else 0


def window_start(record: dict, mapping: EventSourceMapping) -> int | None:
    """When the tumbling window of a record begins, Unix seconds; None without windows.

    "Lambda determines tumbling window boundaries based on the time when records were inserted into the stream."
    """
    width = mapping.tumbling_window_in_seconds
    return int(arrived_s(record) // width) * width if width else None
