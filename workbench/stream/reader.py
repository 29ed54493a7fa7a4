"""One shard, read from a place in it to its end: iterators, the pace of the polls, and what goes wrong on the way.

The pace is that of Lambda's event source mapping: a poll once a second or as set, and at once while records remain.

What passes by itself is tried again with exponential backoff and full jitter ("Exponential backoff and jitter", AWS Architecture
Blog): refusals for the rate, a server's errors (5xx) and connections that fail. boto3 has by then tried the call up to four times
and waited up to 1, 2 and 4 s in between, which a stop does not cut short; so the waits here begin small and stay small.
"""

import logging
import random
import time
from collections.abc import Callable

from workbench.errors import ServiceError
from workbench.stream.leases import Start
from workbench.stream.shards import list_shards

RECORDS_A_READ = 10_000  # GetRecords' limit
_BACKOFF_S = 0.2  # the longest first wait: a shard takes five reads a second
_LONGEST_BACKOFF_S = 5.0
_GIVE_UP_S = 300.0

_THROTTLED = {
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "KMSThrottlingException",
    "ThrottlingException",
    "Throttling",
    "RequestLimitExceeded",
}
_NO_ANSWER = {"ConnectionError", "HTTPClientError"}  # bases of botocore's errors, which only workbench.cloud may import

_log = logging.getLogger(__name__)


class ShardReader:
    """Reads one shard from behind the sequence number ``after``, or from ``start`` (a lease's: never LATEST) where that is None.

    ``pause`` waits so many seconds, and returns True at once when reading is to stop; ``clock`` gives seconds.

    After each ``read``: ``ended`` is whether the shard is closed and was read to its end. ``behind`` is whether there may be
    more in it than was read; it is False only if the read got an answer that says there was no more. ``iterator_age_ms`` is the
    last answer's MillisBehindLatest, None before the first. ``throttled`` counts the refusals for the rate that got past boto3.
    """

    def __init__(
        self,
        kinesis,
        stream: str,
        shard_id: str,
        *,
        after: str | None,
        start: Start,
        poll_interval_s: float,
        pause: Callable[[float], bool],
        clock: Callable[[], float] = time.monotonic,
        jitter: random.Random | None = None,
    ) -> None:
        self._kinesis, self._stream, self._shard_id = kinesis, stream, shard_id
        self._after, self._start = after, start
        self._poll_interval_s, self._pause, self._clock = poll_interval_s, pause, clock
        self._jitter = jitter or random.Random()
        self._iterator: str | None = None
        self._next_poll = clock()
        self._failures = 0  # since the last answer
        self._failing_since: float | None = None
        self.ended, self.behind = False, True
        self.iterator_age_ms: int | None = None
        self.throttled = 0

    def read(self) -> list[dict]:
        """Wait for the next poll's time and poll once; returns GetRecords' records, oldest first, at most 10,000.

        It returns none if there are none, if the poll failed and will be tried again, if reading is to stop, or at the end.

        Raises:
            ServiceError: the stream is gone, Kinesis refused the call, or nothing but errors came for five minutes.
        """
        if self.ended:
            return []
        self.behind = True
        wait_s = self._next_poll - self._clock()
        if wait_s > 0 and self._pause(wait_s):
            return []
        begun = self._clock()
        try:
            answer = self._poll()
        except self._kinesis.exceptions.ExpiredIteratorException as error:  # five minutes after it was given
            self._iterator = None
            self._failed(error, begun)
        except self._kinesis.exceptions.ResourceNotFoundException as error:
            self._gone(error)
        except Exception as error:
            if _code(error) in _THROTTLED:
                self.throttled += 1
            elif not _transient(error):
                raise ServiceError(f"{self._name} cannot be read: {_line(error)}") from error
            self._failed(error, begun)
        else:
            return self._answered(answer, begun)
        return []

    @property
    def _name(self) -> str:
        return f"shard {self._shard_id} of stream {self._stream}"

    def _poll(self) -> dict:
        if self._iterator is None:
            self._iterator = self._new_iterator()
        return self._kinesis.get_records(ShardIterator=self._iterator, Limit=RECORDS_A_READ)

    def _new_iterator(self) -> str:
        shard = {"StreamName": self._stream, "ShardId": self._shard_id}
        if self._after is not None:
            place = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": self._after}
            try:
                return self._kinesis.get_shard_iterator(**shard, **place)["ShardIterator"]
            except self._kinesis.exceptions.InvalidArgumentException as error:
                # Either the record has left the stream (AWS does not document its answer; it is seen to go on with the oldest
                # one that is left) or the number is of a deleted stream of the same name: what there is has to be read.
                _log.warning(
                    "%s: reading goes on with the oldest record, for Kinesis does not know sequence number %s (%s); what came "
                    "behind that and has left the stream is lost",
                    self._name,
                    self._after,
                    _line(error),
                )
                self._after, self._start = None, Start("TRIM_HORIZON")
        place = {"ShardIteratorType": self._start.position}
        if self._start.timestamp_s is not None:
            place["Timestamp"] = self._start.timestamp_s
        return self._kinesis.get_shard_iterator(**shard, **place)["ShardIterator"]

    def _answered(self, answer: dict, begun: float) -> list[dict]:
        self._failures, self._failing_since = 0, None
        records = answer["Records"]
        if records:
            self._after = records[-1]["SequenceNumber"]
        self._iterator = answer.get("NextShardIterator")
        self.ended = self._iterator is None
        self.iterator_age_ms = answer.get("MillisBehindLatest") or 0
        self.behind = self.iterator_age_ms > 0 and not self.ended
        self._next_poll = begun if self.behind else begun + self._poll_interval_s
        return records

    def _failed(self, error: Exception, begun: float) -> None:
        """Try again later, unless that has gone on for too long."""
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = begun
        if now - self._failing_since >= _GIVE_UP_S:
            raise ServiceError(f"{self._name} could not be read for {_GIVE_UP_S:.0f} s: {_line(error)}") from error
        # The exponent has a bound of its own: a float cannot hold 2 to the power of a thousand failures.
        longest_s = min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2 ** min(self._failures, 10))
        self._failures += 1
        self._next_poll = now + self._jitter.uniform(0.0, longest_s)

    def _gone(self, error: Exception) -> None:
        """A closed shard is gone once its last record has left the stream; that is its end, and not the stream's.

        Raises:
            ServiceError: the stream is gone, or says that it has the shard.
        """
        if any(shard.shard_id == self._shard_id for shard in list_shards(self._kinesis, self._stream)):
            raise ServiceError(f"{self._name} cannot be read: {_line(error)}") from error
        _log.warning("%s is gone: its last record has left the stream; what was not read of it before is lost", self._name)
        self.ended, self.behind = True, False


def _refusal(error: Exception) -> dict:
    """AWS's answer that an error of boto3 stands for; empty if there was none."""
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}


def _code(error: Exception) -> str:
    return _refusal(error).get("Error", {}).get("Code", "")


def _transient(error: Exception) -> bool:
    """Whether the server failed, or no answer came."""
    refusal = _refusal(error)
    if not refusal:
        return any(base.__name__ in _NO_ANSWER for base in type(error).__mro__)
    return refusal.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
