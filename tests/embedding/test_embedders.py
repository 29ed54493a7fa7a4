"""What every embedder must do, whichever there are."""

import numpy as np
import pytest

PRODUCTS = [
    "Fluid Milk White Only, Fluid Milk Products, Grocery, 1 GA, Private",
    "Milk, chocolate, half gallon",
    "Motor oil 10W-40, Automotive, 5 QT, National",
    "Yogurt",
    "Frozen pizza, premium, pepperoni and a great many other things on top of it, 12 inches across, family size, 30 OZ",
    "Crème brûlée, 豆腐, 🧀",
]


def test_rows_are_float32_of_unit_length(any_embedder):
    rows = any_embedder.embed(PRODUCTS)
    assert rows.dtype == np.float32 and rows.shape == (len(PRODUCTS), any_embedder.dimension)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_a_batch_gives_what_its_texts_give_alone_and_in_their_order(any_embedder):
    rows = any_embedder.embed(PRODUCTS * 10)  # more than one batch of the model, lengths mixed
    singles = np.vstack([any_embedder.embed([text]) for text in PRODUCTS])
    np.testing.assert_allclose(rows, np.tile(singles, (10, 1)), atol=1e-5)


def test_similar_texts_are_nearer_than_dissimilar_ones(any_embedder):
    milk, chocolate_milk, oil, *_ = any_embedder.embed(PRODUCTS)
    assert milk @ chocolate_milk > milk @ oil + 0.2


def test_no_texts_give_no_rows(any_embedder):
    assert any_embedder.embed([]).shape == (0, any_embedder.dimension)


def test_the_result_is_the_callers_own(any_embedder):
    rows = any_embedder.embed(["Yogurt"])
    before = rows.copy()
    rows[:] = 0
    np.testing.assert_allclose(any_embedder.embed(["Yogurt"]), before, atol=1e-6)


def test_agrees_with_sentence_transformers(any_embedder, reference):
    np.testing.assert_allclose(any_embedder.embed(PRODUCTS), reference.encode(PRODUCTS, show_progress_bar=False), atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ("Milk", TypeError, r"not one str: \['Milk'\]"),
        (["Milk", 7], TypeError, r"texts\[1\] must be a string, not int: '7'"),
        (["Milk", None], TypeError, r"texts\[1\] must be a string, not NoneType"),
        (["Milk", b"Milk"], TypeError, r"texts\[1\] must be a string, not bytes"),
        (["Milk", ""], ValueError, r"texts\[1\] is empty"),
        (["a\ud800"], ValueError, r"texts\[0\] has a lone surrogate at character 1"),
    ],
)
def test_what_is_no_text_is_refused(any_embedder, texts, error, message):
    with pytest.raises(error, match=message):
        any_embedder.embed(texts)
