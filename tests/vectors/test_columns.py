"""All rows at once against the predicate on each, and against values written down."""

import random
import threading

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import VectorError
from workbench.vectors.columns import MAX_COLUMNS, Columns
from workbench.vectors.filters import compile_filter, parse_filter

WIDE = 2**53
FIELDS = ["a", "b", 'q"', "ü\n", ""]  # the third and fourth cannot be a struct's fields, and are read another way
STRINGS = st.sampled_from(["x", "y", "1", "", "true", "é", "e\u0301", "😀", "\0"])
NUMBERS = st.one_of(
    st.sampled_from([0, -0.0, 1, 1.0, -1, 2.5, WIDE, WIDE + 1, float(WIDE), -WIDE - 1, 2**63 - 1, 2**64 - 1, 2.0**64, -(2**63)]),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
SCALARS = st.one_of(STRINGS, NUMBERS, st.booleans())
METADATA = st.dictionaries(st.sampled_from(FIELDS), st.one_of(SCALARS, st.lists(STRINGS, max_size=7)))
ROWS = st.lists(METADATA, max_size=12)
BOUNDS = st.one_of(NUMBERS, st.sampled_from([10**400, -(10**400), 2**64, 10**300, int(1e300)]))


def conditions():
    return st.one_of(
        SCALARS,
        st.dictionaries(st.sampled_from(["$eq", "$ne"]), SCALARS, min_size=1),
        st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), BOUNDS, min_size=1),
        st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, min_size=1, max_size=20), min_size=1),
        st.dictionaries(st.just("$exists"), st.booleans(), min_size=1),
    )


FILTERS = st.recursive(
    st.dictionaries(st.sampled_from([*FIELDS, "in no row", "\ud800"]), conditions(), max_size=3),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=6,
)


def encoded(rows):
    return [msgspec.json.encode(row) for row in rows]


def one_by_one(filter, rows):
    matches = compile_filter(filter)
    return [bool(matches(row)) for row in rows]


def matched(rows, filter):
    """The numbers of the rows that match."""
    found = Columns().matching(parse_filter(filter), encoded(rows), len(rows))
    assert found.dtype == bool and found.shape == (len(rows),)
    return np.flatnonzero(found).tolist()


@given(ROWS, st.lists(FILTERS, min_size=1, max_size=4))
def test_columns_agree_with_the_predicate(rows, filters):
    columns, metadata = Columns(), encoded(rows)
    for filter in filters:
        assert columns.matching(parse_filter(filter), metadata, len(rows)).tolist() == one_by_one(filter, rows)


@given(ROWS.filter(len), st.data())
def test_they_do_after_every_growth_and_for_every_older_size(rows, data):
    columns, metadata = Columns(), []
    for row in encoded(rows):
        metadata.append(row)
        if data.draw(st.booleans()):
            filter, size = data.draw(FILTERS), data.draw(st.integers(0, len(metadata)))
            assert columns.matching(parse_filter(filter), metadata, size).tolist() == one_by_one(filter, rows[:size])


VALUES = [1, True, "1", "true", 0, -0.0, False, "", 1.0, ["1"], [], ["x", "1"], None]  # None: the row lacks the field
ROWS_OF_VALUES = [{} if value is None else {"a": value} for value in VALUES]


@pytest.mark.parametrize(
    ("filter", "rows"),
    [
        ({"a": 1}, [0, 8]),
        ({"a": 1.0}, [0, 8]),
        ({"a": True}, [1]),
        ({"a": "1"}, [2, 9, 11]),
        ({"a": "true"}, [3]),
        ({"a": 0}, [4, 5]),
        ({"a": -0.0}, [4, 5]),
        ({"a": False}, [6]),
        ({"a": ""}, [7]),
        ({"a": {"$ne": 1}}, [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]),
        ({"a": {"$in": [True, "x"]}}, [1, 11]),
        ({"a": {"$in": [1, False]}}, [0, 6, 8]),
        ({"a": {"$nin": [1, True, "1", 0]}}, [3, 6, 7, 10, 12]),
        ({"a": {"$gte": 0}}, [0, 4, 5, 8]),
        ({"a": {"$gt": -0.0}}, [0, 8]),
        ({"a": {"$lte": 0}}, [4, 5]),
        ({"a": {"$exists": True}}, list(range(12))),
        ({"a": {"$exists": False}}, [12]),
        ({}, list(range(13))),
        ({"$or": [{"a": "x"}, {"a": {"$lt": 0.5}}]}, [4, 5, 11]),
        ({"$and": [{"a": "x"}, {"a": "1"}]}, [11]),
    ],
)
def test_kinds_never_mix(filter, rows):
    assert matched(ROWS_OF_VALUES, filter) == rows


