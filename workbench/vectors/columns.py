"""Filters for all rows at once: the metadata of a namespace as columns, built when a filter first asks for a field.

A field has up to two columns, one for each kind of question. Whether a value *is* one of some is asked of ``_Codes``: a
dictionary gives every distinct value a small integer, so that strings, bools and exact numbers all compare as int32, and a
list is several codes of one row. Whether a number is *beyond* another is asked of ``_Numbers``. A comparison of 100,000 rows
then takes some 0.02 ms; with many values to be among, 0.2 ms and 0.1 µs for each of these.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache, reduce
from itertools import repeat
from operator import attrgetter, iand, ior
from typing import NamedTuple

import msgspec
import numpy as np

from workbench.vectors.filters import ORDER, And, Compare, Exists, Node, Not, Or, predicate

MAX_COLUMNS = 64  # kept at once: some 4 to 16 bytes a row each: no filter of thousands of fields shall fill the memory

_CHUNK = 1_000  # rows decoded at once: fewer cost more calls, more hold other threads up for longer than 1 ms
_LAYERS = 4  # elements of a list that stand beside each other; those of longer lists follow in a list of (row, code)
_COMPARED = 8  # up to so many values it is faster to compare with each than to look all rows up in a table

_MISSING, _EMPTY, _FALSE, _TRUE, _FIRST = range(5)  # codes; _EMPTY is a list without elements, _FIRST that of the dictionary
_EXACT = 2.0**53  # from here on a float64 does not hold every int

_decode = msgspec.json.Decoder(dict).decode


class Columns:
    """The columns of one append-only list of metadata; a list that is replaced needs new ones. Any number of threads may ask.

    The list is handed to each call and not kept. Rows once in it never change; each is a JSON object of strings, numbers
    (float64, or int of up to 64 bits), bools and lists of strings.
    """

    def __init__(self) -> None:
        self._columns: dict[tuple[str, str], _Codes | _Numbers] = {}
        self._adding = threading.Lock()

    def matching(self, filter: Node, metadata: Sequence[bytes], size: int) -> np.ndarray:
        """Which of the first ``size`` rows match: bool[size], the caller's own. Exactly those that ``filters.predicate`` takes.

        What the columns lack is read first (about 0.5 ms for 1,000 rows): of every row where a filter asks for a new field,
        of the rows added since where it does not. Who needs no more rows than are there waits for nobody.
        """
        asked = dict.fromkeys(_asked(filter))
        if len(asked) > MAX_COLUMNS:
            matches = predicate(filter)
            return np.fromiter((matches(_decode(row)) for row in metadata[:size]), bool, size)
        columns = {key: self._column(key) for key in asked}
        _extend(columns, metadata, size)
        return _evaluate(filter, columns, size)

    def ready(self, filter: Node, size: int) -> bool:
        """Whether ``matching`` would answer from the columns alone, without reading metadata first."""
        asked = dict.fromkeys(_asked(filter))
        return len(asked) <= MAX_COLUMNS and all(
            (column := self._columns.get(key)) is not None and column.state.rows >= size for key in asked
        )

    def renewed(self, metadata: Sequence[bytes], size: int) -> "Columns":
        """New columns of the same fields over another list, already read: for rows that move, before anybody asks of them."""
        other = Columns()
        _extend({key: other._column(key) for key in list(self._columns)}, metadata, size)
        return other

    def _column(self, key: tuple[str, str]) -> "_Codes | _Numbers":
        found = self._columns.get(key)
        if found is not None:
            return found
        with self._adding:
            if key not in self._columns:
                if len(self._columns) >= MAX_COLUMNS:
                    del self._columns[next(iter(self._columns))]  # the oldest; who is using it goes on with it
                self._columns[key] = _KINDS[key[1]]()
            return self._columns[key]


def _asked(node: Node) -> Iterator[tuple[str, str]]:
    """The columns a filter asks for, by field and kind."""
    match node:
        case Compare(field, name):
            yield field, "codes" if name in ("$eq", "$in") else "numbers"
        case Exists(field):
            yield field, "codes"
        case Not(part):
            yield from _asked(part)
        case And(parts) | Or(parts):
            for part in parts:
                yield from _asked(part)


def _evaluate(node: Node, columns: dict, size: int) -> np.ndarray:
    """bool[size], newly made."""
    match node:
        case Compare(field, "$eq", operand):
            return columns[field, "codes"].state.among((operand,), size)
        case Compare(field, "$in", operands):
            return columns[field, "codes"].state.among(operands, size)
        case Compare(field, name, operand):
            return columns[field, "numbers"].state.beyond(name, operand, size)
        case Exists(field):
            return columns[field, "codes"].state.layers[0, :size] != _MISSING
        case Not(part):
            inner = _evaluate(part, columns, size)
            return np.logical_not(inner, out=inner)
        case And(parts):
            return reduce(iand, (_evaluate(part, columns, size) for part in parts), np.ones(size, bool))
        case Or(parts):
            return reduce(ior, (_evaluate(part, columns, size) for part in parts), np.zeros(size, bool))


def _extend(columns: dict, metadata: Sequence[bytes], size: int) -> None:
    """Read what the columns lack of the first ``size`` rows; those that lack the same rows together."""
    behind = {key: column for key, column in columns.items() if column.state.rows < size}
    if not behind:
        return
    with ExitStack() as held:
        for key in sorted(behind):  # in one order, so that no two threads wait for each other
            held.enter_context(behind[key].extending)
        for rows in {column.state.rows for column in behind.values()}:
            together = {key: column for key, column in behind.items() if column.state.rows == rows}
            read = _reader(tuple({field: None for field, _ in together}))
            for start in range(rows, size, _CHUNK):
                values = read(metadata[start : min(start + _CHUNK, size)])
                for (field, _), column in together.items():
                    column.append(values[field])


@lru_cache(maxsize=MAX_COLUMNS)
def _reader(fields: tuple[str, ...]) -> Callable[[Sequence[bytes]], dict[str, list]]:
    """What reads these fields of rows: the values by field, None where a row lacks it."""
    names = {f"field{number}": field for number, field in enumerate(fields)}
    try:
        # A struct of the fields alone: the decoder makes no objects of the others, ten times faster than a dict of all.
        row = msgspec.defstruct("Row", [(name, object, None) for name in names], rename=names, gc=False)
    except ValueError:  # UnicodeError too: a name with a quote, a control character or a lone surrogate can be no struct's
        values = {field: lambda row, field=field: row.get(field) for field in fields}
        decoder = msgspec.json.Decoder(list[dict])
    else:
        values = {field: attrgetter(name) for name, field in names.items()}
        decoder = msgspec.json.Decoder(list[row])

    def read(rows: Sequence[bytes]) -> dict[str, list]:
        decoded = decoder.decode(b"[" + b",".join(rows) + b"]")
        return {field: list(map(value, decoded)) for field, value in values.items()}

    return read


class _CodesState(NamedTuple):
    """What readers see. Arrays may be longer; what lies beyond belongs to a later state."""

    rows: int
    known: dict[str | int | float, int]  # code by value; it may hold later values' codes as well
    count: int  # codes that these rows may have: 0 … count - 1
    layers: np.ndarray  # int32[1 … 4, ≥ rows]: the first codes of each row, _MISSING after its last
    more_rows: np.ndarray  # int32[≥ more]: where a row has more than four; ascending
    more_codes: np.ndarray  # int32[≥ more]
    more: int

    def among(self, values: Sequence, size: int) -> np.ndarray:
        """bool[size]: rows with one of the values."""
        found, count = self.known.get, self.count
        if bool in set(map(type, values)):  # True would be found as 1
            codes = ((_TRUE if value else _FALSE) if type(value) is bool else found(value, count) for value in values)
        else:
            codes = map(found, values, repeat(count))
        wanted = np.fromiter(codes, np.int64, len(values))
        wanted = wanted[wanted < count]  # the other values are in none of these rows
        test = _test(wanted, count)
        matches = test(self.layers[0, :size])
        for layer in self.layers[1:]:
            matches |= test(layer[:size])
        end = np.searchsorted(self.more_rows[: self.more], size)
        matches[self.more_rows[:end][test(self.more_codes[:end])]] = True
        return matches


def _test(wanted: np.ndarray, count: int) -> Callable[[np.ndarray], np.ndarray]:
    """Which of codes below ``count`` are wanted, as bool of their shape."""
    if len(wanted) <= _COMPARED:
        few = wanted.tolist()  # plain ints: an int64 of NumPy's would have every comparison done in int64
        return lambda codes: reduce(ior, (codes == code for code in few), np.zeros(len(codes), bool))
    table = np.zeros(count, bool)
    table[wanted] = True
    return lambda codes: table.take(codes, mode="clip")  # all are in the table: "clip" only leaves out the check


class _Codes:
    """Values as codes of a dictionary that only grows. Numbers are its keys as they are: 2**53 + 1 is not 2**53, -0.0 is 0."""

    def __init__(self) -> None:
        self.extending = threading.Lock()
        none = np.zeros(0, np.int32)
        self.state = _CodesState(0, {}, _FIRST, np.zeros((1, 0), np.int32), none, none, 0)

    def append(self, values: Sequence) -> None:
        """The next rows' values; under ``extending``."""
        rows, known, _, layers, more_rows, more_codes, more = self.state
        codes, ends = [], []  # of all rows, one after the other, and where each row's codes end: a row has at least one
        for value in values:
            kind = type(value)
            if kind is str or kind is int or kind is float:
                codes.append(known.setdefault(value, len(known) + _FIRST))
            elif value is None:
                codes.append(_MISSING)
            elif kind is bool:
                codes.append(_TRUE if value else _FALSE)
            else:
                codes += [known.setdefault(element, len(known) + _FIRST) for element in value] or [_EMPTY]
            ends.append(len(codes))
        codes, ends = np.array(codes, np.int32), np.array(ends)
        lengths = np.diff(ends, prepend=0)
        row = np.repeat(np.arange(len(values)), lengths)
        layer = np.arange(len(codes)) - np.repeat(ends - lengths, lengths)
        near = layer < _LAYERS
        needed = min(int(lengths.max()), _LAYERS)
        if len(layers) < needed:
            layers = np.concatenate([layers, np.zeros((needed - len(layers), layers.shape[1]), np.int32)])
        block = np.zeros((len(layers), len(values)), np.int32)
        block[layer[near], row[near]] = codes[near]
        self.state = _CodesState(
            rows + len(values),
            known,
            _FIRST + len(known),
            _appended(layers, rows, block),
            _appended(more_rows, more, row[~near] + rows),
            _appended(more_codes, more, codes[~near]),
            more + int(np.count_nonzero(~near)),
        )


