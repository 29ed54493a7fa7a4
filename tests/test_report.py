"""Notebooks to reports, on notebooks of the test's own."""

import re
import threading
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from workbench import places, report
from workbench.errors import ReportError
from workbench.finding import Finding

_PARAMETERS = """
cloud: str = "embedded"  # where
rate: float = 100.0
events: int = 10
sizes: list = [1, 2]
fast: bool = False
"""
_GOOD = [
    "# Is it a report?",
    f"#parameters\n{_PARAMETERS}",
    "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), desc='the bar'): pass\nprint('on the way')",
    "import sys; print('a line for the terminal', file=sys.stderr)",
    "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3]);",
    "from workbench import Finding\nFinding(question='An earlier one?', answer='Yes.')",
    "Finding(question='Is it a <report>?', answer=repr([cloud, rate, events, sizes, fast]))",
    "print('after the finding')",
]
_FAILING = [
    "#parameters\nevents: int = 10",
    "print('before')",
    "raise ValueError('no such <user>\\nsecond line')",
    "print('after')",
]


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory):
    """A folder of notebooks, in place of the project's."""
    folder = tmp_path_factory.mktemp("notebooks")
    for name, sources in {"good": _GOOD, "failing": _FAILING, "plain": ["x = 1"]}.items():
        cells = []
        for source in sources:
            if source.startswith("# "):
                cells.append(nbformat.v4.new_markdown_cell(source))
            else:
                tags = {"tags": ["parameters"]} if source.startswith("#parameters") else {}
                cells.append(nbformat.v4.new_code_cell(source, metadata=tags))
        spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), folder / f"{name}.ipynb")
    (folder / "broken.ipynb").write_text("{")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "NOTEBOOKS", folder)
        yield folder


@pytest.fixture(scope="module")
def made(notebooks: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finding]:
    """The good notebook's report, with every parameter given as text."""
    given = {"cloud": "5", "rate": "50", "events": "7", "sizes": "[3]", "fast": "True"}
    return report.report("good", given, output=tmp_path_factory.mktemp("reports") / "new folder")


class _Page(HTMLParser):
    """What a browser would fetch, and what it would show first."""

    _FETCHED = (("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("object", "data"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.images: list[str] = []
        self.ids: list[str] = []
        self.shown: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self._inside.append(tag)
        self.ids += [named["id"]] if "id" in named else []
        address = next((named[name] for kind, name in self._FETCHED if kind == tag and named.get(name)), None)
        if address and not address.startswith("data:"):
            self.fetched.append(address)
        elif tag == "img":
            self.images.append(address)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip() and "body" in self._inside and not {"style", "script"} & set(self._inside):
            self.shown.append(data.strip())


def test_the_project_has_the_quickstart():
    assert "00-quickstart" in report.names()


def test_names_are_the_folders_notebooks(notebooks):
    assert report.names() == ["broken", "failing", "good", "plain"]


@pytest.mark.parametrize(
    ("name", "given", "line"),
    [
        ("nothing", {}, "there is no notebook 'nothing': the notebooks are broken, failing, good, plain"),
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
    page = _Page(path.read_text())
    assert path.name == "good.html"
    assert page.shown[:2] == ["Is it a <report>?", "['5', 50.0, 7, [3], True]"]
    assert {"on the way", "after the finding"} <= set(page.shown)


def test_a_browser_fetches_nothing_to_show_the_report(made):
    text = made[0].read_text()
    assert _Page(text).fetched == []
    assert re.findall(r"url\(\s*['\"]?(?!data:|#)|@import\b", text) == []
    (image,) = _Page(text).images
    assert image.startswith("data:image/png;base64,")


def test_progress_bars_and_lines_for_the_terminal_are_not_in_the_report(made):
    text = made[0].read_text()
    outputs = " ".join(_Page(re.sub(r"<details class=.code.>.*?</details>", "", text, flags=re.DOTALL)).shown)
    assert "on the way" in outputs
    assert "the bar" not in outputs and "a line for the terminal" not in outputs
    assert "widget-view" not in text and "widget-state" not in text


def test_a_notebook_that_fails_still_gives_a_report_that_opens_at_the_failing_cell(notebooks, tmp_path):
    with pytest.raises(ReportError) as raised:
        report.report("failing", output=tmp_path)
    target = tmp_path / "failing.html"
    assert str(raised.value) == "failing failed: ValueError: no such <user>; the report opens at the failing cell"
    assert raised.value.path == str(target)
    page = _Page(target.read_text())
    assert page.shown[:3] == ["This run failed: ValueError: no such <user> (", "the cell that failed", ")"]
    assert page.ids.count(report.FAILED) == 1 and f'href="#{report.FAILED}"' in target.read_text()
    assert "before" in page.shown and "after" not in page.shown
    assert page.fetched == []


def test_an_export_is_all_or_nothing(tmp_path):
    target = tmp_path / "report.html"
    report._write(target, "the old one")
    with pytest.raises(UnicodeEncodeError):
        report._write(target, "half of the new one \ud800")
    assert target.read_text() == "the old one"


def test_a_reader_never_sees_half_a_report(tmp_path):
    target, texts, seen, stop = tmp_path / "report.html", {"a" * 3_000_000, "b" * 3_000_000}, set(), threading.Event()
    report._write(target, "a" * 3_000_000)

    def read() -> None:
        while not stop.is_set():
            seen.add(target.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for text in sorted(texts) * 10:
        report._write(target, text)
    stop.set()
    reader.join()
    assert seen <= texts
