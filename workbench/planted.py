"""Faults planted on purpose: what measures must find them, or it would miss real ones, too."""

import threading
import time
from collections.abc import Collection

import numpy as np

from workbench.codecs import Codec
from workbench.errors import DecodeError, FunctionFailed
from workbench.events import Match
from workbench.function.records import data
from workbench.stream.invoke import Invoker
from workbench.vectors import VectorStore


class Stalled:
    """An invoker that stands still once: after ``after`` records, every call waits until ``stall_s`` have passed."""

    def __init__(self, invoker: Invoker, *, after: int, stall_s: float) -> None:
        self._invoker, self._left, self._stall_s = invoker, after, stall_s
        self._resume_at: float | None = None
        self._lock = threading.Lock()

    def __call__(self, event: dict) -> dict:
        with self._lock:
            self._left -= len(event["Records"])
            if self._left < 0 and self._resume_at is None:
                self._resume_at = time.monotonic() + self._stall_s
        if self._resume_at is not None and (wait_s := self._resume_at - time.monotonic()) > 0:
            time.sleep(wait_s)
        return self._invoker(event)


class Outage:
    """An invoker that fails for a while: after ``after`` records, until ``outage_s`` have passed. What it called is away."""

    def __init__(self, invoker: Invoker, *, after: int, outage_s: float) -> None:
        self._invoker, self._left, self._outage_s = invoker, after, outage_s
        self._over_at: float | None = None
        self._lock = threading.Lock()

    def __call__(self, event: dict) -> dict:
        with self._lock:
            self._left -= len(event["Records"])
            if self._left < 0 and self._over_at is None:
                self._over_at = time.monotonic() + self._outage_s
        if self._over_at is not None and time.monotonic() < self._over_at:
            raise FunctionFailed("ConnectionError: the vector store does not answer (planted)")
        return self._invoker(event)


class Poisoned:
    """An invoker that fails whenever one of certain events is in the batch: a bug that no retry mends."""

    def __init__(self, invoker: Invoker, event_ids: Collection[str], codec: Codec) -> None:
        self._invoker, self._event_ids, self._codec = invoker, frozenset(event_ids), codec

    def __call__(self, event: dict) -> dict:
        for record in event["Records"]:
            try:
                event_id = self._codec.decode(data(record)).event_id
            except DecodeError:
                continue
            if event_id in self._event_ids:
                raise FunctionFailed(f"KeyError: event {event_id} (planted)")
        return self._invoker(event)


class SlowQueries:
    """A vector store whose queries take ``times`` as long. The processor is kept busy meanwhile, as by real work."""

    def __init__(self, store: VectorStore, times: float) -> None:
        self._store, self._more = store, times - 1.0

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def query(self, vectors: np.ndarray, **options) -> list[list[Match]]:
        """What the store finds, later."""
        begun = time.perf_counter()
        found = self._store.query(vectors, **options)
        ended = time.perf_counter()
        until = ended + self._more * (ended - begun)
        while time.perf_counter() < until:
            pass
        return found
