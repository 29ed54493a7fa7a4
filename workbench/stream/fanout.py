"""How many standard consumers a stream carries: they share what a shard gives.

"Each shard can support up to five transactions per second for reads, up to a maximum total data read rate of 2 MB per second"
(GetRecords, Kinesis Data Streams API reference), whoever reads. A consumer of enhanced fan-out has 2 MB/s of a shard to itself.
A local stand-in keeps none of these limits: what it carries says nothing of AWS.
"""

import math

from workbench.errors import SettingError

READS_PER_S = 5  # GetRecords of one shard
BYTES_READ_PER_S = 2_000_000  # of one shard


def standard_consumers(poll_interval_s: float, bytes_per_s: float = 0.0) -> int:
    """The most standard consumers of a shard that are not throttled, at the tip of it. 0: not even one.

    A consumer that is behind goes on at once, and so takes more of the five reads.

    Args:
        poll_interval_s: between two GetRecords of one consumer; Lambda's is 1 s.
        bytes_per_s: what arrives in the shard, which every consumer reads.

    Raises:
        SettingError: the interval is not above 0, or the rate is below 0.
    """
    if not 0 < READS_PER_S * poll_interval_s < math.inf:
        raise SettingError("poll_interval_s", poll_interval_s, "seconds, above 0")
    if not 0 <= bytes_per_s < math.inf:
        raise SettingError("bytes_per_s", bytes_per_s, "bytes a second, 0 or more")
    by_bytes = BYTES_READ_PER_S / bytes_per_s if bytes_per_s else math.inf
    return math.floor(min(READS_PER_S * poll_interval_s, by_bytes))
