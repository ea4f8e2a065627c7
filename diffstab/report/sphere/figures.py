"""Figures of learning curves on the sphere: every function draws on the axes it is given and returns them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from diffstab.errors import ArgumentError
from diffstab.report.figures import HOVER, NEXT, sizes_axis
from diffstab.report.intervals import mean_interval
from diffstab.report.numbers import number_text
from diffstab.report.sphere.exponents import ExponentRow
from diffstab.report.style import FAINT, INK, Look, looks, plain
from diffstab.results.schema import value_name

_DASHES = (0, (4, 3))


class Theory(NamedTuple):
    """A curve of theory against n: errors of the same length as sizes."""

    sizes: Sequence[int]
    errors: Sequence[float]


def learning_curves(
    ax: Axes,
    frame: pd.DataFrame,
    *,
    exponents: Sequence[ExponentRow] = (),
    theory: Mapping[str, Theory] | None = None,
    methods: Mapping[str, Look] | None = None,
) -> Axes:
    """Draw the test error against n on two log axes, one colour per method.

    Marker and bar: geometric mean over seeds and its 95 % Student interval, as the exponents are fitted to log
    error. Faint points: seeds. Dashed: the predicted exponent, through the fitted line at its largest size.
    Dotted: theory of kernel regression.

    Args:
        ax: Axes to draw on.
        frame: Records of one target in one dimension as returned by `tidy_records`.
        exponents: Rows of `exponent_rows`; those of other data sets are passed over.
        theory: Curves by method.
        methods: Look of each method; by default that of `style.looks`.

    Returns:
        The same axes.

    Raises:
        ArgumentError: No record has a positive test error.
    """
    positive = frame[frame["test_error"] > 0]
    if positive.empty:
        raise ArgumentError("frame", "have a positive test_error", "none")
    shown = methods or looks(frame["method"])
    for method, look in shown.items():
        _draw_errors(ax, positive[positive["method"] == method], method, look)
    for row in exponents:
        here = row.dataset == frame["dataset"].iloc[0] and row.method in shown
        if here and row.fit is not None and np.isfinite(row.predicted):
            sizes = np.array([row.fit.sizes[0], row.fit.sizes[-1]], dtype=np.float64)
            end = row.fit.amplitude * sizes[-1] ** -row.fit.exponent
            line = end * (sizes / sizes[-1]) ** -row.predicted
            ax.plot(sizes, line, color=shown[row.method].colour, linestyle=_DASHES, linewidth=1.2)
    for method, curve in (theory or {}).items():
        ax.plot(curve.sizes, curve.errors, color=shown[method].colour, linestyle=":", linewidth=1.6)
    sizes_axis(ax, frame["n_train"])
    _log_axis(ax)
    ax.set_xlabel("Number of training points, n")
    ax.set_ylabel("Test error, mean square")
    return ax


def _draw_errors(ax: Axes, part: pd.DataFrame, method: str, look: Look) -> None:
    if part.empty:
        return
    if part["n_train"].duplicated().any():
        ax.scatter(part["n_train"], part["test_error"], s=12, color=look.colour, alpha=0.35, linewidths=0)
    label = value_name("method", method)
    for index, size in enumerate(np.unique(part["n_train"])):
        group = part[part["n_train"] == size]
        mean, low, high = np.exp(mean_interval(np.log(group["test_error"]))[:3])
        if np.isfinite(low):
            ax.plot([size, size], [low, high], color=look.colour, linewidth=1.2)
        text = f"{label}, n = {size}: {number_text(mean)} [{number_text(low)}, {number_text(high)}]"
        ax.plot(
            [size],
            [mean],
            color=look.colour,
            marker=look.marker,
            linestyle="none",
            label=plain(label) if index == 0 else None,
            gid=f"{HOVER}{text}, {len(group)} seeds",
        )


def error_spectrum(
    ax: Axes,
    powers: Mapping[str, np.ndarray],
    *,
    target: np.ndarray | None = None,
    learnt_degree: float | None = None,
    theory: Mapping[str, np.ndarray] | None = None,
    methods: Mapping[str, Look] | None = None,
) -> Axes:
    """Draw the power of the error in each degree k on two log axes, degree 0 left out.

    Args:
        ax: Axes to draw on.
        powers: Power of the error of each method in degrees 0 to K, shape (K + 1,); what is not positive is left out.
        target: Power of the target in the same degrees, drawn as a grey line.
        learnt_degree: k_c, up to which a predictor has as many modes as there are training points; drawn where it
            lies among the degrees.
        theory: Predicted power by method, dotted.
        methods: Look of each method; by default that of `style.looks`.

    Returns:
        The same axes.
    """
    shown = methods or looks(powers)
    for method, power in powers.items():
        degrees, kept = _positive(power)
        look, label = shown[method], value_name("method", method)
        texts = [f"{label}, k = {degree}: {number_text(value)}" for degree, value in zip(degrees, kept)]
        ax.plot(
            degrees,
            kept,
            color=look.colour,
            marker=look.marker,
            markersize=4,
            linestyle="none",
            label=plain(label),
            gid=HOVER + NEXT.join(texts),
        )
    for method, power in (theory or {}).items():
        ax.plot(*_positive(power), color=shown[method].colour, linestyle=":", linewidth=1.6)
    if target is not None and (target[1:] > 0).any():
        ax.plot(*_positive(target), color=FAINT, linewidth=1.2, label="target")
    if learnt_degree is not None and learnt_degree < max(map(len, powers.values())):
        ax.axvline(learnt_degree, color=INK, linewidth=0.8, linestyle=_DASHES)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    _log_axis(ax)
    ax.set_xlabel("Degree, k")
    ax.set_ylabel("Power of the error in degree k")
    return ax


def _positive(power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    degrees = np.arange(len(power))
    kept = (degrees > 0) & (np.asarray(power) > 0)
    return degrees[kept], np.asarray(power)[kept]


def atoms(ax: Axes, frame: pd.DataFrame, *, methods: Mapping[str, Look] | None = None) -> Axes:
    """Draw the number of atoms against n, one point per run, and the line n_A = n.

    Args:
        ax: Axes to draw on.
        frame: Records of one target in one dimension.
        methods: Look of each method; by default that of `style.looks`.

    Returns:
        The same axes.
    """
    known = frame.dropna(subset="n_atoms")
    shown = methods or looks(known["method"])
    ends = np.array([frame["n_train"].min(), frame["n_train"].max()])
    ax.plot(ends, ends, color=FAINT, linewidth=1, label="n_A = n")
    for method, part in known.groupby("method"):
        look, label = shown[str(method)], value_name("method", str(method))
        runs = zip(part["n_train"], part["n_atoms"], strict=True)
        ax.scatter(
            part["n_train"],
            part["n_atoms"],
            s=22,
            color=look.colour,
            marker=look.marker,
            alpha=0.6,
            linewidths=0,
            label=plain(label),
            gid=HOVER + NEXT.join(f"{label}, n = {size}: {count:g} atoms" for size, count in runs),
        )
    sizes_axis(ax, frame["n_train"])
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(ax.xaxis.get_major_locator())
    ax.yaxis.set_major_formatter(ax.xaxis.get_major_formatter())
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("Number of training points, n")
    ax.set_ylabel("Number of atoms, n_A")
    return ax


class CirclePredictor(NamedTuple):
    """A predictor on the circle: values on angles (radians, ascending), and its neurons' kinks as angles."""

    angles: np.ndarray
    values: np.ndarray
    kinks: np.ndarray


