"""When an event's vector can be found: not as the function says, but as a search in the index shows.

A probe follows one event from the moment it is sent: it fetches the user's record until it carries the event's time, and then
asks for its nearest neighbours until the record is among them. That is put → findable, a freshness nobody can be wrong about.
"""

import queue
import threading
from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbench.clock import now_ns
from workbench.errors import SettingError
from workbench.events import Event
from workbench.vectors import VectorStore

_TOP_K = 50
# A vector's cosine with itself, less what float32 leaves of it: who scores that is as near as the record itself.
_SELF_SCORE = 1 - 1e-5
_NEVER = 2**63 - 1  # Unix ns


class FindableProbe:
    """Looks, while the context is open, for the vectors of a few of a run's events, one after the other.

    It is an observer of what is sent (``sent``) and reads on a thread of its own, one fetch every ``poll_s`` s and a query or
    two: load that the run carries too. A time is late by at most ``poll_s`` and one fetch and query.

    Only an event that is newer than all before it of its user is looked for: of another one cannot tell whose write was found.
    Leaving the context waits for a probe under way, so that slow ones are not left out; an exception ends it at once.

    Args:
        store: where the vectors are written, under the cosine metric.
        events: all events of the run, in the order they are due.
        namespace: holds one record a user, whose metadata has ``updated_ms``, the newest ``timestamp_ms`` in it. Nothing of an
            earlier run may be left in it.
        every_s: from one probe's event to the next, at least.
        poll_s: between two looks.
        give_up_s: after this long the probe ends without having found the vector.

    Raises:
        SettingError: one of the three times is not more than 0.
    """

    def __init__(
        self,
        store: VectorStore,
        events: Sequence[Event],
        namespace: str,
        every_s: float = 1.0,
        poll_s: float = 0.005,
        give_up_s: float = 10.0,
    ) -> None:
        for name, seconds in (("every_s", every_s), ("poll_s", poll_s), ("give_up_s", give_up_s)):
            if not seconds > 0:
                raise SettingError(name, seconds, "more than 0 s")
        self._store, self._events, self._namespace = store, events, namespace
        self._every_ns, self._poll_s, self._give_up_s = round(every_s * 1e9), poll_s, give_up_s
        self._can_be_told = _newest_of_their_users(events)
        self._rows: list[dict] = []
        self._not_before_ns = _NEVER  # no probe of an event that is sent earlier; also while one is under way
        self._left = False
        self._lock = threading.Lock()  # guards those two
        self._chosen: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="findable-probe", daemon=True)

    def __enter__(self) -> "FindableProbe":
        self._thread.start()
        self._not_before_ns = 0
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            self._left, self._not_before_ns = True, _NEVER
        if kind is not None:
            self._stop.set()
        self._chosen.put(None)
        self._thread.join()

    def sent(self, index: int, ns: int) -> None:
        """Event ``index`` is being sent at Unix time ``ns``; called by the senders for every event, so nearly free."""
        if ns < self._not_before_ns or not self._can_be_told[index]:
            return
        with self._lock:
            if ns >= self._not_before_ns:  # no other sender was faster
                self._not_before_ns = _NEVER
                self._chosen.put((index, ns))

    def frame(self) -> pd.DataFrame:
        """One row a probe: (index, sent_ns, findable_ns, polls, outcome, reason).

        ``index`` is the event's place, times are Unix ns, ``findable_ns`` is 0 for what was not found. ``outcome`` is findable,
        given up, cut short (by an error of the run) or failed: then ``reason`` is the store's error.
        """
        return pd.DataFrame(self._rows, columns=["index", "sent_ns", "findable_ns", "polls", "outcome", "reason"])

    def _run(self) -> None:
        for index, sent_ns in iter(self._chosen.get, None):
            row = self._probe(index, sent_ns)
            with self._lock:
                if not self._left:
                    self._not_before_ns = sent_ns + self._every_ns
            self._rows.append(row)  # who sees it may send the next

    def _probe(self, index: int, sent_ns: int) -> dict:
        event, until_ns = self._events[index], now_ns() + round(self._give_up_s * 1e9)
        row = {"index": index, "sent_ns": sent_ns, "findable_ns": 0, "polls": 0, "outcome": "given up", "reason": ""}
        while now_ns() < until_ns:
            row["polls"] += 1
            try:
                found = self._found(event)
            except Exception as error:  # the run does not end because somebody looked
                return row | {"outcome": "failed", "reason": str(error) or type(error).__name__}
            if found:
                return row | {"findable_ns": now_ns(), "outcome": "findable"}
            if self._stop.wait(self._poll_s):
                return row | {"outcome": "cut short"}
        return row

    def _found(self, event: Event) -> bool:
        record = self._store.fetch([event.user_id], namespace=self._namespace).get(event.user_id)
        if record is None or record.metadata.get("updated_ms", -1) < event.timestamp_ms:
            return False
        values = np.asarray(record.values, np.float32)[np.newaxis]
        (matches,) = self._store.query(values, top_k=_TOP_K, namespace=self._namespace)
        tied = len(matches) == _TOP_K and matches[-1].score >= _SELF_SCORE  # any of them might have taken its place
        return tied or any(match.id == event.user_id for match in matches)


def _newest_of_their_users(events: Sequence[Event]) -> list[bool]:
    """Whether each event is newer than all before it of its user."""
    newest: dict[str, int] = {}
    told = []
    for event in events:
        told.append(event.timestamp_ms > newest.get(event.user_id, -1))
        newest[event.user_id] = max(event.timestamp_ms, newest.get(event.user_id, -1))
    return told