class _NumbersState(NamedTuple):
    """What readers see. Arrays may be longer; what lies beyond belongs to a later state."""

    rows: int
    nearest: np.ndarray  # float64[≥ rows]: the number, or the float nearest to it; NaN, which is beyond nothing, for no number
    rest: np.ndarray | None  # int16[≥ rows]: the number less ``nearest``; None while that is 0 in all rows

    def beyond(self, name: str, operand: float, size: int) -> np.ndarray:
        """bool[size]: rows with a number that is ``$gt``, ``$gte``, ``$lt`` or ``$lte`` the operand, exactly."""
        compare, numbers = ORDER[name], self.nearest[:size]
        nearest, rest = _split(operand)
        if self.rest is None and rest == 0:
            return compare(numbers, nearest)
        rests = np.zeros(size, np.int16) if self.rest is None else self.rest[:size]
        strictly = np.greater if name in ("$gt", "$gte") else np.less
        # Rounding keeps the order, so numbers compare as their pairs (nearest, rest) do.
        return strictly(numbers, nearest) | ((numbers == nearest) & compare(rests, rest))


def _split(number: float) -> tuple[float, int]:
    """A number as the float nearest to it and the rest, which is 0 for every float."""
    try:
        nearest = float(number)
    except OverflowError:  # an int beyond all floats
        return (np.inf if number > 0 else -np.inf), 0
    return nearest, number - int(nearest) if type(number) is int else 0


