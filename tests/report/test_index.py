"""The page that lists the reports: from what they say of themselves, whatever lies beside them."""

import base64
import datetime
import io
import threading
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from workbench.errors import ReportError
from workbench.finding import Finding
from workbench.report import index
from workbench.report.page import export
from workbench.report.picture import picture, thumbnail
from workbench.report.summary import Summary

from .pages import Page

_MADE = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
_HOSTILE = "</script><script>alert(1)</script><!-- <b> & \"quoted\" 'too' \u2028 \\"


def _summary(name: str, **facts: object) -> Summary:
    return Summary(name=name, **{"question": f"What is {name}?", "made": _MADE, "commit": "abc123", **facts})


def _write(folder: Path, summary: Summary) -> Path:
    """A small report with this summary."""
    path = folder / f"{summary.name}.html"
    path.write_text(f"<!DOCTYPE html><html><head>{summary.to_block()}</head><body></body></html>", encoding="utf-8")
    return path


def _index(folder: Path, *names: str) -> Page:
    path = index.remake(folder, names)
    assert path == folder / "index.html"
    return Page(path.read_text(encoding="utf-8"))


def _png(size: tuple[int, int] = (1000, 500), colour: object = "red", mode: str = "RGB") -> str:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, "png")
    return base64.encodebytes(out.getvalue()).decode()  # in lines, as kernels send it


def test_a_card_has_question_answer_thumbnail_and_origin(tmp_path):
    small = thumbnail(f"data:image/png;base64,{_png()}")
    _write(tmp_path, _summary("one", answer="Forty-two.", thumbnail=small, parameters={"rate": "5.0"}))
    page = _index(tmp_path, "one")
    assert page.shown == [
        "Reports",
        "What is one?",
        "Forty-two.",
        "one · 2026-01-02 03:04 UTC, commit abc123, with rate = 5.0",
    ]
    assert page.images == [small] and set(page.links) == {"one.html"} and page.fetched == []


def test_cards_are_in_the_notebooks_order_and_only_theirs(tmp_path):
    for name in ("b", "a", "stranger"):
        _write(tmp_path, _summary(name))
    page = _index(tmp_path, "a", "b", "c")
    assert page.links == ["a.html", "b.html"] and page.shown.count("No finding.") == 2


def test_a_failure_is_marked_and_linked_to_its_cell(tmp_path):
    _write(tmp_path, _summary("one", failure="ValueError: <no>"))
    page = _index(tmp_path, "one")
    assert page.shown[1:4] == ["What is one?", "FAILED", "ValueError: <no> ("]
    assert page.links == ["one.html", "one.html#papermill-error-cell"]


def test_an_empty_folder_has_an_index_that_says_so(tmp_path):
    assert _index(tmp_path, "one").shown[1].startswith("There is no report here yet")


def test_names_with_odd_characters_are_linked(tmp_path):
    _write(tmp_path, _summary("a b#c?%"))
    assert _index(tmp_path, "a b#c?%").links == ["a%20b%23c%3F%25.html"]


