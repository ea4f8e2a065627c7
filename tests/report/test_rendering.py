"""Drawings as SVG: texts of points, identifiers, and the same bytes for the same drawing."""

import re

import numpy as np

from diffstab.report.document import Picture
from diffstab.report.marks import HOVER, NEXT
from diffstab.report.rendering import render


def texts_of(svg):
    return re.findall(r'<(\w+) class="point" data-hover="([^"]*)"', svg)


def test_one_text_stands_for_an_artist():
    drawing = render(lambda axes: axes.item().plot([1], [2], "o", gid=f"{HOVER}a & <b>"))
    assert texts_of(drawing.svg) == [("g", "a &amp; &lt;b&gt;")]


def test_each_marker_of_a_line_and_of_a_scatter_has_its_text():
    def draw(axes):
        axes.item().plot([1, 2, 3], [1, 2, 3], "o-", gid=HOVER + NEXT.join("abc"))
        axes.item().scatter([1, 2], [3, 1], gid=HOVER + NEXT.join("de"))
        axes.item().plot([1, 2], [0, 1], "s")

    # Scatters are drawn below lines.
    found = texts_of(render(draw).svg)
    assert found == [("use", letter) for letter in "deabc"]


def test_a_line_whose_markers_are_not_as_many_as_its_texts_has_none():
    def draw(axes):
        axes.item().plot([1, 2], [1, 2], gid=HOVER + NEXT.join("ab"))
        axes.item().plot([1, np.nan], [1, 2], "o", gid=HOVER + NEXT.join("cd"))
        axes.item().plot([1, 2], [2, 1], "o")

    assert texts_of(render(draw).svg) == []


def test_a_page_prefixes_identifiers_and_keeps_links_together():
    drawing = render(lambda axes: axes.item().plot(np.arange(3), "o"))
    svg = Picture("new/name", drawing, "", "").svg
    names = set(re.findall(r'\bid="([^"]*)"', svg))
    links = set(re.findall(r'(?:href="|url\()#([^")]*)', svg))
    assert links
    assert links <= names
    assert all(name.startswith("new_name-") for name in names)
    assert Picture("other", drawing, "", "").svg != svg
