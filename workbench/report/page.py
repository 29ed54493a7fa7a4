"""An executed notebook as one HTML file that needs no network, no scripts, and opens with what was found."""

import html

import nbformat

from workbench.finding import Finding
from workbench.report.execution import FAILED
from workbench.report.summary import Summary

INDEX = "index.html"

# JupyterLab's own look, without its scripts (they come from the network and a report needs none), the answer first.
_TEMPLATE = """
{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{{ resources.summary }}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>{{ resources.style }}</style>{% endblock %}
{% block body_header %}{{ super() }}{{ resources.opening }}{% endblock %}
{% block input_group %}<details class="code"><summary>code</summary>{{ super() }}</details>{% endblock %}
"""
_STYLE = """
body { max-width: 70rem; margin: 0 auto; padding: 0 1rem; }
details.code > summary { color: #666; font: small system-ui, sans-serif; cursor: pointer; }
.finding { border: 1px solid #d0d7de; border-left: 6px solid #0072b2; border-radius: 6px; padding: .5rem 1.5rem; margin: 1rem 0; }
.finding { font-family: system-ui, sans-serif; line-height: 1.4; background: #fff; color: #1f2328; overflow-x: auto; }
.finding .question { font-size: 1.35rem; margin: .5rem 0; } .finding a { color: #0b5a8c; text-decoration: underline; }
.finding .answer { font-size: 1.1rem; margin: .5rem 0 1rem; }
.finding .picture { display: block; max-width: 100%; max-height: 32rem; height: auto; margin: 1rem 0; }
.finding table { border-collapse: collapse; margin: 1rem 0; } .finding th { text-align: left; font-weight: normal; }
.finding th, .finding td { padding: .25rem 1.5rem .25rem 0; border-bottom: 1px solid #eaeef2; } .finding td { font-weight: 600; }
.finding .tag { border-radius: 1em; padding: .05rem .6rem; font-weight: normal; color: #1f2328; background: #eaeef2; }
.finding .measured { background: #d3ecdf; } .finding .simulated { background: #d5e8f5; }
.finding .modelled { background: #fbe7c6; } .finding .quoted { background: #ece0f0; }
.finding .made, .finding summary, .finding dl { font-size: small; font-weight: normal; color: #57606a; }
.finding dt { font-weight: 600; margin-top: .4rem; } .finding dd { margin: 0; overflow-wrap: anywhere; }
.finding summary { cursor: pointer; }
.failed { border-left-color: #d55e00; }
"""


def export(notebook: nbformat.NotebookNode, summary: Summary, finding: Finding | None, picture: str) -> str:
    """The page's HTML. ``picture`` is a data address; it opens the page and also stays where it was made."""
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    _drop_progress(notebook)
    notebook.metadata["title"] = summary.question
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"report.html.j2": _TEMPLATE})], template_file="report.html.j2", embed_images=True
    )
    resources = {
        "metadata": {"name": summary.name},
        "style": _STYLE,
        "summary": summary.to_block(),
        "opening": _opening(summary, finding, picture),
    }
    body, _ = exporter.from_notebook_node(notebook, resources=resources)
    return body


def _opening(summary: Summary, finding: Finding | None, picture: str) -> str:
    """What a reader sees first. A run that failed has no answer, whatever it showed before."""
    made = f'<p class="made">{html.escape(summary.origin)} · <a href="{INDEX}">all reports</a></p>'
    if finding and not summary.failure:
        return finding.to_html(picture=picture, footer=made)
    question = f'<p class="question"><strong>{html.escape(summary.question)}</strong></p>'
    if summary.failure:
        link = f'<a href="#{FAILED}">the cell that failed</a>'
        said = f'<p class="answer">This run failed: {html.escape(summary.failure)} ({link})</p>'
        return f'<section class="finding failed">{said}{question}{made}</section>'
    image = f'<img class="picture" alt="" src="{html.escape(picture)}">' if picture else ""
    return f'<section class="finding">{question}{image}{made}</section>'


def _drop_progress(notebook: nbformat.NotebookNode) -> None:
    """Progress bars say nothing once they are done."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_progress(output)]


def _is_progress(output: nbformat.NotebookNode) -> bool:
    bar = "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    return bar or (output.output_type == "stream" and output.name == "stderr")
