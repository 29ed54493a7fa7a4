"""Vectors of texts that were embedded before: in memory, and if asked in a file that outlives the process.

Importable with numpy and the standard library alone: the deployed function carries it.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Self

import numpy as np

from workbench.embedding import Embedder
from workbench.embedding.texts import check_texts
from workbench.errors import ModelError, SettingError


class CachedEmbedder:
    """An embedder that asks ``embedder`` only for what it has not seen: one call for all that a batch lacks, each text once.

    At most ``capacity`` vectors are held in memory (384 dimensions: about 1.7 kB each), the least recently used leaving
    first. With ``path`` they are also kept in an SQLite file that several processes may share; see ``vectorfile``. Entries
    are keyed by the embedder's model and by the text's BLAKE2b hash of 128 bits. Safe to call from several threads: a text
    that one thread is having embedded is waited for by the others, and cached texts never wait.

    ``hits`` counts texts answered without the embedder, ``misses`` texts that it was asked for.

    Raises:
        SettingError: ``capacity`` below 1, or a ``path`` that cannot be opened.
    """

    def __init__(self, embedder: Embedder, *, capacity: int = 200_000, path: Path | None = None) -> None:
        if capacity < 1:
            raise SettingError("capacity", capacity, "at least 1 text")
        self.embedder, self.capacity = embedder, capacity
        self.model, self.dimension = embedder.model, embedder.dimension
        self.hits = self.misses = 0
        # Rows are bytes, not arrays: joining them is several times faster than stacking, and no row keeps its batch alive.
        self._memory: OrderedDict[bytes, bytes] = OrderedDict()
        self._claims: dict[bytes, threading.Event] = {}  # texts being embedded, and what is set once they are
        self._lock = threading.Lock()
        self._file = None
        if path is not None:
            from workbench.embedding.vectorfile import VectorFile  # sqlite3 is not everywhere, and not needed without a path

            self._file = VectorFile(Path(path), self.model, self.dimension)

    def __repr__(self) -> str:
        return f"CachedEmbedder({self.embedder!r}, held={len(self._memory)}, hits={self.hits}, misses={self.misses})"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, dimension], rows of unit length, in the order of the texts; the array is the caller's own.

        Raises:
            TypeError, ValueError: a text that is not a string, or is empty.
            ModelError: the embedder's answer has the wrong shape. What else the embedder raises passes through.
        """
        keys = _keys(texts)
        rows = self._recent(keys)
        if None not in rows:
            return self._answer(rows)
        wanted = dict(zip(keys, texts, strict=True))
        found, asked = self._complete(wanted, {key: row for key, row in zip(keys, rows, strict=True) if row is not None})
        return self._answer([found[key] for key in keys], asked)

    def lookup(self, texts: Sequence[str]) -> np.ndarray | None:
        """What ``embed`` gives if every text is in memory, else None (and nothing is counted). Never blocks, never computes."""
        rows = self._recent(_keys(texts))
        return None if None in rows else self._answer(rows)

    def warm(self, texts: Iterable[str], *, batch: int = 256) -> int:
        """Embed what is lacking in slices of ``batch``, with a progress bar; gives how many that were.

        Each slice is kept as soon as it is there: an interrupted warm-up goes on where it was (with a ``path``, in another
        process too). Neither hits nor misses are counted, so that they tell of the run that follows.

        Raises:
            SettingError: ``batch`` below 1. Else as ``embed``.
        """
        from workbench.progress import progress

        if batch < 1:
            raise SettingError("batch", batch, "at least 1 text")
        texts = check_texts(texts)
        wanted = dict(zip(_keys(texts), texts, strict=True))
        held = self._recall(wanted, {})
        lacking = [key for key in wanted if key not in held]
        with progress(len(wanted), "embedding", "text", initial=len(held)) as bar:
            for start in range(0, len(lacking), batch):
                part = lacking[start : start + batch]
                self._complete({key: wanted[key] for key in part}, {})
                bar.update(len(part))
        return len(lacking)

    @property
    def stored(self) -> bool:
        """Whether the file holds any vector of this model; False without a file."""
        return self._file is not None and self._file.holds_any()

    def close(self) -> None:
        """Close the file, if there is one; the cache then goes on in memory."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _recent(self, keys: list[bytes]) -> list[bytes | None]:
        """The rows in memory, None for each that is not; those found are now the most recently used."""
        memory = self._memory
        with self._lock:
            rows = [memory.get(key) for key in keys]
            for key, row in zip(keys, rows, strict=True):
                if row is not None:
                    memory.move_to_end(key)
        return rows

    def _answer(self, rows: list[bytes], asked: int = 0) -> np.ndarray:
        with self._lock:
            self.misses += asked
            self.hits += len(rows) - asked
        return np.frombuffer(bytearray().join(rows), np.float32).reshape(-1, self.dimension)

    def _recall(self, wanted: dict[bytes, str], found: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """``found`` and what memory and file hold besides."""
        lacking = [key for key in wanted if key not in found]
        found |= {key: row for key, row in zip(lacking, self._recent(lacking), strict=True) if row is not None}
        if self._file is not None:
            stored = self._file.get([key for key in lacking if key not in found])
            self._remember(stored)
            found |= stored
        return found

    def _complete(self, wanted: dict[bytes, str], found: dict[bytes, bytes]) -> tuple[dict[bytes, bytes], int]:
        """A row for every wanted key, and how many texts the embedder was asked for."""
        asked = 0
        found = self._recall(wanted, found)
        while lacking := [key for key in wanted if key not in found]:
            mine, others = self._claim(lacking)
            if mine:
                try:
                    fresh = self._ask([wanted[key] for key in mine])
                    rows = dict(zip(mine, fresh, strict=True))
                    self._remember(rows)
                finally:
                    self._release(mine)
                if self._file is not None:
                    self._file.put(rows)
                found |= rows
                asked += len(mine)
            for claim in others:  # after our own are released, so that no two threads can wait for each other
                claim.wait()
            # What another thread failed to embed, or what has left memory since, is lacking still and ours to claim.
            found |= {key: row for key, row in zip(lacking, self._recent(lacking), strict=True) if row is not None}
        return found, asked

    def _claim(self, keys: list[bytes]) -> tuple[list[bytes], set[threading.Event]]:
        """The keys that are now ours to embed, and what to wait for until others have embedded the rest."""
        claim, mine, others = threading.Event(), [], set()
        with self._lock:
            for key in keys:
                if key in self._claims:
                    others.add(self._claims[key])
                elif key not in self._memory:
                    self._claims[key] = claim
                    mine.append(key)
        return mine, others

    def _release(self, keys: list[bytes]) -> None:
        with self._lock:
            claims = {self._claims.pop(key) for key in keys}
        for claim in claims:
            claim.set()

    def _ask(self, texts: list[str]) -> list[bytes]:
        vectors = self.embedder.embed(texts)
        if vectors.shape != (len(texts), self.dimension):
            raise ModelError(f"{self.model} gave shape {vectors.shape} for {len(texts)} texts of dimension {self.dimension}")
        return [row.tobytes() for row in np.asarray(vectors, np.float32)]

    def _remember(self, rows: dict[bytes, bytes]) -> None:
        with self._lock:
            for key, row in rows.items():
                self._memory[key] = row
                self._memory.move_to_end(key)
            while len(self._memory) > self.capacity:
                self._memory.popitem(last=False)


def _keys(texts: Sequence[str]) -> list[bytes]:
    # Tens of microseconds count here, so texts are examined one by one only when something is wrong with one of them.
    if not isinstance(texts, str) and all(texts):
        try:
            return [blake2b(text.encode(), digest_size=16).digest() for text in texts]
        except (AttributeError, UnicodeEncodeError):
            pass
    return [blake2b(text.encode(), digest_size=16).digest() for text in check_texts(texts)]
