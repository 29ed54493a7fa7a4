"""Records that can never be processed, in the dead-letter queue: each with its reason and its data, so that nothing is lost.

A batch that reports such a record is tried again with all that follows it, and what AWS then tells the on-failure destination
carries neither reason nor data. So the function puts it aside itself, and the rest of its batch counts as processed.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from workbench.errors import ServiceError

_MOST_BYTES = 256 * 1024  # of a message, and of a call, until August 2025; emulators still have it
_MOST_MESSAGES = 10  # of a call
_TRIES = 4
_MOST_CHARACTERS, _REASONS = 1_000, 20  # of a reason; and how many are told where there is no room for all


class Rejects:
    """The queue. Any number of threads may use it."""

    def __init__(self, sqs, queue_url: str) -> None:
        self._sqs, self._queue_url = sqs, queue_url

    def send(self, records: Sequence[dict], reasons: Mapping[str, str]) -> None:
        """Put aside those of a Lambda event's records that have a reason, by sequence number or SEQUENCE:INDEX.

        A batch that is delivered again sends them again: a reader tells them by eventID.

        Raises:
            ServiceError: the queue refused some to the last try.
            Exception: boto3's own, if the queue did not answer.
        """
        grouped: dict[str, dict[str, str]] = {}
        for place, reason in reasons.items():
            grouped.setdefault(place.partition(":")[0], {})[place] = reason[:_MOST_CHARACTERS]
        numbered = ((record, record["kinesis"]["sequenceNumber"]) for record in records)
        for messages in _calls(_message(record, grouped[number]) for record, number in numbered if number in grouped):
            self._send(messages)

    def _send(self, messages: list[str]) -> None:
        left = dict(enumerate(messages))
        for _ in range(_TRIES):
            entries = [{"Id": str(number), "MessageBody": message} for number, message in left.items()]
            answer = self._sqs.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
            left = {int(each["Id"]): left[int(each["Id"])] for each in answer.get("Failed", ())}
            if not left:
                return
        raise ServiceError(f"{len(left)} rejected records were refused by {self._queue_url}")


def _message(record: dict, reasons: dict[str, str]) -> str:
    """A record with its reason, or with those of what was aggregated in it.

    Where there is no room for all, the data goes before the reasons: from it they can be found again. Without its data a record
    stays in the stream, where its sequence number says, until the retention ends.
    """
    without = {**record, "kinesis": {**record["kinesis"], "data": None}}
    choices = itertools.product((record, without), (reasons, _some(reasons)))
    messages = (json.dumps({"rejected": told, "record": carried}) for carried, told in choices)
    return next(message for message in messages if len(message) <= _MOST_BYTES)


def _some(reasons: dict[str, str]) -> dict[str, str]:
    """The first of them; the last one told says how many there are besides."""
    left = len(reasons) - _REASONS
    if left <= 0:
        return reasons
    first = dict(itertools.islice(reasons.items(), _REASONS))
    place = next(reversed(first))
    return {**first, place: f"{first[place]} (and {left:,} more, whose reasons have no room here)"}


def _calls(messages: Iterable[str]) -> Iterator[list[str]]:
    part, size = [], 0
    for message in messages:
        if part and (len(part) == _MOST_MESSAGES or size + len(message) > _MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message)
    if part:
        yield part
