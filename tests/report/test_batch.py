"""Several notebooks at once, on notebooks of the tests' own."""

import os
import signal
from pathlib import Path

import pytest

from workbench import places, report
from workbench.errors import ReportError
from workbench.report.batch import Outcome

from .pages import Page, write_notebook

_SIDE_BY_SIDE = {"workbench": {"side_by_side": True}}
_PARAMETERS = "#parameters\nfolder: str = ''\nrate: float = 1.0"
_FINDING = "from workbench import Finding\nFinding(question='{name}?', answer=f'{name} at {{rate}}')"
# Each leaves a file and waits for the others': only together can they go on.
_MEETING = """
import time
from pathlib import Path
Path(folder, {name!r}).touch()
deadline = time.monotonic() + 60
while len(list(Path(folder).glob("meets*"))) < 2:
    assert time.monotonic() < deadline, "nobody came"
    time.sleep(0.05)
"""
_ALONE = """
from pathlib import Path
Path(folder, "busy").touch(exist_ok=False)
import time; time.sleep(0.3)
Path(folder, "busy").unlink()
"""


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(places, "NOTEBOOKS", folder)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # so that two meet on any machine
    return folder


def _meeting(notebooks: Path, name: str) -> None:
    sources = [_PARAMETERS, _MEETING.format(name=name), _FINDING.format(name=name)]
    write_notebook(notebooks / f"{name}.ipynb", sources, **_SIDE_BY_SIDE)


def _alone(notebooks: Path, name: str) -> None:
    write_notebook(notebooks / f"{name}.ipynb", [_PARAMETERS, _ALONE, _FINDING.format(name=name)])


def test_those_that_allow_it_run_side_by_side_first_then_the_others_alone_and_a_failure_stops_none(notebooks, tmp_path):
    for name in ("alone1", "alone2"):
        _alone(notebooks, name)
    for name in ("meets1", "meets2"):
        _meeting(notebooks, name)
    write_notebook(notebooks / "fails.ipynb", [_PARAMETERS, "raise ValueError('no')"], **_SIDE_BY_SIDE)
    output, began = tmp_path / "reports", []
    names = ["alone1", "fails", "meets1", "alone2", "meets2", "meets1"]
    found = report.reports(names, {"folder": str(tmp_path), "rate": "5"}, output=output, began=began.append)
    assert set(began[:3]) == {"fails", "meets1", "meets2"} and began[3:] == ["alone1", "alone2"]
    paths = {name: str(output / f"{name}.html") for name in names}
    failure = "fails failed: ValueError: no; the report opens at the failing cell"
    assert found == [
        Outcome(name="alone1", path=paths["alone1"], answer="alone1 at 5.0"),
        Outcome(name="fails", path=paths["fails"], failure=failure),
        Outcome(name="meets1", path=paths["meets1"], answer="meets1 at 5.0"),
        Outcome(name="alone2", path=paths["alone2"], answer="alone2 at 5.0"),
        Outcome(name="meets2", path=paths["meets2"], answer="meets2 at 5.0"),
    ]
    assert found[0].to_text() == f"{paths['alone1']}: alone1 at 5.0"
    assert found[1].to_text() == f"{paths['fails']}: FAILED: {failure}"
    links = Page((output / "index.html").read_text()).links
    assert [link for link in dict.fromkeys(links) if "#" not in link] == [f"{name}.html" for name in sorted(paths)]


@pytest.mark.parametrize(
    ("other", "given", "line"),
    [
        ("plain", {"rate": "5"}, "plain.ipynb has no cell tagged 'parameters'"),
        ("few", {"rate": "5"}, "few has no parameter 'rate': it has events"),
        ("typed", {"rate": "5.5"}, "parameter rate = '5.5' is no int"),
        ("nothing", {}, "there is no notebook 'nothing': the notebooks are few, good, plain, typed"),
    ],
)
def test_all_are_checked_before_any_runs(notebooks, tmp_path, other, given, line):
    write_notebook(notebooks / "good.ipynb", ["#parameters\nrate: float = 1.0"])
    write_notebook(notebooks / "plain.ipynb", ["rate = 1.0"])
    write_notebook(notebooks / "few.ipynb", ["#parameters\nevents: int = 1"])
    write_notebook(notebooks / "typed.ipynb", ["#parameters\nrate: int = 1"])
    began = []
    with pytest.raises(ReportError) as raised:
        report.reports(["good", other], given, output=tmp_path / "reports", began=began.append)
    assert str(raised.value) == line and began == [] and not (tmp_path / "reports").exists()


def test_a_report_that_is_killed_is_one_failure(notebooks, tmp_path):
    kill = f"import os\nos.kill(os.getppid(), {int(signal.SIGKILL)})\nimport time; time.sleep(60)"
    write_notebook(notebooks / "killed.ipynb", [kill])
    write_notebook(notebooks / "plain.ipynb", ["x = 1"])
    killed, plain = report.reports(["killed", "plain"], output=tmp_path / "reports")
    log = places.state() / "logs" / "report-killed.log"
    assert (killed.path, killed.answer) == (None, None) and killed.failure == f"it said nothing (log: {log})"
    assert plain == Outcome(name="plain", path=str(tmp_path / "reports" / "plain.html"))


def test_questions_are_the_titles(notebooks):
    write_notebook(notebooks / "a.ipynb", ["x = 1", "## Not this\n\n# Is it this?", "# Not that"])
    write_notebook(notebooks / "b.ipynb", ["x = 1"])
    (notebooks / "c.ipynb").write_text("{")
    asked = report.questions()
    assert (asked["a"], asked["b"]) == ("Is it this?", "b") and asked["c"].startswith("c.ipynb is no notebook: ")
