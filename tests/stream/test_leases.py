"""Leases on the embedded cloud's DynamoDB, with clocks that the tests move; and the planner alone.

The rules are those of the Kinesis Client Library's lease table (awslabs/amazon-kinesis-client, "Leases and Lease Lifecycle").
"""

import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.cloud.clients import client
from workbench.errors import LeaseLost, ServiceError
from workbench.settings import Endpoints
from workbench.stream import leases as module
from workbench.stream.leases import Lease, Leases, Start, plan

OLDEST = Start("TRIM_HORIZON")
NUMBER = "49590338271490256608559692538361571095921575989136588898"  # 56 digits, as Kinesis has them


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def dynamodb(embedded_cloud: Endpoints):
    return client("dynamodb", embedded_cloud)


@pytest.fixture(scope="module")
def table(dynamodb) -> Iterator[str]:
    """One for all tests: each has consumers of its own, which must not see each other."""
    name = f"leases-{uuid.uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "shard_id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "shard_id", "KeyType": "HASH"}],
    )
    yield name
    dynamodb.delete_table(TableName=name)


@pytest.fixture
def of(dynamodb, table: str) -> Callable[..., Leases]:
    """A worker's leases, of one consumer for each test."""
    consumer = f"consumer-{uuid.uuid4().hex[:8]}"

    def make(worker: str, clock: Clock | None = None, *, consumer: str = consumer, over=dynamodb) -> Leases:
        return Leases(over, table, consumer=consumer, worker=worker, clock=clock or Clock())

    return make


def one(leases: Leases, shard_id: str = "shard-0") -> Lease:
    (lease,) = leases.all([shard_id])
    return lease


def taken(leases: Leases, shard_id: str = "shard-0") -> Lease:
    """A shard's lease, made if need be, and taken as it is."""
    leases.create(shard_id, OLDEST)
    lease = leases.acquire(one(leases, shard_id))
    assert lease is not None
    return lease


def at_once(calls: list[Callable[[], object]]) -> list[object]:
    """What each call gave, all begun together."""
    together, given_ = threading.Barrier(len(calls)), {}

    def run(place: int) -> None:
        together.wait()
        given_[place] = calls[place]()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [given_[place] for place in range(len(calls))]


# Making leases


def test_a_lease_is_made_free_and_unread(of):
    a = of("a")
    assert a.all(["shard-0"]) == []
    assert a.create("shard-0", OLDEST)
    assert one(a) == Lease(shard_id="shard-0", owner=None, checkpoint=None, counter=0, ended=False, start=OLDEST)


def test_of_eight_workers_that_make_a_lease_at_once_one_does(of):
    starts = [Start("AT_TIMESTAMP", 1_000.5 + number) for number in range(8)]
    workers = [of(f"worker-{number}") for number in range(8)]
    made = at_once([lambda w=w, s=s: w.create("shard-0", s) for w, s in zip(workers, starts, strict=True)])
    assert sorted(made) == [False] * 7 + [True]
    assert one(of("reader")).start == starts[made.index(True)]


def test_a_lease_that_is_there_stays_as_it_is(of):
    a = of("a")
    before = taken(a)
    assert not of("b").create("shard-0", Start("AT_TIMESTAMP", 5.0))
    assert one(a) == before


def test_latest_is_the_moment_at_which_the_lease_was_made(of, monkeypatch):
    """In ms, rounded down, as arrival times are in ms; with a position of a given time it is that time."""
    monkeypatch.setattr(module, "now_ns", lambda: 1_700_000_000_123_987_654)
    a = of("a")
    assert a.create("shard-0", Start("LATEST"))
    assert a.create("shard-1", Start("AT_TIMESTAMP", 1_600_000_000.25))
    monkeypatch.setattr(module, "now_ns", lambda: 1_700_000_009_000_000_000)
    assert not of("b").create("shard-0", Start("LATEST"))
    taken(of("b"))  # whoever reads first, and dies before a checkpoint
    starts = [lease.start for lease in of("c").all(["shard-0", "shard-1"])]
    assert starts == [Start("AT_TIMESTAMP", 1_700_000_000.123), Start("AT_TIMESTAMP", 1_600_000_000.25)]


def test_latest_is_now(of):
    before = time.time()
    of("a").create("shard-0", Start("LATEST"))
    assert before - 0.01 <= one(of("a")).start.timestamp_s <= time.time() + 0.01


# Reading them


