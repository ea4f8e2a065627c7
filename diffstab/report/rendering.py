"""Matplotlib figures as files: PNG, PDF and an SVG that can stand inside an HTML page."""

import base64
import io
import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diffstab.report.marks import HOVER, NEXT
from diffstab.report.style import figure_style


class Rendered(NamedTuple):
    """One figure in three formats.

    Attributes:
        png: The PNG file.
        pdf: The PDF file.
        svg: The ``<svg>`` element, without prolog and fixed size.
    """

    png: bytes
    pdf: bytes
    svg: str

    @property
    def png_uri(self) -> str:
        """The PNG as a data address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")

    def file(self, kind: str) -> bytes:
        """The content of a file: png, pdf or svg."""
        if kind == "svg":
            return self.svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1).encode("utf-8")
        return self.png if kind == "png" else self.pdf


def render(
    draw: Callable[[np.ndarray], object],
    *,
    size_inches: tuple[float, float] = (4.8, 3.6),
    rows: int = 1,
    columns: int = 1,
    projection: str | None = None,
) -> Rendered:
    """Draw on fresh axes in the project's look and save in all formats; the same input gives the same bytes.

    Args:
        draw: Called with the array (rows, columns) of axes.
        size_inches: Width and height.
        rows: Rows of axes.
        columns: Columns of axes.
        projection: Matplotlib's name of the projection of all axes ("mollweide", say); None for plain ones.
    """
    with figure_style():
        figure = Figure(figsize=size_inches, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.subplots(rows, columns, squeeze=False, subplot_kw={"projection": projection}))
        return render_figure(figure)


def render_figure(figure: Figure) -> Rendered:
    """Save a figure with a canvas in all formats; the same figure gives the same bytes. Call it in `figure_style`."""
    # The layout is the slow part: once for all formats.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    # Dates and program names would make equal figures differ.
    png = _saved(figure, "png", {"Software": None})
    pdf = _saved(figure, "pdf", {"CreationDate": None, "Creator": None, "Producer": None})
    svg = _saved(figure, "svg", {"Creator": None, "Date": None, "Format": None, "Type": None})
    return Rendered(png, pdf, _inline(svg.decode("utf-8")))


def file_stem(text: str) -> str:
    """A file name for any text: the text where it is harmless, else what is left of it and a checksum."""
    kept = re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:48]
    return kept if kept == text != "" else f"{kept}-{zlib.crc32(text.encode()):08x}"


def with_prefix(svg: str, name: str) -> str:
    """The element with its identifiers, and the links to them, begun by a name that is unique within a page."""
    prefix = re.sub(r"\W", "_", name)
    return re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\g<1>{prefix}-", svg)


def _saved(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def _inline(svg: str) -> str:
    """The bare element: sized by the page, hover texts as data attributes."""
    element = re.sub(r"<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    head, rest = element.split(">", 1)
    head = re.sub(r'\s(width|height|xmlns|xmlns:xlink|version)="[^"]*"', "", head)
    rest = re.sub(r'\bxlink:href="#', 'href="#', _with_texts(rest))
    return f'{head} aria-hidden="true" focusable="false">{rest.strip()}'


def _with_texts(svg: str) -> str:
    """Hover texts as data of what they stand for: the group of an artist, or each of its markers in their order."""
    first, *others = re.split(rf'\bid="{HOVER}([^"]*)"', svg)
    pairs = zip(others[::2], others[1::2], strict=True)
    return first + "".join(_told(texts.split(NEXT), rest) for texts, rest in pairs)


def _told(texts: list[str], rest: str) -> str:
    """The rest of an artist's group, and what follows it, with the texts in their places."""
    if len(texts) == 1:
        return f'class="point" data-hover="{texts[0]}"{rest}'
    # The groups of artists have names; those inside them have none.
    mine, name, others = rest.partition('<g id="')
    head, *markers = mine.split("<use ")
    if len(markers) != len(texts):
        # What is not finite is not drawn: better no text than that of another marker.
        return rest
    told = [f'<use class="point" data-hover="{text}" {marker}' for text, marker in zip(texts, markers)]
    return "".join([head, *told, name, others])
