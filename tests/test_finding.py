"""A finding travels from a cell to the report and the terminal unchanged, and cannot break either."""

import html.parser
import json

import msgspec
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from workbench.finding import MIME, Figure, Finding

FINDING = Finding(
    question="Is it fast?",
    answer="Yes: p99 is 89 ms.",
    figures=[Figure(label="p99", value="89 ms"), Figure(label="price a month", value="7 $", tag="quoted")],
    provenance={"machine": "2 cores", "cloud": "embedded"},
)


def displayed(finding: Finding) -> nbformat.NotebookNode:
    return new_code_cell(outputs=[new_output("execute_result", data=finding._repr_mimebundle_(include=None, exclude=None))])


class Tags(html.parser.HTMLParser):
    """What a browser makes of it: tags, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.open, self.texts = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_a_finding_comes_back_from_a_notebook_that_was_saved(tmp_path):
    path = tmp_path / "n.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Q"), new_code_cell("x = 1"), displayed(FINDING)]), path)
    assert Finding.from_notebook(nbformat.read(path, 4)) == FINDING


def test_the_last_finding_counts():
    first = msgspec.structs.replace(FINDING, answer="Not yet")
    assert Finding.from_notebook(new_notebook(cells=[displayed(first), displayed(FINDING), new_code_cell("1")])) == FINDING


def test_a_notebook_without_a_finding_has_none():
    outputs = [new_output("stream", text="hello"), new_output("execute_result", data={"text/plain": "3"})]
    outputs += [new_output("error", ename="E", evalue="v", traceback=[])]
    assert Finding.from_notebook(new_notebook(cells=[new_markdown_cell("a"), new_code_cell(outputs=outputs)])) is None


def test_the_bundle_is_plain_json():
    bundle = FINDING._repr_mimebundle_()
    assert json.loads(json.dumps(bundle[MIME])) == msgspec.to_builtins(FINDING)
    assert bundle["text/plain"] == FINDING.to_text() and bundle["text/html"] == FINDING.to_html()


def test_text_is_a_table_with_every_figure_and_how_it_came_about():
    assert FINDING.to_text() == ("Yes: p99 is 89 ms.\n  p99            89 ms  (measured)\n  price a month  7 $  (quoted)")
    assert Finding(question="Q", answer="A").to_text() == "A"


def test_html_opens_with_question_and_answer_and_keeps_the_provenance_folded():
    page = Tags(FINDING.to_html())
    assert page.texts[:2] == ["Is it fast?", "Yes: p99 is 89 ms."]
    assert page.texts[2:] == ["p99", "89 ms", "measured", "price a month", "7 $", "quoted", "Measured on", *provenance()]
    assert page.open == [] and "details" in page.tags


def test_the_picture_stands_after_the_answer_and_the_footer_last():
    text = FINDING.to_html(picture="data:image/png;base64,AAAA", footer="<p>the end</p>")
    places = [text.index(part) for part in ("89 ms.", 'src="data:image/png;base64,AAAA"', "<table>", "</details>", "the end")]
    assert places == sorted(places) and "<img" not in FINDING.to_html()
    assert '"><b>' not in FINDING.to_html(picture='"><b>')


def provenance() -> list[str]:
    return ["machine", "2 cores", "cloud", "embedded"]


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a & b < c", "</section>"])
def test_html_escapes_whatever_stands_in_it(hostile):
    finding = Finding(
        question=hostile, answer=hostile, figures=[Figure(label=hostile, value=hostile)], provenance={hostile: hostile}
    )
    page = Tags(finding.to_html())
    assert page.tags == Tags(FINDING.to_html()).tags and page.open == []
    assert page.texts.count(hostile) == 6


def test_a_figure_in_a_notebook_needs_a_known_tag():
    bundle = FINDING._repr_mimebundle_()
    bundle[MIME]["figures"][0]["tag"] = "guessed"
    with pytest.raises(msgspec.ValidationError, match="guessed"):
        Finding.from_notebook(new_notebook(cells=[new_code_cell(outputs=[new_output("execute_result", data=bundle)])]))
