"""Figures of forces during training: every function draws on the axes it is given and returns them.

Arrows point where descent moves a point or a neuron: attraction and repulsion are minus the two parts of the gradient.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from diffstab.errors import ArgumentError
from diffstab.l2.geometry import principal_planes
from diffstab.report.figures import HOVER, NEXT
from diffstab.report.numbers import number_text
from diffstab.report.style import FAINT, INK, Look

ATTRACTION, REPULSION, SUM = "#0072B2", "#D55E00", INK
LAYERS = (
    Look("#0072B2", "o", "-"),
    Look("#D55E00", "s", "-"),
    Look("#009E73", "^", "-"),
    Look("#CC79A7", "D", "-"),
    Look("#000000", "v", "-"),
)
"""Look of the layers 1, 2, ...; it repeats beyond five."""
CLASSES = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#999933", "#000000", "#888888",
)  # fmt: skip
"""Colours of classes; each is also written as its number, since no ten colours are told apart by all readers."""
_ARROWS = 25
_REACH = 0.22
"""Length of the longest arrow, of the width of the picture."""
_DASHES = (0, (4, 3))


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
            ax.scatter(
                chosen[:, 0], chosen[:, 1], s=34, marker=f"${label}$", color=colour, linewidths=0, zorder=3
            )
    _arrows(ax, places[:_ARROWS], [push[:_ARROWS] for push in pushes])
    return _plane(ax, planes.column_share)


def neurons_and_forces(ax: Axes, snapshot: Snapshot) -> Axes:
    """Draw the neurons of a layer, rows of Z, as rays on their two principal components, with the forces on all.

    Args:
        ax: Axes to draw on.
        snapshot: The layer.

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
    drawn = [*zip(pushes, (ATTRACTION, REPULSION), strict=True), (pushes[0] + pushes[1], SUM)]
    for push, colour in drawn:
        ax.quiver(
            *places.T,
            *(scale * push).T,
            color=colour,
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.004,
            zorder=2,
        )
        # Arrow tips do not count in matplotlib's own limits.
        ax.update_datalim(places + scale * push)
    ax.autoscale_view()


def _plane(ax: Axes, share: float) -> Axes:
    ax.plot([0], [0], marker="+", color=INK, markersize=9, zorder=4)
    ax.set_aspect("equal", adjustable="datalim")
    ax.locator_params(nbins=4)
    ax.set_xlabel(f"Two components, {100 * share:.0f} % of the scatter")
    return ax


def trace(
    ax: Axes, frame: pd.DataFrame, columns: Mapping[str, tuple[str, Look]], *, logarithmic: bool = True
) -> Axes:
    """Draw recorded columns against the step, a line per record, on a scale that shows step 0.

    Args:
        ax: Axes to draw on.
        frame: Records of `diffstab forces`.
        columns: Label and look by name of a column, without `trace_`; its lists go with those of `trace_step`.
        logarithmic: Whether the values are drawn on a log axis.

    Returns:
        The same axes.
    """
    for name, (label, look) in columns.items():
        for index, (steps, values) in enumerate(
            zip(frame["trace_step"], frame[f"trace_{name}"], strict=True)
        ):
            texts = [f"{label}, step {step:g}: {number_text(value)}" for step, value in zip(steps, values)]
            ax.plot(
                steps,
                values,
                color=look.colour,
                linestyle=look.linestyle,
                marker=look.marker,
                markersize=3,
                linewidth=1.4,
                alpha=1.0 if len(frame) == 1 else 0.6,
                label=label if index == 0 else None,
                gid=HOVER + NEXT.join(texts),
            )
    for stage in ("adam", "finish"):
        begins = [_first_of(row["trace_step"], row["trace_stage"], stage) for _, row in frame.iterrows()]
        if known := [begin for begin in begins if begin is not None]:
            ax.axvline(min(known), color=INK, linewidth=0.8, linestyle=_DASHES, zorder=1.5)
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(left=-0.3)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("Step")
    if logarithmic:
        ax.set_yscale("log")
    else:
        ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2)
    return ax


def _first_of(steps: Sequence[float], stages: Sequence[str], stage: str) -> float | None:
    """Return the last step before a stage, None without that stage."""
    found = [index for index, name in enumerate(stages) if name == stage]
    return float(steps[found[0] - 1]) if found else None
