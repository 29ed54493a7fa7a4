"""How far a shard is dealt with, when its records are dealt with out of order."""

from collections import deque
from collections.abc import Iterable


class Progress:
    """The records of one shard in the order they were read. ``checkpoint`` is the last before which none is left.

    With a ParallelizationFactor above 1 a later record of one key may be done before an earlier one of another. A new reader
    begins behind the checkpoint, so that nothing is skipped; what was done behind it is done again (at least once).
    """

    def __init__(self, checkpoint: str | None) -> None:
        self.checkpoint = checkpoint
        self._order: deque[str] = deque()
        self._open: dict[str, int] = {}  # records left of each sequence number: several came out of one aggregated record

    def __len__(self) -> int:
        """Records that were read and are not behind the checkpoint yet."""
        return len(self._order)

    def read(self, numbers: Iterable[str]) -> None:
        """These sequence numbers were read, in this order."""
        for number in numbers:
            self._order.append(number)
            self._open[number] = self._open.get(number, 0) + 1

    def done(self, numbers: Iterable[str]) -> None:
        """These were dealt with, in any order."""
        for number in numbers:
            self._open[number] -= 1
        while self._order and not self._open[self._order[0]]:
            number = self._order.popleft()
            if not self._order or self._order[0] != number:
                del self._open[number]
                self.checkpoint = number
