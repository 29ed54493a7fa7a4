"""Whether two settings differ by more than the noise between runs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbench.errors import ResultError
from workbench.measure.intervals import difference_interval, ratio_interval
from workbench.measure.metrics import METRICS

_FEWEST = 3  # runs: two have an interval, but one so wide that it says nothing
_ERRORS = 0.05  # how often, at most, any figure of one table is called different when none is


def compare(a: pd.DataFrame, b: pd.DataFrame, figures: Sequence[str]) -> pd.DataFrame:
    """Whether ``b`` differs from ``a`` by more than the noise between runs (frames as ``load`` gives them, of one setting each).

    Runs of the same number are pairs if at least 3 have the figure in both: an interleaved sweep gives them one schedule and
    one stretch of time. (Pairs of runs that share nothing cost width, not truth.) Otherwise all runs of both are compared.

    One row a figure:

    - ``a_mean``, ``b_mean``: over the runs that were compared.
    - ``scale``: "ratio", b over a; or "difference", b minus a, if any value is 0 or negative, which has no logarithm.
    - ``ratio``: of the geometric means; NaN on the scale of differences.
    - ``low``, ``high``: the interval of the ratio or the difference, see ``measure.intervals``. All intervals of one table hold
      together in 95% of cases: k figures have a level of 1 - 0.05/k each (Bonferroni), so ask for those that matter.
    - ``runs``: pairs, or the fewer runs of the two; ``paired``.
    - ``verdict``: "higher" or "lower" (``b``, and the interval leaves out no difference), "not distinguishable", or
      "too few runs" (under 3).
    - ``meaning``: "better" or "worse" for a figure that has a good direction, else "".

    Raises:
        ResultError: a frame has no rows, several settings, a run twice or several versions of the code; both together have more
            than one machine, cloud or task; a figure is unknown or infinite.
    """
    _check(a, b, figures)
    values = {figure: _values(a, b, figure) for figure in figures}
    asked = sum(len(ours) >= _FEWEST and len(theirs) >= _FEWEST for ours, theirs, _ in values.values())
    rows = {figure: _row(figure, *values[figure], level=1 - _ERRORS / max(asked, 1)) for figure in figures}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("figure")


def _check(a: pd.DataFrame, b: pd.DataFrame, figures: Sequence[str]) -> None:
    if unknown := [name for name in figures if name not in METRICS]:
        raise ResultError(f"{unknown[0]!r} is no figure: figures are those of workbench.measure.metrics.METRICS")
    if not len(figures) or len(set(figures)) < len(figures):
        raise ResultError(f"figures = {list(figures)} cannot be compared: name at least one, and each once")
    for name, frame in (("a", a), ("b", b)):
        if frame.empty:
            raise ResultError(f"{name} has no rows: there is nothing to compare")
        for column in ("settings", "code"):
            _check_one(column, frame[column], name)
        if (twice := frame["run"][frame["run"].duplicated()]).size:
            raise ResultError(f"{name} has run {twice.iloc[0]} twice: each run counts once")
    for column in ("machine", "cloud", "task"):
        _check_one(column, pd.concat([a[column], b[column]]), "the comparison")


def _check_one(column: str, values: pd.Series, name: str) -> None:
    found = sorted(values.unique())
    if len(found) > 1:
        raise ResultError(f"{name} has more than one {column}, {' and '.join(found)}: only results of one can be compared")


def _values(a: pd.DataFrame, b: pd.DataFrame, figure: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """What is compared: one value a run of each, and whether they are pairs."""
    ours, theirs = (frame.set_index("run").reindex(columns=[figure])[figure].dropna() for frame in (a, b))
    if np.isinf([*ours, *theirs]).any():
        raise ResultError(f"{figure} is infinite in a run: it cannot be compared")
    both = ours.index.intersection(theirs.index)
    paired = len(both) >= _FEWEST
    if paired:
        ours, theirs = ours[both], theirs[both]
    return ours.to_numpy(np.float64), theirs.to_numpy(np.float64), paired


def _row(figure: str, a: np.ndarray, b: np.ndarray, paired: bool, *, level: float) -> dict:
    runs = min(len(a), len(b))
    positive = runs > 0 and min(a.min(), b.min()) > 0
    row = {
        "a_mean": a.mean() if len(a) else np.nan,
        "b_mean": b.mean() if len(b) else np.nan,
        "scale": "ratio" if positive else "difference",
        "ratio": np.exp(np.log(b).mean() - np.log(a).mean()) if positive else np.nan,
        "low": np.nan,
        "high": np.nan,
        "runs": runs,
        "paired": paired,
        "verdict": "too few runs",
        "meaning": "",
    }
    if runs < _FEWEST:
        return row
    low, high = (ratio_interval if positive else difference_interval)(a, b, paired=paired, level=level)
    same = 1.0 if positive else 0.0
    verdict = "higher" if low > same else "lower" if high < same else "not distinguishable"
    better = {"higher": "higher", "lower": "lower"}.get(METRICS[figure].better)
    meaning = "" if verdict == "not distinguishable" or better is None else "better" if verdict == better else "worse"
    return {**row, "low": low, "high": high, "verdict": verdict, "meaning": meaning}
