"""All reports of a folder on one page: a card each, from what the reports say of themselves."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from workbench.errors import ReportError
from workbench.report.execution import FAILED
from workbench.report.files import write
from workbench.report.page import INDEX
from workbench.report.summary import Summary

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Reports</title>
<style>
body { max-width: 76rem; margin: 0 auto; padding: 1.5rem; font: 1rem/1.45 system-ui, sans-serif; }
body { color: #1f2328; background: #f6f8fa; }
h1 { font-size: 1.5rem; margin: 0 0 1.25rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); gap: 1.25rem; }
article { display: flex; flex-direction: column; overflow: hidden; }
article { background: #fff; border: 1px solid #d0d7de; border-top: 5px solid #0072b2; border-radius: 6px; }
article.failed { border-top-color: #d55e00; } article.unknown { border-top-color: #8c959f; }
article > a { border-bottom: 1px solid #eaeef2; }
img { display: block; width: 100%; height: 11rem; object-fit: contain; background: #fff; }
.text { padding: .9rem 1.1rem; display: flex; flex-direction: column; flex: 1; overflow-wrap: anywhere; }
a { color: #0b5a8c; }
h2 { font-size: 1.1rem; line-height: 1.3; margin: 0 0 .5rem; } h2 a { text-decoration: none; }
h2 a:hover, h2 a:focus { text-decoration: underline; }
p { margin: 0 0 .75rem; } .failed strong { color: #b34700; }
footer { margin-top: auto; font-size: small; color: #57606a; }
</style>
</head>
<body>
<h1>Reports</h1>
<main>
{% for name, summary in cards %}
{% if not summary %}
<article class="unknown"><div class="text">
<h2><a href="{{ name | address }}.html">{{ name }}</a></h2><p>No report of this version.</p>
<footer>workbench report {{ name }}</footer>
</div></article>
{% else %}
<article{% if summary.failure %} class="failed"{% endif %}>
{% if summary.thumbnail %}<a href="{{ name | address }}.html"><img alt="" src="{{ summary.thumbnail }}"></a>{% endif %}
<div class="text">
<h2><a href="{{ name | address }}.html">{{ summary.question }}</a></h2>
{% if summary.failure %}
<p><strong>FAILED</strong> {{ summary.failure }} (<a href="{{ name | address }}.html#{{ failed }}">the cell that failed</a>)</p>
{% else %}
<p>{{ summary.answer or "No finding." }}</p>
{% endif %}
<footer>{{ name }} · {{ summary.origin }}</footer>
</div>
</article>
{% endif %}
{% else %}
<p>There is no report here yet: <code>workbench report NAME</code> makes one.</p>
{% endfor %}
</main>
</body>
</html>
"""


def remake(folder: Path, names: Sequence[str]) -> Path:
    """Write ``index.html``: a card for each of the notebooks ``names`` that has a report in the folder; returns its path.

    A file of such a name that is no report of this version has a card that says so.

    Raises:
        ReportError: it cannot be written; the old index is as it was.
    """
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters["address"] = lambda name: quote(name, safe="")
    with _alone(folder):
        cards = [(name, _read(path)) for name in names if (path := folder / f"{name}.html").exists()]
        write(folder / INDEX, environment.from_string(_TEMPLATE).render(cards=cards, failed=FAILED))
    return folder / INDEX


def _read(path: Path) -> Summary | None:
    try:
        return Summary.read(path)
    except ReportError:
        return None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of two reports that end together, the later index must have both. The folder is its own lock: no file is left behind."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
