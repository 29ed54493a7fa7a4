"""Parameters from the command line: any text is a value of the annotated type or refused in one line."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import ReportError
from workbench.report.parameters import _parse, checked

from .pages import write_notebook

_KINDS = {"int": int, "float": float, "bool": bool, "list": list, "dict": dict, "tuple": tuple, "str": str}


@pytest.mark.parametrize(
    ("text", "wanted", "value"),
    [
        ("50", "float", 50.0),
        ("-3", "int", -3),
        ("1e3", "float", 1000.0),
        ("[1, 2]", "list[float]", [1.0, 2.0]),
        ("[[1], []]", "list[list[int]]", [[1], []]),
        ("{'a': 1}", "dict[str, int]", {"a": 1}),
        ("(1, 'a')", "tuple", (1, "a")),
        ("True", "bool", True),
        ("True", "str", "True"),
        ("a=b", "None", "a=b"),
        ("", "str", ""),
    ],
)
def test_a_text_is_read_as_the_annotation_says(text, wanted, value):
    read = _parse("x", text, wanted)
    assert read == value and type(read) is type(value) and str(read) == str(value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("True", "int"),
        ("1.0", "int"),
        ("[1, 'a']", "list[int]"),
        ("[True]", "list[int]"),
        ("1" * 400, "float"),  # more than a float holds
        ("1" * 5000, "int"),  # more digits than Python reads
        ("(" * 5000, "list"),
        ("-" * 100_000 + "1", "int"),
        ("{[]: 1}", "dict"),
        ("\0", "int"),
        ("'\\d'", "int"),  # the compiler would warn
        ("1is 2", "bool"),
        ("\udcff", "str"),  # a byte that is no UTF-8
        ("'\udcff'", "list"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(text, wanted):
    with pytest.raises(ReportError) as raised:
        _parse("x", text, wanted)
    assert str(raised.value) == f"parameter x = {text!r} is no {wanted}"


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=5,
)


@given(value=_ANYTHING, wanted=st.sampled_from(sorted(_KINDS)))
def test_a_literal_is_itself_where_its_type_is_wanted_and_refused_elsewhere(value, wanted):
    text = repr(value)
    if wanted == "str":
        assert _parse("x", text, wanted) == text
    elif type(value) is _KINDS[wanted] or (wanted == "float" and type(value) is int):
        read = _parse("x", text, wanted)
        assert read == _KINDS[wanted](value) and type(read) is _KINDS[wanted]
    else:
        with pytest.raises(ReportError, match="is no "):
            _parse("x", text, wanted)


@given(text=st.text() | st.text("()[]{}'\"\\,:-+.0123456789eEjnTrue #\n\r\t"), wanted=st.sampled_from(sorted(_KINDS)))
def test_any_text_is_a_value_or_refused_in_one_line(text, wanted):
    try:
        value = _parse("x", text, wanted)
    except ReportError as error:
        assert len(str(error).splitlines()) == 1 and "\x00" not in str(error)
    else:
        assert type(value) is _KINDS[wanted]
        assert value == text or value == ast.literal_eval(text)


def test_parameters_need_the_tag(tmp_path):
    path = tmp_path / "n.ipynb"
    write_notebook(path, ["rate: float = 1.0"])
    assert checked(path, {}) == {}
    with pytest.raises(ReportError, match=r"^n\.ipynb has no cell tagged 'parameters'$"):
        checked(path, {"rate": "2"})
    write_notebook(path, ["#parameters\nprint(1)"])
    with pytest.raises(ReportError, match=r"^n has no parameter 'rate': it has none$"):
        checked(path, {"rate": "2"})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "3", '{"cells": 1}', '{"nbformat": 4, "cells": [1]}', "\0", '"\\'])
def test_a_file_that_is_no_notebook_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "n.ipynb"
    path.write_text(text)
    with pytest.raises(ReportError, match=r"^n\.ipynb is no notebook: .") as raised:
        checked(path, {})
    assert len(str(raised.value).splitlines()) == 1
