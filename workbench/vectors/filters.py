"""Pinecone's metadata filter language, compiled once to a predicate on one record's metadata.

Operators and types: docs.pinecone.io/guides/search/filter-by-metadata. Types never mix: 1 is neither "1" nor true. A field
that is a list of strings matches if any of its elements does. As in MongoDB, on which the language is based, ``$ne`` and
``$nin`` are the negations of ``$eq`` and ``$in``, so they match a record that lacks the field.
"""

import math
import operator
from collections.abc import Callable

from workbench.errors import VectorError

MAX_DEPTH = 32
MAX_LIST = 10_000

Predicate = Callable[[dict], bool]
_Test = Callable[[object], bool]

_ORDER = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}
_OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists")
_NUMBERS = (int, float)


def compile_filter(filter: dict) -> Predicate:
    """A function that says whether metadata matches. An empty filter matches everything.

    Raises:
        VectorError: what is wrong (operator, type, depth over 32, list over 10,000) and what is allowed.
    """
    return _expression(filter, depth=1)


def _expression(filter: object, depth: int) -> Predicate:
    # The limit comes before the recursion, so that no request can exhaust the stack.
    if depth > MAX_DEPTH:
        raise VectorError(f"filter is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(filter, dict):
        raise VectorError(f"filter must be an object such as {{'field': {{'$eq': value}}}}, not {_show(filter)}")
    parts = [_clause(field, condition, depth) for field, condition in filter.items()]
    return parts[0] if len(parts) == 1 else _all(parts)


def _clause(field: object, condition: object, depth: int) -> Predicate:
    if not isinstance(field, str):
        raise VectorError(f"filter field {_show(field)} must be a string")
    if field in ("$and", "$or"):
        if not isinstance(condition, list) or not condition:
            raise VectorError(f"filter {field} takes a list of at least one filter, not {_show(condition)}")
        parts = [_expression(part, depth + 1) for part in condition]
        return _all(parts) if field == "$and" else _any(parts)
    if field.startswith("$"):
        raise VectorError(f"filter operator {_show(field)} cannot stand here: $and, $or or a field name can")
    if not isinstance(condition, dict):
        return _on_field(field, _equals(field, "$eq", condition))
    if not condition:
        raise VectorError(f"filter on {field!r} has no operator: {', '.join(_OPERATORS)}")
    return _all([_operator(field, name, operand) for name, operand in condition.items()])


def _operator(field: str, name: object, operand: object) -> Predicate:
    match name:
        case "$eq":
            return _on_field(field, _equals(field, name, operand))
        case "$ne":
            return _not(_on_field(field, _equals(field, name, operand)))
        case "$in":
            return _on_field(field, _member(field, name, operand))
        case "$nin":
            return _not(_on_field(field, _member(field, name, operand)))
        case "$gt" | "$gte" | "$lt" | "$lte":
            return _on_field(field, _compares(field, name, operand))
        case "$exists":
            if type(operand) is not bool:
                raise VectorError(f"filter $exists on {field!r} takes true or false, not {_show(operand)}")
            return lambda metadata: (field in metadata) is operand
    raise VectorError(f"filter operator {_show(name)} on {field!r} is unknown: {', '.join(_OPERATORS)}")


def _equals(field: str, name: str, operand: object) -> _Test:
    operand = _scalar(field, name, operand)
    if type(operand) is str:
        return lambda value: value == operand or (type(value) is list and operand in value)
    if type(operand) is bool:
        return lambda value: value is operand
    return lambda value: value == operand and type(value) is not bool


def _member(field: str, name: str, operand: object) -> _Test:
    if not isinstance(operand, list) or not operand or len(operand) > MAX_LIST:
        raise VectorError(f"filter {name} on {field!r} takes a list of 1 to {MAX_LIST:,} values, not {_show(operand)}")
    # 1 == True in Python and must not be here: a value's kind is part of the key.
    wanted = {(type(value) is bool, _scalar(field, name, value)) for value in operand}

    def test(value: object) -> bool:
        if type(value) is list:
            return any((False, element) in wanted for element in value)
        return (type(value) is bool, value) in wanted

    return test


def _compares(field: str, name: str, operand: object) -> _Test:
    if type(operand) not in _NUMBERS or not _finite(operand):
        raise VectorError(f"filter {name} on {field!r} takes a number, not {_show(operand)}")
    compare = _ORDER[name]
    return lambda value: type(value) in _NUMBERS and compare(value, operand)


def _scalar(field: str, name: str, operand: object) -> object:
    if type(operand) in (str, bool) or (type(operand) in _NUMBERS and _finite(operand)):
        return operand
    raise VectorError(f"filter {name} on {field!r} takes a string, a number or a bool, not {_show(operand)}")


def _finite(number: float) -> bool:
    return type(number) is int or math.isfinite(number)


def _on_field(field: str, test: _Test) -> Predicate:
    return lambda metadata: field in metadata and test(metadata[field])


def _not(predicate: Predicate) -> Predicate:
    return lambda metadata: not predicate(metadata)


def _all(parts: list[Predicate]) -> Predicate:
    return lambda metadata: all(part(metadata) for part in parts)


def _any(parts: list[Predicate]) -> Predicate:
    return lambda metadata: any(part(metadata) for part in parts)


def _show(value: object) -> str:
    """A value short enough for an error line; containers by kind, since a hostile one may be too deep to print."""
    if isinstance(value, dict | list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