def test_more_leases_than_one_call_reads_come_in_the_order_asked(of):
    """BatchGetItem takes at most 100 keys, and none twice."""
    a = of("a")
    ids = [f"shard-{number}" for number in range(130)]
    for shard_id in ids:
        a.create(shard_id, OLDEST)
    backwards = ids[::-1]
    assert [lease.shard_id for lease in a.all([*backwards, "shard-7", "no-such-shard"])] == backwards


class Overloaded:
    """DynamoDB that answers only the first key of a BatchGetItem."""

    def __init__(self, dynamodb, times: int) -> None:
        self._dynamodb, self._left, self.asked = dynamodb, times, []
        self.exceptions = dynamodb.exceptions

    def batch_get_item(self, RequestItems: dict) -> dict:  # noqa: N803
        ((table, request),) = RequestItems.items()
        self.asked.append(len(request["Keys"]))
        if not self._left:
            return self._dynamodb.batch_get_item(RequestItems=RequestItems)
        self._left -= 1
        some = self._dynamodb.batch_get_item(RequestItems={table: {**request, "Keys": request["Keys"][:1]}})
        return {**some, "UnprocessedKeys": {table: {**request, "Keys": request["Keys"][1:]}}}


def test_what_dynamodb_left_unprocessed_is_asked_for_again(of, dynamodb, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    ids = [f"shard-{number}" for number in range(5)]
    for shard_id in ids:
        of("a").create(shard_id, OLDEST)
    overloaded = Overloaded(dynamodb, times=2)
    assert [lease.shard_id for lease in of("a", over=overloaded).all(ids)] == ids
    assert overloaded.asked == [5, 4, 3]


def test_a_table_that_stays_overloaded_is_an_error(of, dynamodb, table, monkeypatch):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    ids = [f"shard-{number}" for number in range(20)]
    with pytest.raises(ServiceError, match=rf"^table {table} is throttled: 12 leases could not be read to the last try$"):
        of("a", over=Overloaded(dynamodb, times=99)).all(ids)
    assert len(pauses) == 7 and all(0 <= pause <= most for pause, most in zip(pauses, module._BACKOFF_S, strict=True))


# Taking them


def test_of_eight_workers_that_take_a_lease_at_once_one_does(of):
    of("maker").create("shard-0", OLDEST)
    workers = [of(f"worker-{number}") for number in range(8)]
    seen = [one(worker) for worker in workers]
    got = at_once([lambda w=w, s=s: w.acquire(s) for w, s in zip(workers, seen, strict=True)])
    (winner,) = [place for place, lease in enumerate(got) if lease is not None]
    assert one(of("reader")) == got[winner]
    assert (got[winner].owner, got[winner].counter) == (f"worker-{winner}", 1)


def test_a_lease_is_taken_as_it_is_now(of):
    """What its owner had checkpointed by then is where the next one begins."""
    a, b = of("a"), of("b")
    taken(a)
    a.checkpoint("shard-0", NUMBER)
    a.release("shard-0")
    lease = b.acquire(one(b))
    assert (lease.owner, lease.checkpoint) == ("b", NUMBER) and lease == one(a)


def test_a_lease_that_was_written_since_it_was_seen_is_not_taken(of):
    a, b = of("a"), of("b")
    taken(a)
    seen = one(b)
    assert a.renew() == set()
    assert b.acquire(seen) is None
    assert one(b).owner == "a"
    seen = one(b)
    a.release("shard-0")
    assert b.acquire(seen) is None  # free by now, but not as it was seen
    assert b.acquire(one(b)).owner == "b"


def test_no_lease_is_made_by_taking_one_that_is_gone(of):
    a, b = of("a"), of("b")
    a.create("shard-0", OLDEST)
    seen = one(b)
    a.forget("shard-0")
    assert b.acquire(seen) is None
    assert b.all(["shard-0"]) == []


class Twice:
    """Sends every write twice and gives the second answer, as boto3 does when the first one was lost on its way."""

    def __init__(self, dynamodb) -> None:
        self._dynamodb = dynamodb
        self.exceptions, self.batch_get_item = dynamodb.exceptions, dynamodb.batch_get_item

    def update_item(self, **arguments: object) -> dict:
        self._dynamodb.update_item(**arguments)
        return self._dynamodb.update_item(**arguments)


def test_a_lost_answer_changes_nothing(of, dynamodb):
    a, b = of("a", over=Twice(dynamodb)), of("b")
    for shard_id in ("shard-0", "shard-1"):
        b.create(shard_id, OLDEST)
        assert a.acquire(one(a, shard_id)).owner == "a"
    assert a.renew() == set()
    a.checkpoint("shard-0", "10")
    assert one(b).checkpoint == "10"
    a.end("shard-0")
    a.release("shard-1")
    assert [(lease.owner, lease.ended) for lease in b.all(["shard-0", "shard-1"])] == [(None, True), (None, False)]


# Dead workers


def test_a_dead_workers_lease_is_free_once_it_stood_still_for_the_whole_duration(of):
    """On the clock of the one who looks, from its first look on: the two clocks have nothing to do with each other."""
    a_clock, b_clock = Clock(1_000_000.0), Clock(5.0)
    a, b = of("a", a_clock), of("b", b_clock)
    taken(a)
    a.checkpoint("shard-0", "7")
    b_clock.now = 40.0
    assert b.due(b.all(["shard-0"])) == []
    b_clock.now = 49.9
    assert b.due(b.all(["shard-0"])) == []
    b_clock.now = 50.0
    (lease,) = b.due(b.all(["shard-0"]))
    got = b.acquire(lease)
    assert (got.owner, got.checkpoint) == ("b", "7")


@pytest.mark.parametrize("sign", [lambda a: a.renew(), lambda a: a.checkpoint("shard-0", "8")], ids=["renewed", "checkpoint"])
def test_a_sign_of_life_begins_the_duration_anew(of, sign):
    clock = Clock()
    a, b = of("a"), of("b", clock)
    taken(a)
    b.all(["shard-0"])
    clock.now = 9.0
    sign(a)
    clock.now = 10.0
    assert b.due(b.all(["shard-0"])) == []
    clock.now = 19.9
    assert b.due(b.all(["shard-0"])) == []
    clock.now = 20.0
    assert [lease.shard_id for lease in b.due(b.all(["shard-0"]))] == ["shard-0"]


def test_a_worker_that_lost_its_lease_cannot_move_the_checkpoint(of):
    clock = Clock()
    a, b = of("a"), of("b", clock)
    taken(a)
    a.checkpoint("shard-0", "100")
    b.all(["shard-0"])
    clock.now = 10.0
    b.acquire(*b.due(b.all(["shard-0"])))
    b.checkpoint("shard-0", "150")
    kept = one(b)
    with pytest.raises(LeaseLost, match=r"^the lease of shard-0 is lost: worker b holds it$") as lost:
        a.checkpoint("shard-0", "200")
    assert (lost.value.shard_id, lost.value.owner) == ("shard-0", "b")
    with pytest.raises(LeaseLost):
        a.end("shard-0")
    a.release("shard-0")
    assert one(b) == kept and (kept.owner, kept.checkpoint, kept.ended) == ("b", "150", False)


def test_renewing_tells_what_was_lost_once(of):
    a, b = of("a"), of("b")
    for number in range(3):
        taken(a, f"shard-{number}")
    b.acquire(one(b, "shard-1"))
    assert a.renew() == {"shard-1"}
    assert a.renew() == set()
    leases = b.all([f"shard-{number}" for number in range(3)])
    assert [(lease.owner, lease.counter) for lease in leases] == [("a", 3), ("b", 2), ("a", 3)]


class Away:
    """DynamoDB that can be cut off, after so many more writes."""

    def __init__(self, dynamodb) -> None:
        self._dynamodb, self.writes = dynamodb, None
        self.exceptions, self.put_item, self.batch_get_item = dynamodb.exceptions, dynamodb.put_item, dynamodb.batch_get_item

    def update_item(self, **arguments: object) -> dict:
        if self.writes is not None:
            if not self.writes:
                raise ConnectionError("cut off")
            self.writes -= 1
        return self._dynamodb.update_item(**arguments)


def test_what_was_lost_is_told_even_if_the_service_goes_away_on_the_way(of, dynamodb):
    away = Away(dynamodb)
    a, b = of("a", over=away), of("b")
    taken(a, "shard-0")
    taken(a, "shard-1")
    b.acquire(one(b, "shard-0"))
    away.writes = 1
    with pytest.raises(ServiceError, match="cut off"):
        a.renew()
    away.writes = None
    assert a.renew() == {"shard-0"}


def test_a_worker_that_cannot_renew_gives_up_when_others_may_take_over(of, dynamodb):
    """Not later than another's clock says so, whose duration begins after this worker's write; and then it may take it again."""
    a_clock, b_clock = Clock(), Clock(100.0)
    away = Away(dynamodb)
    a, b = of("a", a_clock, over=away), of("b", b_clock)
    taken(a, "shard-0")
    taken(a, "shard-1")
    a_clock.now, b_clock.now = 4.0, 104.0
    a.checkpoint("shard-1", "5")
    b.all(["shard-0", "shard-1"])
    away.writes = 0
    with pytest.raises(ServiceError):
        a.renew()
    a_clock.now = 9.9
    assert a.lapsed() == set()
    a_clock.now = 10.0
    assert a.lapsed() == {"shard-0"}
    assert a.lapsed() == set()
    a_clock.now, b_clock.now = 14.0, 114.0
    assert a.lapsed() == {"shard-1"}
    assert {lease.shard_id for lease in b.due(b.all(["shard-0", "shard-1"]))} == {"shard-0", "shard-1"}
    away.writes = None
    assert a.renew() == set()  # it holds none: their counters stand still
    a.all(["shard-0", "shard-1"])
    a_clock.now = 24.0
    due = a.due(a.all(["shard-0", "shard-1"]))
    assert {lease.shard_id for lease in due} == {"shard-0", "shard-1"}
    assert all(a.acquire(lease).owner == "a" for lease in due)


# Checkpoints


def test_a_checkpoint_renews_and_a_new_reader_goes_on_behind_it(of):
    a = of("a")
    taken(a)
    a.checkpoint("shard-0", NUMBER)
    assert (one(a).checkpoint, one(a).counter) == (NUMBER, 2)


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [
        ("9", "10", "10"),
        ("10", "9", "10"),
        ("100", "99", "100"),
        ("5", "5", "5"),
        ("0", NUMBER, NUMBER),
        (NUMBER, NUMBER[:-1], NUMBER),
        (NUMBER, NUMBER[:-1] + "7", NUMBER),
        (NUMBER, NUMBER[:-1] + "9", NUMBER[:-1] + "9"),
    ],
)
def test_a_checkpoint_never_moves_backwards(of, first, then, kept):
    """Sequence numbers compare as numbers, not as texts."""
    a = of("a")
    taken(a)
    a.checkpoint("shard-0", first)
    a.checkpoint("shard-0", then)
    assert one(a).checkpoint == kept
    assert a.renew() == set() and one(a).owner == "a"


