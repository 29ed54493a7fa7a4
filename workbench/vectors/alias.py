"""The alias: which version of the embeddings is live, kept in a vector store, so that every process sees it move.

No backend has aliases that all of them share, but each replaces one record as a whole: an alias is one record of a small
index, and its metadata is a ``Route``.
"""

from typing import Self

import msgspec
import numpy as np

from workbench.errors import SettingError, VectorError
from workbench.events import Record
from workbench.vectors import VectorStore

DIMENSION = 2  # of the store that keeps aliases: the least that every backend takes
NAMESPACE = "aliases"


class Route(msgspec.Struct, frozen=True):
    """Which versions are read and written, by name. It is also all that is known of a migration under way.

    ``live`` answers queries that ask for no version. ``complete`` are those that may be queried. ``writes`` are those that every
    write goes to, the first of them first: it is the source that the others are made equal to.

    Raises:
        SettingError: ``live`` is not complete, a complete version is not written, or a name stands twice.
    """

    live: str
    complete: tuple[str, ...]
    writes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.live not in self.complete:
            raise SettingError("live", self.live, f"a complete version: {', '.join(self.complete) or 'there is none'}")
        if len(set(self.writes)) < len(self.writes) or len(set(self.complete)) < len(self.complete):
            raise SettingError("writes", self.writes, "each version once, as among the complete ones")
        for name in self.complete:
            if name not in self.writes:
                raise SettingError("complete", name, f"a version that is written: {', '.join(self.writes) or 'there is none'}")

    @classmethod
    def only(cls, name: str) -> Self:
        """One version, live and alone."""
        return cls(name, (name,), (name,))


class Alias:
    """One alias in ``store``, which has ``DIMENSION`` dimensions; several may share it under names of their own."""

    def __init__(self, store: VectorStore, name: str = "live") -> None:
        self.name = name
        self._store = store

    def read(self) -> Route:
        """Where it points now.

        Raises:
            VectorError: it was never written (404), or its record is no route.
        """
        record = self._store.fetch([self.name], namespace=NAMESPACE).get(self.name)
        if record is None:
            raise VectorError(f"alias {self.name!r} does not exist: write its first route", 404)
        try:
            return msgspec.convert(record.metadata, Route)
        except (msgspec.ValidationError, SettingError) as error:
            raise VectorError(f"alias {self.name!r} holds no route: {error}") from None

    def write(self, route: Route) -> None:
        """Point it elsewhere: a reader sees the old route or the new one, never a mixture."""
        metadata = {"live": route.live, "complete": list(route.complete), "writes": list(route.writes)}
        self._store.upsert([Record(self.name, np.ones(DIMENSION, np.float32), metadata)], namespace=NAMESPACE)
