"""One notebook to its report, on notebooks of the test's own."""

import base64
import io
import re
import resource
import threading
from pathlib import Path

import pytest
from PIL import Image

from workbench import places, report
from workbench.errors import ReportError
from workbench.finding import Finding
from workbench.measure.provenance import provenance
from workbench.report import files
from workbench.report.summary import Summary

from .pages import Page, write_notebook

_PARAMETERS = """
cloud: str = "embedded"  # where
rate: float = 100.0
events: int = 10
sizes: list = [1, 2]
fast: bool = False
"""
_PLOT = "import matplotlib.pyplot as plt\nplt.figure(figsize=(8, 2), facecolor={colour!r}); plt.axis('off'); plt.plot([1, 2]);"
_GOOD = [
    "# Is it a report?",
    f"#parameters\n{_PARAMETERS}",
    "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), desc='the bar'): pass\nprint('on the way')",
    "import sys; print('a line for the terminal', file=sys.stderr)",
    _PLOT.format(colour="red"),
    f"#picture\n{_PLOT.format(colour='blue')}",
    "from workbench import Finding\nFinding(question='An earlier one?', answer='Yes.')",
    "Finding(question='Is it a <report>?', answer=repr([cloud, rate, events, sizes, fast]))",
    "print('after the finding')",
]
_FAILING = [
    "# Does it fail?",
    "#parameters\nevents: int = 10",
    f"print('before')\n{_PLOT.format(colour='red')}",
    "raise ValueError('no such <user>\\nsecond line')",
    "print('after')",
]
_DYING = ["print('before')", "import os; os._exit(3)", "print('after')"]


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory):
    """A folder of notebooks, in place of the project's."""
    folder = tmp_path_factory.mktemp("notebooks")
    for name, sources in {"good": _GOOD, "failing": _FAILING, "dying": _DYING, "plain": ["x = 1"]}.items():
        write_notebook(folder / f"{name}.ipynb", sources)
    (folder / "broken.ipynb").write_text("{")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "NOTEBOOKS", folder)
        yield folder


@pytest.fixture(scope="module")
def made(notebooks: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finding]:
    """The good notebook's report, with every parameter given as text."""
    given = {"cloud": "5", "rate": "50", "events": "7", "sizes": "[3]", "fast": "True"}
    return report.report("good", given, output=tmp_path_factory.mktemp("reports") / "new folder")


def _colour(address: str) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Size and the corner's colour of an image in a page."""
    assert address.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return image.size, image.convert("RGB").getpixel((0, 0))


def test_the_project_has_the_quickstart():
    assert "00-quickstart" in report.names()


def test_names_are_the_folders_notebooks(notebooks):
    assert report.names() == ["broken", "dying", "failing", "good", "plain"]


@pytest.mark.parametrize(
    ("name", "given", "line"),
    [
        ("nothing", {}, "there is no notebook 'nothing': the notebooks are broken, dying, failing, good, plain"),
        ("good", {"rat": "5"}, "good has no parameter 'rat': it has cloud, rate, events, sizes, fast"),
        ("good", {"rate": "fast"}, "parameter rate = 'fast' is no float"),
        ("good", {"events": "1.5"}, "parameter events = '1.5' is no int"),
        ("good", {"events": "True"}, "parameter events = 'True' is no int"),
        ("good", {"sizes": "3"}, "parameter sizes = '3' is no list"),
        ("good", {"fast": "1"}, "parameter fast = '1' is no bool"),
        ("good", {"events": "__import__('os')"}, "parameter events = \"__import__('os')\" is no int"),
        ("plain", {"events": "1"}, "plain.ipynb has no cell tagged 'parameters'"),
    ],
)
def test_what_cannot_be_executed_as_asked_is_refused_in_one_line_before_anything_runs(notebooks, tmp_path, name, given, line):
    with pytest.raises(ReportError) as raised:
        report.report(name, given, output=tmp_path)
    assert str(raised.value) == line and raised.value.path is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_notebook_is_refused_in_one_line(notebooks, tmp_path):
    with pytest.raises(ReportError, match=r"^broken\.ipynb is no notebook: ") as raised:
        report.report("broken", output=tmp_path)
    assert "\n" not in str(raised.value)


def test_parameters_are_read_as_the_notebook_annotates_them_and_the_last_finding_counts(made):
    _, finding = made
    assert (finding.question, finding.answer) == ("Is it a <report>?", "['5', 50.0, 7, [3], True]")


def test_the_report_opens_with_the_finding(made):
    path, _ = made
    page = Page(path.read_text())
    assert path.name == "good.html"
    assert page.shown[:2] == ["Is it a <report>?", "['5', 50.0, 7, [3], True]"]
    assert {"on the way", "after the finding"} <= set(page.shown)


def test_a_browser_fetches_nothing_to_show_the_report(made):
    text = made[0].read_text()
    assert Page(text).fetched == []
    assert re.findall(r"url\(\s*['\"]?(?!data:|#)|@import\b", text) == []
    assert all(image.startswith("data:image/png;base64,") for image in Page(text).images)


