"""A million real texts to index: what was bought together, three neighbours on a receipt at a time.

The data has 20,770 product descriptions; an index of a hundred thousand vectors and more needs more texts than that, and real
ones, since random vectors have no neighbours worth finding.
"""

import functools

import numpy as np

from workbench.errors import SettingError
from workbench.scenarios import retail

WINDOW = 3  # lines of a receipt in one text


def texts(count: int, *, seed: int = 0) -> list[str]:
    """``count`` different texts, drawn without replacement by ``seed``: a prefix of what a greater ``count`` gives.

    Raises:
        SettingError: there are fewer texts.
    """
    every = _windows()
    if not 1 <= count <= len(every):
        raise SettingError("count", count, f"1 to {len(every):,} texts")
    order = np.random.default_rng(seed).permutation(len(every))
    return [every[number] for number in order[:count]]


@functools.cache
def _windows() -> list[str]:
    """Every different text, in the order of the purchases."""
    lines = retail.purchases()
    kinds = lines.product_id.map(_kinds()).to_numpy()
    baskets = lines.basket_id.to_numpy()
    last = len(lines) - WINDOW + 1
    within = baskets[:last] == baskets[WINDOW - 1 :]  # lines are in time order, and a basket's stand together
    windows = zip(*(kinds[start : start + last][within] for start in range(WINDOW)), strict=True)
    return list(dict.fromkeys("; ".join(window) for window in windows))


def _kinds() -> dict[int, str]:
    """product id → what it is, in the shortest words that the data has."""
    table = retail.table("products")
    names = table.product_type.fillna(table.product_category).fillna(table.department)
    return dict(zip(table.product_id, names.str.lower(), strict=True))
