"""What the recommendations are worth: the best beside the second."""

import matplotlib as mpl
import pandas as pd
import pytest

from workbench import plots, summaries
from workbench.errors import ResultError

from .made import texts, title


def table(**rates: float) -> pd.DataFrame:
    users = [str(number) for number in range(100)]
    hits = {name: pd.Series([1.0] * round(100 * rate) + [0.0] * round(100 * (1 - rate)), users) for name, rate in rates.items()}
    return summaries.hit_rates(hits, against=next(iter(rates)))


def test_hit_rates_title_compares_the_best_with_the_second():
    ax = plots.hit_rates(table(ours=0.3, article=0.05, popular=0.2))
    assert title(ax) == "“ours” hits 1.5 times as often as “popular”"
    assert [round(bar.get_width()) for bar in ax.patches] == [5, 20, 30] and texts(ax) == ["5.0%", "20.0%", "30.0%"]
    assert ax.get_xlabel().startswith("% of 100 users")
    best = [bar for bar in ax.patches if mpl.colors.to_hex(bar.get_facecolor()) == plots.COLOURS[0]]
    assert [round(bar.get_width()) for bar in best] == [30]


def test_hit_rates_title_says_so_where_ours_is_not_the_best():
    assert title(plots.hit_rates(table(ours=0.1, popular=0.4))) == "“popular” hits 4.0 times as often as “ours”"


def test_hit_rates_title_has_words_for_a_second_that_never_hits_and_for_one_alone():
    assert title(plots.hit_rates(table(ours=0.1, article=0.0))) == "“ours” hits 10.0%, “article” never"
    assert title(plots.hit_rates(table(ours=0.0, article=0.0))).endswith("never")
    assert title(plots.hit_rates(table(ours=0.25))) == "“ours” hits 25.0%"


def test_hit_rates_refuse_an_empty_table():
    with pytest.raises(ResultError, match="nothing to plot"):
        plots.hit_rates(table(ours=0.1).iloc[:0])
