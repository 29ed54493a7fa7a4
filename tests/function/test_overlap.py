"""Two workers have the same user at once: one lost its lease in mid-call, and the other went on behind the checkpoint."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from workbench.errors import WriteConflict
from workbench.function.entities import Activity
from workbench.function.variants import USERS

from .test_processor import PRODUCTS, SETTINGS, World
from .world import MINUTE, NOON, batch, event


class Late:
    """A store that holds up its next upsert until ``go`` is set."""

    def __init__(self, store) -> None:
        self._store, self.reached, self.go = store, threading.Event(), threading.Event()

    def upsert(self, records, *, namespace: str = "") -> int:
        self.reached.set()
        assert self.go.wait(20)
        return self._store.upsert(records, namespace=namespace)

    def query(self, vectors, **asked):
        return self._store.query(vectors, **asked)


@pytest.fixture
def world(dynamodb, tables) -> Iterator[World]:
    return World(dynamodb, tables)


def late_in(world: World, *events) -> list[WriteConflict]:
    """A worker begins with the first event, and another does all of them before the first one's vector is written."""
    plain, failed = world.store, []
    world.store = late = Late(plain)
    slow = world.make(SETTINGS)
    world.store = plain

    def run() -> None:
        try:
            slow.process(batch(events[0]))
        except WriteConflict as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert late.reached.wait(20)
    world.processor.process(batch(*events))
    late.go.set()
    thread.join()
    return failed


def test_a_late_worker_does_not_leave_an_older_vector_in_the_index(world):
    failed = late_in(world, event("e1", "anna", "p0"), event("e2", "anna", "p7", NOON + MINUTE))
    assert [str(error).partition(": ")[2] for error in failed] == ["anna changed since read: read again, then write"]
    activity = Activity.from_item(world.items()["anna"])
    assert [touch.event_id for touch in activity.recent] == ["e1", "e2"]
    kept = 0.5**0.5  # a half-life of 2 touches
    taste = kept * world.vector(PRODUCTS[0]) + (1 - kept) * world.vector(PRODUCTS[7])
    stored = world.store.fetch(["anna"], namespace=USERS)["anna"]
    assert stored.values == pytest.approx(taste, abs=1e-3) and np.array_equal(stored.values, activity.vector)
    assert stored.metadata == {"updated_ms": NOON + MINUTE}
