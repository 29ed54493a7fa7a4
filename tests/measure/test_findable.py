"""Probes of a store that shows its writes at once, later, in part or never; the real ones and doubles around them."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from workbench.clock import now_ns
from workbench.errors import SettingError, VectorError
from workbench.events import Event, Match, Record
from workbench.function.variants import USERS
from workbench.measure.findable import FindableProbe
from workbench.process import Child
from workbench.vectors.pinecone import PineconeStore
from workbench.vectors.store import Store

DIMENSION = 8
SECOND = 1_000_000_000


def event(number: int, user: str, timestamp_ms: int) -> Event:
    return Event(event_id=f"e{number}", user_id=user, product_id="p", timestamp_ms=timestamp_ms, trace_id="t")


def taste(user: str, timestamp_ms: int, seed: int = 0) -> Record:
    """What the function writes of a user."""
    values = np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
    return Record(user, values, {"updated_ms": timestamp_ms})


class Slow:
    """A store whose fetch and query see only what ``fetchable`` and ``searchable`` let through."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fetchable, self.searchable = threading.Event(), threading.Event()
        self.fetched = 0
        self.hidden: set[str] = set()  # ids that no search returns

    def upsert(self, records, *, namespace=""):
        return self._store.upsert(records, namespace=namespace)

    def fetch(self, ids, *, namespace=""):
        self.fetched += 1
        return self._store.fetch(ids, namespace=namespace) if self.fetchable.is_set() else {}

    def query(self, vectors, *, top_k, namespace="", filter=None):
        if not self.searchable.is_set():
            return [[] for _ in vectors]
        matches = self._store.query(vectors, top_k=top_k + len(self.hidden), namespace=namespace)
        return [[match for match in row if match.id not in self.hidden][:top_k] for row in matches]


@pytest.fixture
def slow() -> Slow:
    return Slow(Store(dimension=DIMENSION))


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("server") / "log"
    child = Child("vector server", "workbench.vectors.server", log=log, env={"WORKBENCH_API_KEY": "key"})
    try:
        yield child.wait_ready()
    finally:
        child.stop()


@pytest.fixture(params=["in this process", "behind Pinecone's protocol"])
def store(request: pytest.FixtureRequest) -> Iterator[Store | PineconeStore]:
    if request.param == "in this process":
        yield Store(dimension=DIMENSION)
        return
    url = request.getfixturevalue("server_url")
    store = PineconeStore(url=url, key="key", name="probed", dimension=DIMENSION)
    store.delete(namespace=USERS)
    yield store
    store.close()


def probes() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "findable-probe"]


def test_a_vector_is_findable_when_it_was_written(store: Store | PineconeStore, until: Callable):
    """Other users' vectors are there before; the user's old one is replaced by the event's."""
    store.upsert([taste(f"other{n}", 1, seed=n) for n in range(1, 100)], namespace=USERS)
    store.upsert([taste("anna", 10, seed=100)], namespace=USERS)
    with FindableProbe(store, [event(0, "anna", 1_800_000_000_123)], USERS) as probe:
        sent_ns = now_ns()
        probe.sent(0, sent_ns)
        written_ns = now_ns()
        store.upsert([taste("anna", 1_800_000_000_123, seed=101)], namespace=USERS)
        until(lambda: len(probe.frame()), "the probe has ended")
    row = probe.frame().iloc[0]
    assert (row["index"], row.sent_ns, row.outcome, row.reason) == (0, sent_ns, "findable", "")
    assert sent_ns < written_ns < row.findable_ns < now_ns()
    assert row.polls >= 1


def test_a_newer_event_of_the_user_makes_it_findable_too(store: Store | PineconeStore):
    """A batch writes once for several events of one user."""
    store.upsert([taste("anna", 99)], namespace=USERS)
    with FindableProbe(store, [event(0, "anna", 42)], USERS) as probe:
        probe.sent(0, now_ns())
    assert probe.frame().outcome.tolist() == ["findable"] and probe.frame().polls.tolist() == [1]