def test_the_tagged_cells_picture_is_at_the_top_and_in_its_place(made):
    red, blue = (255, 0, 0), (0, 0, 255)
    assert [_colour(image)[1] for image in Page(made[0].read_text()).images] == [blue, red, blue]


def test_the_report_says_when_and_on_what_it_was_made_and_links_to_the_others(made):
    page, summary = Page(made[0].read_text()), Summary.read(made[0])
    assert summary.commit == provenance()["commit"] and summary.made.utcoffset().total_seconds() == 0
    line = f"{summary.made:%Y-%m-%d %H:%M} UTC, commit {summary.commit}, with cloud = 5, rate = 50.0, events = 7, sizes = [3]"
    assert f"{line}, fast = True ·" in page.shown
    assert page.links[0] == "index.html" and (made[0].parent / "index.html").is_file()


def test_what_an_index_needs_is_in_the_report(made):
    summary = Summary.read(made[0])
    assert (summary.name, summary.question, summary.failure) == ("good", "Is it a <report>?", None)
    assert summary.answer == "['5', 50.0, 7, [3], True]"
    (width, height), colour = _colour(summary.thumbnail)
    large, _ = _colour(Page(made[0].read_text()).images[0])
    assert width == 480 < large[0] and height == pytest.approx(480 * large[1] / large[0], abs=1) and colour == (0, 0, 255)


def test_progress_bars_and_lines_for_the_terminal_are_not_in_the_report(made):
    text = made[0].read_text()
    outputs = " ".join(Page(re.sub(r"<details class=.code.>.*?</details>", "", text, flags=re.DOTALL)).shown)
    assert "on the way" in outputs
    assert "the bar" not in outputs and "a line for the terminal" not in outputs
    assert "widget-view" not in text and "widget-state" not in text


@pytest.mark.parametrize(
    ("name", "failure"), [("failing", "ValueError: no such <user>"), ("dying", "the kernel died")], ids=["failing", "dying"]
)
def test_a_notebook_that_fails_still_gives_a_report_that_opens_at_the_failing_cell(notebooks, tmp_path, name, failure):
    with pytest.raises(ReportError) as raised:
        report.report(name, output=tmp_path)
    target = tmp_path / f"{name}.html"
    assert str(raised.value) == f"{name} failed: {failure}; the report opens at the failing cell"
    assert raised.value.path == str(target)
    page = Page(target.read_text())
    assert page.shown[:3] == [f"This run failed: {failure} (", "the cell that failed", ")"]
    assert page.ids.count(report.FAILED) == 1 and page.links[0] == f"#{report.FAILED}"
    assert "before" in page.shown and "after" not in page.shown
    assert page.fetched == []
    summary = Summary.read(target)
    assert (summary.answer, summary.failure, summary.thumbnail) == (None, failure, "")
    assert summary.question == ("Does it fail?" if name == "failing" else "dying")
    assert f"{name}.html#{report.FAILED}" in Page((tmp_path / "index.html").read_text()).links


def test_an_export_is_all_or_nothing(tmp_path):
    target = tmp_path / "report.html"
    files.write(target, "the old one")
    with pytest.raises(UnicodeEncodeError):
        files.write(target, "half of the new one \ud800")
    assert target.read_text() == "the old one" and list(tmp_path.iterdir()) == [target]


@pytest.fixture
def small_disk():
    """Files of this process may have 100 kB: what is written beyond that fails in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_the_old_report_stays_and_nothing_else(tmp_path, small_disk):
    target = tmp_path / "report.html"
    files.write(target, "the old one")
    with pytest.raises(ReportError) as raised:
        files.write(target, "x" * 200_000)
    assert str(raised.value) == f"{target} cannot be written: File too large"
    assert target.read_text() == "the old one" and list(tmp_path.iterdir()) == [target]


def test_a_notebook_on_a_full_disk_is_refused_in_one_line_with_its_old_report_intact(notebooks, tmp_path, small_disk):
    (tmp_path / "plain.html").write_text("the old one")
    with pytest.raises(ReportError, match=r"plain\.html cannot be written: File too large$"):
        report.report("plain", output=tmp_path)
    assert (tmp_path / "plain.html").read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["plain.html"]


def test_an_output_that_can_be_no_folder_is_refused_before_anything_runs(notebooks, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReportError) as raised:
        report.report("failing", output=tmp_path / "file")
    assert str(raised.value) == f"{tmp_path / 'file'} cannot be a folder of reports: File exists"


def test_a_reader_never_sees_half_a_report(tmp_path):
    target, texts, seen, stop = tmp_path / "report.html", {"a" * 3_000_000, "b" * 3_000_000}, set(), threading.Event()
    files.write(target, "a" * 3_000_000)

    def read() -> None:
        while not stop.is_set():
            seen.add(target.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for text in sorted(texts) * 10:
        files.write(target, text)
    stop.set()
    reader.join()
    assert seen <= texts
