"""A notebook's parameters from the command line's texts, read as its annotations say."""

import ast
import warnings
from collections.abc import Mapping
from pathlib import Path

from workbench.errors import ReportError
from workbench.report.notebooks import read

_NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)  # all that ast.literal_eval documents


def checked(path: Path, given: Mapping[str, str]) -> dict[str, object]:
    """The values of the ``given`` texts.

    Raises:
        ReportError: a file that is no notebook, a notebook without a cell tagged ``parameters``, a parameter that it does not
            have, a value of another type.
    """
    from papermill import inspect_notebook

    notebook = read(path)
    if given and not any("parameters" in cell.metadata.get("tags", ()) for cell in notebook.cells):
        raise ReportError(f"{path.name} has no cell tagged 'parameters'")
    known = inspect_notebook(str(path)) if given else {}
    values = {}
    for name, text in given.items():
        if name not in known:
            raise ReportError(f"{path.stem} has no parameter {name!r}: it has {', '.join(known) or 'none'}")
        values[name] = _parse(name, text, known[name]["inferred_type_name"])
    return values


def _parse(name: str, text: str, wanted: str) -> object:
    """A parameter's value from the command line: text as it is, anything else as a Python literal."""
    try:
        value = text if wanted in ("str", "None") else _literal(text)
        text.encode()  # bytes that are no UTF-8 arrive as surrogates, which no notebook can hold
        return _as(value, wanted)
    except (*_NO_LITERAL, OverflowError):
        raise ReportError(f"parameter {name} = {text!r} is no {wanted}") from None


def _literal(text: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about an unknown escape or "1is 2": the value decides
        return ast.literal_eval(text)


def _as(value: object, wanted: str) -> object:
    """The value if it is of the wanted type; a whole number is a float too, and a list's items are looked at one by one."""
    kind, _, inner = wanted.partition("[")
    if kind == "float" and type(value) is int:
        value = float(value)
    if kind == "None":  # the notebook does not say
        return value
    if type(value).__name__ != kind:
        raise TypeError
    if kind == "list" and inner:
        return [_as(item, inner.removesuffix("]").strip()) for item in value]
    return value
