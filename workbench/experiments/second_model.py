"""A second model where only one is installed, and a cache that forgets what an experiment has to pay for."""

from collections.abc import Iterable, Sequence

import numpy as np

from workbench.embedding import Embedder
from workbench.embedding.cache import CachedEmbedder
from workbench.errors import SettingError


class Shortened:
    """Another model's vectors of ``template`` with the text put in, cut to their first ``dimension`` and made unit length again.

    A second model without a second download. It is a worse one: MiniLM was not trained to be cut, as Matryoshka models are
    (Kusupati et al., NeurIPS 2022).

    Raises:
        SettingError: more dimensions than the other model has, or a template without a place for the text.
    """

    def __init__(self, embedder: Embedder, *, dimension: int, template: str = "{}") -> None:
        if not 1 <= dimension <= embedder.dimension:
            raise SettingError("dimension", dimension, f"1 to {embedder.dimension}")
        if "{}" not in template:
            raise SettingError("template", template, "a text with {} in it")
        self._embedder, self._template, self.dimension = embedder, template, dimension
        self.model = f"{embedder.model}, first {dimension} dimensions of {template!r}"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, dimension], rows of unit length, in the order of the texts."""
        cut = self._embedder.embed([self._template.replace("{}", text) for text in texts])[:, : self.dimension]
        return cut / np.linalg.norm(cut, axis=1, keepdims=True)


class KnownTexts:
    """``embedder`` with its file for the texts that are known before; all others are computed anew in every run."""

    def __init__(self, embedder: CachedEmbedder, known: Iterable[str]) -> None:
        self.model, self.dimension = embedder.model, embedder.dimension
        self._embedder, self._known = embedder, frozenset(known)
        self._new = CachedEmbedder(embedder.embedder)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, dimension], rows of unit length, in the order of the texts."""
        rows = np.empty((len(texts), self.dimension), np.float32)
        known = np.array([text in self._known for text in texts], bool)
        for embedder, chosen in ((self._embedder, known), (self._new, ~known)):
            if chosen.any():
                rows[chosen] = embedder.embed([text for text, wanted in zip(texts, chosen, strict=True) if wanted])
        return rows
