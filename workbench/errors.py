"""Every error this package raises on purpose.

::

    WorkbenchError
    ├── SettingError        a setting's name or value is not allowed
    ├── DecodeError         bytes that are not an event
    ├── EventRejected       an event that can never be processed
    ├── ModelError          a model's files are missing or not the ones expected
    ├── DataError           a data set is missing or not as expected
    ├── VectorError         the vector store refused a request
    │   ├── IndexNotFound   there is no index of that name
    │   └── StoreDamaged    a store's file is damaged, and refused as a whole
    ├── FunctionFailed      the function raised, timed out or was not reached
    │   └── FunctionNotReached  it was throttled or is not there: that is no attempt
    ├── ServiceError        a server did not start, answer or stay up
    ├── LeaseLost           another worker reads this shard now
    ├── WriteConflict       another worker wrote an item after it was read
    ├── StackError          the stack could not be deployed
    ├── MeasureError        a figure cannot be had from these samples
    │   └── TooFewSamples   a percentile that so few samples do not carry
    ├── ResultError         a result cannot be written, read or compared
    └── ReportError         a notebook could not be executed as asked

An error's message is one line that names the value and what is allowed; the same facts are its attributes.
"""


class WorkbenchError(Exception):
    """Base of the tree: catch this to catch everything the workbench raises on purpose."""


class SettingError(WorkbenchError):
    """A setting is unknown or has a value that is not allowed."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"{name} = {value!r} is not allowed: {allowed}")
        self.name, self.value, self.allowed = name, value, allowed


class DecodeError(WorkbenchError):
    """Bytes that do not decode to an event; ``reason`` says why."""

    def __init__(self, codec: str, reason: str) -> None:
        super().__init__(f"not a {codec} event: {reason}")
        self.codec, self.reason = codec, reason


class EventRejected(WorkbenchError):
    """An event that no retry can save (unknown product, larger than a record may be)."""

    def __init__(self, event_id: str, reason: str) -> None:
        super().__init__(f"event {event_id}: {reason}")
        self.event_id, self.reason = event_id, reason


class ModelError(WorkbenchError):
    """A model's package is missing, or its weights are not the pinned ones."""


class DataError(WorkbenchError):
    """A data set's package is missing, or its contents are not as documented."""


class VectorError(WorkbenchError):
    """The vector store refused a request; ``status`` is the HTTP status that says so on the wire."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class IndexNotFound(VectorError):
    """There is no index of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"index {name!r} does not exist", status=404)
        self.name = name


class StoreDamaged(VectorError):
    """A store's file is not what was written to it. It is not opened at all: half of a store would look like a whole one."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=500)


class FunctionFailed(WorkbenchError):
    """The function gave no answer: it raised, timed out or was not reached. Its whole batch counts as not processed."""


class FunctionNotReached(FunctionFailed):
    """The call did not get to the function: it was throttled, or the service is away. No attempt is used up."""


class ServiceError(WorkbenchError):
    """A server did not start, did not answer, or ended while it was needed."""


class LeaseLost(WorkbenchError):
    """A worker does not hold a shard's lease any more; ``owner`` does, if anybody."""

    def __init__(self, shard_id: str, owner: str | None) -> None:
        super().__init__(f"the lease of {shard_id} is lost: {f'worker {owner} holds it' if owner else 'nobody holds it'}")
        self.shard_id, self.owner = shard_id, owner


class WriteConflict(WorkbenchError):
    """Another worker wrote these items after they were read, or is writing them: try again, beginning with the read."""

    def __init__(self, table: str, keys: list[str]) -> None:
        super().__init__(
            f"table {table}: {', '.join(keys[:3])}{', …' if keys[3:] else ''} changed since read: read again, then write"
        )
        self.table, self.keys = table, keys


class StackError(WorkbenchError):
    """The stack could not be created, updated or deleted."""


class MeasureError(WorkbenchError):
    """Samples that cannot be recorded, or do not carry the figure that was asked of them."""


class TooFewSamples(MeasureError):
    """A percentile with too few samples beyond it: ``needed`` in all, where there are ``samples``."""

    def __init__(self, percentile: float, needed: int, samples: int) -> None:
        there = f"there is {samples}" if samples == 1 else f"there are {samples:,}"
        super().__init__(f"p{percentile:g} needs {needed:,} samples, {there}")
        self.percentile, self.needed, self.samples = percentile, needed, samples


class ResultError(WorkbenchError):
    """A result file is damaged, in the way or cannot be written, or results cannot be compared."""


class ReportError(WorkbenchError):
    """A notebook is missing, has no such parameter, or failed; ``path`` is the report written all the same."""

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path
