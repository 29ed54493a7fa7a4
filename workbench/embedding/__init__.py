"""Texts to vectors: one seam, a local sentence-transformers model, OpenAI's wire protocol both ways, and a cache.

Nothing heavy is imported here, so that the deployed function can carry this package without torch.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from workbench.registry import implementation

EMBEDDERS = {
    "minilm": "workbench.embedding.minilm:MiniLM",
    "openai": "workbench.embedding.openai:OpenAIEmbedder",
}


class Embedder(Protocol):
    """``model`` names the model and its version: vectors of two models are never compared, nor cached under one key."""

    model: str
    dimension: int

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32[n, dimension], rows of unit length, in the order of the texts; no text gives shape (0, dimension)."""


def embedder(name: str) -> type:
    """The class behind an embedder's name.

    Raises:
        SettingError: there is no such embedder.
    """
    return implementation(EMBEDDERS, name, "embedder")
