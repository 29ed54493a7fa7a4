"""Many results as one tidy DataFrame: a row a point and run (``load``) or a row an event (``samples``)."""

import typing
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import ResultError, SettingError
from workbench.measure.metrics import METRICS
from workbench.places import results
from workbench.results.files import unseal
from workbench.results.manifest import read_manifest
from workbench.results.records import Point, Result, Sweep
from workbench.settings import Settings, index_text

_DTYPES = {int: "int64", float: "float64", bool: "bool"}  # of settings' columns; anything else is text


def load(sweep: Sweep | str | Path, *, partial: bool = False) -> pd.DataFrame:
    """One row a point and run, in the manifest's order, units in the column names.

    ``sweep`` is a name under ``places.results()``, a folder as a ``Path``, or a sweep itself. The columns are ``settings`` (their
    hash), each setting (the index as text), ``run``, ``seed``, every figure that any row has (float64, in the order of
    ``METRICS``), ``error``, ``smoke``, ``cloud``, ``task``, ``machine``, ``commit``, ``code``, ``started`` (UTC) and ``file``
    (within the sweep's folder). ``seed`` is the run's own, the settings' seed + run. A point that failed is a row with its
    ``error`` and NaN for every figure. ``frame.attrs["missing"]`` is how many points have no file yet.

    Raises:
        ResultError: there is no such sweep, a file of it is damaged, is not what the manifest says or was measured by another
            version of the workbench; or the sweep is unfinished and ``partial`` is false.
    """
    sweep = _sweep(sweep)
    present = _present(sweep, partial)
    rows = [_row(sweep, point) for point in present]
    figures = [name for name in METRICS if any(name in row for row in rows)]
    kinds = _setting_kinds()
    dtypes = {
        "settings": "str",
        **kinds,
        "run": "int64",
        "seed": "int64",
        **dict.fromkeys(figures, "float64"),
        "error": "str",
        "smoke": "bool",
        **dict.fromkeys(("cloud", "task", "machine", "commit", "code", "started", "file"), "str"),
    }
    frame = pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)
    frame["started"] = pd.to_datetime(frame["started"], utc=True, format="ISO8601").astype("datetime64[us, UTC]")
    frame.attrs["missing"] = len(sweep.points) - len(present)
    return frame


def samples(sweep: Sweep | str | Path, *, partial: bool = False) -> pd.DataFrame:
    """One row an event of every measured point and run: ``settings`` (hash), ``run`` and what the task kept of each event.

    What one point kept and another did not is missing in the other's rows. Raises as ``load``.
    """
    sweep = _sweep(sweep)
    tables = [pa.table({"settings": pa.array([], pa.string()), "run": pa.array([], pa.int64())})]
    for point in _present(sweep, partial):
        result, settings, file = _checked(sweep, point)
        if not result.error:
            tables.append(_with_point(file, settings.hash, point.run))
    try:
        return pa.concat_tables(tables, promote_options="permissive").to_pandas()
    except pa.ArrowException as error:
        raise ResultError(f"the samples of {sweep.name!r} have columns of different types: {error}") from None


def _sweep(sweep: Sweep | str | Path) -> Sweep:
    if isinstance(sweep, Sweep):
        return sweep
    if isinstance(sweep, Path):
        return read_manifest(sweep)
    if Path(sweep).name != sweep or sweep in ("", ".."):
        raise ResultError(f"{sweep!r} is no sweep's name: a name has no folder in it, and a folder is given as a Path")
    folder = results() / sweep
    if not folder.is_dir():
        there = sorted(each.name for each in results().glob("*") if each.is_dir())
        raise ResultError(f"there is no sweep {sweep!r} in {results()}: it has {', '.join(there) or 'none'}")
    return read_manifest(folder)


def _present(sweep: Sweep, partial: bool) -> list[Point]:
    present = [point for point in sweep.points if (sweep.folder / point.file).exists()]
    if (missing := len(sweep.points) - len(present)) and not partial:
        raise ResultError(
            f"sweep {sweep.name!r} is unfinished, {missing} of {len(sweep.points)} points have no file: "
            "run it again, or give partial=True"
        )
    return present


def _checked(sweep: Sweep, point: Point) -> tuple[Result, Settings, pq.ParquetFile]:
    """One point's result, which is what the manifest says and what this version of the workbench would measure."""
    path = sweep.folder / point.file
    result, file = unseal(path)
    if (result.settings, result.run, result.task, result.cloud) != (point.settings, point.run, sweep.task, sweep.cloud):
        raise ResultError(f"{path} is not the result that the sweep's manifest says: delete it and the sweep measures it again")
    try:
        settings = Settings.from_dict(result.settings)
    except SettingError as error:
        raise ResultError(f"{path} was measured by another version of the workbench: {error}") from None
    if settings.to_dict() != result.settings:
        new = sorted(settings.to_dict().keys() - result.settings.keys())
        raise ResultError(f"{path} was measured by another version of the workbench, without the settings {', '.join(new)}")
    if unknown := [name for name in result.figures if name not in METRICS]:
        raise ResultError(f"{path} has a figure {unknown[0]!r}: figures are those of workbench.measure.metrics.METRICS")
    return result, settings, file


def _row(sweep: Sweep, point: Point) -> dict:
    result, settings, _ = _checked(sweep, point)
    values = {name: getattr(settings, name) for name in _setting_kinds()}
    origin = {name: result.provenance.get(name, "unknown") for name in ("machine", "commit", "code")}
    return {
        "settings": settings.hash,
        **values,
        "index": index_text(settings.index),
        "run": result.run,
        "seed": result.seed,
        **({} if result.error else result.figures),
        "error": result.error,
        "smoke": sweep.smoke,
        "cloud": result.cloud,
        "task": result.task,
        **origin,
        "started": result.started,
        "file": point.file,
    }


def _setting_kinds() -> dict[str, str]:
    """Every setting's dtype, by its name; without the seed, in whose place the run's own stands."""
    return {name: _DTYPES.get(hint, "str") for name, hint in typing.get_type_hints(Settings).items() if name != "seed"}


def _with_point(file: pq.ParquetFile, settings: str, run: int) -> pa.Table:
    table = file.read()
    rows = table.num_rows
    table = table.add_column(0, "settings", pa.array([settings] * rows, pa.string()))
    return table.add_column(1, "run", pa.array([run] * rows, pa.int64())).replace_schema_metadata()
