"""Embedded texts of what was bought together: what the index tasks index, and what they ask."""

import hashlib
import secrets
from typing import NamedTuple

import numpy as np

from workbench import places
from workbench.provision import make_embedder
from workbench.scenarios import baskets
from workbench.settings import Endpoints, Settings


class Baskets(NamedTuple):
    """``vectors`` (float32[n, d]) are indexed, ``queries`` (float32[q, d]) asked, the warm-up's first; all of unit length.

    The texts are different ones, so that no query finds itself.
    """

    vectors: np.ndarray
    queries: np.ndarray


def load(settings: Settings) -> Baskets:
    """``catalogue`` texts to index, and ``warmup`` + ``events`` others to ask; the same ones whatever the seed.

    Their vectors are computed once on a machine (about 100 texts/s on two cores). Together they are kept in a file of their
    own, so that a process that measures its memory holds neither the texts nor the embedder.

    Raises:
        SettingError: there are not so many texts (1,065,259).
    """
    asked = settings.warmup + settings.events
    vectors = _vectors(settings, asked + settings.catalogue)
    # The queries come first, so that they are the same whatever the number of texts.
    return Baskets(vectors[asked:], vectors[:asked])


def _vectors(settings: Settings, count: int) -> np.ndarray:
    name = hashlib.sha256(f"{settings.embedder} {count}".encode()).hexdigest()[:12]
    path = places.state() / "vectors" / f"baskets-{count}-{name}.npy"
    if not path.exists():
        texts = baskets.texts(count)
        with make_embedder(settings, Endpoints()) as embedder:
            embedder.warm(texts)
            vectors = embedder.embed(texts)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.npy")
        try:
            np.save(draft, vectors)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    return np.load(path)
