"""What passes through a Kinesis client, counted as CloudWatch counts it: IncomingRecords, IncomingBytes, iterator age.

Source: "Monitor the Amazon Kinesis Data Streams service with Amazon CloudWatch" (Kinesis Data Streams developer guide). AWS has
them a minute late, and of all who write to the stream.
"""

import threading
import time
from collections.abc import Callable

import msgspec


class Load(msgspec.Struct, frozen=True):
    """What a whole stream had to carry during a period, on average, and how old its readers' last records were at most."""

    records_per_s: float
    bytes_per_s: float
    iterator_age_s: float


class Meter:
    """boto3's Kinesis client, which counts what passes through it: give it to a producer and one consumer in the client's place.

    It sees what this process does. A shard's reader is as far behind as its last answer said, and further with each second
    since: one that is held up polls no more, and so an age may be a poll interval. A shard read to its end counts no more.
    """

    def __init__(self, kinesis, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kinesis, self._clock = kinesis, clock
        self._lock = threading.Lock()
        self._records, self._bytes = 0, 0
        self._since = clock()
        self._shards: dict[str, str] = {}  # by the iterator that reads it next
        self._caught_up: dict[str, float] = {}  # by shard: all that came before this time has been read

    def __getattr__(self, name: str):
        return getattr(self._kinesis, name)

    def put_record(self, **request) -> dict:
        """As the client's."""
        answer = self._kinesis.put_record(**request)
        self._count([request])
        return answer

    def put_records(self, **request) -> dict:
        """As the client's; a refused record does not count."""
        answer = self._kinesis.put_records(**request)
        entries = zip(request["Records"], answer["Records"], strict=True)
        self._count([record for record, put in entries if not put.get("ErrorCode")])
        return answer

    def get_shard_iterator(self, **request) -> dict:
        """As the client's."""
        answer = self._kinesis.get_shard_iterator(**request)
        with self._lock:
            self._shards[answer["ShardIterator"]] = request["ShardId"]
        return answer

    def get_records(self, **request) -> dict:
        """As the client's."""
        asked = self._clock()
        answer = self._kinesis.get_records(**request)
        with self._lock:
            shard_id = self._shards.pop(request["ShardIterator"], None)
            following = answer.get("NextShardIterator")
            if shard_id is not None and following is None:
                self._caught_up.pop(shard_id, None)
            elif shard_id is not None:
                self._shards[following] = shard_id
                self._caught_up[shard_id] = asked - (answer.get("MillisBehindLatest") or 0) / 1000
        return answer

    def load(self) -> Load:
        """Since the last call of this, or since the meter was made."""
        with self._lock:
            now = self._clock()
            period_s = max(now - self._since, time.get_clock_info("monotonic").resolution)  # two calls in one tick
            age_s = max((now - at for at in self._caught_up.values()), default=0.0)
            load = Load(self._records / period_s, self._bytes / period_s, max(0.0, age_s))
            self._records, self._bytes, self._since = 0, 0, now
        return load

    def _count(self, records: list[dict]) -> None:
        with self._lock:
            self._records += len(records)
            self._bytes += sum(len(record["Data"]) + len(record["PartitionKey"].encode()) for record in records)
