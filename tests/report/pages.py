"""Notebooks of the tests' own, and what a browser makes of a page."""

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import nbformat


def write_notebook(path: Path, sources: Sequence[str], **metadata: object) -> None:
    """A cell for each source: ``# …`` is Markdown, ``#TAG`` on a line of its own is the cell's tag, anything else is code."""
    cells = []
    for source in sources:
        first, _, rest = source.partition("\n")
        if first.lstrip("#").startswith(" "):
            cells.append(nbformat.v4.new_markdown_cell(source))
        else:
            tags = {"tags": [first[1:]]} if first.startswith("#") else {}
            cells.append(nbformat.v4.new_code_cell(rest if tags else source, metadata=tags))
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={**spec, **metadata}), path)


class Page(HTMLParser):
    """What a browser would fetch, what it would link to, and what it would show first."""

    _FETCHED = (("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("object", "data"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.images: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.shown: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self._inside.append(tag)
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named["href"]] if tag == "a" and "href" in named else []
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