_shard = itertools.count()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 120), st.integers(10**37, 10**39), st.integers(0, 10**57)), min_size=1, max_size=8))
def test_the_checkpoint_is_the_greatest_number_so_far(dynamodb, table, numbers):
    a, shard_id = Leases(dynamodb, table, consumer="greatest", worker="a"), f"shard-{next(_shard)}"
    taken(a, shard_id)
    for count, number in enumerate(numbers, 1):
        a.checkpoint(shard_id, str(number))
        assert int(one(a, shard_id).checkpoint) == max(numbers[:count])


def test_nobodys_shard_has_no_checkpoint(of):
    a = of("a")
    with pytest.raises(LeaseLost, match=r"^the lease of shard-0 is lost: nobody holds it$"):
        a.checkpoint("shard-0", "1")  # there is no lease, and none comes of it
    assert a.all(["shard-0"]) == []
    a.create("shard-0", OLDEST)
    with pytest.raises(LeaseLost):
        a.checkpoint("shard-0", "1")
    assert one(a).checkpoint is None


# The end of a shard, and of a worker


def test_a_released_lease_is_free_at_once(of):
    a, b = of("a"), of("b")
    taken(a)
    a.checkpoint("shard-0", "3")
    assert b.due(b.all(["shard-0"])) == []
    a.release("shard-0")
    assert a.renew() == set()
    (lease,) = b.due(b.all(["shard-0"]))
    assert (lease.owner, lease.checkpoint) == (None, "3")
    a.release("shard-0")  # once more, and of one that is another's: nothing happens
    b.acquire(one(b))
    a.release("shard-0")
    assert one(a).owner == "b"