def circle_predictors(
    ax: Axes,
    predictors: Mapping[str, CirclePredictor],
    *,
    points: np.ndarray,
    values: np.ndarray,
    window: tuple[float, float] | None = None,
    methods: Mapping[str, Look] | None = None,
) -> Axes:
    """Draw predictors on the circle against the angle, training points as dots, kinks of neurons as ticks.

    Args:
        ax: Axes to draw on.
        predictors: By method.
        points: Angles of the training points, radians, shape (n,).
        values: Their values, shape (n,).
        window: Angles to show; None shows the circle.
        methods: Look of each method; by default that of `style.looks`.

    Returns:
        The same axes.
    """
    shown = methods or looks(predictors)
    low, high = window or (-np.pi, np.pi)
    for method, one in predictors.items():
        look, inside = shown[method], (one.angles >= low) & (one.angles <= high)
        ax.plot(
            one.angles[inside],
            one.values[inside],
            color=look.colour,
            linestyle=look.linestyle,
            linewidth=1.4,
            label=plain(value_name("method", method)),
        )
        kinks = one.kinks[(one.kinks >= low) & (one.kinks <= high)]
        # Just inside the frame, where they cannot hide the curves.
        ax.plot(kinks, np.full(len(kinks), 0.03), "|", color=look.colour, transform=ax.get_xaxis_transform())
    inside = (points >= low) & (points <= high)
    ax.plot(points[inside], values[inside], "o", color=INK, markersize=4, label="training points", zorder=3)
    ax.set_xlim(low, high)
    ax.set_xlabel("Angle (radians)")
    ax.set_ylabel("f")
    return ax


def _log_axis(ax: Axes) -> None:
    """A log axis of values: a tick a decade, thinned where there are many, and more where there are few."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    few = np.log10(high / low) < 2.5
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if few else LogLocator(numticks=8))
    ax.yaxis.set_minor_locator(NullLocator())
    if few:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
