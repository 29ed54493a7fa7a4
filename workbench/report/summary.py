"""What an index needs of a report, kept as JSON inside the report: nothing lies beside it that could be lost or out of date."""

import datetime
import re
from pathlib import Path
from typing import Annotated

import msgspec

from workbench.errors import ReportError

_BLOCK = re.compile(r'<script\b[^>]*\bid="workbench-report"[^>]*>(.*?)</script>', re.DOTALL)  # nbconvert sorts attributes
# Only what lies inside the page: an index never fetches.
Address = Annotated[str, msgspec.Meta(pattern=r"^(data:image/[a-z+]+;base64,[A-Za-z0-9+/=]*)?$")]


class Summary(msgspec.Struct, frozen=True, kw_only=True, tag_field="format", tag="workbench-report-1"):
    """One report: when it was made (UTC), on which commit, with which parameters; its answer, or what failed."""

    name: str
    question: str
    made: datetime.datetime
    commit: str
    parameters: dict[str, str] = {}
    answer: str | None = None
    failure: str | None = None
    thumbnail: Address = ""

    @property
    def origin(self) -> str:
        """One line: when, on which commit, with which parameters."""
        given = ", ".join(f"{name} = {value}" for name, value in self.parameters.items())
        made = self.made.astimezone(datetime.UTC)
        return f"{made:%Y-%m-%d %H:%M} UTC, commit {self.commit}" + (f", with {given}" if given else "")

    def to_block(self) -> str:
        """The element that a report carries in its head."""
        text = msgspec.json.encode(self).decode().replace("<", r"\u003c")  # so that nothing inside can end the element
        return f'<script type="application/json" id="workbench-report">{text}</script>'

    @classmethod
    def read(cls, path: Path) -> "Summary":
        """The summary of the report ``path``.

        Raises:
            ReportError: it is no report of this version, or not of this name, or damaged.
        """
        try:
            text = path.read_text(encoding="utf-8")
            summary = msgspec.json.decode(_BLOCK.search(text)[1], type=cls)
            whole = text.rstrip().endswith("</html>") and summary.name == path.stem
        except (OSError, ValueError, TypeError):  # unreadable, no text or no such JSON, no block
            whole = False
        if not whole:
            raise ReportError(f"{path} is no report of this version", path=str(path))
        return summary
