"""The read model is written once for each event: over the very item that was read, all users of a batch or none."""

import threading

import numpy as np
import pytest

from workbench.errors import WriteConflict
from workbench.function.act import act
from workbench.function.decode import Arrival
from workbench.function.enrich import Enricher
from workbench.function.entities import Activity, recommendation_from_item
from workbench.function.tables import put_items
from workbench.function.visits import Visit, visits

from .world import event, product

LISTED = [{"product_id": "p9", "description": "Milk", "score": 0.5}]
VECTORS = {"p1": np.array([1.0, 0.0], np.float32), "p2": np.array([0.0, 1.0], np.float32)}


class Worker:
    """One that reads and writes the read model; what it read is of its own, as when it stands still in between."""

    def __init__(self, dynamodb, tables) -> None:
        self._dynamodb, self._tables = dynamodb, tables
        self._enricher = Enricher(dynamodb, tables, ttl_s=0)

    def read(self, *arrivals: Arrival) -> list[Visit]:
        known = self._enricher.enrich([arrival.event for arrival in arrivals])
        return visits(list(arrivals), known, VECTORS, half_life=1.0)

    def write(self, made: list[Visit]) -> list:
        return act(self._dynamodb, self._tables, made, [LISTED] * len(made))


@pytest.fixture
def world(dynamodb, tables):
    put_items(dynamodb, tables.products, (product(name).to_item() for name in VECTORS))

    class World:
        def worker(self) -> Worker:
            return Worker(dynamodb, tables)

        def items(self) -> dict[str, dict]:
            pages = dynamodb.get_paginator("scan").paginate(TableName=tables.recommendations, ConsistentRead=True)
            return {item["user_id"]["S"]: item for page in pages for item in page["Items"]}

        def counted(self) -> dict[str, list[str]]:
            return {user: [touch.event_id for touch in Activity.from_item(item).recent] for user, item in self.items().items()}

    return World()


def arrival(number: int, user: str = "anna", bought: str = "p1", origin: str = "a") -> Arrival:
    return Arrival(str(number), event(f"{origin}{number}", user, bought), None, origin)


def test_a_users_item_says_what_to_show_and_how_many_events_it_counts(world):
    worker = world.worker()
    (made,) = worker.write(worker.read(arrival(1), arrival(2, bought="p2")))
    assert (made.user_id, made.items, made.trace_id) == ("anna", tuple(LISTED), "trace-a2")
    item = world.items()["anna"]
    assert recommendation_from_item(item) == made and item["version"] == {"N": "2"}
    worker.write(worker.read(arrival(3)))
    assert world.items()["anna"]["version"] == {"N": "3"} and world.counted() == {"anna": ["a1", "a2", "a3"]}


@pytest.mark.parametrize("before", [0, 1])
def test_of_two_workers_with_the_same_batch_the_later_one_fails_and_then_has_nothing_to_do(world, before):
    """A worker that lost its lease in mid-call, and the one that took it over."""
    for number in range(before):
        world.worker().write(world.worker().read(arrival(number)))
    owner, heir = world.worker(), world.worker()
    batch = [arrival(7), arrival(8)]
    late, early = owner.read(*batch), heir.read(*batch)
    heir.write(early)
    written = world.items()
    with pytest.raises(WriteConflict, match=r": anna changed since read: read again, then write$"):
        owner.write(late)
    assert world.items() == written
    assert owner.read(*batch) == [], "tried again"
    assert owner.write([]) == [] and world.items() == written


def test_a_worker_that_lost_sees_what_the_other_wrote_when_it_is_tried_again(world):
    one, other = world.worker(), world.worker()
    ours, theirs = one.read(arrival(1, bought="p1")), other.read(arrival(1, bought="p2", origin="b"))
    other.write(theirs)
    with pytest.raises(WriteConflict):
        one.write(ours)
    one.write(one.read(arrival(1, bought="p1")))
    activity = Activity.from_item(world.items()["anna"])
    assert world.counted() == {"anna": ["b1", "a1"]} and activity.version == 2
    assert activity.vector.tolist() == [0.5, 0.5]  # half-life 1: either counts half


def test_a_batch_of_which_one_user_was_written_since_writes_nobody(world):
    one, other = world.worker(), world.worker()
    batch = [arrival(1, "anna"), arrival(2, "ben"), arrival(3, "cleo")]
    made = one.read(*batch)
    other.write(other.read(arrival(1, "ben", origin="b")))
    with pytest.raises(WriteConflict) as raised:
        one.write(made)
    assert raised.value.keys == ["ben"] and world.counted() == {"ben": ["b1"]}
    one.write(one.read(*batch))
    assert world.counted() == {"anna": ["a1"], "ben": ["b1", "a2"], "cleo": ["a3"]}


def test_of_more_than_100_users_a_conflict_leaves_the_hundreds_before_it_written(world):
    one, other = world.worker(), world.worker()
    users = [f"u{number:03}" for number in range(230)]
    batch = [arrival(number, user) for number, user in enumerate(users)]
    made = one.read(*batch)
    other.write(other.read(arrival(1, "u150", origin="b")))
    with pytest.raises(WriteConflict) as raised:
        one.write(made)
    assert raised.value.keys == ["u150"]
    assert world.counted() == {user: [f"a{number}"] for number, user in enumerate(users[:100])} | {"u150": ["b1"]}
    again = one.read(*batch)
    assert [visit.user_id for visit in again] == users[100:], "the first hundred are counted"
    one.write(again)
    expected = {user: [f"a{number}"] for number, user in enumerate(users)} | {"u150": ["b1", "a150"]}
    assert world.counted() == expected


def test_workers_that_write_one_user_at_the_same_time_lose_nothing_and_count_nothing_twice(world):
    """Four origins, as of a producer whose partition key is not the user; whoever loses begins with the read."""
    begin, conflicts = threading.Barrier(4), []

    def work(origin: str) -> None:
        worker = world.worker()
        begin.wait()
        for number in range(5):
            batch = [arrival(2 * number, origin=origin), arrival(2 * number + 1, "ben", "p2", origin)]
            while True:
                try:
                    worker.write(worker.read(*batch))
                    break
                except WriteConflict as conflict:
                    conflicts.append(conflict)

    threads = [threading.Thread(target=work, args=(origin,)) for origin in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = world.counted()
    for user, odd in (("anna", 0), ("ben", 1)):
        assert sorted(counted[user]) == sorted(f"{origin}{2 * n + odd}" for origin in "abcd" for n in range(5))
        for origin in "abcd":
            own = [event_id for event_id in counted[user] if event_id.startswith(origin)]
            assert own == sorted(own), "each origin in its order"
    assert {user: item["version"]["N"] for user, item in world.items().items()} == {"anna": "20", "ben": "20"}
    assert all(set(conflict.keys) <= {"anna", "ben"} for conflict in conflicts)
