"""One small tree of errors, drawn in its docstring; each carries its data."""

import re

import pytest

from workbench import errors

CLASSES = [value for value in vars(errors).values() if isinstance(value, type)]


def test_the_docstring_draws_the_whole_tree():
    """Every class stands in the drawing, under its parent."""
    parents, drawn = [], {}
    for line in errors.__doc__.splitlines():
        if found := re.match(r"    (?P<lines>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: |$)", line):
            depth = len(found["lines"]) // 4
            parents[depth:] = [found["name"]]
            drawn[found["name"]] = parents[depth - 1] if depth else "Exception"
    assert drawn == {cls.__name__: cls.__base__.__name__ for cls in CLASSES}


@pytest.mark.parametrize(
    ("error", "message", "data"),
    [
        (errors.SettingError("a", 1, "b"), "a = 1 is not allowed: b", {"name": "a", "value": 1, "allowed": "b"}),
        (errors.DecodeError("json", "cut"), "not a json event: cut", {"codec": "json", "reason": "cut"}),
        (errors.EventRejected("e1", "too large"), "event e1: too large", {"event_id": "e1", "reason": "too large"}),
        (errors.VectorError("no", 409), "no", {"status": 409}),
        (errors.IndexNotFound("i"), "index 'i' does not exist", {"name": "i", "status": 404}),
        (errors.ReportError("no", "a.html"), "no", {"path": "a.html"}),
    ],
)
def test_an_error_says_one_line_and_carries_the_same_facts(error, message, data):
    assert str(error) == message
    assert {name: getattr(error, name) for name in data} == data
