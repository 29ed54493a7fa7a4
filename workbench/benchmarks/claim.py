"""One claimed figure: its value, its spread, what it is compared with, and how to measure it again."""

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from workbench.errors import ResultError
from workbench.measure.provenance import provenance
from workbench.results.files import write


class Baseline(msgspec.Struct, frozen=True):
    """What a figure is compared with, measured in the same session."""

    name: str
    value: float


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """``low`` to ``high`` is the range of the runs, or what ``spread`` says. ``note``: what else was seen in the same runs."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    spread: str
    runs: int
    baseline: Baseline
    note: str = ""
    command: str
    commit: str
    machine: str

    def to_text(self) -> str:
        """One line."""
        spread = f"{self.low:.3g} to {self.high:.3g}, {self.spread}, runs: {self.runs}"
        compared = f"{self.baseline.name}: {self.baseline.value:.3g} {self.unit}"
        return f"{self.name:26} {self.value:.3g} {self.unit} ({spread}; {compared}){self.note and f'; {self.note}'}"


class _Named(msgspec.Struct):
    """The least that an entry of the file has; the rest may be of another version."""

    name: str


def claim(
    name: str,
    unit: str,
    values: Sequence[float],
    baseline: Baseline,
    *,
    interval: tuple[float, float] | None = None,
    spread: str = "range",
    runs: int | None = None,
    note: str = "",
) -> Claim:
    """The median of the runs' values; between their least and greatest unless an ``interval`` is given.

    ``runs`` is how many there were, where ``values`` has not one for each.
    """
    low, high = interval or (min(values), max(values))
    origin = provenance()
    return Claim(
        name=name,
        value=float(statistics.median(values)),
        unit=unit,
        low=float(low),
        high=float(high),
        spread=spread,
        runs=len(values) if runs is None else runs,
        baseline=baseline,
        note=note,
        command=f"workbench bench {name}",
        commit=origin["commit"],
        machine=origin["machine"],
    )


def held(output: Path) -> list[dict]:
    """The claims that the file holds; none if there is no such file.

    Raises:
        ResultError: it holds something else, and is left alone.
    """
    if not output.exists():
        return []
    try:
        entries = json.loads(output.read_text(encoding="utf-8"))
        msgspec.convert(entries, list[_Named])
    except (OSError, ValueError) as error:  # of msgspec and json, too
        raise ResultError(f"{output} holds no claims, so none can be added: {str(error).splitlines()[0]}") from None
    return entries


def save(result: Claim, output: Path) -> None:
    """Put the claim into the file, in place of the one of its name.

    Raises:
        ResultError: as ``held``, or the file cannot be written.
    """
    kept = [entry for entry in held(output) if entry["name"] != result.name]
    write(json.dumps([*kept, msgspec.to_builtins(result)], indent=1).encode() + b"\n", output, os.replace)
