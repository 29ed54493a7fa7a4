"""A batch's events by user: each counted once, in order, however often the stream delivers it."""

import numpy as np
import pytest

from workbench.function.decode import Arrival
from workbench.function.enrich import Known
from workbench.function.entities import Activity, Place, Profile, Touch
from workbench.function.visits import visits

from .world import NOON, event, product

VECTORS = {"p1": np.array([1.0, 0.0], np.float32), "p2": np.array([0.0, 1.0], np.float32)}
PRODUCTS = {name: product(name) for name in VECTORS}


def known(**activities: Activity) -> Known:
    users = ("anna", "ben")
    return Known({user: Profile(user) for user in users}, PRODUCTS, dict.fromkeys(users, Activity()) | activities)


def arrived(*events) -> list[Arrival]:
    return [Arrival(str(number), each) for number, each in enumerate(events)]


def test_one_visit_a_user_in_the_order_of_their_first_event():
    batch = arrived(event("e1", "ben", "p2"), event("e2", "anna", "p1"), event("e3", "ben", "p1"))
    ben, anna = visits(batch, known(), VECTORS, half_life=1.0)
    assert (ben.user_id, anna.user_id) == ("ben", "anna")
    assert [arrival.event.event_id for arrival in ben.arrivals] == ["e1", "e3"]
    assert ben.products == [PRODUCTS["p2"], PRODUCTS["p1"]]
    assert ben.vectors.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert ben.trace_id == "trace-e3" and anna.trace_id == "trace-e2"  # of the newest event: it is the one that is answered
    assert ben.activity.vector.tolist() == [0.5, 0.5]  # half-life 1: the older counts half
    assert ben.activity.recent == (Touch("e1", "p2", NOON), Touch("e3", "p1", NOON))


def test_the_activity_goes_on_from_what_was_known():
    before = Activity((Touch("e0", "p1", NOON - 5),), VECTORS["p1"])
    (visit,) = visits(arrived(event("e1", "anna", "p2")), known(anna=before), VECTORS, half_life=2.0)
    kept = 0.5**0.5
    assert visit.activity.vector.tolist() == pytest.approx([kept, 1 - kept], abs=2**-12)  # a float16 near 1
    assert visit.activity.recent == (*before.recent, Touch("e1", "p2", NOON))
    assert visit.vectors.tolist() == [[0.0, 1.0]], "only what is new"


def test_an_event_that_was_counted_is_not_counted_again():
    before = Activity((Touch("e0", "p1", NOON),), VECTORS["p1"])
    batch = arrived(event("e0", "anna", "p1"), event("e1", "anna", "p2"))
    (visit,) = visits(batch, known(anna=before), VECTORS, half_life=1.0)
    assert [arrival.event.event_id for arrival in visit.arrivals] == ["e1"]
    assert visit.activity.vector.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("origin", "again"), [("a", False), ("b", True)])
def test_what_is_not_behind_the_counted_place_of_its_origin_came_again(origin, again):
    """Whatever its id: it may be one of more events ago than ids are remembered."""
    before = Activity((), VECTORS["p1"], places=(Place.of("a", "9", None),), version=700)
    batch = [Arrival(number, event(f"e{number}", "anna", "p2"), None, origin) for number in ("8", "9", "10")]
    (visit,) = visits(batch, known(anna=before), VECTORS, half_life=1.0)
    assert [arrival.sequence_number for arrival in visit.arrivals] == (["8", "9", "10"] if again else ["10"])
    assert visit.activity.version == 700 + len(visit.arrivals) and visit.read_version == 700


def test_the_events_of_an_aggregated_record_count_one_by_one():
    """As when the function is given less of it than the record holds: it goes on within the record."""
    batch = [Arrival("7", event(f"e{index}", "anna", "p2"), index, "a") for index in range(4)]
    (visit,) = visits(batch[:2], known(), VECTORS, half_life=1.0)
    (rest,) = visits(batch, known(anna=visit.activity), VECTORS, half_life=1.0)
    assert [arrival.sub_sequence_number for arrival in rest.arrivals] == [2, 3]
    assert rest.activity.version == 4 and rest.read_version == 2


def test_an_event_that_is_twice_in_a_batch_counts_once():
    batch = arrived(event("e1", "anna", "p1"), event("e1", "anna", "p1"), event("e2", "anna", "p2"))
    (visit,) = visits(batch, known(), VECTORS, half_life=1.0)
    assert [touch.event_id for touch in visit.activity.recent] == ["e1", "e2"]
    assert visit.activity.vector.tolist() == [0.5, 0.5] and len(visit.products) == 2


def test_another_users_event_of_the_same_id_counts():
    batch = arrived(event("e1", "anna", "p1"), event("e1", "ben", "p2"))
    assert [visit.user_id for visit in visits(batch, known(), VECTORS, half_life=1.0)] == ["anna", "ben"]


def test_a_user_with_nothing_new_makes_no_visit():
    before = Activity((Touch("e0", "p1", NOON),), VECTORS["p1"])
    batch = arrived(event("e0", "anna", "p1"), event("e9", "ben", "p2"))
    assert [visit.user_id for visit in visits(batch, known(anna=before), VECTORS, half_life=1.0)] == ["ben"]
    assert visits([], known(), VECTORS, half_life=1.0) == []
