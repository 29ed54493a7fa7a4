"""The quickstart notebook, executed with small parameters, and its report as a browser shows it."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from matplotlib.image import imread

from workbench import places, report
from workbench.experiments.quickstart import ARTICLE, OURS, POPULAR
from workbench.finding import Finding
from workbench.measure.timeline import WAY
from workbench.scenarios import retail
from workbench.settings import Settings

_PARAMETERS = {"events": "150", "warmup": "20", "quality_events": "300", "catalogue": "300", "rate": "100", "goal_ms": "500"}
_PLANTED = 3
_PLOTS = 3
# What only a browser knows, written into the page: errors of scripts, what was fetched, which images it could show.
_PROBE_HEAD = "<script>var failed = []; window.addEventListener('error', each => failed.push(String(each.message)));</script>"
_PROBE_BODY = """<script>window.addEventListener('load', () => {
  const finding = document.querySelector('section.finding'), box = finding.getBoundingClientRect();
  const probe = document.createElement('pre');
  const above = node => node.compareDocumentPosition(finding) & Node.DOCUMENT_POSITION_FOLLOWING;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), before = [];
  while (texts.nextNode()) {
    const text = texts.currentNode;
    if (above(text) && text.parentElement.checkVisibility() && text.data.trim()) before.push(text.data);
  }
  probe.id = 'probe';
  probe.textContent = JSON.stringify({
    failed, before, top: box.top, height: box.height, shown: finding.checkVisibility(), text: finding.innerText,
    images: [...document.images].map(each => [each.complete, each.naturalWidth, each.checkVisibility()]),
    fetched: performance.getEntriesByType('resource').map(each => each.name).filter(name => !name.startsWith('data:')),
  });
  document.body.append(probe);
});</script>"""


@pytest.fixture(scope="module")
def made(local_servers, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finding]:
    return report.report("00-quickstart", _PARAMETERS, output=tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def executed(made) -> nbformat.NotebookNode:
    return nbformat.read(places.state() / "executed" / "00-quickstart.ipynb", as_version=4)


@pytest.fixture
def figures(made) -> dict[str, str]:
    return {figure.label: figure.value for figure in made[1].figures}


def _rows(notebook: nbformat.NotebookNode, source: str) -> dict[str, dict[str, str]]:
    """The table that the cell with this source displayed, by row and column."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(source)]
    table = next(output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {}))
    head, *rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    names = [html.unescape(name) for name in re.findall(r"<th[^>]*>(.*?)</th>", head, re.DOTALL)][1:]
    return {
        html.unescape(re.search(r"<th[^>]*>(.*?)</th>", row, re.DOTALL)[1]): dict(
            zip(names, map(html.unescape, re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)), strict=True)
        )
        for row in rows
        if "<td" in row
    }


def test_every_cell_was_executed_and_none_failed(executed):
    code = [cell for cell in executed.cells if cell.cell_type == "code" and cell.source.strip()]
    assert all(cell.execution_count for cell in code)
    assert [output for cell in code for output in cell.outputs if output.output_type == "error"] == []


def test_both_placements_answered_every_event(executed):
    rows = _rows(executed, "runs = ")
    assert list(rows) == ["inline", "lambda"]
    for row in rows.values():
        counts = {name: float(row[name]) for name in ("measured", "answered", "dead letters", "lost")}
        assert counts == {"measured": 150, "answered": 170, "dead letters": 0, "lost": 0}
        assert 0 < float(row["p50_ms"]) < 60_000 and row["p99_ms"] == "NaN"  # too few events for a p99


def test_the_stages_of_both_placements_add_up(executed):
    rows = _rows(executed, "summaries.stages")
    assert list(rows)[: len(WAY) + 1] == [*WAY, "sum"]
    for name in ("inline_ms", "lambda_ms"):
        assert sum(float(rows[stage][name]) for stage in WAY) == pytest.approx(float(rows["sum"][name]), abs=0.1)


def test_each_of_three_users_is_recommended_five_products_by_name(executed):
    rows = _rows(executed, "summaries.recommended")
    assert len(rows) == 3
    for row in rows.values():
        assert len(row["recommended"].split(" · ")) == 5
        assert re.search(r"[A-Z][a-z]+", row["bought last"])


