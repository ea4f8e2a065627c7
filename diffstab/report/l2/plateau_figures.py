"""Figures of plateaus: every function draws on the axes it is given and returns them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from diffstab.report.figures import HOVER, sizes_axis, values_axis
from diffstab.report.l2.plateau_runs import Start, best_runs, relative_heights
from diffstab.report.l2.plateau_verdicts import is_proven
from diffstab.report.numbers import number_text
from diffstab.report.style import FAINT, INK, Look, plain

LOOKS = {
    "weights": Look("#0072B2", "o", "-"),
    "shrinking": Look("#56B4E9", "^", "--"),
    "representations": Look("#009E73", "s", "-."),
    "covariances": Look("#D55E00", "D", "--"),
}
"""Look of each optimiser."""
LOWEST = 1e-6
"""Relative heights below this are drawn here: minima are not reached more exactly."""
_FAR = 10.0
"""Losses above so many times the worst of the best nets are not drawn at their height."""
_DASHES = (0, (4, 3))
_BAND = "#f2d9a8"
_FAILED = "#CC79A7"


class Line(NamedTuple):
    """A recorded column against the width.

    Attributes:
        label: Its name.
        look: Its look.
        factor: From the recorded to the displayed value.
        is_listed: Whether the legend names it.
    """

    label: str
    look: Look
    factor: float = 1.0
    is_listed: bool = True


def losses(ax: Axes, part: pd.DataFrame, *, starts: Sequence[Start], tolerance: float) -> Axes:
    """Draw the loss of every restart against the width, and the best of each width as a line.

    Small discs: restarts; crosses: those from the start of the plateau on that ended above it; triangles at the top:
    those that met no targets or ended far above the best nets. The band is the plateau, dashed its start with its
    interval, and the line across the minimum over the covariances with its lower bound.

    Args:
        ax: Axes to draw on.
        part: Records of one data set, size and seed as returned by `plateau_frame`.
        starts: Plateaus of this seed; the band is that of the first.
        tolerance: Of the plateau.

    Returns:
        The same axes.
    """
    if starts and starts[0].found.reached:
        _plateau(ax, starts[0], tolerance)
    _covariances(ax, part[part["optimiser"] == "covariances"])
    for start in starts:
        runs = part[part["optimiser"] == start.optimiser]
        _restarts(ax, runs, runs["loss"].to_numpy(), start, tolerance)
        best = best_runs(runs)
        best = best[np.isfinite(best["loss"])]
        _line(ax, best["width"], best["loss"], start.optimiser)
    _widths_axis(ax, part)
    values_axis(ax, part["loss"].to_numpy()[in_reach(part)])
    ax.set_ylabel("Loss")
    return _legend(ax)


def in_reach(part: pd.DataFrame) -> np.ndarray:
    """Return for each run whether its loss is neither infinite nor far above that of the best nets."""
    best = best_runs(part)["loss"]
    kept: np.ndarray = (part["loss"] <= _FAR * best[np.isfinite(best)].max()).to_numpy()
    return kept


def excess(ax: Axes, part: pd.DataFrame, *, starts: Sequence[Start], floor: float, tolerance: float) -> Axes:
    """Draw how far each run ends above the smallest loss, as a share of it, against the width, on a log axis.

    Args:
        ax: Axes to draw on.
        part: Records of one data set, size and seed as returned by `plateau_frame`.
        starts: Plateaus of this seed.
        floor: The smallest loss of all optimisers.
        tolerance: Of the plateau; drawn as a line.

    Returns:
        The same axes.
    """
    ax.axhspan(
        LOWEST / 3, tolerance, color=_BAND, alpha=0.5, linewidth=0, label=f"within {100 * tolerance:g} %"
    )
    if starts and starts[0].found.reached:
        ax.axvline(starts[0].found.width, color=INK, linewidth=0.9, linestyle=_DASHES)
    for start in starts:
        runs = part[part["optimiser"] == start.optimiser]
        heights = np.maximum(relative_heights(runs["loss"], floor), LOWEST)
        _restarts(ax, runs, heights, start, tolerance)
        best = best_runs(runs)
        lowest = np.maximum(relative_heights(best["loss"], floor), LOWEST)
        known = np.isfinite(lowest)
        _line(ax, best["width"][known], lowest[known], start.optimiser)
    found = part[part["optimiser"] == "covariances"]
    look = LOOKS["covariances"]
    heights = np.maximum(relative_heights(found["loss"], floor), LOWEST)
    if len(found):
        ax.plot(found["width"], heights, look.marker, color=look.colour, label="covariances")
    _widths_axis(ax, part)
    ax.set_yscale("log")
    ax.set_ylim(bottom=LOWEST / 3)
    ax.yaxis.set_major_locator(LogLocator(numticks=8))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylabel("Share above the smallest loss")
    return _legend(ax)


def against_width(ax: Axes, part: pd.DataFrame, lines: Mapping[tuple[str, str], Line]) -> Axes:
    """Draw columns of the best run of each width: a line of the mean over seeds, and faint discs for single seeds.

    Args:
        ax: Axes to draw on.
        part: Records of one data set and size as returned by `plateau_frame`.
        lines: By (optimiser, column).

    Returns:
        The same axes.
    """
    drawn = []
    for (optimiser, name), line in lines.items():
        best = best_runs(part[part["optimiser"] == optimiser])
        best = best[np.isfinite(best["loss"]) & best[name].notna()]
        means = line.factor * best.groupby("width")[name].mean()
        if best["seed"].nunique() > 1:
            values = line.factor * best[name]
            ax.scatter(best["width"], values, s=12, color=line.look.colour, alpha=0.35, linewidths=0)
        _marked(ax, means, line)
        drawn += means.to_list()
    _widths_axis(ax, part)
    if drawn:
        values_axis(ax, np.asarray(drawn))
    return _legend(ax)


def ranks(ax: Axes, part: pd.DataFrame, *, layers: Mapping[int, Look]) -> Axes:
    """Draw how many neurons are left of the best net of each width, with the bounds on the rank as bars, on log axes.

    Args:
        ax: Axes to draw on.
        part: Records of one data set, size and optimiser as returned by `plateau_frame`.
        layers: Look of each hidden layer.

    Returns:
        The same axes, with the line where as many are left as there were.
    """
    best = best_runs(part)
    best = best[np.isfinite(best["loss"])]
    ends = [best["width"].min(), best["width"].max()]
    ax.plot(ends, ends, color=FAINT, linewidth=1, label="as wide as the net")
    lines = {}
    for layer, look in layers.items():
        for _, row in best.iterrows():
            bounds = [row[f"rank_lower_{layer}"], row[f"rank_upper_{layer}"]]
            ax.plot([row["width"]] * 2, bounds, color=look.colour, linewidth=5, alpha=0.3)
        name = "neurons left" if len(layers) == 1 else f"neurons left, layer {layer}"
        lines[str(part["optimiser"].iloc[0]), f"pruned_widths_{layer}"] = Line(name, look)
    against_width(ax, part, lines)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(ax.xaxis.get_major_locator())
    ax.yaxis.set_major_formatter(ax.xaxis.get_major_formatter())
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylabel("Neurons of a hidden layer")
    return ax


def _plateau(ax: Axes, start: Start, tolerance: float) -> None:
    found = start.found
    band = (found.floor, (1 + tolerance) * found.floor)
    ax.axhspan(*band, color=_BAND, alpha=0.7, linewidth=0, label="plateau")
    if np.isfinite(found.low) and found.high > found.low:
        ax.axvspan(found.low, found.high, color=FAINT, alpha=0.15, linewidth=0)
    text = f"start of the plateau: {found.width} neurons"
    ax.axvline(
        found.width, color=INK, linewidth=0.9, linestyle=_DASHES, label="its start", gid=f"{HOVER}{text}"
    )


def _covariances(ax: Axes, found: pd.DataFrame) -> None:
    """The minimum over the covariances as a line across, down to its lower bound."""
    look = LOOKS["covariances"]
    for index, (_, row) in enumerate(found.iterrows()):
        if row["bound"] <= row["loss"]:
            ax.axhspan(row["bound"], row["loss"], color=look.colour, alpha=0.15, linewidth=0)
        kind = "at least" if is_proven(row) else "lower bound estimated as"
        text = f"covariances: {number_text(row['loss'])}, {kind} {number_text(row['bound'])}"
        label = "covariances" if index == 0 else None
        line = ax.axhline(row["loss"], color=look.colour, linewidth=1.2, linestyle=look.linestyle)
        line.set(label=label, gid=f"{HOVER}{text}")


def _restarts(ax: Axes, runs: pd.DataFrame, heights: np.ndarray, start: Start, tolerance: float) -> None:
    """Every restart at a height of the axis; failed ones as crosses, those out of reach as triangles on top."""
    look, widths = LOOKS[start.optimiser], runs["width"].to_numpy()
    reached = in_reach(runs)
    late = widths >= start.found.width
    failed = reached & late & (relative_heights(runs["loss"], start.found.floor) > tolerance)
    met = reached & ~failed
    ax.scatter(widths[met], heights[met], s=14, color=look.colour, alpha=0.45, linewidths=0, zorder=2.5)
    if failed.any():
        ax.scatter(
            widths[failed],
            heights[failed],
            s=20,
            marker="x",
            color=_FAILED,
            linewidths=1,
            label="failed restarts",
            zorder=2.6,
        )
    if not reached.all():
        top = np.unique(widths[~reached])
        ax.plot(top, np.full(len(top), 0.98), "v", color=look.colour, transform=ax.get_xaxis_transform())


def _line(ax: Axes, widths: pd.Series, values: pd.Series | np.ndarray, optimiser: str) -> None:
    table = pd.Series(np.asarray(values), index=np.asarray(widths))
    _marked(ax, table, Line(optimiser, LOOKS[optimiser]))


def _marked(ax: Axes, values: pd.Series, line: Line) -> None:
    """A line with a marker and a hover text at each width."""
    look = line.look
    ax.plot(values.index, values, color=look.colour, linestyle=look.linestyle, linewidth=1.4)
    for index, (width, value) in enumerate(zip(values.index.to_list(), values, strict=True)):
        ax.plot(
            [width],
            [value],
            color=look.colour,
            marker=look.marker,
            markersize=5,
            linestyle="none",
            label=plain(line.label) if index == 0 and line.is_listed else None,
            gid=f"{HOVER}{line.label}, width {width}: {number_text(value)}",
        )


def _widths_axis(ax: Axes, part: pd.DataFrame) -> None:
    sizes_axis(ax, part["width"])
    ax.set_xlabel("Width of the hidden layers")


def _legend(ax: Axes) -> Axes:
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(reversed(labels), reversed(handles), strict=True))
    names = list(dict.fromkeys(labels))
    ax.legend([unique[name] for name in names], names, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2)
    return ax
