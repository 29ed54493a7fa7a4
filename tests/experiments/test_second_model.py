"""A model made of another one, and which texts are computed again."""

import numpy as np
import pytest

from workbench.embedding.cache import CachedEmbedder
from workbench.errors import SettingError
from workbench.experiments.second_model import KnownTexts, Shortened


class Fixed:
    """Every text is (3, 4, 12) / 13, turned by its length's sign; remembers what it was asked for."""

    model, dimension = "fixed", 3

    def __init__(self) -> None:
        self.asked = []

    def embed(self, texts):
        self.asked += texts
        return np.array([[3, 4, 12 if len(text) % 2 else -12] for text in texts], np.float32).reshape(-1, 3) / 13


def test_the_first_dimensions_of_the_filled_template_are_made_unit_length_again():
    inner = Fixed()
    short = Shortened(inner, dimension=2, template="<{}>")
    np.testing.assert_allclose(short.embed(["a", "{}b"]), [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)
    assert inner.asked == ["<a>", "<{}b>"] and short.embed([]).shape == (0, 2)
    assert (short.model, short.dimension) == ("fixed, first 2 dimensions of '<{}>'", 2)


def test_what_cannot_be_cut_or_filled_is_refused():
    for dimension in (0, 4):
        with pytest.raises(SettingError, match=r"dimension = \d is not allowed: 1 to 3"):
            Shortened(Fixed(), dimension=dimension)
    with pytest.raises(SettingError, match="template"):
        Shortened(Fixed(), dimension=2, template="no place")


def test_only_known_texts_come_from_the_file(tmp_path):
    with CachedEmbedder(Fixed(), path=tmp_path / "vectors.sqlite") as before:
        before.embed(["known", "new"])
    inner = Fixed()
    with CachedEmbedder(inner, path=tmp_path / "vectors.sqlite") as cached:
        texts = KnownTexts(cached, ["known"])
        rows = texts.embed(["new", "known", "four"])
        np.testing.assert_allclose(rows, np.array([[3, 4, 12], [3, 4, 12], [3, 4, -12]]) / 13, rtol=1e-6)
        assert inner.asked == ["new", "four"]
        texts.embed(["new", "four"])
        assert inner.asked == ["new", "four"] and texts.embed([]).shape == (0, 3)  # once a run
