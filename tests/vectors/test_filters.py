"""The compiled filter against an evaluator written only to be obvious."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import VectorError
from workbench.vectors.filters import MAX_DEPTH, And, Compare, compile_filter, parse_filter

FIELDS = ["a", "b", "c"]
STRINGS = st.sampled_from(["x", "y", "1", ""])
NUMBERS = st.sampled_from([0, 1, 2, -1, 1.0, 2.5])
SCALARS = st.one_of(STRINGS, NUMBERS, st.booleans())
METADATA = st.dictionaries(st.sampled_from(FIELDS), st.one_of(SCALARS, st.lists(STRINGS, max_size=3)))


def conditions():
    return st.one_of(
        SCALARS,
        st.dictionaries(st.sampled_from(["$eq", "$ne"]), SCALARS, min_size=1),
        st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), NUMBERS, min_size=1),
        st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, min_size=1, max_size=3), min_size=1),
        st.dictionaries(st.just("$exists"), st.booleans(), min_size=1),
    )


FILTERS = st.recursive(
    st.dictionaries(st.sampled_from(FIELDS), conditions(), max_size=3),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=6,
)


def kind(value):
    return "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"


def same(stored, wanted):
    if isinstance(stored, list):
        return any(same(element, wanted) for element in stored)
    return kind(stored) == kind(wanted) and stored == wanted


def naive(filter, metadata):
    for field, condition in filter.items():
        if field == "$and":
            holds = all(naive(part, metadata) for part in condition)
        elif field == "$or":
            holds = any(naive(part, metadata) for part in condition)
        else:
            if not isinstance(condition, dict):
                condition = {"$eq": condition}
            holds = all(
                naive_operator(name, operand, field in metadata, metadata.get(field)) for name, operand in condition.items()
            )
        if not holds:
            return False
    return True


def naive_operator(name, operand, there, stored):
    if name == "$exists":
        return there == operand
    if name == "$eq":
        return there and same(stored, operand)
    if name == "$ne":
        return not (there and same(stored, operand))
    if name == "$in":
        return there and any(same(stored, one) for one in operand)
    if name == "$nin":
        return not (there and any(same(stored, one) for one in operand))
    if not there or isinstance(stored, list) or kind(stored) != "number":
        return False
    return {"$gt": stored > operand, "$gte": stored >= operand, "$lt": stored < operand, "$lte": stored <= operand}[name]


@given(FILTERS, METADATA)
def test_compiled_filters_agree_with_the_naive_evaluator(filter, metadata):
    assert bool(compile_filter(filter)(metadata)) == naive(filter, metadata)


@pytest.mark.parametrize(
    ("filter", "says"),
    [
        ("genre", "must be an object"),
        ([], "must be an object"),
        ({"$not": {"a": 1}}, r"\$not.*\$and"),
        ({"$and": {"a": 1}}, "list of at least one"),
        ({"$or": []}, "list of at least one"),
        ({"$or": [3]}, "must be an object"),
        ({"a": {}}, r"no operator: \$eq"),
        ({"a": {"$regex": "x"}}, r"\$regex.*unknown.*\$eq"),
        ({"a": None}, "not None"),
        ({"a": ["x"]}, r"\$eq on 'a' takes a string, a number or a bool, not a list"),
        ({"a": {"$eq": {"b": 1}}}, "not a dict"),
        ({"a": {"$gt": "x"}}, "takes a number"),
        ({"a": {"$gt": True}}, "takes a number"),
        ({"a": {"$lt": float("nan")}}, "takes a number"),
        ({"a": {"$in": "x"}}, "list of 1 to 10,000"),
        ({"a": {"$in": []}}, "list of 1 to 10,000"),
        ({"a": {"$nin": ["x"] * 10_001}}, "list of 1 to 10,000"),
        ({"a": {"$in": [["x"]]}}, "not a list"),
        ({"a": {"$exists": 1}}, "true or false"),
        ({1: 2}, "must be a string"),
    ],
)
def test_what_is_wrong_is_named(filter, says):
    with pytest.raises(VectorError, match=says):
        compile_filter(filter)


@pytest.mark.parametrize("depth", [MAX_DEPTH, 200, 100_000])
def test_depth_is_limited_without_exhausting_the_stack(depth):
    filter = {"a": 1}
    for _ in range(depth):
        filter = {"$or": [filter]}
    with pytest.raises(VectorError, match="deeper than 32"):
        compile_filter(filter)


def test_the_deepest_allowed_filter_works():
    filter = {"a": 1}
    for _ in range(MAX_DEPTH - 1):
        filter = {"$and": [filter]}
    assert compile_filter(filter)({"a": 1})


@pytest.mark.parametrize(
    ("filter", "tree"),
    [
        ({}, "And(parts=())"),
        ({"a": 1}, "Compare(field='a', operator='$eq', operand=1)"),
        ({"a": {"$ne": True}}, "Not(part=Compare(field='a', operator='$eq', operand=True))"),
        ({"a": {"$nin": ["x", 2]}}, "Not(part=Compare(field='a', operator='$in', operand=('x', 2)))"),
        ({"a": {"$exists": True}}, "Exists(field='a')"),
        ({"a": {"$exists": False}}, "Not(part=Exists(field='a'))"),
        ({"$or": [{"a": {"$exists": True}}, {}]}, "Or(parts=(Exists(field='a'), And(parts=())))"),
    ],
)
def test_a_filter_is_parsed_to_this(filter, tree):
    assert repr(parse_filter(filter)) == tree


def test_several_conditions_are_parsed_to_their_conjunction():
    tree = parse_filter({"a": {"$gte": 1, "$lt": 2.5}, "b": "x"})
    assert isinstance(tree, And) and isinstance(tree.parts[0], And)
    parts = [*tree.parts[0].parts, tree.parts[1]]
    assert all(isinstance(part, Compare) for part in parts)
    assert [(part.field, part.operator, part.operand) for part in parts] == [
        ("a", "$gte", 1),
        ("a", "$lt", 2.5),
        ("b", "$eq", "x"),
    ]


def test_nodes_of_different_meaning_are_not_equal():
    assert parse_filter({"a": 1}) != parse_filter({"a": True})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), None])
def test_a_list_may_hold_only_what_metadata_can(number):
    with pytest.raises(VectorError, match=r"\$in on 'a' takes a string, a number or a bool, not (nan|inf|None)"):
        parse_filter({"a": {"$in": [1, number]}})
