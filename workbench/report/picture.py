"""The one picture that stands for a notebook."""

import base64
import io

_KINDS = ("image/png", "image/jpeg", "image/svg+xml")
_WIDTH = 480  # pixels of a thumbnail


def picture(notebook) -> str:
    """The image of the cell tagged ``picture``, else the first image of any cell, as a data address; "" if there is none."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells.sort(key=lambda cell: "picture" not in cell.metadata.get("tags", ()))  # stable: the others stay in order
    shown = (output.get("data", {}) for cell in cells for output in cell.outputs)
    return next((_address(kind, data[kind]) for data in shown for kind in _KINDS if kind in data), "")


def thumbnail(address: str) -> str:
    """The same at most 480 pixels wide; drawn shapes scale by themselves, and what is no image has no thumbnail ("")."""
    from PIL import Image

    kind, _, data = address.removeprefix("data:").partition(";base64,")
    if kind == "image/svg+xml" or not address:
        return address
    try:
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            small = image.convert("RGBA")
    except (OSError, ValueError):
        return ""
    small.thumbnail((_WIDTH, 2 * _WIDTH), reducing_gap=2)
    page = Image.new("RGBA", small.size, "white")  # a transparent plot lies on white in the report too
    page.alpha_composite(small)
    out = io.BytesIO()
    page.convert("RGB").quantize(128).save(out, "png", optimize=True)
    return _address("image/png", base64.b64encode(out.getvalue()).decode())


def _address(kind: str, data: str) -> str:
    packed = base64.b64encode(data.encode()).decode() if kind == "image/svg+xml" else "".join(data.split())
    return f"data:{kind};base64,{packed}"