def test_it_waits_for_the_record_and_then_for_the_search(slow: Slow, until: Callable):
    slow.upsert([taste("anna", 5)], namespace=USERS)
    with FindableProbe(slow, [event(0, "anna", 5)], USERS, poll_s=0.001) as probe:
        probe.sent(0, now_ns())
        until(lambda: slow.fetched > 3, "it looked in vain")
        slow.fetchable.set()
        fetched = slow.fetched
        until(lambda: slow.fetched > fetched + 3, "it fetched what no search finds")
        assert probe.frame().empty
        shown_ns = now_ns()
        slow.searchable.set()
        until(lambda: len(probe.frame()), "it was found")
    row = probe.frame().iloc[0]
    assert row.outcome == "findable" and row.findable_ns > shown_ns and row.polls == slow.fetched > 6


def test_a_record_of_an_older_event_is_not_the_events(slow: Slow, until: Callable):
    slow.fetchable.set()
    slow.searchable.set()
    slow.upsert([taste("anna", 4)], namespace=USERS)
    with FindableProbe(slow, [event(0, "anna", 5)], USERS, poll_s=0.001) as probe:
        probe.sent(0, now_ns())
        until(lambda: slow.fetched > 3, "it looked in vain")
        slow.upsert([Record("anna", np.ones(DIMENSION, np.float32), {"kind": "no time"})], namespace=USERS)
        fetched = slow.fetched
        until(lambda: slow.fetched > fetched + 3, "it looked in vain again")
        assert probe.frame().empty
        slow.upsert([taste("anna", 5)], namespace=USERS)
    assert probe.frame().outcome.tolist() == ["findable"]


@pytest.mark.parametrize(("twins", "outcome"), [(50, "findable"), (49, "given up")])
def test_fifty_that_are_as_near_might_have_taken_its_place(slow: Slow, twins: int, outcome: str):
    """A search returns 50; one more is a little further away."""
    slow.fetchable.set()
    slow.searchable.set()
    own = taste("anna", 5)
    near = own.values + np.linspace(0, 0.1, DIMENSION, dtype=np.float32)
    same = [Record(f"twin{n}", 2 * own.values, {}) for n in range(twins)]  # another length, no other direction
    slow.upsert([own, *same, Record("near", near, {}), Record("nearer", (near + own.values) / 2, {})], namespace=USERS)
    slow.hidden = {"anna"}
    with FindableProbe(slow, [event(0, "anna", 5)], USERS, poll_s=0.001, give_up_s=0.1) as probe:
        probe.sent(0, now_ns())
    assert probe.frame().outcome.tolist() == [outcome]


def test_what_never_shows_is_given_up_and_recorded(slow: Slow):
    with FindableProbe(slow, [event(0, "anna", 5)], USERS, poll_s=0.001, give_up_s=0.05) as probe:
        probe.sent(0, 123)
    row = probe.frame().iloc[0]
    assert (row["index"], row.sent_ns, row.findable_ns, row.outcome) == (0, 123, 0, "given up")
    assert row.polls == slow.fetched > 1
    assert probes() == []


def test_an_error_of_the_store_is_an_outcome_and_the_next_event_is_looked_for(until: Callable):
    class Away(Store):
        failing = True

        def fetch(self, ids, *, namespace=""):
            if self.failing:
                raise VectorError("the index is away", 503)
            return super().fetch(ids, namespace=namespace)

    store = Away(dimension=DIMENSION)
    store.upsert([taste("ben", 6)], namespace=USERS)
    with FindableProbe(store, [event(0, "anna", 5), event(1, "ben", 6)], USERS) as probe:
        probe.sent(0, SECOND)
        until(lambda: len(probe.frame()), "it failed")
        store.failing = False
        probe.sent(1, 2 * SECOND)
    frame = probe.frame()
    assert frame.outcome.tolist() == ["failed", "findable"] and frame.reason.tolist() == ["the index is away", ""]
    assert frame.findable_ns[0] == 0 and frame.polls.tolist() == [1, 1]


def test_an_error_without_words_is_named(slow: Slow):
    def fails(*_: object, **__: object) -> None:
        raise KeyError

    slow.fetch = fails
    with FindableProbe(slow, [event(0, "anna", 5)], USERS) as probe:
        probe.sent(0, 1)
    assert probe.frame().reason.tolist() == ["KeyError"]