def _damage(path: Path, how: str) -> None:
    text = path.read_text()
    if how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "bytes":
        path.write_bytes(b"\xff\xfe\x00" + path.read_bytes())
    else:
        path.write_text(
            {
                "empty": "",
                "foreign": "<html><body>hello</body></html>",
                "cut": text[: len(text) // 2],
                "end": text.removesuffix("</html>"),
                "version": text.replace("workbench-report-1", "workbench-report-0"),
                "other": text.replace('"name":"one"', '"name":"two"'),
                "json": text.replace('"format"', '"format'),
                "fields": text.replace('"commit":"abc123",', ""),
                "network": text.replace('"thumbnail":""', '"thumbnail":"https://example.com/a.png"'),
                "date": text.replace("2026-01-02T", "yesterday "),
            }[how]
        )


@pytest.mark.parametrize(
    "how", ["folder", "bytes", "empty", "foreign", "cut", "end", "version", "other", "json", "fields", "network", "date"]
)
def test_a_damaged_or_foreign_file_is_listed_as_no_report_and_the_others_stay(tmp_path, how):
    path = _write(tmp_path, _summary("one", answer="Yes."))
    _write(tmp_path, _summary("two", answer="No."))
    assert Summary.read(path).answer == "Yes."
    _damage(path, how)
    with pytest.raises(ReportError, match=r"one\.html is no report of this version$"):
        Summary.read(path)
    page = _index(tmp_path, "one", "two")
    assert page.shown[1:4] == ["one", "No report of this version.", "workbench report one"]
    assert "No." in page.shown and page.links == ["one.html", "two.html"] and page.fetched == []


def test_whatever_stands_in_a_summary_comes_back_and_breaks_no_page(tmp_path):
    summary = _summary("one", question=_HOSTILE, answer=_HOSTILE, commit=_HOSTILE, parameters={"p": _HOSTILE})
    path = _write(tmp_path, summary)
    assert Summary.read(path) == summary and Page(path.read_text()).shown == []
    page = _index(tmp_path, "one")
    assert page.shown[1:3] == [_HOSTILE, _HOSTILE] and len(page.shown) == 4
    failed = _index(tmp_path.parent, "none")
    assert failed.fetched == []


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_block_has_one_end_and_gives_back_its_summary(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("any") / "one.html"
    summary = _summary("one", question=text, failure=text)
    assert summary.to_block().count("<") == 2
    _write(path.parent, summary)
    assert Summary.read(path) == summary


def test_an_exported_page_carries_its_summary_although_its_cells_imitate_one(tmp_path):
    false = _summary("one", answer="A false one.").to_block()
    cell = new_code_cell(outputs=[new_output("display_data", data={"text/html": false}, metadata={})])
    summary = _summary("one", question=_HOSTILE, answer=_HOSTILE)
    finding = Finding(question=_HOSTILE, answer=_HOSTILE)
    path = tmp_path / "one.html"
    path.write_text(export(new_notebook(cells=[cell]), summary, finding, ""), encoding="utf-8")
    assert Summary.read(path) == summary
    assert Page(path.read_text()).shown[:2] == [_HOSTILE, _HOSTILE]


def _notebook(*cells: tuple[dict, bool]) -> nbformat.NotebookNode:
    """Code cells, each with the data of its one output and whether it is tagged ``picture``."""
    return new_notebook(
        cells=[
            new_code_cell(
                metadata={"tags": ["picture"]} if tagged else {},
                outputs=[new_output("stream", text="a line"), new_output("display_data", data=data)],
            )
            for data, tagged in cells
        ]
    )


def test_the_picture_is_the_tagged_cells_else_the_first():
    text, first, second = {"text/plain": "3"}, {"image/png": "AAAA\n"}, {"image/jpeg": "BBBB", "text/plain": "a plot"}
    assert picture(_notebook((text, False), (first, False), (second, False))) == "data:image/png;base64,AAAA"
    assert picture(_notebook((text, False), (first, False), (second, True))) == "data:image/jpeg;base64,BBBB"
    assert picture(_notebook((text, True), (first, False))) == "data:image/png;base64,AAAA"
    assert picture(_notebook((text, False))) == "" and picture(new_notebook()) == ""


def test_drawn_shapes_are_a_picture_and_their_own_thumbnail():
    drawn = picture(_notebook(({"image/svg+xml": "<svg>é</svg>"}, False)))
    assert base64.b64decode(drawn.removeprefix("data:image/svg+xml;base64,")).decode() == "<svg>é</svg>"
    assert thumbnail(drawn) == drawn


@pytest.mark.parametrize(
    ("size", "small"), [((1000, 500), (480, 240)), ((200, 100), (200, 100)), ((480, 300), (480, 300)), ((100, 4000), (24, 960))]
)
def test_a_thumbnail_is_at_most_480_pixels_wide_and_keeps_its_shape(size, small):
    made = thumbnail(picture(_notebook(({"image/png": _png(size)}, False))))
    with Image.open(io.BytesIO(base64.b64decode(made.removeprefix("data:image/png;base64,")))) as image:
        assert image.size == small and image.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_a_transparent_picture_lies_on_white():
    made = thumbnail(f"data:image/png;base64,{_png((10, 10), (0, 0, 0, 0), 'RGBA')}")
    with Image.open(io.BytesIO(base64.b64decode(made.partition(",")[2]))) as image:
        assert image.convert("RGB").getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("data", ["", "AAAA", "!", _png()[:60]])
def test_what_is_no_image_has_no_thumbnail(data):
    assert thumbnail(f"data:image/png;base64,{data}") == "" and thumbnail("") == ""


def test_reports_that_end_together_are_all_in_the_index(tmp_path):
    names = [f"n{number}" for number in range(12)]

    def end(name: str) -> None:
        _write(tmp_path, _summary(name))
        index.remake(tmp_path, names)

    threads = [threading.Thread(target=end, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Page((tmp_path / "index.html").read_text()).links == [f"{name}.html" for name in names]
    assert not list(tmp_path.glob("*.part"))
