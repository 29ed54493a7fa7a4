"""What an executed notebook displayed."""

import html
import re

import nbformat


def table(notebook: nbformat.NotebookNode, source: str) -> dict[str, dict[str, str]]:
    """The table that the cell with this source displayed, by row and column."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.startswith(source)]
    table = next(output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {}))
    head, *rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    names = [html.unescape(name) for name in re.findall(r"<th[^>]*>(.*?)</th>", head, re.DOTALL)][1:]
    return {
        html.unescape(re.search(r"<th[^>]*>(.*?)</th>", row, re.DOTALL)[1]): dict(
            zip(names, map(html.unescape, re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)), strict=True)
        )
        for row in rows
        if "<td" in row
    }
