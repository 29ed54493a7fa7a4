"""Event sourcing: what a function makes of a stream, made again from the stream's records alone.

The function is given every record once more, each key's in their order, and writes to new tables and a new index, which are
then what the live ones are. The leases of those who read the stream are not touched.
"""

import threading
from collections.abc import Iterator

import msgspec

from workbench.errors import FunctionFailed, SettingError
from workbench.stream.invoke import Invoker, kinesis_event
from workbench.stream.leases import Start
from workbench.stream.reader import ShardReader
from workbench.stream.shards import list_shards, readable


class Rebuilt(msgspec.Struct, frozen=True):
    """What was read. ``checkpoints`` has each shard's last sequence number: a consumer that goes on behind it misses nothing."""

    records: int
    calls: int
    checkpoints: dict[str, str]


def rebuild(kinesis, stream: str, invoker: Invoker, *, stream_arn: str, function: str, batch_size: int = 100) -> Rebuilt:
    """Call the function with all that the stream holds, oldest first, a shard after its parents; ends at the tip.

    What comes into a shard after its tip was read is left to who goes on behind ``checkpoints``; children of a resharding in the
    meantime are read, too. What the function made of records that have left the stream cannot be made again. On AWS it shares
    each shard's five reads and 2 MB a second with the live standard consumers, and takes all that they leave.

    Args:
        invoker: the function, with stores of its own. Rejected records went to the dead letters long ago: give it others.
        function: the name that its events carry.
        batch_size: records a call, 1 or more, of one shard.

    Raises:
        SettingError: the batch size is not allowed.
        FunctionFailed: the function raised, was not reached, or reported records: what it has made by then is half a rebuild.
        ServiceError: the stream is not there, or cannot be read.
    """
    if batch_size < 1:
        raise SettingError("batch_size", batch_size, "1 or more")
    records = calls = 0
    checkpoints: dict[str, str] = {}
    done: set[str] = set()
    while ready := readable(list_shards(kinesis, stream), done):
        for shard_id in (shard.shard_id for shard in ready):
            for batch in _batches(kinesis, stream, shard_id, batch_size):
                answer = invoker(kinesis_event(batch, shard_id=shard_id, stream_arn=stream_arn, function=function))
                if isinstance(answer, dict) and answer.get("batchItemFailures"):
                    raise FunctionFailed(f"of a batch of {shard_id} it reported {answer['batchItemFailures'][0]}")
                records, calls = records + len(batch), calls + 1
                checkpoints[shard_id] = batch[-1]["SequenceNumber"]
            done.add(shard_id)
    return Rebuilt(records, calls, checkpoints)


def _batches(kinesis, stream: str, shard_id: str, size: int) -> Iterator[list[dict]]:
    """All that the shard holds, up to its end or its tip; only the last batch of a read is smaller."""
    wait = threading.Event().wait
    start = Start("TRIM_HORIZON")
    reader = ShardReader(kinesis, stream, shard_id, after=None, start=start, poll_interval_s=0.0, pause=wait)
    while reader.behind:
        records = reader.read()
        for first in range(0, len(records), size):
            yield records[first : first + size]
