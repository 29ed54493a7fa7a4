"""Notebook 01, executed with small parameters: too few events for a p99, enough to see that every part is there and adds up."""

import re

import nbformat
import pytest

from workbench import places, report, results
from workbench.finding import Finding

from .shown import table

_PARAMETERS = {
    "rates": "[150, 300]",
    "seconds": "1",
    "events": "150",
    "warmup": "30",
    "repeats": "1",
    "article_rates": "[10]",
    "article_events": "30",
    "drained": "40",
    "drained_ours": "300",
    "catalogue": "300",
}
_PLOTS = 7
_SWEEPS = ("01-load", "01-load-article")


@pytest.fixture(scope="module")
def made(local_servers, tmp_path_factory: pytest.TempPathFactory):
    return report.report("01-load", _PARAMETERS, output=tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def executed(made) -> nbformat.NotebookNode:
    return nbformat.read(places.state() / "executed" / "01-load.ipynb", as_version=4)


@pytest.fixture
def figures(made) -> dict[str, str]:
    return {figure.label: figure.value for figure in made[1].figures}


def test_every_point_was_measured_once_and_lost_nothing(made):
    ladder, both = results.load("01-load"), results.load("01-load-article")
    assert sorted(zip(ladder.placement, ladder.rate, strict=True)) == [
        (placement, rate) for placement in ("inline", "lambda") for rate in (150.0, 300.0)
    ]
    assert sorted(zip(both.handler, both.rate, both.events, strict=True)) == [
        ("batched", 0.0, 40),
        ("batched", 0.0, 300),
        ("batched", 10.0, 30),
        ("published", 0.0, 40),
        ("published", 10.0, 30),
    ]
    for frame in (ladder, both):
        assert frame.error.tolist() == [""] * len(frame) and frame.lost.tolist() == [0.0] * len(frame)
        assert frame.answered.tolist() == (frame.events + frame.warmup).tolist() and frame.smoke.all()


def test_the_table_shows_what_the_results_hold(executed):
    ladder = results.load("01-load").set_index(["placement", "rate"])
    shown = table(executed, "designs = load.ladder")
    assert len(shown) == 4
    for row in shown.values():
        known = ladder.loc[(row["placement"], float(row["rate"]))]
        assert float(row["goodput_per_s"]) == pytest.approx(known.goodput_per_s, rel=1e-3)
        assert float(row["p50_ms"]) == pytest.approx(known.p50_ms, rel=1e-3) and "p99_ms" not in row


def test_the_finding_says_what_can_be_said_of_so_few_events(made, figures):
    _, finding = made
    assert isinstance(finding, Finding) and finding.question == "How much can one machine take?"
    assert finding.answer.count("at a rate that cannot be told (a p99 needs 1,000 events a run)") == 2
    assert "a trial, not a finding" in finding.answer
    assert figures["p99 through a planted stall, open loop / closed loop"] == "too few samples / too few samples"
    assert figures["events lost, all runs"] == "0" and figures["runs that failed"] == "0"


def test_the_ratio_is_that_of_what_both_handlers_drained(made, figures):
    both = results.load("01-load-article")
    drained = both[both.rate == 0]
    ours, article = (drained.goodput_per_s[drained.handler == handler].max() for handler in ("batched", "published"))
    assert f" {ours / article:.0f} times the load" in made[1].answer
    assert figures["events/s at most in Lambda, our handler"] == f"{ours:,.0f}"
    assert figures["events/s at most in Lambda, the article's handler"] == f"{article:,.0f}"


def test_the_corrections_are_listed(executed):
    (cell,) = [cell for cell in executed.cells if cell.source.startswith("Markdown(load.corrections")]
    text = cell.outputs[0].data["text/markdown"]
    assert len(re.findall(r"^\* as published, .* / corrected: ", text.replace("\n  ", " "), re.MULTILINE)) == 7
    assert "Not corrected" in text


def test_a_browser_shows_the_finding_its_picture_and_every_plot(made, opened):
    path, finding = made
    opened(path, finding, images=_PLOTS + 1)


def test_executed_again_it_measures_no_point_again(made):
    files = [
        places.results() / name / point.file
        for name in _SWEEPS
        for point in results.read_manifest(places.results() / name).points
    ]
    times = [file.stat().st_mtime_ns for file in files]
    _, again = report.report("01-load", _PARAMETERS, output=made[0].parent / "again")
    assert len(files) == 9 and [file.stat().st_mtime_ns for file in files] == times
    measured = [figure for figure in made[1].figures if "stall" not in figure.label]  # which is run, not swept
    assert [figure for figure in again.figures if "stall" not in figure.label] == measured
