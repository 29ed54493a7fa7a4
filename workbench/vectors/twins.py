"""Which rows of a growing matrix are equal, bit for bit, so that an index has one *node* for all of them.

A graph must not have many nodes at one place: where a vector has more equals than a node has links, their links all go to one
another, nothing else links to them, and no search gets there. Inverted lists do not mind: equal vectors are in one cell, which is
searched as a whole. Telling rows apart takes 1 % of the time that a graph is built in, and as long again as lists take.

Rows are told apart by digests of 128 bits, 3 µs each at 384 dimensions, since an index may keep only codes of its rows. That two
of a billion different rows have one digest has a probability of 1e-21. 0.0 and -0.0 are different bits.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import BinaryIO, NamedTuple, Self

import numpy as np

from workbench.errors import StoreDamaged

_DIGEST = 16  # bytes
_COUNT = 8  # bytes of a file that say how many rows follow
_ROOM = 1_024  # rows that there is room for at first


class Arrival(NamedTuple):
    """Rows that come next: the node of each, which of them are the first of a new node, and the digests of those."""

    nodes: Sequence[int]
    new: Sequence[int]
    digests: bytes


class Twins:
    """Rows 0 … n-1 and their nodes, which are numbered in the order of their first rows.

    One thread may add while others read. Readers say how many rows they know of, and see no others. As long as no two rows are
    equal, a row's number is its node's, and nothing is looked up.

    Args:
        sought: whether equal rows are looked for at all; if not, each row is a node.
    """

    def __init__(self, *, sought: bool = True) -> None:
        self._sought = sought
        self._size = 0
        self._node = np.empty(_ROOM, np.int32)  # of each row
        self._first = np.empty(_ROOM, np.int32)  # row of each node
        self._groups: dict[int, np.ndarray] = {}  # node → all its rows, if it has several; replaced, never changed
        self._digests = _Digests()  # of the nodes; the adding thread's own

    def __len__(self) -> int:
        """Rows."""
        return self._size

    def arriving(self, rows: np.ndarray) -> Arrival:
        """The nodes of the next rows (contiguous float32[c, d]). Nothing is changed."""
        if not self._sought:
            return Arrival(range(self._size, self._size + len(rows)), range(len(rows)), b"")
        known, nodes, new = self._digests, [], []
        seen: dict[bytes, int] = {}
        for place, row in enumerate(rows):
            digest = blake2b(row, digest_size=_DIGEST).digest()
            node = known.find(digest)
            if node < 0:
                node = seen.get(digest, -1)
            if node < 0:
                node = seen[digest] = len(known) + len(seen)
                new.append(place)
            nodes.append(node)
        return Arrival(nodes, new, b"".join(seen))

    def add(self, arrival: Arrival) -> None:
        """Take rows whose new nodes the index has by now."""
        start, nodes = self._size, len(self._digests)
        if self._sought:
            self._node = _extended(self._node, start, arrival.nodes)
            self._first = _extended(self._first, nodes, [start + place for place in arrival.new])
            self._digests.extend(arrival.digests)
        if len(arrival.new) < len(arrival.nodes):
            for row, node in enumerate(arrival.nodes, start):
                if self._first[node] < row:
                    group = self._groups.get(node, self._first[node : node + 1])
                    self._groups[node] = np.append(group, np.int32(row))
        self._size += len(arrival.nodes)

    def leads(self, nodes: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
        """int64[q, c]: a row for each node, its first or, of those that are ``allowed`` (bool[rows known]), its first.

        -1 where there is no node (-1) or none of its rows is allowed.
        """
        groups = self._groups
        if allowed is None and not groups:
            return nodes
        rows = self._first.take(nodes, mode="clip").astype(np.int64) if groups else nodes
        found = nodes >= 0
        if allowed is not None:
            may = allowed.take(rows, mode="clip") & (rows < len(allowed)) & found
            if groups:
                places = (found & ~may).nonzero()
                for line, place, node in zip(*places, nodes[places].tolist(), strict=True):
                    others = _among(groups[node], len(allowed), allowed) if node in groups else ()
                    if len(others):
                        rows[line, place], may[line, place] = others[0], True
            found = may
        return np.where(found, rows, -1)

    def expanded(
        self, scores: np.ndarray, leads: np.ndarray, covered: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows [q, k], nearest first, with all rows of a node in its lead's place, and cut at k.

        Equal rows stand in ascending order. Only rows below ``covered`` that are ``allowed`` (bool[covered]) are put in.
        """
        if not self._groups:
            return scores, leads
        scores, rows = scores.copy(), leads.copy()
        for near, line in zip(scores, rows, strict=True):
            found = line[line >= 0]
            groups = [self._groups.get(node) for node in self._node[found].tolist()]
            several = [place for place, group in enumerate(groups) if group is not None]
            if not several:
                continue
            parts = np.split(found, range(1, len(found)))
            for place in several:
                parts[place] = _among(groups[place], covered, allowed)
            every = np.concatenate(parts)[: len(line)]
            near[: len(every)] = np.repeat(near[: len(parts)], list(map(len, parts)))[: len(line)]
            line[: len(every)] = every
        return scores, rows

    def write(self, file: BinaryIO) -> None:
        """The number of rows and, if they are sought, the node of each (int32) and the nodes' digests."""
        file.write(self._size.to_bytes(_COUNT, "little"))
        if self._sought:
            file.write(self._node[: self._size].astype("<i4").tobytes())
            file.write(bytes(self._digests))

    @classmethod
    def read(cls, file: BinaryIO, nodes: int, *, sought: bool = True) -> Self:
        """What ``write`` wrote; ``file`` then stands behind it.

        Raises:
            StoreDamaged: it is cut short, or not of so many nodes, or they are not numbered by their first rows.
        """
        size = int.from_bytes(_part(file, _COUNT), "little")
        if not nodes <= size <= (np.iinfo(np.int32).max if sought else nodes):
            raise StoreDamaged(f"the index cannot be read: it has {size} rows and {nodes} nodes")
        made = cls(sought=sought)
        made._size = size
        if sought:
            made._take(file, nodes)
        return made

    def _take(self, file: BinaryIO, nodes: int) -> None:
        size = self._size
        node = np.frombuffer(_part(file, 4 * size), "<i4").astype(np.int32)
        latest = np.maximum.accumulate(np.append(np.int32(-1), node))
        steps = np.diff(latest)
        if latest[-1] != nodes - 1 or (steps > 1).any() or (node < 0).any():
            raise StoreDamaged("the index cannot be read: its rows are not those of its nodes")
        self._node, self._first = node, steps.nonzero()[0].astype(np.int32)
        self._digests.extend(_part(file, _DIGEST * nodes))
        several = (np.bincount(node, minlength=nodes) > 1)[node].nonzero()[0].astype(np.int32)
        several = several[np.argsort(node[several], kind="stable")]  # rows by their nodes
        ends = np.diff(node[several], append=-1).nonzero()[0] + 1
        start = 0
        for end in ends.tolist():
            self._groups[int(node[several[start]])] = several[start:end]
            start = end


