"""Data points and neurons of a layer with the forces on them.

Arrows point where descent moves a point or a neuron: attraction and repulsion are minus the two parts of the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from diffstab.errors import ArgumentError
from diffstab.l2.geometry import principal_planes
from diffstab.report.document import Picture
from diffstab.report.rendering import render
from diffstab.report.runs import Runs
from diffstab.report.special import read_arrays
from diffstab.report.style import FAINT, INK, palette
from diffstab.report.words import number_text

ATTRACTION, REPULSION = (look.colour for look in palette("force", ("attraction", "repulsion")).values())
SUM = INK
CLASSES = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#999933", "#000000", "#888888",
)  # fmt: skip
"""Colours of classes; each is also written as its number, since no ten colours are told apart by all readers."""
_ARROWS = 25
_REACH = 0.22
"""Length of the longest arrow, of the width of the picture."""
_PANEL = (4.0, 3.4)
_TITLES = {1: ("End",), 2: ("Start", "End"), 3: ("Start", "Middle", "End")}


class Snapshot(NamedTuple):
    """A hidden layer at one step.

    Attributes:
        step: Of training.
        representation: Z, shape (n, N).
        attraction: Gradient of the layer's own term, same shape.
        repulsion: Gradient of the next layer's term, same shape.
    """

    step: int
    representation: np.ndarray
    attraction: np.ndarray
    repulsion: np.ndarray


def points_and_forces(ax: Axes, snapshot: Snapshot, *, labels: np.ndarray | None = None) -> Axes:
    """Draw the data points of a layer, columns of Z, on their two principal components, with the forces on some.

    Each point is the number of its class, in the colour of the class; without classes it is a disc. Forces on the
    first 25 points are drawn at one scale. A cross marks the origin, which attraction need not point to: it is scaled
    by the inverse covariance of the layer below.

    Args:
        ax: Axes to draw on.
        snapshot: The layer.
        labels: Class of each point, shape (N,).

    Returns:
        The same axes, with equal scales.
    """
    z, attraction, repulsion = _tensors(snapshot)
    planes = principal_planes(z)
    places = planes.points(z).numpy()
    pushes = [-planes.points(force).numpy() for force in (attraction, repulsion)]
    if labels is None:
        ax.scatter(places[:, 0], places[:, 1], s=16, color=INK, alpha=0.6, linewidths=0)
    else:
        for label in np.unique(labels):
            chosen, colour = places[labels == label], CLASSES[label % len(CLASSES)]
            style: dict[str, Any] = {"s": 34, "color": colour, "linewidths": 0, "zorder": 3}
            ax.scatter(chosen[:, 0], chosen[:, 1], marker=f"${label}$", **style)
    _arrows(ax, places[:_ARROWS], [push[:_ARROWS] for push in pushes])
    return _plane(ax, planes.column_share)


def neurons_and_forces(ax: Axes, snapshot: Snapshot) -> Axes:
    """Draw the neurons of a layer, rows of Z, as rays on their two principal components, with the forces on all.

    Returns:
        The same axes, with equal scales.
    """
    z, attraction, repulsion = _tensors(snapshot)
    planes = principal_planes(z)
    places = planes.neurons(z).numpy()
    for place in places:
        ax.plot([0, place[0]], [0, place[1]], color=FAINT, linewidth=0.8, zorder=1)
    ax.scatter(places[:, 0], places[:, 1], s=18, color="#009E73", edgecolors=INK, linewidths=0.5, zorder=3)
    _arrows(ax, places, [-planes.neurons(force).numpy() for force in (attraction, repulsion)])
    return _plane(ax, planes.row_share)


def _tensors(snapshot: Snapshot) -> list[torch.Tensor]:
    matrices = (snapshot.representation, snapshot.attraction, snapshot.repulsion)
    shapes = [np.shape(matrix) for matrix in matrices]
    if len(set(shapes)) != 1:
        raise ArgumentError("snapshot", "have matrices of one shape", shapes)
    return [torch.from_numpy(np.asarray(matrix, dtype=np.float64)) for matrix in matrices]


def _arrows(ax: Axes, places: np.ndarray, pushes: Sequence[np.ndarray]) -> None:
    """Draw the two forces and their sum at each place; the longest has a fixed length."""
    longest = max(float(np.linalg.norm(push, axis=1).max(initial=0)) for push in pushes)
    width = float(np.ptp(places, axis=0).max(initial=0)) or 1.0
    scale = _REACH * width / longest if longest > 0 else 0.0
    style: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.004, "zorder": 2}
    for push, colour in [*zip(pushes, (ATTRACTION, REPULSION), strict=True), (pushes[0] + pushes[1], SUM)]:
        ax.quiver(*places.T, *(scale * push).T, color=colour, **style)
        # Arrow tips do not count in matplotlib's own limits.
        ax.update_datalim(places + scale * push)
    ax.autoscale_view()


def _plane(ax: Axes, share: float) -> Axes:
    ax.plot([0], [0], marker="+", color=INK, markersize=9, zorder=4)
    ax.set_aspect("equal", adjustable="datalim")
    ax.locator_params(nbins=4)
    ax.set_xlabel(f"Two components, {100 * share:.0f} % of the scatter")
    return ax


Snapshots = tuple[dict[int, list[Snapshot]], np.ndarray | None]
"""The kept states of each hidden layer, by its number l = 1 ... L - 1, and the classes of the points."""


def read_snapshots(path: Path) -> Snapshots:
    """Return the layers that `diffstab forces` kept of one seed.

    Raises:
        ResultsError: If the file is missing or damaged.
    """
    way_out = "Remove its record and start the same command again."
    return read_arrays(path, _snapshots, what="the layers of a run", way_out=way_out)


def _snapshots(arrays: Mapping[str, np.ndarray]) -> Snapshots:
    steps = sorted({int(name.split("_")[0].removeprefix("step")) for name in arrays if "_" in name})
    layers = sorted({int(name.split("_z")[1]) for name in arrays if "_z" in name})
    parts = ("z", "attraction", "repulsion")
    found = {
        layer: [Snapshot(step, *(arrays[f"step{step}_{part}{layer}"] for part in parts)) for step in steps]
        for layer in layers
    }
    return found, arrays.get("labels")


def layer_pictures(runs: Runs) -> Iterator[Picture]:
    """Each hidden layer of the first seed from the start to the end of training."""
    row = runs.frame.iloc[0]
    states, labels = read_snapshots(runs.folders[0] / "snapshots" / f"{row['key']}.npz")
    for layer, kept in states.items():
        yield _layer_picture(layer, kept, labels, row)


def _layer_picture(layer: int, states: list[Snapshot], labels: np.ndarray | None, row: pd.Series) -> Picture:
    titles = _TITLES.get(len(states), ("",) * len(states))

    def draw(axes: np.ndarray) -> None:
        for column, title, state in zip(axes.T, titles, states, strict=True):
            points_and_forces(column[0], state, labels=labels).set_title(f"{title}, step {state.step}")
            neurons_and_forces(column[1], state)
        axes[0, 0].set_ylabel("Data points")
        axes[1, 0].set_ylabel("Neurons")
        names = {"attraction": ATTRACTION, "repulsion": REPULSION, "their sum": SUM}
        handles = [Line2D([], [], color=colour) for colour in names.values()]
        axes[0, 0].figure.legend(handles, names, loc="outside upper left", ncols=3)

    size = (_PANEL[0] * len(states), 2 * _PANEL[1])
    rendered = render(draw, size_inches=size, rows=2, columns=len(states))
    points = "discs" if labels is None else "the numeral of their class"
    caption = (
        f"Layer {layer}, seed {row['seed']}. Above: data points (columns of Z), drawn as {points}, in the plane of "
        "their two main directions, with the forces on 25 of them. Below: neurons (rows of Z) as rays from the origin. "
        "Each panel has its own plane and its own scale of arrows."
    )
    alt = (
        f"{caption} At the end the sum of the forces is {number_text(100 * row[f'imbalance_{layer}'])} % of their "
        f"sizes, and the live neurons lie on {number_text(row[f'groups_{layer}'])} rays."
    )
    return Picture(f"layer{layer}-forces", rendered, caption, alt, as_png=True, wide=True)
