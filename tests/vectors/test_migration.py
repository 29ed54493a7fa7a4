"""The steps from one version to another, checked by what every store holds after each of them."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import SettingError, VectorError
from workbench.vectors import migration
from workbench.vectors.alias import DIMENSION, Alias, Route
from workbench.vectors.migration import admit, begin, copy, retire, switch, verify
from workbench.vectors.store import Store
from workbench.vectors.versions import Version, Versions

from .versioned import DictStore, Words, check_holds, held

WORDS = {f"r{n:03}": f"text {n}" for n in range(100)}


def text(id: str, metadata: dict) -> str:
    return metadata["text"]


def texts_of(words: dict[str, str]) -> dict[str, dict]:
    return {id: {"text": each} for id, each in words.items()}


def on_dicts(names: str = "ab", **times: float) -> Versions:
    """Version a live, the others empty; nobody waits for anything unless it is told to."""
    alias = Alias(DictStore())
    alias.write(Route.only("a"))
    models = [Version(name, Words(3 + 2 * number, seed=number), DictStore()) for number, name in enumerate(names)]
    return Versions(models, alias, text, **{"max_age_s": 0.0, "call_s": 0.0} | times)


def other(versions: Versions, **times: float) -> Versions:
    """The same as another process has it."""
    return Versions([versions["a"], versions["b"]], versions.alias, text, **{"max_age_s": 0.0, "call_s": 60.0} | times)


def during_waits(monkeypatch, *actions) -> list[float]:
    """Each wait of a step, instead of passing, does the next of the actions; gives how long the waits were."""
    waited, left = [], list(actions)

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if left:
            left.pop(0)()

    monkeypatch.setattr(migration, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    return waited


def test_from_one_version_to_another_on_every_backend(open_store, backend_name):
    alias = Alias(open_store(backend_name, dimension=DIMENSION))
    alias.write(Route.only("a"))
    models = [
        Version("a", Words(4), open_store(backend_name, dimension=4)),
        Version("b", Words(8, seed=1), open_store(backend_name, dimension=8)),
    ]
    versions = Versions(models, alias, text, max_age_s=0.0, call_s=0.0)
    versions.upsert(texts_of(WORDS))
    versions.upsert(texts_of({"x": "elsewhere"}), namespace="n")
    begin(versions, "b")
    assert alias.read() == Route("a", ("a",), ("a", "b")) and models[1].store.stats() == {}
    versions.upsert(texts_of({"r000": "newer", "added": "new"}))
    versions.delete(["r001"])
    truth = {id: words for id, words in WORDS.items() if id != "r001"} | {"r000": "newer", "added": "new"}
    assert held(models[1].store) == texts_of({"r000": "newer", "added": "new"})
    done = copy(versions, "b", batch=30)
    assert (done.written, done.kept, done.deleted, done.changed) == (99, 2, 0, 0)  # 98 old ones, and the one elsewhere
    for version in models:
        check_holds(version, truth)
        check_holds(version, {"x": "elsewhere"}, "n")
    found = admit(versions, "b", sample=40, queries=["text 7", "newer"])
    assert (found.source, found.target, found.differing, found.sampled, found.findable) == (101, 101, 0, 40, 1.0)
    tops = [
        [{match.id for match in row} for row in versions.query(["text 7", "newer"], top_k=10, across=[n]).matches] for n in "ab"
    ]
    assert found.agreement == pytest.approx(sum(len(one & two) / 10 for one, two in zip(*tops, strict=True)) / 2)
    assert alias.read() == Route("a", ("a", "b"), ("a", "b")) and versions.query(["newer"], top_k=1).versions == ("a",)
    switch(versions, "b")
    assert versions.query(["newer"], top_k=1).versions == ("b",)
    assert versions.query(["newer"], top_k=1).matches[0][0].id == "r000"
    retire(versions, "a")
    assert alias.read() == Route.only("b") and models[0].store.stats() == {}
    check_holds(models[1], truth)


def test_the_way_back_is_the_alias_alone():
    versions = on_dicts()
    versions.upsert(texts_of(WORDS))
    begin(versions, "b")
    copy(versions, "b")
    admit(versions, "b")
    switch(versions, "b")
    versions.upsert(texts_of({"r000": "after the switch"}))
    versions.delete(["r001"])
    switch(versions, "a")
    truth = {id: words for id, words in WORDS.items() if id != "r001"} | {"r000": "after the switch"}
    check_holds(versions["a"], truth)
    assert versions.query(["after the switch"], top_k=1).matches[0][0].id == "r000"
    retire(versions, "b")
    assert versions.alias.read() == Route.only("a") and held(versions["b"].store) == {}


def test_steps_out_of_order_are_refused_and_change_nothing():
    versions = on_dicts("abc")
    versions.upsert(texts_of(WORDS))
    refused = {
        "version 'b' is not written beside 'a': begin its migration first": lambda: copy(versions, "b"),
        "version 'b' is not written beside 'a'": lambda: admit(versions, "b"),
        "version 'b' is not complete: a can be made live": lambda: switch(versions, "b"),
        "version 'a' is complete: there is nothing to copy": lambda: begin(versions, "a"),
        "version 'a' is live: switch to another one first": lambda: retire(versions, "a"),
    }
    for message, step in refused.items():
        with pytest.raises(VectorError, match=message) as error:
            step()
        assert error.value.status == 409
    assert versions.alias.read() == Route.only("a") and held(versions["a"].store) == texts_of(WORDS)
    begin(versions, "b")
    with pytest.raises(VectorError, match="a migration to version 'b' is under way"):
        begin(versions, "c")
    with pytest.raises(VectorError, match="version 'z' is not known here"):
        copy(versions, "z")
    for wrong in ({"batch": 0}, {"rate": -1.0}):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            copy(versions, "b", **wrong)


def test_a_version_that_lacks_a_record_is_not_admitted():
    versions = on_dicts()
    versions.upsert(texts_of(WORDS))
    begin(versions, "b")
    with pytest.raises(VectorError, match=r"not complete: 100 of 100 records differ, 100\.0% of 0 sampled are found; copy it"):
        admit(versions, "b")
    copy(versions, "b")
    versions["b"].store.delete(["r007"])
    with pytest.raises(VectorError, match="1 of 100 records differ"):
        admit(versions, "b")
    assert versions.alias.read().complete == ("a",)
    versions["a"].store.delete(["r007"])  # gone from both
    versions["b"].store.upsert(versions.embedded(versions["b"], list(versions["a"].store.fetch(["r008"]).values())))
    assert admit(versions, "b").source == 99


def test_a_version_with_another_models_vectors_is_not_admitted():
    versions = on_dicts()
    versions.upsert(texts_of(WORDS))
    begin(versions, "b")
    copy(versions, "b")
    wrong = Version("b", Words(5, seed=9), versions["b"].store)
    some = versions["b"].store.fetch([f"r{n:03}" for n in range(10)])
    versions["b"].store.upsert(versions.embedded(wrong, list(some.values())))
    found = verify(versions, "b", sample=100)
    assert (found.differing, found.sampled, found.findable) == (0, 100, 0.9)
    with pytest.raises(VectorError, match=r"90\.0% of 100 sampled are found"):
        admit(versions, "b", sample=100)
    assert admit(versions, "b", sample=100, least_findable=0.9).findable == 0.9


def test_records_of_one_text_are_found_though_ten_others_are_as_near():
    versions = on_dicts()
    versions.upsert({f"r{n}": {"text": "the same"} for n in range(40)})
    begin(versions, "b")
    copy(versions, "b")
    assert verify(versions, "b").findable == 1.0


def test_agreement_can_be_asked_for():
    versions = on_dicts()
    versions.upsert(texts_of(WORDS))
    begin(versions, "b")
    copy(versions, "b")
    with pytest.raises(VectorError, match="top 10 agree by"):
        admit(versions, "b", queries=["something"], least_agreement=1.0)


def test_a_copy_that_was_interrupted_goes_on_where_it_was():
    versions = on_dicts()
    versions.upsert(texts_of(WORDS))
    begin(versions, "b")
    model = versions["b"].embedder
    embed, model.asked = model.embed, []

    def interrupted(texts):
        if len(model.asked) >= 60:
            raise KeyboardInterrupt
        return embed(texts)

    model.embed = interrupted
    with pytest.raises(KeyboardInterrupt):
        copy(versions, "b", batch=20)
    assert len(held(versions["b"].store)) == 60
    model.embed, model.asked = embed, []
    versions.upsert(texts_of({"r001": "written since"}))
    done = copy(versions, "b", batch=20)
    assert (done.written, done.kept) == (40, 60) and sorted(model.asked) == sorted(["written since", *list(WORDS.values())[60:]])
    check_holds(versions["b"], WORDS | {"r001": "written since"})
    again = copy(versions, "b", batch=20)
    assert (again.written, again.kept, again.deleted) == (0, 100, 0)


def test_what_an_earlier_attempt_left_is_put_right():
    versions = on_dicts()
    versions.upsert(texts_of({"x": "one", "y": "two"}))
    versions["b"].store.upsert(versions.embedded(versions["b"], list(versions["a"].store.fetch(["x", "y"]).values())))
    versions.upsert(texts_of({"x": "newer"}))
    versions.delete(["y"])
    begin(versions, "b")
    done = copy(versions, "b")
    assert (done.written, done.kept, done.deleted) == (1, 0, 1)
    check_holds(versions["b"], {"x": "newer"})


def test_the_rate_is_kept_to(monkeypatch):
    """100 records at 50/s, 20 at a time: each part may take 0.4 s, and the rest of it is waited for."""
    versions = on_dicts()
    versions.upsert(texts_of(WORDS))
    begin(versions, "b")
    waited = during_waits(monkeypatch)
    done = copy(versions, "b", batch=20, rate=50.0)
    assert len(waited) == 5 and all(0.3 < seconds <= 0.4 for seconds in waited)
    assert done.paused_s == pytest.approx(sum(waited)) and done.written == 100
    waited.clear()
    copy(versions, "b", batch=20, rate=50.0)  # nothing is embedded, so nothing is held back
    assert waited == []


def test_who_has_not_seen_the_migration_begin_is_waited_for(monkeypatch):
    """A process with the old route writes and deletes in the old version alone, after another has begun to write both."""
    versions = on_dicts(max_age_s=2.0, call_s=3.0)
    versions.upsert(texts_of({"x": "one", "y": "two", "z": "three"}))
    late = other(versions, max_age_s=3600.0)
    late.route()

    def meanwhile() -> None:
        versions.upsert(texts_of({"x": "in both", "y": "in both"}))
        late.upsert(texts_of({"x": "in the old one alone", "w": "new"}))
        late.delete(["y"])
        assert held(versions["b"].store) == texts_of({"x": "in both", "y": "in both"})

    assert during_waits(monkeypatch, meanwhile) == []
    begin(versions, "b")
    copy(versions, "b")
    truth = {"x": "in the old one alone", "w": "new", "z": "three"}
    for name in "ab":
        check_holds(versions[name], truth)


def test_nobody_reads_or_writes_what_is_retired(monkeypatch):
    """Readers with an old route find the old version whole until they must have seen the alias; only then it is emptied."""
    versions = on_dicts(max_age_s=2.0, call_s=3.0)
    versions.upsert(texts_of({"x": "one"}))
    waits = during_waits(monkeypatch)
    begin(versions, "b")
    copy(versions, "b")
    admit(versions, "b")
    late = other(versions, max_age_s=3600.0)
    late.route()
    switch(versions, "b")
    routes = []

    def meanwhile() -> None:
        routes.append(versions.alias.read())
        late.upsert(texts_of({"y": "written by an old route"}))
        answer = late.query(["one"], top_k=2)
        assert answer.versions == ("a",) and {match.id for match in answer.matches[0]} == {"x", "y"}

    def then() -> None:
        routes.append(versions.alias.read())
        late.upsert(texts_of({"y": "written by an old route, later"}))

    waits = during_waits(monkeypatch, meanwhile, then)
    retire(versions, "a")
    assert waits == [5.0, 5.0]
    assert routes == [Route("b", ("b",), ("a", "b")), Route.only("b")]
    check_holds(versions["b"], {"x": "one", "y": "written by an old route, later"})
    assert held(versions["a"].store) == {}


def test_writers_that_never_pause_and_share_their_ids_leave_both_versions_equal():
    """Three processes' threads on real stores, through every step up to the switch; nothing that was acknowledged is lost."""
    stores = {"a": Store(dimension=3), "b": Store(dimension=5)}
    alias = Alias(DictStore())
    alias.write(Route.only("a"))
    models = [Version(name, Words(3 + 2 * number, seed=number), stores[name]) for number, name in enumerate(stores)]

    def process() -> Versions:
        return Versions(models, alias, text, max_age_s=0.02, call_s=1.0)

    def write(number: int) -> None:
        versions, drawn = process(), np.random.default_rng(number)
        for step in itertools.count():
            if stop.is_set():
                return
            id = f"r{drawn.integers(130):03}"
            if step % 3:
                versions.upsert(texts_of({id: f"text {number} {step}"}))
            else:
                versions.delete([id])
            if step % 10 == 0:
                assert len(versions.query(["text 7"], top_k=5).matches[0]) == 5

    versions, stop = process(), threading.Event()
    versions.upsert(texts_of(WORDS))
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, number) for number in range(3)]
        try:
            begin(versions, "b")
            copy(versions, "b", batch=7)
            assert admit(versions, "b", sample=30).differing == 0
            switch(versions, "b")
            time.sleep(0.2)
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    check_holds(models[1], {id: about["text"] for id, about in held(stores["a"]).items()})
    for store in stores.values():
        store.close()