def test_only_events_newer_than_all_before_them_of_their_user_are_looked_for(until: Callable):
    """By user: anna 5, 5, 4, 6; ben 4. Sent an hour apart, so that nothing but their times decides."""
    events = [event(n, user, ms) for n, (user, ms) in enumerate([("anna", 5), ("anna", 5), ("ben", 4), ("anna", 4), ("anna", 6)])]
    store = Store(dimension=DIMENSION)
    store.upsert([taste("anna", 99), taste("ben", 99, seed=1)], namespace=USERS)
    with FindableProbe(store, events, USERS) as probe:
        expected = 0
        for index in range(5):
            probe.sent(index, (index + 1) * 3600 * SECOND)
            expected += index in (0, 2, 4)
            until(lambda expected=expected: len(probe.frame()) == expected, "its probe has ended")
    assert probe.frame()["index"].tolist() == [0, 2, 4]


def test_probes_are_some_time_apart(until: Callable):
    """From the sending of one to that of the next, at least ``every_s``."""
    events = [event(n, f"user{n}", 5) for n in range(5)]
    store = Store(dimension=DIMENSION)
    store.upsert([taste(f"user{n}", 5, seed=n) for n in range(5)], namespace=USERS)
    with FindableProbe(store, events, USERS, every_s=2.0) as probe:
        for index, (ns, seen) in enumerate([(10, 1), (11, 1), (12 - 1e-9, 1), (12, 2), (13, 2)]):
            probe.sent(index, round(ns * SECOND))
            until(lambda seen=seen: len(probe.frame()) == seen, "its probe has ended")
    assert probe.frame()["index"].tolist() == [0, 3]


def test_one_probe_at_a_time_whoever_sends(slow: Slow, until: Callable):
    events = [event(n, f"user{n}", 5) for n in range(64)]
    together = threading.Barrier(8)
    with FindableProbe(slow, events, USERS, poll_s=0.001, give_up_s=0.2) as probe:

        def send(lane: int) -> None:
            together.wait()
            for index in range(lane, 64, 8):
                probe.sent(index, (index + 1) * 3600 * SECOND)

        senders = [threading.Thread(target=send, args=(lane,)) for lane in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert len(probe.frame()) == 1 and probe.frame().outcome.tolist() == ["given up"]


def test_leaving_waits_for_the_probe_under_way(slow: Slow, until: Callable):
    slow.upsert([taste("anna", 5)], namespace=USERS)
    slow.fetchable.set()
    with FindableProbe(slow, [event(0, "anna", 5)], USERS, poll_s=0.001) as probe:
        probe.sent(0, now_ns())
        until(lambda: slow.fetched > 1, "it is under way")
        timer = threading.Timer(0.1, slow.searchable.set)
        timer.start()
    assert probe.frame().outcome.tolist() == ["findable"] and probes() == []
    timer.join()


def test_an_error_of_the_run_cuts_the_probe_short(slow: Slow, until: Callable):
    probe = FindableProbe(slow, [event(0, "anna", 5)], USERS, give_up_s=3600.0)
    with pytest.raises(ZeroDivisionError), probe:
        assert len(probes()) == 1
        probe.sent(0, now_ns())
        until(lambda: slow.fetched > 1, "it is under way")
        _ = 1 / 0
    assert probes() == []
    row = probe.frame().iloc[0]
    assert (row.outcome, row.findable_ns) == ("cut short", 0)


def test_outside_the_context_nothing_is_looked_for(slow: Slow):
    probe = FindableProbe(slow, [event(0, "anna", 5)], USERS)
    probe.sent(0, now_ns())
    with probe:
        pass
    probe.sent(0, now_ns())
    assert probe.frame().empty and slow.fetched == 0
    assert list(probe.frame().columns) == ["index", "sent_ns", "findable_ns", "polls", "outcome", "reason"]


@pytest.mark.parametrize("name", ["every_s", "poll_s", "give_up_s"])
def test_times_are_more_than_nothing(slow: Slow, name: str):
    with pytest.raises(SettingError, match=f"{name} = 0 is not allowed: more than 0 s"):
        FindableProbe(slow, [], USERS, **{name: 0})


def test_fewer_than_fifty_matches_of_others_are_no_tie(slow: Slow):
    slow.fetchable.set()
    slow.searchable.set()
    slow.upsert([taste("anna", 5)], namespace=USERS)
    slow.query = lambda vectors, **_: [[Match("twin", 1.0)] for _ in vectors]
    with FindableProbe(slow, [event(0, "anna", 5)], USERS, poll_s=0.001, give_up_s=0.05) as probe:
        probe.sent(0, now_ns())
    assert probe.frame().outcome.tolist() == ["given up"]
