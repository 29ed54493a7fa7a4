"""Tumbling windows: the state that goes from one call of a window to the next, and the call that ends it. Pure.

Source: "Implementing stateful Kinesis Data Streams processing in Lambda" (Lambda developer guide). A window's records are behind
the checkpoint once its final call has succeeded, so that a reader that takes over begins the window anew, with no state.
"""

from datetime import UTC, datetime

import msgspec

from workbench.stream.mapping import EventSourceMapping

STATE_BYTES = (
    1_000_000  # "Your state can be a maximum of 1 MB per shard. If it exceeds that size, Lambda terminates the window early."
)


class TumblingWindow:
    """The windows of one key group of a shard, one after another. ``numbers`` are the open one's sequence numbers so far."""

    def __init__(self, mapping: EventSourceMapping, *, shard_id: str, stream_arn: str) -> None:
        self._width, self._shard_id, self._stream_arn = mapping.tumbling_window_in_seconds, shard_id, stream_arn
        self.start: int | None = None  # Unix seconds; None: no window is open
        self.numbers: list[str] = []
        self._state: dict = {}

    @property
    def end(self) -> int:
        """When the open window ends, Unix seconds."""
        return self.start + self._width

    def open(self, start: int) -> None:
        """Begin a window, with an empty state."""
        self.start, self.numbers, self._state = start, [], {}

    def close(self) -> list[str]:
        """The final call succeeded: forget the state. Returns the window's sequence numbers, which are now dealt with."""
        numbers = self.numbers
        self.start, self.numbers, self._state = None, [], {}
        return numbers

    def keep(self, state: dict) -> None:
        """What the function answered."""
        self._state = state

    @property
    def overfull(self) -> bool:
        """Whether the state is larger than AWS keeps: the window ends early, and goes on with an empty one."""
        return len(msgspec.json.encode(self._state)) > STATE_BYTES

    def event(self, batch: dict, *, final: bool = False) -> dict:
        """AWS's event for a batch of the open window."""
        return {
            **batch,
            "window": {"start": _time(self.start), "end": _time(self.end)},
            "state": self._state,
            "shardId": self._shard_id,
            "eventSourceARN": self._stream_arn,
            "isFinalInvokeForWindow": final,
            "isWindowTerminatedEarly": final and self.overfull,
        }


def _time(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
