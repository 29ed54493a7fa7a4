"""The notebooks that can be reported, and what they say of themselves."""

from pathlib import Path

from workbench import places
from workbench.errors import ReportError


def names() -> list[str]:
    """The notebooks that can be reported."""
    return names_in(places.NOTEBOOKS)


def names_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.ipynb"))


def path_of(name: str) -> Path:
    """
    Raises:
        ReportError: there is no notebook of that name.
    """
    if name not in names():
        raise ReportError(f"there is no notebook {name!r}: the notebooks are {', '.join(names())}")
    return places.NOTEBOOKS / f"{name}.ipynb"


def questions() -> dict[str, str]:
    """Each notebook's question by its name; what is wrong with a file instead, if it is no notebook."""
    asked = {}
    for name in names():
        try:
            asked[name] = question(read(path_of(name)), name)
        except ReportError as error:
            asked[name] = str(error)
    return asked


def read(path: Path):
    """The notebook in a file, in the current format.

    Raises:
        ReportError: the file is no notebook.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # a JSON file that is no notebook makes nbformat stumble in more ways than it documents
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ReportError(f"{path.name} is no notebook: {first}") from error
    return notebook


def question(notebook, name: str) -> str:
    """The notebook's title, which is the question it answers; ``name`` if it has none."""
    lines = (line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), name)


def side_by_side(notebook) -> bool:
    """Whether it may be executed beside others: it says so in its metadata, as ``{"workbench": {"side_by_side": true}}``.

    Any other is executed alone, because measurements of latency disturb each other.
    """
    said = notebook.metadata.get("workbench", {})
    return isinstance(said, dict) and said.get("side_by_side") is True
