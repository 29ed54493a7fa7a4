"""The quickstart notebook, executed with small parameters, and its report as a browser shows it."""

import re
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

from .shown import table

_PARAMETERS = {"events": "150", "warmup": "20", "quality_events": "300", "catalogue": "300", "rate": "100", "goal_ms": "500"}
_PLANTED = 3
_PLOTS = 3


@pytest.fixture(scope="module")
def made(local_servers, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finding]:
    return report.report("00-quickstart", _PARAMETERS, output=tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def executed(made) -> nbformat.NotebookNode:
    return nbformat.read(places.state() / "executed" / "00-quickstart.ipynb", as_version=4)


@pytest.fixture
def figures(made) -> dict[str, str]:
    return {figure.label: figure.value for figure in made[1].figures}


def test_every_cell_was_executed_and_none_failed(executed):
    code = [cell for cell in executed.cells if cell.cell_type == "code" and cell.source.strip()]
    assert all(cell.execution_count for cell in code)
    assert [output for cell in code for output in cell.outputs if output.output_type == "error"] == []


def test_both_placements_answered_every_event(executed):
    rows = table(executed, "runs = ")
    assert list(rows) == ["inline", "lambda"]
    for row in rows.values():
        counts = {name: float(row[name]) for name in ("measured", "answered", "dead letters", "lost")}
        assert counts == {"measured": 150, "answered": 170, "dead letters": 0, "lost": 0}
        assert 0 < float(row["p50_ms"]) < 60_000 and row["p99_ms"] == "NaN"  # too few events for a p99


def test_the_stages_of_both_placements_add_up(executed):
    rows = table(executed, "summaries.stages")
    assert list(rows)[: len(WAY) + 1] == [*WAY, "sum"]
    for name in ("inline_ms", "lambda_ms"):
        assert sum(float(rows[stage][name]) for stage in WAY) == pytest.approx(float(rows["sum"][name]), abs=0.1)


def test_each_of_three_users_is_recommended_five_products_by_name(executed):
    rows = table(executed, "summaries.recommended")
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
    shown = table(executed, "quality = ")
    assert {row["users"] for row in shown.values()} == {str(len(hits))}
    assert figures[f"hit rate@5, {OURS}"].startswith(f"{float(shown[OURS]['hit_rate']):.3f} ")


def test_the_answer_says_what_can_be_said_of_so_few_events(made):
    _, finding = made
    assert finding.question == "Can a click become a recommendation within 500 ms?"
    assert finding.answer.startswith("Too few events to say (p99 needs 1,000): at 100 events/s ") and "0 lost" in finding.answer
    assert {"machine", "libraries", "commit", "cloud"} <= set(finding.provenance)


def test_no_key_is_in_the_report(made, executed, local_servers):
    texts = made[0].read_text(), nbformat.writes(executed)
    for key in (local_servers.endpoints.vectors_key, local_servers.endpoints.embeddings_key):
        assert key and not any(key in text for text in texts)


def test_a_browser_shows_the_finding_first_and_every_plot_and_no_script_fails(made, opened):
    path, finding = made
    opened(path, finding, images=_PLOTS + 1)  # and one of them in the header, too


def test_the_findings_mark_is_at_the_top_of_a_screenshot(made, browser, tmp_path):
    path, _ = made
    picture = tmp_path / "report.png"
    browser(path, f"--screenshot={picture}")
    pixels = (imread(picture)[:, :, :3] * 255).round().astype(int)
    rows = (pixels == (0x00, 0x72, 0xB2)).all(axis=2).any(axis=1)  # the colour of the finding's border
    assert rows[:100].any() and rows.sum() > 100
