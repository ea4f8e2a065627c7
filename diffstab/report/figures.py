"""Figures of a frame of records: every function draws on the axes it is given and returns them.

An artist whose ``gid`` starts with `HOVER` carries the text that the page shows when the pointer is near it; a line or
scatter of many markers carries one text for each, parted by `NEXT`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from diffstab.errors import ArgumentError
from diffstab.report.numbers import interval_text, number_text
from diffstab.report.style import FAINT, INK, Look, looks, plain
from diffstab.report.tables import PairedRow, column, is_recorded, paired_draws, paired_rows, summary_rows
from diffstab.results.schema import describe, value_name

HOVER, NEXT = "hover:", "¦"
_DASHES = (0, (4, 3))
_STEPS = (1, 2, 2.5, 5, 10)


class Neurons(NamedTuple):
    """Neurons in the plane of a picture: coordinates of any unit and non-negative masses, one per neuron."""

    x: np.ndarray
    y: np.ndarray
    mass: np.ndarray


def curve(
    ax: Axes,
    frame: pd.DataFrame,
    *,
    quantity: str,
    by: str = "method",
    methods: Mapping[str, Look] | None = None,
) -> Axes:
    """Draw a quantity against the number of training images, one line per method.

    Line: mean over seeds. Band: what `summary_table` gives (95% Student interval of the mean over seeds; with
    one seed, the bootstrap over images). Faint points: seeds. Dashed: the mean of ``init_<quantity>``.

    Args:
        ax: Axes to draw on.
        frame: Records of one data set as returned by `tidy_records`.
        quantity: Column to draw; displayed in the units of the schema.
        by: Column that tells the lines apart.
        methods: Look of each line; by default that of `style.looks`.

    Returns:
        The same axes.

    Raises:
        ArgumentError: The frame has no finite value of `quantity`, or no column `by`.
    """
    if by not in frame:
        raise ArgumentError("by", "be a column of the records", repr(by))
    if not is_recorded(frame, quantity):
        raise ArgumentError("quantity", "have a finite value in the records", repr(quantity))
    shown = methods or looks(frame[by].astype("str"))
    lines = frame.assign(method=frame[by].astype("str"))
    for label, look in shown.items():
        _draw_line(ax, lines[lines["method"] == label], quantity, look)
    sizes_axis(ax, frame["n_train"])
    heights = [column(frame, name).dropna().to_numpy() for name in (quantity, f"init_{quantity}")]
    values_axis(ax, describe(quantity).factor * np.concatenate(heights))
    unit = describe(quantity).unit.strip()
    ax.set_ylabel(describe(quantity).label + (f" ({unit})" if unit else ""))
    return _legend(ax, initial=is_recorded(frame, f"init_{quantity}"))


def paired_differences(
    ax: Axes,
    frame: pd.DataFrame,
    *,
    quantity: str,
    method: str = "feature",
    baseline: str = "lazy_exact",
) -> Axes:
    """Draw method - baseline, draw by draw, against the number of training images.

    Faint points: draws. Marker and bar: mean and its 95% Student interval. Above: on how many draws the
    baseline is lower.

    Args:
        ax: Axes to draw on.
        frame: Records of one data set as returned by `tidy_records`.
        quantity: Column to compare.
        method: Label of the first method.
        baseline: Label of the method that is subtracted.

    Returns:
        The same axes.

    Raises:
        ArgumentError: No draw has both values.
    """
    draws = paired_draws(frame, quantity=quantity, method=method, baseline=baseline)
    if draws.empty:
        raise ArgumentError("frame", f"have {quantity} of {method} and {baseline} on one draw", "none")
    factor = describe(quantity).factor
    ax.axhline(0, color=FAINT, linewidth=1)
    if draws["n_train"].duplicated().any():
        # Beside the mean, so that neither hides the other.
        beside, heights = 0.93 * draws["n_train"], factor * draws["difference"]
        ax.scatter(beside, heights, s=14, color=INK, alpha=0.35, linewidths=0)
    for row in paired_rows(frame, quantities=[quantity], method=method, baseline=baseline):
        _draw_difference(ax, row, factor)
    sizes_axis(ax, draws["n_train"])
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
    unit = describe(quantity).difference_unit.strip()
    ax.set_ylabel(f"Difference of {describe(quantity).noun}" + (f" ({unit})" if unit else ""))
    names = [plain(value_name("method", name)) for name in (method, baseline)]
    ax.set_title(f"{names[0]} − {names[1]}\nabove: draws on which {names[1]} is lower", pad=18)
    return ax


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
    ax.set_xlabel("First principal component")
    ax.set_ylabel("Second principal component")
    ax.set_title(title)
    # Masses grow by orders of magnitude in training: few ticks, or their labels run into each other.
    ax.locator_params(nbins=5)
    return ax


def neurons_before_after(
    axes: Sequence[Axes] | np.ndarray, before: Neurons, after: Neurons, *, colour: str = "#0072B2"
) -> None:
    """Draw the neurons at initialisation and after training side by side, each on its own scale.

    Args:
        axes: Two axes, in a list or an array.
        before: Neurons at initialisation.
        after: Neurons after training.
        colour: Colour of the discs.

    Raises:
        ArgumentError: There are not two axes.
    """
    pair = np.ravel(np.asarray(axes, dtype=object))
    if len(pair) != 2:
        raise ArgumentError("axes", "be two", len(pair))
    neurons(pair[0], before, title="At initialisation", colour=colour)
    neurons(pair[1], after, title="After training", colour=colour)


def examples_grid(
    axes: np.ndarray,
    images: np.ndarray,
    deformed: np.ndarray,
    noisy: np.ndarray,
    *,
    titles: Sequence[str] = (),
) -> np.ndarray:
    """Draw example images (first row) above their deformed and noisy versions, one scale per column.

    Args:
        axes: Array (3, k) of axes.
        images: (k, C, H, W) of any scale; three channels show in colour, others by their mean.
        deformed: The same images, deformed; same shape.
        noisy: The same images with noise; same shape.
        titles: Title of each column, if any.

    Returns:
        The same axes.

    Raises:
        ArgumentError: The shapes do not fit together.
    """
    stacks = [np.asarray(stack, dtype=np.float64) for stack in (images, deformed, noisy)]
    shapes = [stack.shape for stack in stacks]
    if stacks[0].ndim != 4 or len(set(shapes)) != 1:
        raise ArgumentError("images, deformed and noisy", "share one shape (k, C, H, W)", shapes)
    if np.shape(axes) != (3, shapes[0][0]):
        raise ArgumentError("axes", f"have shape {(3, shapes[0][0])}", np.shape(axes))
    for index in range(shapes[0][0]):
        column_of = np.stack([_displayed(stack[index]) for stack in stacks])
        # The scale of the original: noise beyond it saturates rather than dim the picture.
        low, high = column_of[0].min(), column_of[0].max()
        scaled = np.clip((column_of - low) / (high - low if high > low else 1.0), 0, 1)
        for ax, picture in zip(axes[:, index], scaled):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
    for ax, title in zip(axes[0], titles):
        ax.set_title(title, loc="center", fontsize=9)
    for ax, name in zip(axes[:, 0], ("Image", "Deformed", "Noisy")):
        ax.set_ylabel(name)
    return axes


def _draw_line(ax: Axes, frame: pd.DataFrame, name: str, look: Look) -> None:
    """The line of the one method in the frame: seeds, band or bars, means and means at initialisation."""
    rows = summary_rows(frame, quantities=[name])
    if not rows:
        return
    factor, label = describe(name).factor, value_name("method", rows[0].method)
    if any(row.seeds > 1 for row in rows):
        seeds = factor * column(frame, name)
        ax.scatter(frame["n_train"], seeds, s=12, color=look.colour, alpha=0.35, linewidths=0)
    bands = np.array(
        [(row.n_train, factor * row.low, factor * row.high) for row in rows if row.interval != "none"]
    )
    if len(bands):
        ax.vlines(*bands.T, color=look.colour, alpha=0.45, linewidth=1)
        ax.fill_between(*bands.T, color=look.colour, alpha=0.16, linewidth=0)
    sizes, means = [row.n_train for row in rows], [factor * row.mean for row in rows]
    colour, marker = look.colour, look.marker
    ax.plot(sizes, means, linestyle=look.linestyle, label=plain(label), color=colour, marker=marker)
    for row, mean in zip(rows, means):
        text = f"{label}, n = {row.n_train}: {interval_text(name, row.mean, row.low, row.high)}"
        gid = f"{HOVER}{text}, {row.seeds} {'seed' if row.seeds == 1 else 'seeds'}"
        ax.plot([row.n_train], [mean], color=colour, marker=marker, gid=gid)
    before = summary_rows(frame, quantities=[f"init_{name}"])
    sizes, means = [row.n_train for row in before], [factor * row.mean for row in before]
    lone = "_" if len(before) == 1 else ""
    ax.plot(sizes, means, color=colour, linestyle=_DASHES, linewidth=1.2, marker=lone, markersize=14)


def _draw_difference(ax: Axes, row: PairedRow, factor: float) -> None:
    mean, half = factor * row.mean, factor * (row.high - row.mean)
    if np.isfinite(half):
        ax.errorbar(row.n_train, mean, yerr=half, color=INK, capsize=4, linewidth=1.4)
    text = interval_text(row.quantity, row.mean, row.low, row.high, difference=True)
    gid = f"{HOVER}n = {row.n_train}: {text}, {row.draws} draws, sign test p = {number_text(row.sign_p)}"
    ax.plot([row.n_train], [mean], marker="D", color=INK, gid=gid)
    ax.annotate(
        f"{row.baseline_lower}/{row.draws}",
        (row.n_train, 1.0),
        xycoords=ax.get_xaxis_transform(),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=9,
        annotation_clip=False,
    )


def sizes_axis(ax: Axes, sizes: pd.Series) -> None:
    """A log axis of training-set sizes with ticks at sizes that occur, thinned where they would touch."""
    present = np.unique(sizes)
    ax.set_xscale("log")
    ax.set_xlim(present[0] / 1.35, present[-1] * 1.35)
    gap = np.log(present[-1] / present[0]) / 7
    ticks: list[int] = []
    for size in present:
        if not ticks or np.log(size / ticks[-1]) >= gap:
            ticks.append(int(size))
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("Number of training images, n")


def values_axis(ax: Axes, values: np.ndarray) -> None:
    """A log axis for positive values that span a factor of three or more, else a linear one."""
    low, high = values.min(), values.max()
    if low <= 0 or high < 3 * low:
        ax.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        return
    ax.set_yscale("log")
    ax.set_ylim(bottom=max(ax.get_ylim()[0], low / 2))
    decades = np.log10(high / low)
    subs = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if decades < 1.1 else (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(ax: Axes, *, initial: bool) -> Axes:
    """A legend above the axes, with one neutral entry for the dashed lines where there are any."""
    handles, labels = ax.get_legend_handles_labels()
    if initial:
        handles.append(Line2D([], [], color=FAINT, linestyle=_DASHES, linewidth=1.2))
        labels.append("at initialisation")
    ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2)
    return ax


def _displayed(image: np.ndarray) -> np.ndarray:
    return image.transpose(1, 2, 0) if len(image) == 3 else image.mean(axis=0)
