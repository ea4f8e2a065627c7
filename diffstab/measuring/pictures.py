"""Drawings of a measurement on axes: against depth, and over displacement and cut-off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"D": "#0072B2", "G": "#E69F00", "R": "#009E73", "E": "#CC79A7"}
_MARKERS = {"D": "o", "G": "s", "R": "^", "E": "v"}
_LONG_NAME = 24


def draw_depth(ax: Axes, rows: pd.DataFrame, quantities: str = "DGR") -> Axes:
    """Draw D, G and R of the layers in the order in which they run, with their intervals and the floor of D.

    Args:
        ax: Where.
        rows: Of one model and one deformation.
        quantities: Which of D, G, R and E.
    """
    ordered = rows.sort_values("layer_index")
    _draw(ax, ordered, list(ordered["layer"]), quantities, is_joined=len(rows) > 1)
    ax.set_xlabel("Layer, in the order of running")
    return ax


def draw_models(ax: Axes, rows: pd.DataFrame, quantities: str = "DGR") -> Axes:
    """Draw D, G and R of models side by side, with their intervals and the floor of D.

    Args:
        ax: Where.
        rows: Of one layer and one deformation, a row per model.
        quantities: Which of D, G, R and E.
    """
    _draw(ax, rows, list(rows["model"]), quantities, is_joined=False)
    ax.set_xlim(-0.5, len(rows) - 0.5)
    return ax


def _draw(ax: Axes, rows: pd.DataFrame, names: Sequence[str], quantities: str, *, is_joined: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    x = np.arange(len(rows))
    for name in quantities:
        _curve(ax, x, rows, name, linestyle="-" if is_joined else "none")
    if "D" in quantities and "floor" in rows and rows["floor"].notna().any():
        style: dict[str, Any] = {"color": COLOURS["D"], "linewidth": 1.2}
        shape = {"linestyle": ":"} if is_joined else {"linestyle": "none", "marker": "_", "markersize": 10}
        ax.plot(x, rows["floor"], label="floor of D", **style, **shape)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xticks(x, [_short(name) for name in names], rotation=60, ha="right")
    ax.set_ylabel(", ".join(quantities))
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.15)  # room for the legend
    ax.legend(frameon=False, loc="upper left", ncols=4, columnspacing=1.2, handlelength=1.4)


def _curve(ax: Axes, x: np.ndarray, rows: pd.DataFrame, name: str, *, linestyle: str) -> None:
    y = rows[name].to_numpy(dtype=np.float64)
    low, high = (rows[f"{name}_{end}"].to_numpy(dtype=np.float64) for end in ("low", "high"))
    ax.vlines(x, low, high, color=COLOURS[name], linewidth=1.2, alpha=0.7)
    style: dict[str, Any] = {"color": COLOURS[name], "marker": _MARKERS[name], "markersize": 4}
    ax.plot(x, y, label=name, linewidth=1.4, linestyle=linestyle, **style)


def _short(name: str) -> str:
    return name if len(name) <= _LONG_NAME else f"…{name[1 - _LONG_NAME :]}"


def draw_plane(ax: Axes, rows: pd.DataFrame, quantity: str = "R") -> Axes:
    """Draw a quantity over displacement and cut-off, with the range of admissible temperatures.

    Between the lines a typical field moves the image by half a pixel or more, and does not fold it:
    1/2 <= delta <= n / (pi c), from T_min and T_max of `diffstab.diffeo.admissible_temperatures`.

    Args:
        ax: Where.
        rows: Diffeomorphisms of one model and one layer.
        quantity: "D", "G" or "R".
    """
    x, y = rows["delta_px"].to_numpy(dtype=np.float64), rows["cutoff"].to_numpy(dtype=np.float64)
    values = rows[quantity].to_numpy(dtype=np.float64)
    side = math.hypot(float(rows["image_height"].iloc[0]), float(rows["image_width"].iloc[0])) / math.sqrt(2)
    cutoffs = np.linspace(min(2.0, y.min()) * 0.9, y.max() * 1.15 + 0.3, 100)
    right = np.maximum(side / (np.pi * cutoffs), 0.5)
    ax.fill_betweenx(cutoffs, 0.5, right, color="#999999", alpha=0.18, linewidth=0, label="admissible")
    points = ax.scatter(x, y, c=values, s=330, cmap="viridis", zorder=3, edgecolors="white")
    for at_x, at_y, value in zip(x, y, values, strict=True):
        ax.annotate(
            f"{value:.2g}", (at_x, at_y), ha="center", va="center", fontsize=7, color="white", zorder=4
        )
    ax.set_xscale("log")
    ax.set_xlim(min(0.4, x.min() / 1.4), x.max() * 1.5)
    ax.set_ylim(cutoffs[0], cutoffs[-1])
    ax.set_xticks(sorted(set(x)), [f"{one:.3g}" for one in sorted(set(x))])
    ax.minorticks_off()
    ax.set_yticks(sorted(set(y)))
    ax.set_xlabel("Displacement δ (px)")
    ax.set_ylabel("Cut-off c")
    ax.legend(frameon=False, loc="upper right")
    figure = ax.get_figure()
    if figure is not None:
        figure.colorbar(points, ax=ax, label=quantity)
    return ax
