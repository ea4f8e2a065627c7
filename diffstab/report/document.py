"""A self-contained HTML page put together from sections of sentences, pictures and sortable tables."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from diffstab.errors import ArgumentError
from diffstab.report.rendering import Rendered, with_prefix

BADGES = {"holds": "✓", "does not": "✕", "no effect": "≈", "undecided": "?", "not tested": "–"}
"""Verdicts and the sign before each: neither the colour nor the sign alone tells them apart."""
_LONG = 24
"""Letters from which the text of a cell may break into lines."""
_POINTS_PER_INCH = 72


class Picture(NamedTuple):
    """A figure of a page.

    Attributes:
        stem: Name of its files under ``figures/``, without ending; unique within a page.
        rendered: The drawn figure.
        caption: What it shows, for all readers.
        alt: What it says, for readers who cannot see it.
        as_png: Whether the page embeds the PNG rather than the SVG: for images and for thousands of points.
        wide: Whether it takes the full width of the page.
    """

    stem: str
    rendered: Rendered
    caption: str
    alt: str
    as_png: bool = False
    wide: bool = False

    @property
    def svg(self) -> Markup:
        """The SVG element; its texts were escaped when matplotlib wrote it."""
        return Markup(with_prefix(self.rendered.svg, self.stem))

    @property
    def width_inches(self) -> float:
        """Width at which its letters have the size they were drawn for; a narrow screen scrolls it."""
        box = re.search(r'viewBox="0 0 ([0-9.]+) ', self.rendered.svg)
        return float(box.group(1)) / _POINTS_PER_INCH if box else 0.0

    @property
    def has_points(self) -> bool:
        """Whether the embedded SVG has points that show their value."""
        return not self.as_png and 'class="point"' in self.rendered.svg


class TableCell(NamedTuple):
    """A table cell.

    Attributes:
        text: What it shows.
        value: What it is sorted by; None for the text.
        badge: Verdict to set it out as, a key of `BADGES`; "" for a plain cell.
        link: Anchor of the section of the page that it leads to; "" for none.
    """

    text: str
    value: float | str | None = None
    badge: str = ""
    link: str = ""

    @property
    def sign(self) -> str:
        """The sign before a verdict."""
        if self.badge not in BADGES:
            raise ArgumentError("badge", f"be one of {', '.join(BADGES)}", repr(self.badge))
        return BADGES[self.badge]

    @property
    def is_long(self) -> bool:
        """Whether its text may break into lines."""
        return len(self.text) > _LONG

    @property
    def is_number(self) -> bool:
        """Whether the cell is aligned and sorted as a number."""
        return self.value is not None and not isinstance(self.value, str)

    @property
    def sort_key(self) -> str:
        """The value as an attribute; empty, and so sorted last, for NaN."""
        if self.value is None or isinstance(self.value, str):
            return self.text if self.value is None else self.value
        return repr(float(self.value)) if math.isfinite(self.value) else ""


class Table(NamedTuple):
    """A sortable table; every row has as many cells as there are headers. `name` is that of its file."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    name: str = ""


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        title: Heading.
        sentences: Paragraphs below it.
        verdicts: Pairs (label, sentence) set out as a list of findings.
        pictures: Figures.
        tables: Tables.
        facts: Pairs (label, value) set out as a list of settings.
        source: Text shown as it stands, folded away (a configuration, say).
        level: Of the heading: 2 for a part, 3 for a part of it.
        anchor: Name by which cells of tables link to it; "" for none.
        words: Pairs (word, definition) that stand before everything else.
        is_folded: Whether its content is shown at a click only.
    """

    title: str
    sentences: Sequence[str] = ()
    verdicts: Sequence[tuple[str, str]] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    facts: Sequence[tuple[str, str]] = ()
    source: str = ""
    level: int = 2
    anchor: str = ""
    words: Sequence[tuple[str, str]] = ()
    is_folded: bool = False


class Document(NamedTuple):
    """A page.

    Attributes:
        title: Heading.
        line: Below it: the question.
        topic: What it is about, beside the project's name.
        sections: Parts in order.
        notes: Cautions, shown after the first part.
    """

    title: str
    line: str
    topic: str
    sections: Sequence[Section]
    notes: Sequence[str] = ()

    def html(self) -> str:
        """Return the page as one HTML text that needs no other file and no network.

        All texts are escaped; a content policy in the page forbids it to load anything.
        """
        environment = Environment(
            loader=PackageLoader("diffstab.report", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["unbroken"] = unbroken
        return environment.get_template("page.html.j2").render(self._asdict())


def unbroken(text: str) -> str:
    """The text with intervals, sizes and units that no line breaks."""
    return re.sub(r"\[[^\]]*\]|\b\w = \S+|\d %|× \S+", lambda found: found[0].replace(" ", "\u00a0"), text)
