"""A small embedder whose vectors a test can work out for itself."""

import numpy as np


class LetterEmbedder:
    """A small embedder of two dimensions: a text's angle is its first letter. Remembers what it was asked for."""

    def __init__(self, model: str = "letters-1", dimension: int = 2) -> None:
        self.model, self.dimension = model, dimension
        self.calls: list[list[str]] = []

    def embed(self, texts: list[str]) -> np.ndarray:
        self.calls.append(list(texts))
        angles = np.array([ord(text[0]) for text in texts], np.float32)
        rows = np.zeros((len(texts), self.dimension), np.float32)
        rows[:, 0], rows[:, 1] = np.cos(angles), np.sin(angles)
        return rows
