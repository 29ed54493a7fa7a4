"""Files that are written whole or not at all."""

import contextlib
from pathlib import Path

from workbench.errors import ReportError


def folder(path: Path) -> None:
    """Make it unless it is there.

    Raises:
        ReportError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"{path} cannot be a folder of reports: {error.strerror or error}") from error


def write(target: Path, text: str) -> None:
    """All of it or nothing: whoever reads sees the old file or the new one.

    Raises:
        ReportError: it cannot be written (a full disk, no permission); the old file is as it was.
    """
    draft = target.with_suffix(".part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        raise ReportError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
