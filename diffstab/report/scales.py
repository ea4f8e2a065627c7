"""Axes of plots: scale, ticks and limits that fit the values drawn."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from diffstab.errors import ArgumentError

Scale = Literal["sizes", "log", "linear", "auto", "steps"]
"""sizes: log, a tick at values that occur. auto: log for positive values that span a factor of three, else linear.
steps: log from 1 on, with 0."""

ROUNDING = 1e-14
"""Positive values below so much of the largest of a panel are rounding; a log axis does not show them."""
_EQUAL = 1e-6
"""Relative spread below which all values of a linear axis are equal."""
_STEPS = (1, 2, 2.5, 5, 10)


def set_scale(ax: Axes, which: Literal["x", "y"], values: np.ndarray, scale: Scale) -> None:
    """Give one of the axes a scale, ticks and limits.

    Args:
        ax: The axes, after everything is drawn.
        which: "x" or "y".
        values: What is drawn along it, finite, at least one.
        scale: Which scale.

    Raises:
        ArgumentError: There is no such scale.
    """
    axis = ax.xaxis if which == "x" else ax.yaxis
    set_limits, set_kind = (ax.set_xlim, ax.set_xscale) if which == "x" else (ax.set_ylim, ax.set_yscale)
    low, high = float(values.min()), float(values.max())
    if scale == "auto":
        scale = "log" if low > 0 and high >= 3 * low else "linear"
    if scale == "sizes":
        set_kind("log")
        set_limits(low / 1.35, high * 1.35)
        _ticks_at(axis, np.unique(values))
    elif scale == "log":
        set_kind("log")
        positive = values[values > 0]
        low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 10.0)
        room = max(1.25, (high / low) ** 0.06)
        set_limits(low / room, high * room)
        _log_ticks(axis, low, high)
    elif scale == "steps":
        set_kind("symlog", linthresh=1)
        set_limits(-0.3, 1.6 * high)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    elif scale == "linear":
        are_whole = bool((values == values.round()).all())
        axis.set_major_locator(MaxNLocator(6, steps=_STEPS, integer=are_whole))
        if high - low < _EQUAL * max(abs(low), abs(high)):
            # Differences by rounding are none: they must not fill the axis.
            set_limits(low - 0.1 * abs(low), high + 0.1 * abs(high))
    else:
        raise ArgumentError("scale", "be sizes, log, linear, auto or steps", repr(scale))


def _ticks_at(axis: Axis, present: np.ndarray) -> None:
    """Ticks at values that occur, thinned where they would touch."""
    gap = np.log(present[-1] / present[0]) / 7
    ticks: list[float] = []
    for size in present:
        if not ticks or np.log(size / ticks[-1]) >= gap:
            ticks.append(float(size))
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axis.set_minor_locator(NullLocator())


def _log_ticks(axis: Axis, low: float, high: float) -> None:
    """A tick a decade, thinned where there are many, and more where there are few."""
    decades = np.log10(high / low)
    if decades > 2.5:
        axis.set_major_locator(LogLocator(numticks=8))
    else:
        axis.set_major_locator(
            LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if decades < 0.8 else (1.0, 2.0, 5.0))
        )
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
