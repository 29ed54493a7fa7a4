"""Pinecone's metadata filter language: checked and parsed once to a small tree of nodes, from which all that reads it is made.

Operators and types: docs.pinecone.io/guides/search/filter-by-metadata. Types never mix: 1 is neither "1" nor true. A field
that is a list of strings matches if any of its elements does. As in MongoDB, on which the language is based, ``$ne`` and
``$nin`` are the negations of ``$eq`` and ``$in``, so they match a record that lacks the field.

A tree is read one record at a time by the ``Predicate`` made here, and for all rows at once by ``columns``.
"""

import math
import operator
from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

from workbench.errors import VectorError

MAX_DEPTH = 32
MAX_LIST = 10_000

Predicate: TypeAlias = Callable[[dict], bool]
_Test: TypeAlias = Callable[[object], bool]

ORDER = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}
_OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists")
_NUMBERS = (int, float)
_ALWAYS_SCALAR = {str, bool, int}


# Nodes are equal only to themselves: by value, Compare("a", "$eq", 1) would be Compare("a", "$eq", True).


class Compare(msgspec.Struct, frozen=True, eq=False):
    """A record has the field, and its value passes: ``$eq`` (string, number, bool), ``$in`` (a tuple of 1 to 10,000 of those),
    ``$gt`` ``$gte`` ``$lt`` ``$lte`` (number). Numbers are finite; an int may be of any size."""

    field: str
    operator: str
    operand: str | bool | int | float | tuple[str | bool | int | float, ...]


class Exists(msgspec.Struct, frozen=True, eq=False):
    """A record has the field."""

    field: str


class Not(msgspec.Struct, frozen=True, eq=False):
    """``part`` does not match: what ``$ne``, ``$nin`` and ``{"$exists": False}`` become."""

    part: "Node"


class And(msgspec.Struct, frozen=True, eq=False):
    """All of ``parts`` match; without any, everything does."""

    parts: "tuple[Node, ...]"


class Or(msgspec.Struct, frozen=True, eq=False):
    """At least one of ``parts`` matches."""

    parts: "tuple[Node, ...]"


Node: TypeAlias = Compare | Exists | Not | And | Or


def parse_filter(filter: dict) -> Node:
    """The filter as a tree. An empty filter matches everything.

    Raises:
        VectorError: what is wrong (operator, type, depth over 32, list over 10,000) and what is allowed.
    """
    return _expression(filter, depth=1)


def compile_filter(filter: dict) -> Predicate:
    """A function that says whether metadata matches: ``predicate`` of ``parse_filter``, which says what it raises."""
    return predicate(parse_filter(filter))


def predicate(node: Node) -> Predicate:
    """A function that says whether one record's metadata, as a dict, matches."""
    match node:
        case Compare(field):
            test = _test(node)
            return lambda metadata: field in metadata and test(metadata[field])
        case Exists(field):
            return lambda metadata: field in metadata
        case Not(part):
            inner = predicate(part)
            return lambda metadata: not inner(metadata)
        case And(parts):
            every = [predicate(part) for part in parts]
            return lambda metadata: all(matches(metadata) for matches in every)
        case Or(parts):
            each = [predicate(part) for part in parts]
            return lambda metadata: any(matches(metadata) for matches in each)


def _test(node: Compare) -> _Test:
    name, operand = node.operator, node.operand
    if name in ORDER:
        compare = ORDER[name]
        return lambda value: type(value) in _NUMBERS and compare(value, operand)
    if name == "$in":
        return _member(operand)
    if type(operand) is str:
        return lambda value: value == operand or (type(value) is list and operand in value)
    if type(operand) is bool:
        return lambda value: value is operand
    return lambda value: value == operand and type(value) is not bool


def _member(values: tuple) -> _Test:
    # 1 == True in Python and must not be here: a value's kind is part of the key.
    wanted = {(type(value) is bool, value) for value in values}

    def test(value: object) -> bool:
        if type(value) is list:
            return any((False, element) in wanted for element in value)
        return (type(value) is bool, value) in wanted

    return test


# Parsing


def _expression(filter: object, depth: int) -> Node:
    # The limit comes before the recursion, so that no request can exhaust the stack.
    if depth > MAX_DEPTH:
        raise VectorError(f"filter is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(filter, dict):
        raise VectorError(f"filter must be an object such as {{'field': {{'$eq': value}}}}, not {_show(filter)}")
    return _all(_clause(field, condition, depth) for field, condition in filter.items())


def _clause(field: object, condition: object, depth: int) -> Node:
    if not isinstance(field, str):
        raise VectorError(f"filter field {_show(field)} must be a string")
    if field in ("$and", "$or"):
        if not isinstance(condition, list) or not condition:
            raise VectorError(f"filter {field} takes a list of at least one filter, not {_show(condition)}")
        parts = tuple(_expression(part, depth + 1) for part in condition)
        return _all(parts) if field == "$and" else Or(parts)
    if field.startswith("$"):
        raise VectorError(f"filter operator {_show(field)} cannot stand here: $and, $or or a field name can")
    if not isinstance(condition, dict):
        return Compare(field, "$eq", _scalar(field, "$eq", condition))
    if not condition:
        raise VectorError(f"filter on {field!r} has no operator: {', '.join(_OPERATORS)}")
    return _all(_operator(field, name, operand) for name, operand in condition.items())


def _operator(field: str, name: object, operand: object) -> Node:
    match name:
        case "$eq":
            return Compare(field, "$eq", _scalar(field, name, operand))
        case "$ne":
            return Not(Compare(field, "$eq", _scalar(field, name, operand)))
        case "$in":
            return Compare(field, "$in", _scalars(field, name, operand))
        case "$nin":
            return Not(Compare(field, "$in", _scalars(field, name, operand)))
        case "$gt" | "$gte" | "$lt" | "$lte":
            if not _is_number(operand):
                raise VectorError(f"filter {name} on {field!r} takes a number, not {_show(operand)}")
            return Compare(field, name, operand)
        case "$exists":
            if type(operand) is not bool:
                raise VectorError(f"filter $exists on {field!r} takes true or false, not {_show(operand)}")
            return Exists(field) if operand else Not(Exists(field))
    raise VectorError(f"filter operator {_show(name)} on {field!r} is unknown: {', '.join(_OPERATORS)}")


def _all(parts: Iterable[Node]) -> Node:
    parts = tuple(parts)
    return parts[0] if len(parts) == 1 else And(parts)


def _scalars(field: str, name: str, operand: object) -> tuple:
    if not isinstance(operand, list) or not operand or len(operand) > MAX_LIST:
        raise VectorError(f"filter {name} on {field!r} takes a list of 1 to {MAX_LIST:,} values, not {_show(operand)}")
    if not set(map(type, operand)) <= _ALWAYS_SCALAR:  # of 10,000 values this takes 0.3 ms, and looking at each 2 ms
        for value in operand:
            _scalar(field, name, value)
    return tuple(operand)


def _scalar(field: str, name: str, operand: object) -> object:
    if type(operand) in (str, bool) or _is_number(operand):
        return operand
    raise VectorError(f"filter {name} on {field!r} takes a string, a number or a bool, not {_show(operand)}")


def _is_number(operand: object) -> bool:
    return type(operand) is int or (type(operand) is float and math.isfinite(operand))


def _show(value: object) -> str:
    """A value short enough for an error line; containers by kind, since a hostile one may be too deep to print."""
    if isinstance(value, dict | list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