class _Digests:
    """Digests, found by their bytes, and numbered as they came.

    A table of open addressing, at most half full: 24 to 32 bytes each with the digest itself, where a dict takes 150.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._lay_out(2 * _ROOM)

    def __len__(self) -> int:
        return len(self._bytes) // _DIGEST

    def __bytes__(self) -> bytes:
        return bytes(self._bytes)

    def find(self, digest: bytes) -> int:
        """Its number, or -1."""
        return self._slots[self._slot(digest)]

    def extend(self, digests: bytes) -> None:
        """Append digests that are not there, one behind the other."""
        start = len(self)
        self._bytes += digests
        if 2 * len(self) > len(self._slots):
            self._lay_out(2 * len(self))
            return
        for number in range(start, len(self)):
            self._slots[self._slot(self._bytes[_DIGEST * number : _DIGEST * (number + 1)])] = number

    def _slot(self, digest: bytes) -> int:
        """Where it is, or else belongs."""
        slots, known, last = self._slots, self._bytes, len(self._slots) - 1
        slot = int.from_bytes(digest[:8], "little") & last
        while (number := slots[slot]) >= 0 and known[_DIGEST * number : _DIGEST * (number + 1)] != digest:
            slot = (slot + 1) & last
        return slot

    def _lay_out(self, least: int) -> None:
        """A table of at least so many slots, a power of two, with all digests in it."""
        slots = np.full(1 << (least - 1).bit_length(), -1, np.int32)
        left = np.arange(len(self), dtype=np.int32)
        at = np.frombuffer(self._bytes, "<u8")[::2] & np.uint64(len(slots) - 1)
        while len(left):
            free = slots[at] < 0
            slots[at[free]] = left[free]  # of those that want the same one, the last gets it
            waiting = slots[at] != left
            left, at = left[waiting], (at[waiting] + np.uint64(1)) & np.uint64(len(slots) - 1)
        self._slots = memoryview(slots)


def _among(rows: np.ndarray, covered: int, allowed: np.ndarray | None) -> np.ndarray:
    """Those of ascending rows that are below ``covered`` and allowed."""
    rows = rows[: np.searchsorted(rows, covered)]
    return rows if allowed is None else rows[allowed[rows]]


def _extended(array: np.ndarray, size: int, values: Sequence[int]) -> np.ndarray:
    """The array with values behind its first ``size``, or a larger one; a reader's own stays as it is up to there."""
    end = size + len(values)
    if end > len(array):
        array = np.concatenate([array[:size], np.empty(max(end, size // 4), array.dtype)])
    array[size:end] = values
    return array


def _part(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise StoreDamaged(f"the index cannot be read: {len(data)} bytes are left where {size} should follow")
    return data
