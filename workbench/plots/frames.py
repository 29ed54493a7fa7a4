"""What every picture asks of the frame that it is given (see ``results.load``), and how it takes it apart."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from workbench.errors import ResultError, SettingError
from workbench.measure.intervals import mean_interval
from workbench.measure.metrics import METRICS, Metric
from workbench.runs import Run


def metric(name: str, value: str) -> Metric:
    """The metric ``value`` that a picture's parameter ``name`` asks for.

    Raises:
        SettingError: there is no such figure.
    """
    if value not in METRICS:
        raise SettingError(name, value, f"one of {', '.join(METRICS)}")
    return METRICS[value]


def checked(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame, if it has rows and these columns.

    Raises:
        ResultError: it is empty, or a column is missing.
    """
    missing = [column for column in dict.fromkeys(columns) if column not in frame.columns]
    if missing:
        raise ResultError(f"no column {', '.join(missing)} to plot: the frame has {', '.join(map(str, frame.columns)) or 'none'}")
    if frame.empty:
        raise ResultError("nothing to plot: the frame has no rows")
    return frame


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs that did not fail.

    Raises:
        ResultError: every run failed.
    """
    rows = frame[frame.error == ""]
    if rows.empty:
        raise ResultError(f"nothing to plot: all {len(frame)} runs failed, the first with: {frame.error.iloc[0]}")
    return rows


def some(runs: Mapping[str, Run]) -> Mapping[str, Run]:
    """The runs, if there are any.

    Raises:
        ResultError: there are none.
    """
    if not runs:
        raise ResultError("nothing to plot: no runs were given")
    return runs


def series(frame: pd.DataFrame, by: str | pd.Series) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each value of ``by`` in words, with its rows: numbers rising ("batch size 10"), texts in their order of appearance.

    Raises:
        ResultError: no row has a value.
    """
    values = frame[by] if isinstance(by, str) else by
    numbers = pd.api.types.is_numeric_dtype(values)
    groups = list(frame.groupby(values, sort=numbers, dropna=True))
    if not groups:
        raise ResultError(f"nothing to plot: no row has a value of {values.name}")
    yield from ((f"{str(values.name).replace('_', ' ')} {value:g}" if numbers else str(value), rows) for value, rows in groups)


def one_design(rows: pd.DataFrame, what: str) -> None:
    """Refuse to take runs of several settings for repeats of one.

    Raises:
        ResultError: the rows have more than one settings hash.
    """
    hashes = rows.settings.unique()
    if len(hashes) > 1:
        raise ResultError(f"{what} stands for {len(hashes)} settings ({', '.join(hashes[:3])}, …): keep the rows of one of them")


def interval(values: pd.Series) -> tuple[float, float]:
    """The 95% interval of the mean over runs; (nan, nan) if fewer than two have the value."""
    return mean_interval(values.to_numpy(float))


def smoke(frame: pd.DataFrame) -> str:
    """What a title adds if the frame holds too few runs for a finding."""
    few = "smoke" in frame.columns and bool(np.any(frame.smoke))
    return " (fewer than 5 runs a point: a trial, not a finding)" if few else ""
