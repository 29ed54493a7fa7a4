"""A pattern of FilterCriteria, compiled to a predicate on the data of a Kinesis record. Pure: no clock, thread or network.

Sources: "Control which events Lambda sends to your function" and "Using event filtering with a Kinesis event source" (Lambda
developer guide); "Event pattern syntax" and "Comparison operators" (EventBridge user guide), whose syntax Lambda takes over;
where these are silent, Event Ruler (github.com/aws/event-ruler), the library AWS matches with. It settles two things in
particular: numbers are equal by value (300 is 300.0, which both guides deny), and fields below an array match together only
within one element of it.
"""

import operator
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from workbench.errors import SettingError

Predicate = Callable[[bytes], bool]
_Path = tuple[str, ...]
_Plain = str | int | float | bool | None  # a JSON value without parts
_Test = Callable[[_Plain], bool]

_NOT_JSON = (msgspec.DecodeError, UnicodeError, RecursionError)  # the last: nested deeper than the decoder goes
_MOST_CHARACTERS = 4096  # of a pattern: Lambda API reference, "Filter"
_MOST_COMBINATIONS = 1000  # of $or's alternatives, multiplied: EventBridge user guide, "Comparison operators"
_MOST_LEVELS = 100  # ours: AWS states none, and each level is a call within a call

_SIGNS = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_TEXTS = {"prefix": str.startswith, "suffix": str.endswith, "equals-ignore-case": str.__eq__}
_OPERATORS = "anything-but, equals-ignore-case, exists, numeric, prefix or suffix"  # Lambda developer guide: no cidr, no wildcard
_RESERVED = re.compile(  # no names of fields within $or: Event Ruler, RESERVED_FIELD_NAMES_IN_OR_RELATIONSHIP
    r"exactly|(not-)?equals-ignore-case|prefix|suffix|anything-but|exists|(not-)?wildcard|numeric|cidr|=|<=?|>=?|regex"
    r"|date-(on-or-)?(after|before)|in-date-range|ip-address-(not-)?in-range"
)


def compile_pattern(text: str) -> Predicate:
    """What ``text``, one Pattern of FilterCriteria, says of a record's data (bytes, as GetRecords gives them).

    Data that are no JSON never match. JSON that is no object has no fields, and an array of objects matches as its elements do.
    A dot in a field's name joins names, on both sides: ``{"a.b": [1]}`` is ``{"a": {"b": [1]}}``.

    Raises:
        SettingError: AWS refuses the pattern when a mapping is created, or it asks for more than a record's data.
    """
    if len(text) > _MOST_CHARACTERS:
        raise SettingError("filters", f"a pattern of {len(text):,} characters", f"at most {_MOST_CHARACTERS:,}")
    try:
        pattern = msgspec.json.decode(text)
    except _NOT_JSON:
        raise SettingError("filters", text, "a pattern is a JSON object") from None
    try:
        alternatives = [_Fields(_in_data(rule)) for rule in _rules(pattern, (), [{}])]
    except ValueError as error:
        raise SettingError("filters", text, str(error)) from None

    def matches(data: bytes) -> bool:
        try:
            value = msgspec.json.decode(data)
        except _NOT_JSON:
            return False
        return any(fields.match(value) for fields in alternatives)

    return matches


# --- what is asked of a field -----------------------------------------------------------------------------------------------


class _Leaf(NamedTuple):
    """A field's array of values: one of them is enough."""

    equal: frozenset[tuple[bool, _Plain]]
    tests: tuple[_Test, ...]
    may_be_absent: bool

    def match(self, value: object) -> bool:
        """Any element of an array counts. An object is no value, nor is an empty array: the field is absent then."""
        if isinstance(value, list):
            plain = [element for element in _elements(value) if not isinstance(element, dict)]
            return any(map(self._accept, plain)) if plain else self.may_be_absent
        return self.may_be_absent if isinstance(value, dict) else self._accept(value)

    def _accept(self, value: _Plain) -> bool:
        return _typed(value) in self.equal or any(test(value) for test in self.tests)


_ABSENT = _Leaf(frozenset(), (), True)