def test_an_ended_shard_is_nobodys_and_never_due_again(of):
    clock = Clock()
    a, b = of("a"), of("b", clock)
    taken(a)
    a.checkpoint("shard-0", "3")
    a.end("shard-0")
    lease = one(b)
    assert (lease.owner, lease.checkpoint, lease.ended) == (None, "3", True)
    clock.now = 1_000.0
    assert b.due(b.all(["shard-0"])) == [] and a.renew() == set()
    a.end("shard-0")  # as it is already
    with pytest.raises(LeaseLost):
        of("c").checkpoint("shard-0", "4")


def test_a_forgotten_shard_begins_anew(of):
    a = of("a")
    taken(a)
    a.checkpoint("shard-0", "3")
    of("b").forget("shard-0")
    of("b").forget("shard-0")
    assert a.all(["shard-0"]) == [] and a.renew() == {"shard-0"}
    assert a.create("shard-0", OLDEST) and one(a).checkpoint is None


def test_two_consumers_of_a_table_do_not_see_each_other(of):
    """Nor do two of which one's name begins with the other's."""
    names = [f"process-{uuid.uuid4().hex[:8]}"]
    names.append(f"{names[0]}-analytics")
    first, second = (of("a", consumer=name) for name in names)
    taken(first)
    assert second.all(["shard-0"]) == []
    taken(second)
    first.checkpoint("shard-0", "5")
    second.checkpoint("shard-0", "2")
    first.end("shard-0")
    assert (one(first).ended, one(first).checkpoint) == (True, "5")
    assert (one(second).ended, one(second).checkpoint, one(second).owner) == (False, "2", "a")
    assert second.renew() == set()
    first.forget("shard-0")
    assert one(second).checkpoint == "2"


