"""The figures that this project claims, each measured side by side with its baseline and with its spread.

A benchmark is a function that yields one ``Result``; ``BENCHMARKS`` names them. Runs are fresh processes, subject and baseline
in turn, so that a machine that slows down slows down both.
"""

import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from workbench import places
from workbench.errors import SettingError, WorkbenchError
from workbench.measure.intervals import bootstrap_ratio
from workbench.measure.provenance import provenance
from workbench.settings import Settings

REPEATS = 5


class Baseline(msgspec.Struct, frozen=True):
    """What a figure is compared with, measured in the same session."""

    name: str
    value: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: ``low`` to ``high`` is the range of the runs, or a 95% interval where ``spread`` says so."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    spread: str
    runs: int
    baseline: Baseline
    command: str
    commit: str
    machine: str

    def to_text(self) -> str:
        """One line."""
        spread = f"{self.low:.3g} to {self.high:.3g}, {self.spread}, runs: {self.runs}"
        return (
            f"{self.name:24} {self.value:.3g} {self.unit} ({spread}; {self.baseline.name}: {self.baseline.value:.3g} {self.unit})"
        )


def described() -> dict[str, str]:
    """Each benchmark's name and what it measures."""
    return {name: benchmark.__doc__.splitlines()[0] for name, benchmark in BENCHMARKS.items()}


def measure(names: Sequence[str], output: Path) -> Iterator[Result]:
    """Measure these benchmarks (all, if none is named), writing each figure into ``output`` as soon as it is there.

    Figures of other benchmarks that the file holds are kept.

    Raises:
        SettingError: there is no benchmark of that name.
    """
    for name in names:
        if name not in BENCHMARKS:
            raise SettingError("benchmark", name, f"one of {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        result = BENCHMARKS[name](name)
        _save(result, output)
        yield result


def e2e_inline_p99_ms(name: str) -> Result:
    """p99 from due to recommended at 100 events/s, inline; baseline: the same without a vector index (embed, AWS calls)."""
    settings = Settings()
    return _latency(name, settings, "no index, the AWS calls only", settings.but(variant="none"))


def e2e_lambda_p99_ms(name: str) -> Result:
    """p99 from due to recommended at 100 events/s, in Lambda; baseline: inline."""
    return _latency(name, Settings(placement="lambda"), "inline", Settings())


def hit_rate_vs_popularity(name: str) -> Result:
    """Hit rate@5 of the next basket, ours over that of the five most bought products."""
    ours, popular, _ = _hits()
    return _ratio(name, ours, "most bought", popular)


def hit_rate_vs_article(name: str) -> Result:
    """Hit rate@5 of the next basket, ours over that of the article's design."""
    ours, _, article = _hits()
    return _ratio(name, ours, "the article's design", article)


def import_s(name: str) -> Result:
    """Wall time of `import workbench` in a fresh interpreter; baseline: the interpreter alone."""
    return _wall(name, ["-c", "import workbench"])


def help_s(name: str) -> Result:
    """Wall time of `workbench --help` in a fresh interpreter; baseline: the interpreter alone."""
    return _wall(name, ["-m", "workbench", "--help"])


BENCHMARKS: dict[str, Callable[[str], Result]] = {
    benchmark.__name__: benchmark
    for benchmark in (e2e_inline_p99_ms, e2e_lambda_p99_ms, hit_rate_vs_popularity, hit_rate_vs_article, import_s, help_s)
}


def _latency(name: str, subject: Settings, baseline_name: str, baseline: Settings) -> Result:
    from workbench.servers import services

    with services():
        pairs = [(_p99_in_fresh_process(subject), _p99_in_fresh_process(baseline)) for _ in range(REPEATS)]
    ours, theirs = zip(*pairs, strict=True)
    return _result(name, "ms", ours, Baseline(baseline_name, statistics.median(theirs)))


def _p99_in_fresh_process(settings: Settings) -> float:
    command = [sys.executable, "-m", "workbench.experiments.one_run", json.dumps(settings.to_dict())]
    done = subprocess.run(command, cwd=places.ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise WorkbenchError(f"a run failed: {' '.join(command[2:])}")
    shown = json.loads(done.stdout)
    if shown["lost"]:
        raise WorkbenchError(f"{shown['lost']} events were lost: {' '.join(command[2:])}")
    return shown["p99_ms"]


@functools.cache
def _hits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By user, 0.0 or 1.0: ours, the most bought, the article's."""
    from workbench.pipeline import run
    from workbench.servers import services

    settings = Settings(events=6000, warmup=0, rate=0)
    with services() as running:
        ours, article = run(settings, running), run(settings.but(variant="article"), running)
    return ours.hits.to_numpy(), ours.hits_of_popular.to_numpy(), article.hits.to_numpy()


def _ratio(name: str, ours: np.ndarray, baseline_name: str, baseline: np.ndarray) -> Result:
    """The quotient of two means over the same users, its interval bootstrapped over users."""
    low, high = bootstrap_ratio(ours, baseline)
    compared = Baseline(f"{baseline_name} at {baseline.mean():.3f}, ours at {ours.mean():.3f}", 1.0)
    result = _result(name, "times", [ours.mean() / baseline.mean()], compared)
    return msgspec.structs.replace(result, low=low, high=high, spread=f"95% over {len(ours)} users")


def _wall(name: str, arguments: list[str]) -> Result:
    def seconds(arguments: list[str]) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=places.ROOT, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begun

    seconds(arguments)  # compiles the sources
    pairs = [(seconds(arguments), seconds(["-c", "pass"])) for _ in range(2 * REPEATS + 1)]
    ours, bare = zip(*pairs, strict=True)
    return _result(name, "s", ours, Baseline("the interpreter alone", statistics.median(bare)))


def _result(name: str, unit: str, values: Sequence[float], baseline: Baseline) -> Result:
    origin = provenance()
    return Result(
        name=name,
        value=float(statistics.median(values)),
        unit=unit,
        low=float(min(values)),
        high=float(max(values)),
        spread="range",
        runs=len(values),
        baseline=baseline,
        command=f"workbench bench {name}",
        commit=origin["commit"],
        machine=origin["machine"],
    )


def _save(result: Result, output: Path) -> None:
    held = json.loads(output.read_text()) if output.is_file() else []
    kept = [entry for entry in held if entry["name"] != result.name]
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = output.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps([*kept, msgspec.to_builtins(result)], indent=1) + "\n")
    draft.replace(output)
