"""A second consumer of the shopping stream: which products are touched most, window by window.

A function for an event source with tumbling windows (Lambda developer guide, "Implementing stateful Kinesis Data Streams
processing in Lambda"): it counts in the state that one call hands to the next, and tells the counts in the window's final call.
Its ParallelizationFactor is 1: a state is one key group's, and a window's event names no key group.
"""

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from workbench.codecs import Codec
from workbench.function.decode import decode


class Trend(msgspec.Struct, frozen=True):
    """What was touched in one shard during a window: how often by product id. Times as AWS writes them, UTC.

    ``early``: the counts became too large to be kept, so that more of the same window follows. A final call that fails is made
    again, and a worker that takes over counts its open window anew: who keeps trends replaces one that comes again.
    """

    shard_id: str
    start: str
    end: str
    touches: dict[str, int]
    early: bool = False


class Trends:
    """Counts touches by product. ``tell`` gets each window's; one that raises has the final call made again."""

    def __init__(self, codec: Codec, tell: Callable[[Trend], None]) -> None:
        self._codec, self._tell = codec, tell

    def __call__(self, event: dict) -> dict:
        """A batch of a tumbling window in, the state out. What is no event is not counted: it is another consumer's to reject.

        Raises:
            KeyError: the event is of no tumbling window.
        """
        arrivals, _ = decode(event["Records"], self._codec)
        touches = Counter(event["state"].get("touches", {}))
        touches.update(arrival.event.product_id for arrival in arrivals)
        if event["isFinalInvokeForWindow"]:
            window = event["window"]
            self._tell(Trend(event["shardId"], window["start"], window["end"], dict(touches), event["isWindowTerminatedEarly"]))
        return {"state": {"touches": dict(touches)}}


def trending(trends: Iterable[Trend], most: int) -> list[tuple[str, int]]:
    """The ``most`` products touched most often in all of these windows and shards, most first; of equals the lower id first."""
    total: Counter[str] = Counter()
    for trend in trends:
        total.update(trend.touches)
    return sorted(total.items(), key=lambda touched: (-touched[1], touched[0]))[:most]
