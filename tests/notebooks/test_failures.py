"""Notebook 03, executed with small parameters: what was given up follows from the rules, however few events there are."""

import nbformat
import pytest

from workbench import places, report, results
from workbench.experiments import failures
from workbench.finding import Finding
from workbench.settings import Settings

from .shown import table

_PARAMETERS = {
    "policies": '["retry for ever", "whole batch", "bisect"]',
    "rate": "150",
    "events": "150",
    "warmup": "20",
    "repeats": "1",
    "poison": "1",
    "outage_s": "0.6",
    "stall_s": "0.5",
    "catalogue": "300",
}
_PLOTS = 4
_POLICIES = (failures.FOR_EVER, failures.WHOLE, failures.BISECT)
_BASE = Settings(rate=150, events=150, warmup=20, catalogue=300, shards=1, poll_interval_ms=1000)
_DESIGNS = failures.designs(_BASE, _POLICIES, poison=1, outage_s=0.6, stall_s=0.5)


@pytest.fixture(scope="module")
def made(local_servers, tmp_path_factory: pytest.TempPathFactory):
    return report.report("03-failures", _PARAMETERS, output=tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def executed(made) -> nbformat.NotebookNode:
    return nbformat.read(places.state() / "executed" / "03-failures.ipynb", as_version=4)


@pytest.fixture
def frame(made):
    return failures.named(results.load("03-failures"), _DESIGNS).set_index(["fault", "policy"])


@pytest.fixture
def samples(made):
    return failures.named(results.samples("03-failures"), _DESIGNS)


def test_every_design_was_measured_once_and_lost_nothing(frame):
    assert list(frame.index) == list(_DESIGNS) and len(frame) == 11
    assert (frame.error == "").all() and (frame.lost == 0).all() and (frame.refused == 0).all()
    assert (frame.answered + frame.dead == 170).all()


def test_only_what_the_rules_give_up_was_given_up(frame):
    assert (frame.dead[["no fault", "stall"]] == 0).all() and frame.dead[("outage", "retry for ever")] == 0
    assert frame.dead[("poison", "bisect")] == 1 and frame.good_given_up[("poison", "bisect")] == 0
    assert frame.good_given_up[("poison", "whole batch")] == frame.dead[("poison", "whole batch")] - 1 > 0


def test_a_batch_is_given_up_after_its_two_retries_and_a_bisected_one_once_the_poison_is_alone(samples):
    beside = samples[samples.fault == "poison"]
    for _, each in beside.groupby("policy"):
        poison = each.reset_index(drop=True).loc[20 + 75]  # half-way through what is measured
        assert poison.outcome == "dead"
    whole, bisect = (beside[beside.policy == policy] for policy in ("whole batch", "bisect"))
    gone = whole[whole.outcome == "dead"]
    assert (gone.attempts == 3).all() and gone.batch.unique().tolist() == [len(gone)]
    assert (whole.attempts[whole.outcome == "answered"] == 1).all()
    assert bisect.batch[bisect.outcome == "dead"].tolist() == [1]


def test_nothing_is_delivered_twice_without_a_failure(frame):
    assert (frame.deliveries_per_event[["no fault", "stall"]] == 1.0).all() and (frame.retried[["no fault", "stall"]] == 0).all()
    assert (frame.standstill_s["stall"] >= 0.5).all() and (frame.standstill_s["poison"] > 0).all()


def test_the_table_shows_what_the_results_hold(executed, frame):
    shown = next(
        output.data["text/html"]
        for cell in executed.cells
        if cell.cell_type == "code" and cell.source.startswith("designs = failures.designs")
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    )
    assert shown.count("<tr>") == 11 + 1 and "standstill_s" in shown
    assert f"<td>{frame.good_given_up[('poison', 'whole batch')]:.1f}</td>" in shown


def test_malformed_records_beside_poison_are_put_aside_with_their_reasons_and_no_good_event_with_them(executed):
    letters = sorted(table(executed, "spoiled = [").values(), key=lambda letter: letter["reason"])
    assert len(letters) == 4 and all(letter["records"] == "1" for letter in letters)
    assert [letter["data"] == "" for letter in letters].count(True) == 1
    (poison,) = [letter for letter in letters if letter["data"] == ""]
    assert poison["reason"] == "RetryAttemptsExhausted" and int(poison["calls"]) >= 3
    assert any(letter["reason"] == "product 'no-such-product' is not in the products table" for letter in letters)


def test_the_finding_has_the_numbers_of_the_frame(made, frame):
    _, finding = made
    assert isinstance(finding, Finding) and finding.question == "What does one bad record cost?"
    cost = frame.good_given_up[("poison", "whole batch")]
    assert f"{cost:.0f} with “whole batch”, 0 with “bisect”; no event of all runs was lost" in finding.answer
    assert "a trial, not a finding" in finding.answer
    values = {figure.label: figure.value for figure in finding.figures}
    assert values["bad records dead-lettered, whole batch"] == values["bad records dead-lettered, bisect"] == "1 of 1 a run"
    assert values["good events given up in an outage, retry for ever"] == "0 a run"
    assert values["malformed records put aside by the function"] == "3 of 3"
    assert values["good events given up with malformed records and poison, bisect"] == "0"
    assert values["events lost, all runs"] == "0" and values["runs that failed"] == "0"


def test_a_browser_shows_the_finding_its_picture_and_every_plot(made, opened):
    path, finding = made
    opened(path, finding, images=_PLOTS + 1)