# What fails

_CALLS = {
    "create": lambda leases: leases.create("shard-0", OLDEST),
    "all": lambda leases: leases.all(["shard-0"]),
    "acquire": lambda leases: leases.acquire(_made("shard-0", None)),
    "checkpoint": lambda leases: leases.checkpoint("shard-0", "1"),
    "end": lambda leases: leases.end("shard-0"),
    "release": lambda leases: leases.release("shard-0"),
    "forget": lambda leases: leases.forget("shard-0"),
}


@pytest.mark.parametrize("call", _CALLS)
def test_a_missing_table_is_one_line(dynamodb, call):
    leases = Leases(dynamodb, "no-such-table", consumer="c", worker="a")
    with pytest.raises(
        ServiceError, match=r"^the leases in table no-such-table cannot be read or written: .*not found$"
    ) as error:
        _CALLS[call](leases)
    assert "\n" not in str(error.value)


def test_a_service_that_does_not_answer_is_one_line():
    url = "http://127.0.0.1:9"  # the discard port: nothing listens
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    once = boto3.client("dynamodb", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}), **keys)
    for call in _CALLS.values():
        with pytest.raises(ServiceError, match=r"^the leases in table t cannot be read or written: .*127\.0\.0\.1:9") as error:
            call(Leases(once, "t", consumer="c", worker="a"))
        assert "\n" not in str(error.value)
    once.close()


# Who takes what


def _made(shard_id: str, owner: str | None, *, ended: bool = False) -> Lease:
    return Lease(shard_id=shard_id, owner=owner, checkpoint=None, counter=0, ended=ended, start=OLDEST)


def _leases(owners: str) -> list[Lease]:
    """One lease a letter; "." has no owner, a capital's shard is ended."""
    return [_made(f"shard-{place}", None if each == "." else each, ended=each.isupper()) for place, each in enumerate(owners)]


def _plan(owners: str, worker: str, *, dead: str = "", overdue: bool = False) -> list[Lease]:
    leases = _leases(owners)
    free = {lease.shard_id for lease in leases if lease.owner is None or lease.owner in dead}
    return plan(leases, worker=worker, free=free, overdue=free if overdue else ())


@pytest.mark.parametrize(
    ("owners", "worker", "count"),
    [
        ("", "a", 0),
        ("....", "a", 4),  # nobody else is there
        ("....b", "a", 3),  # 5 shards, 2 workers: 3 each
        ("...ab", "a", 2),
        ("..aab", "a", 1),
        ("..aaab", "a", 0),  # a share of 3: the others are b's to take
        (".bc", "a", 1),
        (".b", "a", 1),
        ("..AAAb", "a", 2),  # ended shards count for nothing: 3 shards, 2 workers
        (".AAAAAb", "a", 1),
    ],
)
def test_a_worker_takes_free_leases_up_to_its_share(owners, worker, count):
    assert len(_plan(owners, worker)) == count
    assert all(lease.owner is None and not lease.ended for lease in _plan(owners, worker))


def test_a_dead_workers_leases_are_free_and_it_is_no_worker():
    due = _plan("ddddab", "a", dead="d")  # 6 shards of 2 workers that live
    assert [lease.owner for lease in due] == ["d", "d"]


def test_what_nobody_came_for_is_taken_beyond_the_share():
    assert _plan("..aaab", "a") == []
    assert len(_plan("..aaab", "a", overdue=True)) == 2