@pytest.mark.parametrize(
    ("filter", "rows"),
    [
        ({"a": WIDE}, [1, 3]),
        ({"a": WIDE + 1}, [2]),
        ({"a": {"$in": [WIDE + 1, 2**64 - 1]}}, [2, 6]),
        ({"a": {"$gt": WIDE}}, [2, 4, 5, 6, 7]),
        ({"a": {"$gte": WIDE + 1}}, [2, 4, 5, 6, 7]),
        ({"a": {"$lt": WIDE + 1}}, [0, 1, 3]),
        ({"a": {"$lte": WIDE - 1.0}}, [0]),
        ({"a": {"$gt": 2**63 - 1}}, [5, 6, 7]),
        ({"a": {"$gte": 2.0**63}}, [5, 6, 7]),
        ({"a": {"$lt": 2.0**64}}, [0, 1, 2, 3, 4, 5, 6]),
        ({"a": {"$gt": 2**64 - 1}}, [7]),
        ({"a": {"$lt": 10**400}}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"a": {"$gt": -(10**400)}}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"a": 10**400}, []),
    ],
)
def test_integers_are_exact(filter, rows):
    values = [WIDE - 1, WIDE, WIDE + 1, float(WIDE), 2**63 - 1, 2**63, 2**64 - 1, 2.0**64]
    assert matched([{"a": value} for value in values], filter) == rows


def test_an_operand_between_floats_is_not_rounded_to_one_of_them():
    # No row is wide here, so that the column holds no rests: the operand alone has one.
    assert matched([{"a": float(WIDE)}, {"a": 1}], {"a": {"$lt": WIDE + 1}}) == [0, 1]
    assert matched([{"a": float(WIDE)}, {"a": WIDE + 2.0}], {"a": {"$gte": WIDE + 1}}) == [1]
    assert matched([{"a": 1e300}], {"a": {"$gt": int(1e300) - 1}}) == [0]
    assert matched([{"a": 1e300}], {"a": {"$lt": int(1e300) + 1}}) == [0]


def test_strings_are_compared_as_they_are():
    rows = [{"a": "é"}, {"a": "e\u0301"}, {"a": ["😀", "é"]}, {"é": "a"}]
    assert matched(rows, {"a": "é"}) == [0, 2]
    assert matched(rows, {"a": {"$in": ["e\u0301", "😀"]}}) == [1, 2]
    assert matched(rows, {"é": {"$exists": True}}) == [3]
    escaped = [b'{"caf\\u00e9":"\\ud83d\\ude00"}']
    assert Columns().matching(parse_filter({"café": "😀"}), escaped, 1).tolist() == [True]


def test_every_element_of_a_list_is_found_whatever_its_place():
    rows = [{"a": [str(number) for number in range(length)]} for length in range(50)]
    for number in range(50):  # the list of length n holds 0 … n - 1
        assert matched(rows, {"a": str(number)}) == list(range(number + 1, 50))
    assert matched(rows, {"a": {"$in": [str(number) for number in range(30, 60)]}}) == list(range(31, 50))
    assert matched(rows, {"a": {"$ne": "10"}}) == list(range(11))


def test_longer_lists_may_come_later():
    metadata = encoded([{"a": "x"}, {"a": ["x"]}, {"a": ["y", "x"]}, {"a": list("abcdefx")}, {"a": "y"}])
    columns, filter = Columns(), parse_filter({"a": "x"})
    expected = [True, True, True, True, False]
    for size in [*range(6), 3, 0]:
        assert columns.matching(filter, metadata, size).tolist() == expected[:size]


def test_ids_each_row_its_own():
    metadata = encoded({"id": f"item-{number}", "n": number} for number in range(5_000))
    columns = Columns()

    def found(filter):
        return np.flatnonzero(columns.matching(parse_filter(filter), metadata, 5_000)).tolist()

    assert found({"id": "item-4321"}) == [4321]
    assert found({"id": {"$in": [f"item-{number}" for number in range(0, 20_000, 2)]}}) == list(range(0, 5_000, 2))
    assert found({"n": {"$in": list(range(-5_000, 5_000, 1_000))}}) == [0, 1_000, 2_000, 3_000, 4_000]
    assert found({"id": {"$nin": [f"item-{number}" for number in range(4_999)]}}) == [4_999]
    assert found({"n": {"$gte": 10, "$lt": 2_000.5}}) == list(range(10, 2_001))


def test_a_field_named_like_an_operator_is_refused():
    with pytest.raises(VectorError, match=r"'\$gt' cannot stand here"):
        parse_filter({"$gt": 3})


def test_what_is_returned_is_the_callers_own():
    columns, metadata = Columns(), encoded([{"a": 1}, {"a": 2}])
    for filter, expected in [({}, [True, True]), ({"a": 1}, [True, False]), ({"a": {"$gt": 1}}, [False, True])]:
        columns.matching(parse_filter(filter), metadata, 2)[:] = False
        assert columns.matching(parse_filter(filter), metadata, 2).tolist() == expected


class Counted(list):
    """Metadata that counts how many rows are read."""

    read = 0

    def __getitem__(self, rows):
        found = super().__getitem__(rows)
        self.read += len(found)
        return found


