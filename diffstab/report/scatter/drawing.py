"""Test error against R, D or G on logarithmic axes, with the fitted power law and the paper's."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from diffstab.report.scales import set_scale
from diffstab.report.scatter.points import Points
from diffstab.report.scatter.power_law import PowerLaw
from diffstab.report.style import FAINT, INK, plain
from diffstab.results.schema import describe

PAPER = (0.2, 0.5)
"""Prefactor and exponent of test error against R, over architectures trained on all of CIFAR-10.

Source: Petrini et al. 2021 (arXiv 2105.02468), figure 4.
"""

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255")
_MARKERS = "osD^vPX*"


def draw_scatter(
    ax: Axes, points: Points, law: PowerLaw | None, *, against: str = "R", colour: str = "architecture"
) -> Axes:
    """Draw models as points, and the law through them.

    Args:
        ax: Axes to draw on.
        points: From `read_points`.
        law: The fitted law; None draws none.
        against: Column along the horizontal axis.
        colour: Column that tells colours and markers apart.

    Returns:
        The same axes.
    """
    frame = points.frame
    for number, (label, part) in enumerate(frame.groupby(colour, sort=True)):
        ax.errorbar(
            part[against],
            100 * part["error"],
            xerr=_lengths(part, against),
            label=plain(str(label)),
            color=_COLOURS[number % 8],
            marker=_MARKERS[number % 8],
            linestyle="none",
            markersize=5,
            alpha=0.85,
            elinewidth=1,
        )
    ends = np.array([frame[against].min(), frame[against].max()])
    if law is not None:
        text = f"fit: {law.prefactor.mean:.2g} {against}^{law.exponent.mean:.2f}"
        ax.plot(ends, 100 * law.at(ends), color=INK, label=text)
    if against == "R":
        ax.plot(
            ends, 100 * PAPER[0] * ends ** PAPER[1], color=FAINT, linestyle="--", label="2021 paper: 0.2 √R"
        )
    set_scale(ax, "x", frame[against].to_numpy(dtype=float), "log")
    set_scale(ax, "y", 100 * frame["error"].to_numpy(dtype=float), "log")
    ax.set_xlabel(describe(against).label)
    ax.set_ylabel("Test error (%)")
    ax.legend()
    return ax


def _lengths(part: pd.DataFrame, against: str) -> np.ndarray | None:
    """Lengths of error bars to the left and right, where the intervals are known."""
    low, high = f"{against}_low", f"{against}_high"
    if not {low, high} <= set(part.columns):
        return None
    value = part[against].to_numpy(dtype=float)
    lengths = np.stack([value - part[low].to_numpy(dtype=float), part[high].to_numpy(dtype=float) - value])
    # An interval that is not known is not drawn.
    return np.asarray(np.nan_to_num(np.maximum(lengths, 0)))