@pytest.mark.parametrize(
    ("owners", "stolen_from"),
    [
        ("bb", ["b"]),
        ("b", []),  # 1 and 0 differ by 1
        ("bbbcc", ["b"]),
        ("abbb", ["b"]),
        ("abb", []),
        ("abbc", []),
        ("bbbbbccccc", ["b", "c"]),  # one of either
        (".abbbb", []),  # first what is free
        ("bBBB", []),  # ended ones are no load
    ],
)
def test_one_lease_is_stolen_from_the_worker_with_the_most_if_it_has_two_more(owners, stolen_from):
    owned = [lease.owner for lease in _plan(owners, "a") if lease.owner]
    assert len(owned) == (1 if stolen_from else 0) and set(owned) <= set(stolen_from)


def test_workers_that_look_at_once_begin_with_different_leases():
    firsts = Counter(_plan("." * 20, f"worker-{number}")[0].shard_id for number in range(20))
    assert len(firsts) > 10 and firsts.most_common(1)[0][1] <= 5


def _balanced(owners: dict[str, str | None], workers: list[str]) -> bool:
    loads = Counter(dict.fromkeys(workers, 0))
    loads.update(owner for owner in owners.values() if owner is not None)
    return None not in owners.values() and max(loads.values()) - min(loads.values()) <= 1


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 20))
def test_loads_come_to_differ_by_at_most_one_and_stay(data, workers, shards):
    """In every round each worker plans once, some of them on what was there before the others acted.

    While the loads differ by more, every round has a steal that lowers the greatest load or the number of those who have it.
    """
    names = [f"worker-{number}" for number in range(workers)]
    owners = {f"shard-{number}": data.draw(st.sampled_from([None, *names])) for number in range(shards)}
    counters = dict.fromkeys(owners, 0)

    def looked() -> list[tuple[Lease, int]]:
        return [(_made(shard_id, owner), counters[shard_id]) for shard_id, owner in owners.items()]

    def planned(worker: str, view: list[tuple[Lease, int]]) -> list[tuple[Lease, int]]:
        free = {lease.shard_id for lease, _ in view if lease.owner is None}
        due = {lease.shard_id for lease in plan([lease for lease, _ in view], worker=worker, free=free)}
        return [each for each in view if each[0].shard_id in due]

    for _ in range(2 * shards + workers):
        before = looked()
        order = data.draw(st.permutations(names))
        for worker in order:
            view = before if data.draw(st.booleans()) else looked()
            for lease, counter in planned(worker, view):
                if counters[lease.shard_id] == counter:  # as acquire's condition
                    owners[lease.shard_id], counters[lease.shard_id] = worker, counter + 1
    assert _balanced(owners, names)
    assert all(planned(worker, looked()) == [] for worker in names)


@pytest.mark.parametrize(("workers", "shards"), [(1, 1), (1, 20), (2, 1), (2, 7), (3, 20), (4, 2), (5, 3), (5, 20)])
def test_workers_share_the_shards_of_a_real_table(of, workers, shards):
    """They come one after the other, share evenly, and then nothing moves; when all but the first die, it takes over."""
    ids, clocks = [f"shard-{number}" for number in range(shards)], [Clock(1_000.0 * number) for number in range(workers)]
    sharing = [of(f"worker-{number}", clock) for number, clock in enumerate(clocks)]
    for shard_id in ids:
        sharing[0].create(shard_id, OLDEST)

    def turn(living: list[Leases]) -> int:
        """Three seconds pass, then each renews and takes what is due to it; returns how many leases were taken."""
        for clock in clocks:
            clock.now += 3.0
        took = 0
        for leases in living:
            leases.renew()
            took += sum(leases.acquire(lease) is not None for lease in leases.due(leases.all(ids)))
        return took

    def loads() -> list[int]:
        owned = Counter(lease.owner for lease in of("reader").all(ids))
        return [owned[f"worker-{number}"] for number in range(workers)]

    for there in range(1, workers + 1):
        for _ in range(shards + 1):
            if not turn(sharing[:there]):
                break
        assert sum(loads()) == shards and max(loads()[:there]) - min(loads()[:there]) <= 1
    settled = loads()
    for _ in range(5):  # longer than the duration, too
        assert turn(sharing) == 0
    assert loads() == settled
    for _ in range(5):
        turn(sharing[:1])
    assert loads() == [shards] + [0] * (workers - 1)
    lost = [leases.renew() for leases in sharing[1:]]  # the dead come back
    assert [len(each) for each in lost] == settled[1:]