class _Fields:
    """What a pattern asks of one object: fields by their paths within it, in the order of their dotted names."""

    def __init__(self, fields: Sequence[tuple[_Path, _Leaf]]) -> None:
        self._fields = fields
        below: dict[str, list[tuple[_Path, _Leaf]]] = {}
        for path, leaf in fields:
            if len(path) > 1:
                below.setdefault(path[0], []).append((path[1:], leaf))
        leaves = [(path[0], leaf) for path, leaf in fields if len(path) == 1]
        self._parts = [*leaves, *((name, _Fields(inner)) for name, inner in below.items())]
        self._dotted = frozenset(".".join(path[:end]) for path, _ in fields for end in range(2, len(path) + 1))
        self.may_be_absent = all(leaf.may_be_absent for _, leaf in fields)

    def match(self, value: object) -> bool:
        """Whether all fields match, in ``value`` or in one element of it."""
        if isinstance(value, dict):
            found = value if self._dotted.isdisjoint(value) else _nested(value, self._dotted)
            return all(part.match(found[name]) if name in found else part.may_be_absent for name, part in self._parts)
        return self._match_any(_elements(value)) if isinstance(value, list) else self.may_be_absent

    def _match_any(self, elements: list) -> bool:
        # Ruler takes the fields in order and stays with the element in which it finds the first. Until then, a field is absent
        # only if no element has it.
        for at, (path, leaf) in enumerate(self._fields):
            if not leaf.may_be_absent:
                return any(self.match(element) for element in elements)
            only = _Fields([(path, _ABSENT)])
            if not all(only.match(element) for element in elements):
                if not (leaf.equal or leaf.tests):
                    return False
                found = _Fields([(path, leaf._replace(may_be_absent=False)), *self._fields[at + 1 :]])
                return any(found.match(element) for element in elements)
        return True


def _elements(array: list) -> list:
    """An array's elements, and those of the arrays in it, in no particular order. A loop: data may nest them deeply."""
    found, waiting = [], [array]
    while waiting:
        for element in waiting.pop():
            (waiting if isinstance(element, list) else found).append(element)
    return found


def _nested(value: dict, dotted: frozenset[str]) -> dict:
    """An object with the fields it has under dotted names where their paths lead to."""
    nested = dict(value)
    for key in (key for key in value if key in dotted):
        name, _, rest = key.partition(".")
        there, inner = nested.get(name), value[key]
        if isinstance(there, dict):  # a field that is there twice has two values, as an array has
            nested[name] = {**there, rest: [there[rest], inner] if rest in there else inner}
        else:
            nested[name] = [there, {rest: inner}] if name in nested else {rest: inner}
    return nested


def _typed(value: _Plain) -> tuple[bool, _Plain]:
    """A value as it compares in JSON: 1 is 1.0, but not true."""
    return isinstance(value, bool), value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- reading a pattern: ValueError says what is allowed, and where ----------------------------------------------------------


def _rules(pattern: object, path: _Path, rules: list[dict[_Path, _Leaf]], in_or: bool = False) -> list[dict[_Path, _Leaf]]:
    """``rules`` with the fields of ``pattern`` added to each; $or multiplies them. Of a field given twice, the last counts."""
    if not isinstance(pattern, dict) or not pattern:
        raise ValueError(f"{_name(path)} is a JSON object with at least one field")
    for name, value in pattern.items():
        if name == "$or":
            rules = _either(value, path, rules)
            continue
        at = (*path, *name.split("."))
        if in_or and _RESERVED.fullmatch(name):
            raise ValueError(f"{_name(path)}: {name} cannot be a field within $or")
        if len(at) > _MOST_LEVELS:
            raise ValueError(f"fields are nested at most {_MOST_LEVELS} levels deep")
        if isinstance(value, dict):
            rules = _rules(value, at, rules, in_or)
            continue
        try:
            leaf = _leaf(value)
        except ValueError as error:
            raise ValueError(f"{_name(at)}: {error}") from None
        for rule in rules:
            rule[at] = leaf
    return rules


def _either(alternatives: object, path: _Path, rules: list[dict[_Path, _Leaf]]) -> list[dict[_Path, _Leaf]]:
    if not isinstance(alternatives, list) or len(alternatives) < 2 or not all(isinstance(each, dict) for each in alternatives):
        raise ValueError(f"{_name(path)}: $or takes an array of two or more objects")
    multiplied = []
    for alternative in alternatives:
        multiplied += _rules(alternative, path, [dict(rule) for rule in rules], in_or=True)
        if len(multiplied) > _MOST_COMBINATIONS:
            raise ValueError(f"$or makes at most {_MOST_COMBINATIONS:,} combinations")
    return multiplied


