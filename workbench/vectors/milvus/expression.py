"""How ids, namespaces and filters are said to Milvus.

Hexadecimal keeps the order and the prefixes of ASCII, and nothing in it can be mistaken for syntax: pymilvus itself puts keys
into expressions without escaping them. Milvus compares JSON by rules of its own (Lite takes 1 for true), so its expressions
only narrow a search; what matches is decided here, by the same predicate as in every other backend.
"""

import re

from workbench.vectors.filters import And, Compare, Node, Or, Predicate, parse_filter, predicate

_MAX_EXPRESSION = 32 * 1024  # characters; what is longer is decided here alone
_ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def where(namespace: str, filter: dict | None) -> tuple[str, Predicate]:
    """What Milvus is asked, and what decides about each record that it lets through.

    Raises:
        VectorError: the filter is not allowed.
    """
    expression = f'namespace == "{hexed(namespace)}"'
    if filter is None or filter == {}:
        return expression, lambda _: True
    node = parse_filter(filter)
    narrowed = _narrowed(node)
    if narrowed and len(narrowed) <= _MAX_EXPRESSION:
        expression += f" and {narrowed}"
    return expression, predicate(node)


def _narrowed(node: Node) -> str | None:
    """An expression that lets everything through that matches, and perhaps more; None where that is everything.

    Left out is what Milvus may see differently: negations (it matches no record that lacks the field), whether a field is
    there (not so for an empty list), numbers beyond 2^53, fields and strings that need more than a quote escaped.
    """
    match node:
        case And(parts):
            known = [text for part in parts if (text := _narrowed(part))]
            return f"({' and '.join(known)})" if known else None
        case Or(parts):
            each = [_narrowed(part) for part in parts]
            return f"({' or '.join(each)})" if all(each) else None
        case Compare(field, operator, operand) if re.fullmatch(r"[A-Za-z_]\w*", field, re.ASCII):
            operands = operand if operator == "$in" else (operand,)
            if not all(map(_plain, operands)):
                return None
            value = f'metadata["{field}"]'
            if operator in _ORDER:
                return f"{value} {_ORDER[operator]} {operand!r}"
            return f"({' or '.join(_equals(value, each) for each in operands)})"
    return None


def _plain(operand: object) -> bool:
    return operand.isprintable() if type(operand) is str else abs(operand) < 2**53


def _equals(value: str, operand: object) -> str:
    if type(operand) is str:
        text = '"' + operand.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{value} == {text} or json_contains({value}, {text})"
    return f"{value} == {str(operand).lower()}"


def key_of(namespace: str, id: str) -> str:
    """The primary key of a record, or the beginning of those whose ids begin with ``id``."""
    return f"{hexed(namespace)}:{hexed(id)}"


def id_of(key: str) -> str:
    """The id of a primary key."""
    return unhexed(key.partition(":")[2])


def hexed(text: str) -> str:
    """ASCII as hexadecimal."""
    return text.encode("ascii").hex()


def unhexed(hexadecimal: str) -> str:
    """The ASCII again."""
    return bytes.fromhex(hexadecimal).decode("ascii")
