"""Autoscaling: a stream's shard count follows its load by target tracking.

Kinesis is no service that Application Auto Scaling knows; AWS shows how to let it scale a stream as a custom resource ("Scale
Amazon Kinesis Data Streams with AWS Application Auto Scaling", AWS Big Data Blog). The rules are its own ("How target tracking
scaling for Application Auto Scaling works", user guide): capacity is added in proportion to metric / target, rounded up, as
fast as can be; it is removed only when the metric is well below the target, "usually more than 10% lower", and one cooldown
after another; of several metrics the one that wants the largest capacity decides. What one UpdateShardCount may do is the Kinesis
API reference's: at most double the open shards, at least half of them, ten times in 24 hours.

On AWS the metrics are CloudWatch's, minutes old: IncomingRecords, IncomingBytes and GetRecords.IteratorAgeMilliseconds. Here they
are counted where the calls are made: ``meter``.
"""

import dataclasses
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from workbench.clock import now_ns
from workbench.errors import ServiceError, SettingError
from workbench.stream.meter import Load

RECORDS_PER_S, BYTES_PER_S = 1_000, 1_000_000  # what a shard takes ("Quotas and limits", Kinesis Data Streams developer guide)
MOST_SHARDS = 10_000  # that UpdateShardCount goes to
CHANGES_A_DAY = 10
_LOW = 0.9  # of the target: below it shards are removed
_DAY_S = 24 * 3600.0

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetTracking:
    """How far a stream is scaled, and what is to be kept: the targets are those of one shard.

    Args:
        minimum, maximum: of the shard count.
        records_per_s, bytes_per_s: 80% of what a shard takes, unless said otherwise.
        iterator_age_s: how far behind readers may be. Unlike the others it does not fall as soon as there are more shards: what
            waits is read from the old ones first. So it makes for one change each ``scale_out_cooldown_s``.
        scale_out_cooldown_s: see there. Records and bytes do not wait for it: the larger scale out goes on at once.
        scale_in_cooldown_s: how long the load must have been low, and the last change ago, before shards are removed.

    Raises:
        SettingError: a value is not allowed.
    """

    minimum: int = 1
    maximum: int = 100
    records_per_s: float = 0.8 * RECORDS_PER_S
    bytes_per_s: float = 0.8 * BYTES_PER_S
    iterator_age_s: float = 60.0
    scale_out_cooldown_s: float = 300.0
    scale_in_cooldown_s: float = 300.0

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= MOST_SHARDS:
            raise SettingError("minimum", self.minimum, f"1 to {MOST_SHARDS:,} shards")
        if not self.minimum <= self.maximum <= MOST_SHARDS:
            raise SettingError("maximum", self.maximum, f"the minimum, {self.minimum}, to {MOST_SHARDS:,} shards")
        for name, most in (("records_per_s", RECORDS_PER_S), ("bytes_per_s", BYTES_PER_S), ("iterator_age_s", _DAY_S)):
            if not 0 < getattr(self, name) <= most:
                raise SettingError(name, getattr(self, name), f"above 0, at most {most:,}")
        for name in ("scale_out_cooldown_s", "scale_in_cooldown_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingError(name, getattr(self, name), "seconds, 0 or more")


def desired(shards: int, load: Load, policy: TargetTracking) -> int:
    """The shard count that one UpdateShardCount should go to from ``shards``; the same if none is needed. Pure.

    It is ceil(shards × metric / target), the largest of the three metrics', where the metric of records and of bytes is a
    shard's share of them. Less than ``shards`` only if each metric is below 90% of its target.
    """
    wanted = _wanted(shards, load, policy)
    if wanted < shards and not _low(shards, load, policy):
        wanted = shards
    within = min(max(wanted, policy.minimum), policy.maximum)
    return min(max(within, math.ceil(shards / 2)), 2 * shards)


def _wanted(shards: int, load: Load, policy: TargetTracking) -> int:
    # shards * (records / shards) / target, without the detour that may round to one shard more.
    return max(
        math.ceil(load.records_per_s / policy.records_per_s),
        math.ceil(load.bytes_per_s / policy.bytes_per_s),
        math.ceil(shards * load.iterator_age_s / policy.iterator_age_s),
    )


def _low(shards: int, load: Load, policy: TargetTracking) -> bool:
    return (
        load.records_per_s < _LOW * shards * policy.records_per_s
        and load.bytes_per_s < _LOW * shards * policy.bytes_per_s
        and load.iterator_age_s < _LOW * policy.iterator_age_s
    )


class Tracker:
    """``desired``, with cooldowns and the number of changes that a day allows. Pure but for what it remembers."""

    def __init__(self, policy: TargetTracking) -> None:
        self._policy = policy
        self._changes: deque[float] = deque()  # of the last day
        self._low_since: float | None = None

    def next(self, now_s: float, shards: int, load: Load) -> int:
        """The count to go to now, by a clock in seconds; ``shards`` if nothing is to be done. ``changed`` says that it was."""
        policy = self._policy
        while self._changes and now_s - self._changes[0] >= _DAY_S:
            self._changes.popleft()
        ago_s = now_s - self._changes[-1] if self._changes else math.inf
        to = desired(shards, load, policy)
        if to > shards and ago_s < policy.scale_out_cooldown_s:
            to = max(shards, desired(shards, msgspec.structs.replace(load, iterator_age_s=0.0), policy))
        if to >= shards:
            self._low_since = None
        else:
            self._low_since = now_s if self._low_since is None else self._low_since
            if min(now_s - self._low_since, ago_s) < policy.scale_in_cooldown_s:
                return shards
        return to if len(self._changes) < CHANGES_A_DAY else shards

    def changed(self, now_s: float) -> None:
        """Kinesis took a change."""
        self._changes.append(now_s)
        self._low_since = None


class Look(msgspec.Struct, frozen=True):
    """What a scaler saw at a Unix time, ns, and the count it asked for: ``shards`` if it left it as it is."""

    at_ns: int
    shards: int
    load: Load
    to: int


class Scaler:
    """Looks at a stream's load again and again, on a thread, and has it resharded. ``looks`` is the history, oldest first.

    Args:
        kinesis: the boto3 client.
        stream: its name; of provisioned mode.
        load: since the last call; a ``Meter``'s.
        interval_s: between two looks. CloudWatch's alarms look once a minute.
    """

    def __init__(
        self, kinesis, stream: str, *, policy: TargetTracking, load: Callable[[], Load], interval_s: float = 60.0
    ) -> None:
        if not 0 < interval_s < math.inf:
            raise SettingError("interval_s", interval_s, "seconds, above 0")
        self._kinesis, self._stream, self._load, self._interval_s = kinesis, stream, load, interval_s
        self._tracker = Tracker(policy)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scaler", daemon=True)
        self._errors: list[ServiceError] = []
        self.looks: list[Look] = []

    def look(self) -> None:
        """Once; nothing happens while an earlier change is under way.

        Raises:
            ServiceError: the stream is not there, or Kinesis refuses to reshard it.
        """
        try:
            described = self._kinesis.describe_stream_summary(StreamName=self._stream)["StreamDescriptionSummary"]
            if described["StreamStatus"] != "ACTIVE":
                return
            shards, load, now = described["OpenShardCount"], self._load(), time.monotonic()
            to = self._tracker.next(now, shards, load)
            self.looks.append(Look(now_ns(), shards, load, to))
            if to != shards:
                self._kinesis.update_shard_count(StreamName=self._stream, TargetShardCount=to, ScalingType="UNIFORM_SCALING")
                self._tracker.changed(now)
                _log.info("stream %s: %d to %d shards", self._stream, shards, to)
        except (self._kinesis.exceptions.ResourceInUseException, self._kinesis.exceptions.LimitExceededException) as error:
            _log.warning("stream %s is not resharded now: %s", self._stream, error)
        except Exception as error:  # refused, not there, or no answer: boto3 has tried again what can be
            line = str(error).partition("\n")[0] or type(error).__name__
            raise ServiceError(f"stream {self._stream} cannot be scaled: {line}") from error

    def check(self) -> None:
        """
        Raises:
            ServiceError: what ended the looks.
        """
        if self._errors:
            raise self._errors[0]

    def stop(self) -> None:
        """No look any more; the shards stay as they are."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> "Scaler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self.look()
            except ServiceError as error:  # a thread cannot raise to its starter
                self._errors.append(error)
                return
