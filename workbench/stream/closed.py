"""A closed loop of clients: the load generator that hides a stall. Kept to be compared with the open one.

Each client sends its next event when its last one was answered. While the system stands still nobody sends, so the events
that would have waited are never counted (coordinated omission: Gil Tene, "How NOT to Measure Latency"; wrk2's README).
"""

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from workbench.clock import now_ns
from workbench.codecs import Codec
from workbench.events import Event
from workbench.stream.producer import Observer, Producer, in_lanes

_LOOK_S = 0.1  # between two looks at whether to stop


class AnswerObserver(Observer, Protocol):
    """An observer that also knows which events are answered."""

    def wait_for(self, index: int, timeout_s: float) -> bool:
        """Wait at most this long; returns whether event ``index`` is settled."""


class ClosedLoop:
    """``clients`` clients that share out the users; each has one event under way."""

    def __init__(self, kinesis, stream: str, codec: Codec, *, observer: AnswerObserver, clients: int) -> None:
        self._producer = Producer(kinesis, stream, codec, observer=observer)
        self._observer, self._clients = observer, clients

    def send(self, events: Sequence[Event], due_ns: np.ndarray, *, stop: threading.Event) -> None:
        """Send all events; ``due_ns`` is written here, because an event is due whenever its client gets to it.

        Raises:
            ServiceError: the stream refused events for longer than the retries last, or does not answer.
        """

        def run(lane: list[int]) -> None:
            for index in lane:
                if stop.is_set():
                    return
                due_ns[index] = now_ns()
                self._producer.send_one(index, events[index], stop=stop)
                while not self._observer.wait_for(index, _LOOK_S) and not stop.is_set():
                    pass

        in_lanes(events, self._clients, run, stop=stop)
