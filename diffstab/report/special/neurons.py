"""Neurons of a net in a plane, before and after training."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from diffstab.errors import ArgumentError
from diffstab.report.document import Picture
from diffstab.report.rendering import render
from diffstab.report.runs import Runs
from diffstab.report.style import FAINT, INK, looks, plain
from diffstab.report.words import number_text, ordered, value_text

_AXES = ("neurons_x", "neurons_y", "neurons_mass")


class Neurons(NamedTuple):
    """Neurons in the plane of a picture: coordinates of any unit and non-negative masses, one per neuron."""

    x: np.ndarray
    y: np.ndarray
    mass: np.ndarray


def neurons(ax: Axes, points: Neurons, *, title: str = "", colour: str = "#0072B2") -> Axes:
    """Draw neurons as discs of area proportional to mass around the origin of the plane.

    Args:
        ax: Axes to draw on.
        points: Neurons; those with a coordinate that is not finite are left out.
        title: Title above the axes.
        colour: Colour of the discs.

    Returns:
        The same axes, with equal scales.

    Raises:
        ArgumentError: The three arrays differ in length.
    """
    x, y, mass = (np.asarray(values, dtype=np.float64) for values in points)
    if not len(x) == len(y) == len(mass):
        raise ArgumentError("points", "have one x, y and mass per neuron", (len(x), len(y), len(mass)))
    kept = np.isfinite(x) & np.isfinite(y) & np.isfinite(mass)
    x, y, mass = x[kept], y[kept], mass[kept]
    largest = mass.max(initial=0.0)
    # The floor keeps neurons of negligible mass visible as dots.
    area = 3 + 137 * (mass / largest if largest > 0 else mass)
    ax.axhline(0, color=FAINT, linewidth=0.6)
    ax.axvline(0, color=FAINT, linewidth=0.6)
    ax.scatter(x, y, s=area, color=colour, alpha=0.45, linewidths=0.4, edgecolors=INK)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set(xlabel="First principal component", ylabel="Second principal component", title=title)
    # Masses grow by orders of magnitude in training: few ticks, or their labels run into each other.
    ax.locator_params(nbins=5)
    return ax


def _runs_with_neurons(frame: pd.DataFrame) -> list[pd.Series]:
    """The run of the largest n_train and first seed of each method that recorded its neurons."""
    needed = [*_AXES, *(f"init_{name}" for name in _AXES)]
    if not set(needed) <= set(frame.columns):
        return []
    known = frame.dropna(subset=needed).sort_values(["n_train", "seed"], ascending=[False, True])
    return [known[known["method"] == method].iloc[0] for method in ordered("method", known["method"])]


def neurons_pictures(runs: Runs) -> Iterator[Picture]:
    """Neurons at the start and after training by each method, a row per data set."""
    frame = runs.frame
    rows = {
        value_text("dataset", name): found
        for name in ordered("dataset", frame["dataset"])
        if (found := _runs_with_neurons(frame[frame["dataset"] == name]))
    }
    if not rows:
        return
    columns = 1 + max(map(len, rows.values()))

    def draw(axes: np.ndarray) -> None:
        for row, (title, found) in zip(axes, rows.items(), strict=True):
            _draw_row(row, title if len(rows) > 1 else "", found)

    size = (3.6 * columns, 3.7 * len(rows))
    rendered = render(draw, size_inches=size, rows=len(rows), columns=columns)
    caption = (
        "Each disc is a hidden neuron, placed by the two main directions of its incoming weights; its area is its mass "
        "(size of the incoming times the outgoing weights). Left: before training. Each panel has its own scale."
    )
    said = "; ".join(f"{title}, {_count_text(one)}" for title, found in rows.items() for one in found)
    alt = f"Effective number of neurons: {said}."
    yield Picture("neurons", rendered, caption, alt, as_png=True, wide=True)


def _draw_row(row: Sequence[Axes], title: str, found: Sequence[pd.Series]) -> None:
    colours = looks(str(one["method"]) for one in found)
    before = Neurons(*(found[0][f"init_{name}"] for name in _AXES))
    neurons(row[0], before, title="before training", colour=FAINT)
    if title:
        row[0].set_ylabel(plain(f"{title}\nSecond principal component"))
    for ax, one in zip(row[1:], found, strict=False):
        after = Neurons(*(one[name] for name in _AXES))
        neurons(ax, after, title=plain(_title(one)), colour=colours[str(one["method"])].colour)
    for ax in row[1 + len(found) :]:
        ax.set_axis_off()


def _title(one: pd.Series) -> str:
    """What tells a run from others of its data set."""
    return f"{value_text('method', one['method'])}, n = {one['n_train']}"


def _count_text(one: pd.Series) -> str:
    names = ("init_effective_neurons", "effective_neurons")
    before, after = (number_text(float(one.get(name, np.nan))) for name in names)
    return f"{_title(one)}: {before} before and {after} after training"
