"""Runs for benchmarks from result files on disk: what is given back, and what is an error."""

import contextlib

import pandas as pd
import pytest

from workbench.benchmarks import runs as module
from workbench.benchmarks.runs import measured
from workbench.errors import WorkbenchError
from workbench.results import Point, Result, Sweep, encode, save, write_manifest
from workbench.settings import Settings

A, B = Settings(rate=100), Settings(rate=200)


class Made:
    """Stands for ``sweep``: writes what each design's runs gave, and keeps how it was asked."""

    def __init__(self, monkeypatch) -> None:
        self.figures: dict[tuple[Settings, int], dict] = {}  # by design and run; others lose nothing in 10 ms
        self.errors: dict[tuple[Settings, int], str] = {}
        self.asked: list[dict] = []
        self.log: list[str] = []
        monkeypatch.setattr(module, "sweep", self.sweep)
        monkeypatch.setattr(module, "services", self.services)

    @contextlib.contextmanager
    def services(self):
        self.log.append("up")
        yield
        self.log.append("down")

    def sweep(self, settings, *, name, repeats, folder, task="pipeline") -> Sweep:
        self.log.append("sweep")
        self.asked.append({"settings": list(settings), "repeats": repeats})
        points = [Point(each.to_dict(), run, f"{each.hash}-{run}.parquet") for run in range(repeats) for each in settings]
        made = Sweep(folder=folder, name=name, task=task, cloud="embedded", repeats=repeats, points=tuple(points))
        write_manifest(made)
        for run in range(repeats):
            for each in settings:
                error = self.errors.get((each, run), "")
                result = Result(
                    task=task,
                    settings=each.to_dict(),
                    run=run,
                    seed=each.seed + run,
                    cloud="embedded",
                    figures={} if error else self.figures.get((each, run), {"mean_ms": 10.0, "lost": 0.0}),
                    error=error,
                    started="2026-01-02T03:04:05+00:00",
                    took_s=1.0,
                    provenance={},
                )
                events = pd.DataFrame({"latency_ms": [each.rate + run, each.rate + run]})
                save(encode(result, None if error else events), folder / f"{each.hash}-{run}.parquet")
        return made


@pytest.fixture
def made(monkeypatch) -> Made:
    return Made(monkeypatch)


def test_runs_come_back_by_design_with_their_samples(made):
    made.figures[(B, 1)] = {"mean_ms": 77.0, "lost": 0.0}
    runs = measured([A, B], repeats=3)
    assert len(runs.frame) == 6 and len(runs.samples) == 12
    assert runs.of(B).frame.mean_ms.tolist() == [10.0, 77.0, 10.0] and runs.of(A).frame.mean_ms.tolist() == [10.0] * 3
    assert runs.of(B).samples.latency_ms.tolist() == [200, 200, 201, 201, 202, 202]
    assert made.asked == [{"settings": [A, B], "repeats": 3}]


def test_a_published_figure_has_five_runs_with_the_servers_up_from_first_to_last(made):
    assert len(measured([A]).frame) == 5
    assert made.log == ["up", "sweep", "down"]


def test_a_run_that_failed_is_an_error_that_says_why(made):
    made.errors[(B, 1)] = "ServiceError: the vector server ended"
    with pytest.raises(WorkbenchError, match=r"^a run failed: ServiceError: the vector server ended$"):
        measured([A, B], repeats=2)


def test_when_every_run_failed_the_first_says_why(made):
    made.errors = {(A, 0): "SettingError: first", (A, 1): "SettingError: second"}
    with pytest.raises(WorkbenchError, match=r"^a run failed: SettingError: first$"):
        measured([A], repeats=2)


def test_a_run_that_lost_events_is_an_error(made):
    made.figures = {(A, 0): {"mean_ms": 1.0, "lost": 2.0}, (B, 1): {"mean_ms": 1.0, "lost": 3.0}}
    with pytest.raises(WorkbenchError, match=r"^3 events were lost in a run$"):
        measured([A, B], repeats=2)
