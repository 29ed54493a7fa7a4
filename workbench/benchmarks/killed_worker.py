"""The worker that ``stream_kills`` kills: ``python -m workbench.benchmarks.killed_worker WIRING``, which ends with its owner.

The event source runs in it, with the function inline. No module imports this one.
"""

import os
import sys
import time
from contextlib import closing

import msgspec

from workbench.benchmarks.consumer import Journal, Wiring, index, source
from workbench.process import announce, end_with_owner

_LOOK_S = 0.1


def work(wiring: Wiring, key: str) -> None:
    """Process what falls to this worker, for ever. The owner is told when that begins.

    Raises:
        ServiceError: the stream or the leases cannot be read any more.
    """
    with (
        closing(index(wiring, key)) as store,
        closing(Journal(wiring.journal)) as journal,
        source(wiring, store, journal) as running,
    ):
        announce(wiring.stream_arn)
        while True:
            time.sleep(_LOOK_S)
            running.check()


if __name__ == "__main__":
    end_with_owner()
    work(msgspec.json.decode(sys.argv[1], type=Wiring), os.environ["WORKBENCH_API_KEY"])
