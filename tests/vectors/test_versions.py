"""Versions of embeddings: queries within one and across, writes to all, in whatever order their calls meet."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import SettingError, VectorError
from workbench.events import Match
from workbench.vectors.alias import DIMENSION, Alias, Route
from workbench.vectors.store import Store
from workbench.vectors.versions import Version, Versions, merged

from .versioned import DictStore, Turns, Words, check_holds, held

BOTH = Route("a", ("a", "b"), ("a", "b"))


def text(id: str, metadata: dict) -> str:
    return metadata["text"]


def two(turn=lambda: None, *, route: Route = BOTH, **times: float) -> Versions:
    """Versions a of 3 dimensions and b of 5, on dicts; nobody waits for anything unless it is told to."""
    alias = Alias(DictStore())
    alias.write(route)
    models = [Version("a", Words(3), DictStore(turn)), Version("b", Words(5, seed=1), DictStore(turn))]
    return Versions(models, alias, text, **{"max_age_s": 0.0, "call_s": 60.0} | times)


def other(versions: Versions, **times: float) -> Versions:
    """The same as another process has it."""
    return Versions([versions["a"], versions["b"]], versions.alias, text, **{"max_age_s": 0.0, "call_s": 60.0} | times)


def texts_of(**texts: str) -> dict[str, dict]:
    return {id: {"text": each} for id, each in texts.items()}


# One version, and several


def test_each_version_holds_its_own_vectors_and_answers_from_them(open_store, backend_name):
    models = [
        Version("a", Words(4), open_store(backend_name, dimension=4)),
        Version("b", Words(8, seed=1), open_store(backend_name, dimension=8)),
    ]
    alias = Alias(open_store(backend_name, dimension=DIMENSION))
    alias.write(BOTH)
    versions = Versions(models, alias, text)
    words = {f"r{n}": f"text {n}" for n in range(30)}
    assert versions.upsert(texts_of(**words)) == 30
    versions.delete(["r3", "r4", "unknown"])
    del words["r3"], words["r4"]
    for version in models:
        check_holds(version, words)
    for name, model in (("a", Words(4)), ("b", Words(8, seed=1))):
        answer = versions.query(["text 7", "another"], top_k=5, across=[name])
        scores = model.embed(["text 7", "another"]) @ model.embed(list(words.values())).T
        assert answer.versions == (name,)
        for matches, row in zip(answer.matches, scores, strict=True):
            order = np.argsort(-row, kind="stable")[:5]
            assert [match.id for match in matches] == [list(words)[n] for n in order]
            assert [match.score for match in matches] == pytest.approx(row[order], abs=1e-5)
    assert versions.query(["text 7"], top_k=1).versions == ("a",)
    assert versions.query(["text 7"], top_k=1).matches[0][0].id == "r7"
    both = versions.query(["text 7"], top_k=3, across=["b", "a"])
    assert both.versions == ("b", "a") and both.matches[0][0] == Match("r7", pytest.approx(2 / 61), {"text": "text 7"})


def test_rankings_are_merged_by_the_ranks_alone():
    """Cormack et al. 2009: 1 / (60 + rank), summed over the rankings that have the record."""
    one = [Match("x", 0.9, {"from": 1}), Match("y", 0.8, {"from": 1}), Match("z", 0.7)]
    two = [Match("y", 17.0, {"from": 2}), Match("w", 16.0)]
    assert merged([one, two]) == [
        Match("y", 1 / 62 + 1 / 61, {"from": 1}),
        Match("x", 1 / 61, {"from": 1}),
        Match("w", 1 / 62),
        Match("z", 1 / 63),
    ]
    assert [match.id for match in merged([[Match("b", 1)], [Match("a", 1)]])] == ["a", "b"]
    assert merged([[], []]) == []


def test_a_record_far_down_in_both_beats_one_at_the_end_of_a_single_ranking():
    """With k = 60, rank 11 twice (2/71) is more than rank 2 once (1/62): so rankings are asked for deeper than the answer."""
    versions = two()
    versions.upsert({f"r{n:02}": {"text": f"text {n}"} for n in range(60)})
    ranks = [
        {match.id: rank for rank, match in enumerate(versions.query(["q"], top_k=60, across=[name]).matches[0], 1)}
        for name in "ab"
    ]
    scores = {id: sum(1 / (60 + by[id]) for by in ranks if by[id] <= 50) for id in ranks[0]}
    expected = sorted(scores, key=lambda id: (-scores[id], id))[:10]
    (matches,) = versions.query(["q"], top_k=10, across=["a", "b"]).matches
    assert [match.id for match in matches] == expected
    assert [match.score for match in matches] == pytest.approx([scores[id] for id in expected])
    shallow = versions.query(["q"], top_k=10, across=["a", "b"], depth=1).matches[0]  # never shallower than the answer
    scores = {id: sum(1 / (60 + by[id]) for by in ranks if by[id] <= 10) for id in ranks[0]}
    assert [match.id for match in shallow] == sorted(scores, key=lambda id: (-scores[id], id))[:10]


def test_what_is_not_complete_or_not_known_is_not_queried():
    versions = two(route=Route("a", ("a",), ("a", "b")))
    versions.upsert(texts_of(x="one"))
    with pytest.raises(VectorError, match="version 'b' is not complete: a can be queried") as error:
        versions.query(["one"], top_k=1, across=["a", "b"])
    assert error.value.status == 409
    with pytest.raises(VectorError, match="version 'c' is not known here: a, b") as error:
        versions.query(["one"], top_k=1, across=["c"])
    assert error.value.status == 404
    for across in ([], ["a", "a"]):
        with pytest.raises(SettingError, match="across"):
            versions.query(["one"], top_k=1, across=across)
    with pytest.raises(VectorError, match="version 'c' is not known here"):
        versions.redirect(Route("a", ("a",), ("a", "c")))
    assert versions.alias.read().writes == ("a", "b")
    with pytest.raises(VectorError, match="ids must be a list of strings"):
        versions.delete("x")


def test_settings_are_checked():
    for times in ({"max_age_s": -1}, {"call_s": float("nan")}, {"visible_after_s": -0.1}):
        with pytest.raises(SettingError, match=next(iter(times))):
            two(**times)
    with pytest.raises(SettingError, match="each name once"):
        Versions([Version("a", Words(2), DictStore())] * 2, Alias(DictStore()), text)
    assert two(max_age_s=1.0, call_s=2.0, visible_after_s=0.5).grace_s == 3.5


def test_namespaces_stay_apart():
    versions = two()
    versions.upsert(texts_of(x="here"))
    versions.upsert(texts_of(x="there", y="also"), namespace="n")
    versions.delete(["x"])
    for name in "ab":
        check_holds(versions[name], {})
        check_holds(versions[name], {"x": "there", "y": "also"}, "n")
    assert [match.id for match in versions.query(["there"], top_k=2, namespace="n").matches[0]] == ["x", "y"]


# How old a route may be


def test_the_alias_is_read_once_in_a_while():
    versions, writer = two(max_age_s=3600.0), two()
    reads = []
    versions.alias = writer.alias
    versions.alias._store.turn = lambda: reads.append(1)
    for _ in range(5):
        assert versions.route() == BOTH
    assert len(reads) == 1
    versions.alias.write(Route.only("b"))
    assert versions.route() == BOTH  # until the hour is over
    fresh = other(versions)
    assert fresh.route() == Route.only("b") and fresh.query(["x"], top_k=1).versions == ("b",)
    reads.clear()
    fresh.route(), fresh.route()
    assert len(reads) == 2


def test_a_route_expires():
    versions = two(max_age_s=0.05)
    assert versions.route() == BOTH
    versions.alias.write(Route.only("b"))
    deadline = time.monotonic() + 5
    while versions.route() == BOTH:
        assert time.monotonic() < deadline
    assert versions.route() == Route.only("b")


def test_a_process_sees_its_own_switch_at_once():
    versions = two(max_age_s=3600.0)
    assert versions.route() == BOTH
    versions.redirect(Route("b", ("a", "b"), ("a", "b")))
    assert versions.query(["x"], top_k=1).versions == ("b",)


def test_a_call_that_outlived_the_wait_is_repeated_by_the_new_route():
    """The route is an hour old for this process, and no call is quick enough: it looks again, and both versions are written."""
    stale = two(route=Route.only("a"), max_age_s=3600.0, call_s=0.0)
    stale.route()
    stale.alias.write(BOTH)
    stale.upsert(texts_of(x="one"))
    for name in "ab":
        check_holds(stale[name], {"x": "one"})
    stale.alias.write(Route.only("b"))
    assert stale.query(["one"], top_k=1).versions == ("b",)
    patient = other(stale, max_age_s=3600.0)
    patient.route()
    stale.alias.write(Route.only("a"))
    assert patient.query(["one"], top_k=1).versions == ("b",)  # as long as it may be


# Calls that meet


def in_order(*order: int):
    """Lets the actors on in this order, each by one store call; then the first that wants to."""
    left = list(order)

    def choose(waiting: list[int]) -> int:
        return left.pop(0) if left and left[0] in waiting else waiting[0]

    return choose


def test_a_newer_write_is_not_overwritten_by_a_copy_of_the_older_one():
    """The copier has read the old text when the writer replaces it, and writes it to b after the writer is done."""
    turns = Turns()
    versions = two(turns.turn)
    versions.upsert(texts_of(x="older"))
    versions["b"].store.records.clear()

    def copier() -> None:
        versions.sync("a", "b", ["x"], resume=True)

    def writer() -> None:
        other(versions).upsert(texts_of(x="newer"))

    # copier: begins, fetches a, fetches b; writer: all five; copier: writes b, looks at a again, and so on
    turns.run(copier, writer, choose=in_order(0, 0, 0, 1, 1, 1, 1, 1, 0, 0))
    for name in "ab":
        check_holds(versions[name], {"x": "newer"})


def test_a_deleted_record_is_not_copied_back():
    turns = Turns()
    versions = two(turns.turn)
    versions.upsert(texts_of(x="older", y="stays"))
    versions["b"].store.records.clear()

    def copier() -> None:
        versions.sync("a", "b", ["x", "y"], resume=True)

    turns.run(copier, lambda: other(versions).delete(["x"]), choose=in_order(0, 0, 0, 1, 1, 1, 1, 1, 0, 0))
    for name in "ab":
        check_holds(versions[name], {"y": "stays"})


def test_two_writers_of_one_record_leave_the_same_in_both_versions():
    """The first has read its own text back when the second writes both; it would leave that text in b."""
    turns = Turns()
    versions = two(turns.turn)
    turns.run(
        lambda: versions.upsert(texts_of(x="first")),
        lambda: other(versions).upsert(texts_of(x="second")),
        choose=in_order(0, 0, 0, 1, 1, 1, 1, 1, 0, 0),
    )
    for name in "ab":
        check_holds(versions[name], {"x": "second"})


_WRITES = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from(["one", "two", "three", None])),  # None deletes
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=150)
@given(st.data(), st.lists(_WRITES, min_size=1, max_size=3), st.dictionaries(st.sampled_from("wxyz"), st.just("before")))
def test_in_whatever_order_calls_meet_both_versions_end_up_equal(data, writers, before):
    """Writers and a copier, each a thread; hypothesis chooses who makes the next store call. The source's order is the truth."""
    turns = Turns()
    versions = two(turns.turn, route=Route.only("a"))
    versions.upsert(texts_of(**before))
    versions.alias.write(Route("a", ("a",), ("a", "b")))
    leftover = Versions([versions["b"]], Alias(DictStore()), text)
    leftover.alias.write(Route.only("b"))
    leftover.upsert(texts_of(v="of an earlier attempt", x="too"))

    def writer(operations: list[tuple[str, str | None]]):
        mine = other(versions)

        def run() -> None:
            for id, words in operations:
                mine.delete([id]) if words is None else mine.upsert(texts_of(**{id: words}))

        return run

    def copier() -> None:
        ids = sorted({*versions["a"].store.ids(), *versions["b"].store.ids()})
        for start in range(0, len(ids), 2):
            versions.sync("a", "b", ids[start : start + 2], resume=True)

    turns.run(copier, *map(writer, writers), choose=lambda waiting: data.draw(st.sampled_from(waiting)))
    truth = {id: about["text"] for id, about in held(versions["a"].store).items()}
    check_holds(versions["b"], truth)
    last_of = {id for operations in writers for id, _ in operations}
    assert {id: words for id, words in truth.items() if id not in last_of} == {id: "before" for id in before if id not in last_of}
    for id in last_of:  # what it is, somebody wrote last
        assert truth.get(id) in {
            [words for each, words in operations if each == id][-1]
            for operations in writers
            if any(each == id for each, _ in operations)
        }


