"""Faults planted on purpose: what measures must find them, or it would miss real ones, too."""

import threading
import time

import numpy as np

from workbench.events import Match
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
