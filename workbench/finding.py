"""The answer of a notebook: one sentence, its key figures, what it was measured on. Reports open with it."""

import html
from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from workbench.errors import SettingError

Tag = Literal["measured", "simulated", "modelled", "quoted"]
MIME = "application/vnd.workbench.finding+json"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One key figure: ``value`` as it is to be read, unit included, and how it came about."""

    label: str
    value: str
    tag: Tag = "measured"

    def __post_init__(self) -> None:
        if self.tag not in get_args(Tag):
            raise SettingError("tag", self.tag, f"one of {', '.join(get_args(Tag))}")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a notebook found. Displayed as the last line of a cell, it also travels to the report and the terminal."""

    question: str
    answer: str
    figures: Sequence[Figure] = ()
    provenance: dict[str, str] = {}

    def _repr_mimebundle_(self, **_: object) -> dict:
        return {MIME: msgspec.to_builtins(self), "text/html": self.to_html(), "text/plain": self.to_text()}

    @classmethod
    def from_notebook(cls, notebook) -> "Finding | None":
        """The last finding among the outputs of an executed notebook."""
        found = None
        for cell in notebook.cells:
            for output in cell.get("outputs", ()):
                if MIME in output.get("data", {}):
                    found = msgspec.convert(output["data"][MIME], cls)
        return found

    def to_text(self) -> str:
        """A short table for the terminal."""
        wide = max((len(figure.label) for figure in self.figures), default=0)
        rows = [f"  {figure.label:<{wide}}  {figure.value}  ({figure.tag})" for figure in self.figures]
        return "\n".join([self.answer, *rows])

    def to_html(self, *, picture: str = "", footer: str = "") -> str:
        """The block that a report opens with: question, answer, the address of one ``picture``, figures, provenance.

        ``footer`` is HTML, and goes last.
        """
        image = f'<img class="picture" alt="" src="{html.escape(picture)}">' if picture else ""
        rows = "".join(
            f"<tr><th>{html.escape(figure.label)}</th><td>{html.escape(figure.value)}</td>"
            f'<td><small class="tag {figure.tag}">{figure.tag}</small></td></tr>'
            for figure in self.figures
        )
        facts = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in self.provenance.items())
        return (
            '<section class="finding">'
            f'<p class="question"><strong>{html.escape(self.question)}</strong></p>'
            f'<p class="answer">{html.escape(self.answer)}</p>{image}<table>{rows}</table>'
            f"<details><summary>Measured on</summary><dl>{facts}</dl></details>{footer}</section>"
        )