def test_a_store_that_shows_its_writes_late_is_waited_for():
    """Read back at once, the source would still be without the record, and it would be deleted from the other version."""
    late_s = 0.05
    stores = [Store(dimension=3, visible_after_s=late_s), Store(dimension=5, visible_after_s=late_s)]
    alias = Alias(DictStore())
    alias.write(BOTH)
    models = [Version("a", Words(3), stores[0]), Version("b", Words(5, seed=1), stores[1])]
    versions = Versions(models, alias, text, visible_after_s=2 * late_s)
    versions.upsert(texts_of(x="one", y="two"))
    versions.upsert(texts_of(x="three"))
    versions.delete(["y"])
    time.sleep(2 * late_s)
    for version in models:
        check_holds(version, {"x": "three"})
    for store in stores:
        store.close()


def test_a_write_whose_second_store_fails_raises_and_is_repaired_by_repeating_it():
    versions = two()
    versions.upsert(texts_of(x="one"))
    calls = []

    def fails() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise VectorError("the disk is full", 507)

    versions["b"].store.turn = fails
    with pytest.raises(VectorError, match="the disk is full"):
        versions.upsert(texts_of(x="two"))
    assert held(versions["a"].store) == {"x": {"text": "two"}} and held(versions["b"].store) == {"x": {"text": "one"}}
    versions.upsert(texts_of(x="two"))
    check_holds(versions["b"], {"x": "two"})
