"""Notebook 02, executed with small parameters: too few queries for a p99, enough to see that every part is there and adds up."""

import nbformat
import pytest

from workbench import places, report, results
from workbench.experiments import index
from workbench.finding import Finding
from workbench.settings import Settings

from .shown import table

_PARAMETERS = {
    "sizes": "[1120]",
    "indexes": "['flat', 'hnsw:ef_search=32']",
    "queries": "60",
    "warmup": "10",
    "repeats": "1",
    "query_rate": "60",
    "write_batches": "[20]",
    "seconds": "2",
    "peers": "[]",
}
_PLOTS = 7
_SWEEPS = {"02-index": 2, "02-index-filters": 1, "02-index-churn": 1, "02-index-served": 1}


@pytest.fixture(scope="module")
def made(state_folder, tmp_path_factory: pytest.TempPathFactory):
    return report.report("02-index", _PARAMETERS, output=tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def executed(made) -> nbformat.NotebookNode:
    return nbformat.read(places.state() / "executed" / "02-index.ipynb", as_version=4)


@pytest.fixture
def figures(made) -> dict[str, str]:
    return {figure.label: figure.value for figure in made[1].figures}


def test_every_point_was_measured_once_and_none_failed(made):
    for name, points in _SWEEPS.items():
        frame = results.load(name)
        assert frame.error.tolist() == [""] * points and frame.smoke.all()
    assert sorted(results.load("02-index")["index"]) == ["flat", "hnsw:m=16,ef_construction=100,ef_search=32"]


def test_every_pair_of_settings_was_asked_every_query(made):
    samples = results.samples("02-index")
    assert samples.groupby(["index", "threads"]).size().to_dict() == {
        (text, threads): 60
        for text in ("flat", *(f"hnsw:m=16,ef_construction=100,ef_search={ef}" for ef in (16, 32)))
        for threads in (1, 2)
    }
    assert (samples.recall[samples["index"] == "flat"] == 1).all() and samples.recall.mean() > 0.9


def test_a_filtered_search_finds_what_one_that_filters_afterwards_misses(made):
    filtered = results.samples("02-index-filters")
    narrow = filtered[filtered.share_pct == 0.1].groupby("way").recall.mean()
    assert narrow["filtered search"] == 1 and narrow["search, then filter"] < 0.5


def test_nothing_that_was_deleted_was_found(made, figures):
    steps = results.samples("02-index-churn")
    queries, probes = steps[steps.what == "query"], steps[steps.what == "probe"]
    assert len(queries) == 120 and (queries.stale == 0).all() and queries.recall.mean() > 0.95
    assert len(probes) and probes.latency_ms.notna().all()
    assert figures["deleted records found, all runs"] == "0" and figures["runs that failed"] == "0"


def test_the_table_shows_what_the_results_hold(executed):
    asked = results.samples("02-index-served")
    alone = asked[asked.threads == 1].groupby("way")
    served = table(executed, "here = base.but")
    assert list(served) == ["in process", "bare HTTP", "SDK"]
    for way, row in served.items():
        rows = alone.get_group(way)
        assert float(row["recall@10"]) == pytest.approx(rows.recall.mean(), abs=1e-3)
        assert float(row["p50_ms"]) == pytest.approx(rows.query_us.median() / 1000, rel=0.2)
        assert row["p99_ms"] == "NaN"


def test_the_finding_says_what_can_be_said_of_so_few_queries(made, figures):
    _, finding = made
    assert isinstance(finding, Finding) and finding.question == "Which index for which goal?"
    assert finding.answer.startswith("Among 1,120 texts at recall@10 ≥ 0.95: HNSW m=16 efC=100 (ef ")
    assert "a trial, not a finding" in finding.answer and "p99" not in figures["quickest at recall@10 ≥ 0.9, 1,120 texts"]
    assert not any(label.startswith("p50 at equal recall") for label in figures)  # no peers


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
    _, again = report.report("02-index", _PARAMETERS, output=made[0].parent / "again")
    assert len(files) == 5 and [file.stat().st_mtime_ns for file in files] == times
    assert again.answer == made[1].answer and again.figures == made[1].figures


def test_every_index_of_the_grid_can_be_built_over_ten_thousand_texts():
    assert len(index.designs(Settings(), [10_000], index.GRID)) == len(index.GRID) - 1  # 1,024 lists need 39,936