def _in_data(rule: dict[_Path, _Leaf]) -> list[tuple[_Path, _Leaf]]:
    for path in rule:
        if path[0] != "data":
            raise ValueError(f"a Kinesis event source filters on data only, not on {path[0]}")
        if len(path) == 1:
            raise ValueError("data is an object of the fields to match, as the records' data are JSON")
    return sorted(((path[1:], leaf) for path, leaf in rule.items()), key=lambda field: ".".join(field[0]))


def _name(path: _Path) -> str:
    return ".".join(path) or "a pattern"


def _leaf(values: object) -> _Leaf:
    if not isinstance(values, list) or not values or any(isinstance(value, list) for value in values):
        raise ValueError("a field takes an object, or an array of one or more values and operators")
    tests, may_be_absent = [], False
    for name, argument in (_only(value, _OPERATORS) for value in values if isinstance(value, dict)):
        if name == "exists" and argument is False:
            may_be_absent = True
        else:
            tests.append(_test(name, argument))
    return _Leaf(frozenset(_typed(value) for value in values if not isinstance(value, dict)), tuple(tests), may_be_absent)


def _only(expression: dict, allowed: str) -> tuple[str, object]:
    if len(expression) != 1:
        raise ValueError(f"an operator is an object with one of {allowed}")
    return next(iter(expression.items()))


def _test(name: str, argument: object) -> _Test:
    if name in _TEXTS:
        return _text(name, argument)
    if name == "numeric":
        return _numeric(argument)
    if name == "anything-but":
        return _anything_but(argument)
    if name != "exists":
        raise ValueError(f"{name} is no operator: one of {_OPERATORS}")
    if argument is not True:
        raise ValueError("exists takes true or false")
    return lambda value: True


def _text(name: str, argument: object) -> _Test:
    compare, folds = _TEXTS[name], name == "equals-ignore-case"
    match argument:
        case {"equals-ignore-case": inner} if len(argument) == 1 and not folds:
            argument, folds = inner, True
    if not isinstance(argument, str):
        raise ValueError(f"{name} takes a string" + " or equals-ignore-case" * (name != "equals-ignore-case"))
    if folds:
        wanted = argument.casefold()
        return lambda value: isinstance(value, str) and compare(value.casefold(), wanted)
    return lambda value: isinstance(value, str) and compare(value, argument)


def _numeric(argument: object) -> _Test:
    match argument:
        case ["=" | "<" | "<=" | ">" | ">=" as sign, bound] if _is_number(bound):
            compare = _SIGNS[sign]
            return lambda value: _is_number(value) and compare(value, bound)
        case [">" | ">=" as above, low, "<" | "<=" as below, high] if _is_number(low) and _is_number(high) and low < high:
            over, under = _SIGNS[above], _SIGNS[below]
            return lambda value: _is_number(value) and over(value, low) and under(value, high)
    raise ValueError(
        'numeric takes a sign and a number, as [">=", 1], or a range with the lower bound first, as [">", 0, "<=", 5]'
    )


def _anything_but(argument: object) -> _Test:
    if isinstance(argument, dict):
        name, inner = _only(argument, "equals-ignore-case, prefix or suffix")
        texts = inner if isinstance(inner, list) else [inner]
        known = name in _TEXTS and texts and all(isinstance(each, str) for each in texts)
        if not known or (name != "equals-ignore-case" and "" in texts):
            raise ValueError(
                "anything-but takes equals-ignore-case, or prefix or suffix that are not empty, of a string or of strings"
            )
        tests = [_text(name, each) for each in texts]
        return lambda value: not any(test(value) for test in tests)
    values = argument if isinstance(argument, list) else [argument]
    if not values or not (all(isinstance(each, str) for each in values) or all(map(_is_number, values))):
        raise ValueError("anything-but takes a string, a number, an array of strings or of numbers, or one operator on strings")
    excluded = frozenset(map(_typed, values))
    return lambda value: _typed(value) not in excluded
