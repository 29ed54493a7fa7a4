"""Notebook 14, executed with few records: a whole switch under load, and what the report says of it."""

import re

import nbformat
import pytest

from workbench import places, report
from workbench.finding import Finding

from .shown import table

_PARAMETERS = {
    "records": "150",
    "rate": "100",
    "write_rate": "4",
    "limits": "[0]",
    "seconds": "0.5",
    "max_age_s": "0.05",
    "call_s": "0.3",
    "dimension": "64",
}
_PLOTS = 1
_EACH = "for name, switch in switches.items():\n    print(name)\n    display("
_PHASES = ["before", "writes go to both", "re-embedding", "verifying", "after the switch", "old one retired"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    return report.report("14-model-switch", _PARAMETERS, output=tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def executed(made) -> nbformat.NotebookNode:
    return nbformat.read(places.state() / "executed" / "14-model-switch.ipynb", as_version=4)


@pytest.fixture
def phases(executed) -> dict[str, dict[str, str]]:
    return table(executed, f"{_EACH}model_switch.by_phase")


@pytest.fixture
def figures(made) -> dict[str, str]:
    return {figure.label: figure.value for figure in made[1].figures}


def test_every_search_was_answered_and_from_what_its_version_held(made, phases):
    _, finding = made
    assert isinstance(finding, Finding) and finding.question == "Can the embedding model change while users search?"
    assert re.match(
        r"Yes: of [\d,]+ searches while every record was re-embedded 0 failed, 0 matches were not there", finding.answer
    )
    assert list(phases) == _PHASES
    assert {row["failed"] for row in phases.values()} == {"0"}
    for row in phases.values():  # too few records for an index: search is exact
        if int(row["searches"]):
            assert float(row["least recall"]) == 1.0


def test_the_alias_decides_who_answers(phases):
    assert {phase: phases[phase]["answered by"] for phase in ("before", "re-embedding", "old one retired")} == {
        "before": "old",
        "re-embedding": "old",
        "old one retired": "new",
    }


def test_every_record_was_re_embedded_or_written_to_both(executed, figures):
    cost = {name: row["no limit"] for name, row in table(executed, "model_switch.costs").items()}
    done = float(cost["records re-embedded"]) + float(cost["already there"])
    assert 140 <= done <= 160  # 150, and what was written meanwhile
    assert float(cost["records/s"]) == pytest.approx(float(cost["records re-embedded"]) / float(cost["seconds"]), rel=0.02)
    assert float(cost["held back, seconds"]) == 0
    assert figures["re-embedding, no limit"].startswith(f"{float(cost['records re-embedded']):,.0f} records in ")
    assert figures["recall@10 within the old version, against exact search"] == "1.000"
    assert figures["recall@10 within the new version, against exact search"] == "1.000"


def test_the_report_shows_its_picture(made, opened):
    path, finding = made
    opened(path, finding, images=_PLOTS + 1)
