"""Pictures of what the recommendations are worth."""

import pandas as pd
from matplotlib.axes import Axes

from workbench.plots import frames, style


def hit_rates(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How often a recommendation is bought next: hit rate@5 by recommender, with 95% intervals (see ``summaries.hit_rates``).

    Raises:
        ResultError: the table is empty or lacks a column.
    """
    frames.checked(table, "hit_rate", "low", "high", "users")
    ax = style.axes(1.1 + 0.45 * len(table), ax)
    ranked = table.sort_values("hit_rate")
    errors = [100 * (ranked.hit_rate - ranked.low), 100 * (ranked.high - ranked.hit_rate)]
    best = ranked.index[-1]
    colours = [style.COLOURS[0] if name == best else style.GREY for name in ranked.index]
    ax.barh(ranked.index, 100 * ranked.hit_rate, xerr=errors, color=colours, height=0.6, error_kw={"linewidth": 1, "capsize": 3})
    for row, (rate, high) in enumerate(zip(ranked.hit_rate, ranked.high, strict=True)):
        ax.annotate(
            f"{rate:.1%}", (100 * high, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=style.SMALL_PT
        )
    ax.set_xlim(0, 110 * ranked.high.max() or 1)
    ax.set_xlabel(f"% of {int(ranked.users.iloc[0])} users whose next basket has one of the five (95% interval)")
    style.title(ax, f"“{best}” hits {_beside_the_second(ranked)}")
    return ax


def _beside_the_second(ranked: pd.DataFrame) -> str:
    """The best of a table that is sorted by hit rate, beside the second."""
    rates = ranked.hit_rate.to_numpy()
    if len(rates) < 2 or rates[-2] == 0:
        return f"{rates[-1]:.1%}" if len(rates) < 2 else f"{rates[-1]:.1%}, “{ranked.index[-2]}” never"
    return f"{rates[-1] / rates[-2]:.1f} times as often as “{ranked.index[-2]}”"