def test_a_version_that_was_begun_again_is_not_emptied(monkeypatch):
    versions = on_dicts()
    versions.upsert(texts_of(WORDS))
    during_waits(monkeypatch, lambda: versions.redirect(Route("a", ("a",), ("a", "b"))))
    with pytest.raises(VectorError, match="version 'b' is written again"):
        retire(versions, "b")


_STEPS = st.one_of(
    st.tuples(st.just("upsert"), st.sampled_from("vwxyz"), st.sampled_from(["one", "two", "three"])),
    st.tuples(st.just("delete"), st.sampled_from("vwxyz")),
    st.tuples(st.sampled_from(["begin", "copy", "half a copy", "admit", "switch", "retire"]), st.sampled_from("abc")),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(_STEPS, max_size=25))
def test_whatever_the_steps_every_complete_version_holds_the_model(steps):
    """Any steps in any order, refused ones too: a query finds exactly what a dict holds, within each version and across."""
    versions, model = on_dicts("abc"), {}
    for kind, *given_ in steps:
        if kind == "upsert":
            versions.upsert(texts_of({given_[0]: given_[1]}))
            model[given_[0]] = given_[1]
        elif kind == "delete":
            versions.delete(given_)
            model.pop(given_[0], None)
        else:
            try:
                _step(kind)(versions, given_[0])
            except VectorError as error:
                assert error.status == 409
        route = versions.alias.read()
        for name in route.complete:
            check_holds(versions[name], model)
        answer = versions.query(["one"], top_k=10)
        assert answer.versions == (route.live,)
        assert {match.id: match.metadata["text"] for match in answer.matches[0]} == model
        across = versions.query(["one"], top_k=10, across=route.complete).matches[0]
        assert sorted(match.id for match in across) == sorted(model)


def _step(kind: str):
    return {"begin": begin, "copy": copy, "half a copy": _half, "admit": admit, "switch": switch, "retire": retire}[kind]


def _half(versions: Versions, target: str) -> None:
    """A copy whose process ends after the first two records."""
    source = versions.alias.read().writes[0]
    if target in versions.alias.read().writes[1:]:
        versions.sync(source, target, sorted(versions[source].store.ids())[:2], resume=True)
