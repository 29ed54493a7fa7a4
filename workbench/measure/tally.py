"""The least that can follow a replay: it counts. What measuring costs is told by comparing it with a ``Timeline``."""

import threading

import numpy as np

from workbench.errors import EventRejected
from workbench.stream.batch import Discarded
from workbench.stream.worker import Delivery


class Tally:
    """Counts the records that are settled; nothing is kept of any of them."""

    def __init__(self, events: int) -> None:
        self.due_ns = np.zeros(events, np.int64)
        self.last_ns = 0  # when the last settled record was answered, Unix ns
        self._left = events
        self._changed = threading.Condition()

    def sent(self, index: int, ns: int) -> None:
        """Nothing is kept."""

    def refused(self, index: int, error: EventRejected) -> None:
        """One record less to wait for."""
        self._settle(1)

    def delivered(self, delivery: Delivery) -> None:
        """What the call settled."""
        self._settle(len(delivery.settled), delivery.answered_ns)

    def expired(self, shard_id: str, discarded: Discarded) -> None:
        """Records that became too old are settled."""
        self._settle(len(discarded.records))

    def wait(self, timeout_s: float) -> int:
        """Wait for progress at most this long; returns how many records are still on their way."""
        with self._changed:
            if self._left:
                self._changed.wait(timeout_s)
            return self._left

    def _settle(self, records: int, answered_ns: int = 0) -> None:
        with self._changed:
            self._left -= records
            self.last_ns = max(self.last_ns, answered_ns)
            self._changed.notify_all()