def test_nothing_is_lost_and_what_was_planted_is_in_the_dead_letters(executed, figures):
    assert figures["events lost / dead-lettered"] == "0 / 0"
    assert figures["planted bad records in the dead-letter queue"] == f"{_PLANTED} of {_PLANTED}"
    reasons = " ".join(output.data["text/plain"] for output in _cell(executed, "spoiled = ").outputs if "data" in output)
    for reason in (
        "JSON is malformed",
        "missing required field user_id",
        "product 'no-such-product' is not in the products table",
    ):
        assert reason in re.sub(r"\s+", " ", reasons)


def _cell(notebook: nbformat.NotebookNode, source: str) -> nbformat.NotebookNode:
    (cell,) = [cell for cell in notebook.cells if cell.source.startswith(source)]
    return cell


def test_hit_rates_are_shares_and_popularitys_is_what_the_data_says(executed, figures):
    for name in (OURS, ARTICLE, POPULAR, "similarity alone"):
        rate, low, high = map(float, re.fullmatch(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)", figures[f"hit rate@5, {name}"]).groups())
        assert 0 <= low <= rate <= high <= 1
    replay = retail.load(start=Settings().start, events=300, catalogue=300)
    popular = {product.product_id for product in replay.catalogue[:5]}
    hits = [bool(basket & popular) for basket in replay.next_basket.values()]
    assert figures[f"hit rate@5, {POPULAR}"].split()[0] == f"{sum(hits) / len(hits):.3f}"
    table = _rows(executed, "quality = ")
    assert {row["users"] for row in table.values()} == {str(len(hits))}
    assert figures[f"hit rate@5, {OURS}"].startswith(f"{float(table[OURS]['hit_rate']):.3f} ")


def test_the_answer_says_what_can_be_said_of_so_few_events(made):
    _, finding = made
    assert finding.question == "Can a click become a recommendation within 500 ms?"
    assert finding.answer.startswith("Too few events to say (p99 needs 1,000): at 100 events/s ") and "0 lost" in finding.answer
    assert {"machine", "libraries", "commit", "cloud"} <= set(finding.provenance)


def test_no_key_is_in_the_report(made, executed, local_servers):
    texts = made[0].read_text(), nbformat.writes(executed)
    for key in (local_servers.endpoints.vectors_key, local_servers.endpoints.embeddings_key):
        assert key and not any(key in text for text in texts)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """Chromium without a network: opens a page, gives the finished DOM and a screenshot."""
    command = shutil.which("chromium")
    if command is None:
        pytest.skip("chromium is not installed: the report was not opened in a browser")
    folder = tmp_path_factory.mktemp("chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,1000"]

    def show(page: Path, *more: str) -> subprocess.CompletedProcess:
        arguments = [command, *options, f"--user-data-dir={folder}", "--enable-logging=stderr", *more, page.as_uri()]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True)

    return show


def test_a_browser_shows_the_finding_first_and_every_plot_and_no_script_fails(made, browser):
    path, finding = made
    page = path.with_name("probed.html")
    page.write_text(path.read_text().replace("<head>", f"<head>{_PROBE_HEAD}", 1).replace("</body>", f"{_PROBE_BODY}</body>", 1))
    shown = browser(page, "--dump-dom")
    probe = json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', shown.stdout, re.DOTALL)[1]))
    assert probe["failed"] == [] and "CONSOLE" not in shown.stderr
    assert probe["before"] == [] and probe["shown"] and 0 <= probe["top"] < 100 and probe["height"] > 100
    assert probe["text"].startswith(finding.question) and finding.answer in probe["text"]
    assert len(probe["images"]) == _PLOTS
    assert all(complete and width > 200 and visible for complete, width, visible in probe["images"])
    assert probe["fetched"] == []


def test_the_findings_mark_is_at_the_top_of_a_screenshot(made, browser, tmp_path):
    path, _ = made
    picture = tmp_path / "report.png"
    browser(path, f"--screenshot={picture}")
    pixels = (imread(picture)[:, :, :3] * 255).round().astype(int)
    rows = (pixels == (0x00, 0x72, 0xB2)).all(axis=2).any(axis=1)  # the colour of the finding's border
    assert rows[:100].any() and rows.sum() > 100
