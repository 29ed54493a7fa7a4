"""Kills of workers and of the vector server: a few real ones, and the figures that are taken from them."""

from pathlib import Path

import numpy as np
import pytest

from workbench.benchmarks import stream_kills
from workbench.benchmarks.effects import Effects, Left, compared
from workbench.benchmarks.stream_kills import Round, rounds, survived_worker_kills
from workbench.errors import ServiceError
from workbench.events import Event, Recommendation, Record
from workbench.function.entities import Activity, Touch, recommendation_item

INTACT = {"lost": 0, "disordered": 0, "differing": 0}


def test_nothing_is_lost_out_of_order_or_unlike_after_kills(tmp_path: Path):
    (one,) = rounds(tmp_path, 1, kills=4, seed=3)
    assert (one.servers, one.workers, one.survived) == (2, 2, 4)
    assert one.effects == Effects(one.effects.events, one.effects.repeated, **INTACT) and one.effects.events > 0


def test_a_worker_that_ends_by_itself_is_told(tmp_path: Path, monkeypatch):
    broken = "workbench.benchmarks.killed_worker", ["{"]
    monkeypatch.setattr(stream_kills._Machine, "worker", lambda machine, wiring: machine._child("a worker", *broken))
    with pytest.raises(ServiceError, match=r"^a worker did not start: msgspec.DecodeError: Input data was truncated \(log: "):
        list(rounds(tmp_path, 1, kills=4, seed=1))


EVENTS = [
    Event(event_id=f"e{number}", user_id=f"u{number % 2}", product_id="p", timestamp_ms=number, trace_id=f"t{number}")
    for number in range(80)
]
IDS = [event.event_id for event in EVENTS]


def left_of(ids: list[str], *, value: float = 1.0, stored: float = 1.0) -> Left:
    """A user's item after these events, all with the same vector, and the record in the index."""
    activity = Activity()
    for event_id in ids:
        activity = activity.after(Touch(event_id, "p", 0), np.full(2, value, np.float32), half_life=10.0)
    item = recommendation_item(Recommendation("u", ({"product_id": "p", "score": 1.0},), "t"), activity)
    return Left(item, Record("u", np.full(2, stored, np.float32), {"updated_ms": 0}))


def users(**of: Left) -> dict[str, Left]:
    """Both users as they should be, but for those that are given."""
    return {"u0": left_of(IDS[0::2]), "u1": left_of(IDS[1::2])} | of


def test_an_event_that_comes_again_does_no_harm():
    delivered = IDS[:50] + IDS[30:]  # a batch of 20 twice
    assert compared(EVENTS, delivered, users(), users()) == Effects(80, repeated=20, **INTACT)
    assert compared(EVENTS, delivered, users(), users()).intact


def test_an_event_that_the_read_model_does_not_know_is_lost():
    found = users(u1=left_of([each for each in IDS[1::2] if each != "e5"]))
    seen = compared(EVENTS, IDS, found, users())
    assert (seen.lost, seen.disordered, seen.differing) == (1, 0, 0)  # 39 later ones of the same product hide it
    nothing = users(u0=Left(None, None))
    seen = compared(EVENTS, [], nothing, users())
    assert (seen.lost, seen.disordered, seen.differing) == (40, 0, 1) and not seen.intact


@pytest.mark.parametrize(
    ("delivered", "remembered"),
    [
        ([*IDS[:2], "e4", "e2", *IDS[5:]], IDS[0::2]),  # processed too early, and in order afterwards
        (IDS, [*IDS[0:76:2], "e78", "e76"]),
    ],
)
def test_users_whose_events_changed_places_are_out_of_order(delivered, remembered):
    assert compared(EVENTS, delivered, users(u0=left_of(remembered)), users()).disordered == 1


def test_who_is_recommended_something_else_or_has_another_vector_differs():
    calm = users()
    item, record = calm["u0"]
    other = left_of(IDS[0::2], value=0.5)
    shown = {**item, "items": {"S": "[]"}}
    for found in (other, left_of(IDS[0::2], stored=np.nextafter(np.float32(1), 2)), Left(shown, record), Left(item, None)):
        assert compared(EVENTS, IDS, users(u0=found), calm).differing == 1


def test_kills_that_left_a_trace_are_not_survived(monkeypatch):
    seen = [
        Round(3, 7, Effects(2_000, 100, 0, 0, 0)),
        Round(4, 6, Effects(2_000, 100, 1, 0, 0)),
        Round(2, 8, Effects(2_000, 100, 0, 0, 2)),
    ]
    asked = []
    monkeypatch.setattr(stream_kills, "rounds", lambda folder, count, **rest: asked.append((count, rest)) or seen)
    made = survived_worker_kills("survived_worker_kills")
    assert asked == [(10, {"kills": 10, "seed": 0})]
    assert (made.value, made.low, made.high, made.runs, made.baseline.value) == (10, 0, 10, 3, 30)
    assert made.note == (
        "9 of them of the vector server; 6,000 events, 300 deliveries were repeated, 1 events lost; "
        "0 users out of order, 2 unlike without kills"
    )
