"""Test error against R, D or G on logarithmic axes, with the fitted power law and the paper's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from diffstab.report.scales import set_scale
from diffstab.report.scatter.points import Points
from diffstab.report.scatter.power_law import PowerLaw
from diffstab.report.style import FAINT, INK, plain
from diffstab.results.numbers import number_text
from diffstab.results.schema import describe

PAPER = (0.2, 0.5)
"""Prefactor and exponent of test error against R, over architectures trained on all of CIFAR-10.

Source: Petrini et al. 2021 (arXiv 2105.02468), figure 4.
"""

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
_MARKERS = "osD^vPX*"


class Marks(NamedTuple):
    """Columns that the looks of points are from.

    Attributes:
        colour: Tells colours apart.
        marker: Tells markers apart; "" is the column of the colours.
        joined: Points that agree in these columns are joined by a thin line; none joins nothing.
    """

    colour: str = "architecture"
    marker: str = ""
    joined: tuple[str, ...] = ()


BY_ARCHITECTURE = Marks()


def draw_scatter(
    ax: Axes,
    points: Points,
    law: PowerLaw | None,
    *,
    against: str = "R",
    marks: Marks = BY_ARCHITECTURE,
    beside: pd.DataFrame | None = None,
) -> Axes:
    """Draw models as points, and the law through them.

    Args:
        ax: Axes to draw on.
        points: From `read_points`.
        law: The fitted law; None draws none.
        against: Column along the horizontal axis.
        marks: What colours, markers and joining lines are from.
        beside: Models of all panels, whose marks are the same in each and explained outside of them; None draws a
            panel that stands alone, with its own legend.

    Returns:
        The same axes.
    """
    frame, models = points.frame, points.frame if beside is None else beside
    colours = _looks(models, marks.colour, _COLOURS)
    markers = _looks(models, marks.marker or marks.colour, _MARKERS)
    columns = list(dict.fromkeys([marks.colour, marks.marker or marks.colour]))
    for values, part in frame.groupby(columns, sort=True):
        first, last = values[0], values[-1]
        _draw_points(ax, part, against, colours[str(first)], markers[str(last)])
    for line in _lines(frame, marks.joined, against):
        colour = colours[str(line[marks.colour].iloc[0])]
        ax.plot(line[against], 100 * line["error"], color=colour, linewidth=0.8, alpha=0.5)
    lines = _draw_laws(ax, frame, law, against)
    set_scale(ax, "x", frame[against].to_numpy(dtype=float), "log")
    set_scale(ax, "y", 100 * frame["error"].to_numpy(dtype=float), "log")
    ax.set_xlabel(describe(against).label)
    ax.set_ylabel("Test error (%)")
    ax.legend(handles=[*(mark_handles(frame, marks) if beside is None else ()), *lines])
    return ax


def mark_handles(frame: pd.DataFrame, marks: Marks) -> list[Line2D]:
    """What a legend of the points shows: colours, then markers where these are of another column."""
    colours, markers = (
        _looks(frame, marks.colour, _COLOURS),
        _looks(frame, marks.marker or marks.colour, _MARKERS),
    )
    is_one = marks.marker in ("", marks.colour)
    found = [_handle(label, colour, markers[label] if is_one else "o") for label, colour in colours.items()]
    return found if is_one else found + [_handle(label, FAINT, marker) for label, marker in markers.items()]


def _looks(frame: pd.DataFrame, column: str, known: Any) -> dict[str, str]:
    values = sorted(map(str, frame[column].unique()))
    return {value: known[number % len(known)] for number, value in enumerate(values)}


def _draw_points(ax: Axes, part: pd.DataFrame, against: str, colour: str, marker: str) -> None:
    ax.errorbar(
        part[against],
        100 * part["error"],
        xerr=_lengths(part, against),
        color=colour,
        marker=marker,
        linestyle="none",
        markersize=5,
        alpha=0.85,
        elinewidth=1,
    )


def _lines(frame: pd.DataFrame, joined: tuple[str, ...], against: str) -> Iterator[pd.DataFrame]:
    """Yield the points of each line in their order: along the number of training images, if it is known."""
    if joined:
        for _, part in frame.groupby(list(joined), sort=True):
            yield part.sort_values("n_train" if "n_train" in part else against)


def _draw_laws(ax: Axes, frame: pd.DataFrame, law: PowerLaw | None, against: str) -> list[Any]:
    ends = np.array([frame[against].min(), frame[against].max()])
    drawn = []
    if law is not None:
        power = rf"$\mathrm{{{against}}}^{{{law.exponent.mean:z.2f}}}$"
        text = f"fit: {number_text(law.prefactor.mean)} {power}"
        drawn += ax.plot(ends, 100 * law.at(ends), color=INK, label=text)
    if against == "R":
        paper = 100 * PAPER[0] * ends ** PAPER[1]
        drawn += ax.plot(ends, paper, color=FAINT, linestyle="--", label="2021 paper: 0.2 √R")
    return drawn


def _handle(label: str, colour: str, marker: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=5, label=plain(label))


def _lengths(part: pd.DataFrame, against: str) -> np.ndarray | None:
    """Lengths of error bars to the left and right, where the intervals are known."""
    low, high = f"{against}_low", f"{against}_high"
    if not {low, high} <= set(part.columns):
        return None
    value = part[against].to_numpy(dtype=float)
    lengths = np.stack([value - part[low].to_numpy(dtype=float), part[high].to_numpy(dtype=float) - value])
    # An interval that is not known is not drawn.
    return np.asarray(np.nan_to_num(np.maximum(lengths, 0)))