class _Numbers:
    """Numbers in their order. An int of 64 bits is at most 1,024 away from the nearest float."""

    def __init__(self) -> None:
        self.extending = threading.Lock()
        self.state = _NumbersState(0, np.zeros(0), None)

    def append(self, values: Sequence) -> None:
        """The next rows' values; under ``extending``."""
        rows, nearest, rest = self.state
        block = np.array([value if type(value) in (int, float) else np.nan for value in values], np.float64)
        rests = np.zeros(len(block), np.int16)
        for row in np.flatnonzero(np.abs(block) >= _EXACT).tolist():
            rests[row] = _split(values[row])[1]
        nearest = _appended(nearest, rows, block)
        if rest is not None or rests.any():
            rest = _appended(np.zeros(rows, np.int16) if rest is None else rest, rows, rests)
        self.state = _NumbersState(rows + len(block), nearest, rest)


_KINDS = {"codes": _Codes, "numbers": _Numbers}


def _appended(array: np.ndarray, used: int, more: np.ndarray) -> np.ndarray:
    """The array with more along its last axis, after what is used; a new one of at least twice the length if it does not fit."""
    end = used + more.shape[-1]
    if end > array.shape[-1]:
        larger = np.zeros((*array.shape[:-1], max(end, 2 * array.shape[-1])), array.dtype)
        larger[..., :used] = array[..., :used]
        array = larger
    array[..., used:end] = more
    return array