def test_a_row_is_read_once_for_all_the_fields_of_a_filter_and_only_when_it_is_new():
    metadata = Counted(encoded({"a": number % 2, "b": [str(number)]} for number in range(2_500)))
    columns, filter = Columns(), parse_filter({"a": {"$gt": 0, "$ne": 7}, "b": {"$exists": True}})
    assert not columns.ready(filter, 2_000) and metadata.read == 0
    assert np.count_nonzero(columns.matching(filter, metadata, 2_000)) == 1_000
    assert metadata.read == 2_000
    assert columns.ready(filter, 2_000) and columns.ready(filter, 10) and not columns.ready(filter, 2_001)
    columns.matching(filter, metadata, 1_500)
    assert metadata.read == 2_000
    columns.matching(filter, metadata, 2_500)
    assert metadata.read == 2_500
    columns.matching(parse_filter({"b": {"$gt": 1}}), metadata, 2_500)  # order is a column of its own
    assert metadata.read == 5_000


def test_renewed_columns_are_of_the_same_fields_over_another_list():
    columns, filter = Columns(), parse_filter({"a": {"$gte": 2}, "b": "x"})
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"a": 3, "b": "y"}, {"a": 4, "b": "x"}]
    assert columns.matching(filter, encoded(rows), 4).tolist() == [False, True, False, True]
    renewed = columns.renewed(encoded(rows[2:]), 2)
    assert renewed.ready(filter, 2) and not renewed.ready(parse_filter({"c": 1}), 2)
    assert renewed.matching(filter, encoded(rows[2:]), 2).tolist() == [False, True]
    assert columns.matching(filter, encoded(rows), 4).tolist() == [False, True, False, True]


def test_columns_are_limited_and_answers_are_not():
    rows = [{f"f{field}": 1 for field in range(MAX_COLUMNS + 1)}, {"f3": 1}]
    metadata, columns = encoded(rows), Columns()
    every = parse_filter(dict.fromkeys(rows[0], 1))
    assert columns.matching(every, metadata, 2).tolist() == [True, False]
    assert not columns.ready(every, 2)  # more fields than columns: always row by row
    for field in rows[0]:
        assert columns.matching(parse_filter({field: 1}), metadata, 2).tolist() == [True, field == "f3"]
    assert columns.ready(parse_filter({"f1": 1}), 2) and not columns.ready(parse_filter({"f0": 1}), 2)  # the oldest went
    assert columns.matching(parse_filter({"f0": 1}), metadata, 2).tolist() == [True, False]


@settings(max_examples=10, deadline=None)
@given(st.lists(FILTERS, min_size=3, max_size=3), st.integers(0, 2**32))
def test_threads_that_ask_while_rows_are_appended_see_what_the_predicate_sees(filters, seed):
    draw = random.Random(seed)
    values = [0, 1, True, "x", "1", WIDE + 1, 2.5, ["x", "y"], list("xyzuvw1"), []]
    rows = [{field: draw.choice(values) for field in FIELDS if draw.random() < 0.7} for _ in range(2_500)]
    expected = [one_by_one(filter, rows) for filter in filters]
    everything = encoded(rows)
    columns, metadata, wrong = Columns(), everything[:100], []
    start = threading.Barrier(5)

    def append():
        start.wait()
        for row in everything[100:]:
            metadata.append(row)

    def ask(seed):
        draw = random.Random(seed)
        start.wait()
        try:
            for _ in range(40):
                number = draw.randrange(len(filters))
                size = len(metadata) if draw.random() < 0.7 else draw.randrange(len(metadata))
                if columns.matching(parse_filter(filters[number]), metadata, size).tolist() != expected[number][:size]:
                    wrong.append((filters[number], size))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=append), *(threading.Thread(target=ask, args=(seed + one,)) for one in range(4))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)


def test_who_needs_no_more_rows_waits_for_nobody():
    columns, metadata = Columns(), encoded([{"a": 1}, {"a": 2}])
    filter = parse_filter({"a": 2})
    columns.matching(filter, metadata, 2)
    inside, leave = threading.Event(), threading.Event()

    class Slow(list):
        def __getitem__(self, rows):
            inside.set()
            assert leave.wait(60)
            return super().__getitem__(rows)

    slow = Slow([*metadata, b'{"a":2}'])
    grown = []
    thread = threading.Thread(target=lambda: grown.append(columns.matching(filter, slow, 3).tolist()))
    thread.start()
    assert inside.wait(60)  # the column is being extended now, and stays so until this thread has its answers
    assert columns.matching(filter, metadata, 2).tolist() == [False, True]
    assert columns.matching(parse_filter({"b": 1}), metadata, 2).tolist() == [False, False]  # another field is extended meanwhile
    leave.set()
    thread.join(timeout=60)
    assert grown == [[False, True, True]]


def test_a_read_that_fails_leaves_the_columns_as_they_were():
    columns, filter = Columns(), parse_filter({"a": "x"})
    good = encoded([{"a": ["y", "x"]}, {"a": "x"}])
    assert columns.matching(filter, good[:1], 1).tolist() == [True]
    with pytest.raises(msgspec.DecodeError):
        columns.matching(filter, [good[0], b"{"], 2)
    assert columns.matching(filter, good, 2).tolist() == [True, True]
