"""Predictors and neurons on the circle and the 2-sphere, and random fields there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.kernels import ntk, random_feature_kernel
from diffstab.report.document import Picture
from diffstab.report.rendering import file_stem, render
from diffstab.report.runs import Runs
from diffstab.report.style import INK, Look, looks, plain
from diffstab.report.words import capital, ordered, value_text
from diffstab.sphere import GaussianField
from diffstab.sphere.pictures import draw_field_on_circle, draw_field_on_sphere
from diffstab.streams import stream

FIELDS = (0.5, 4.0)
"""Smoothness of the fields that the source shows."""
_PANEL = (4.2, 3.7)
_LEAST_SIZE = 16
"""Training points of the predictors shown: few enough to see each gap."""
_GAPS = 4
_ANGLES = 8001


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
        style = {"color": look.colour, "linestyle": look.linestyle, "linewidth": 1.4}
        ax.plot(one.angles[inside], one.values[inside], label=plain(value_text("method", method)), **style)
        kinks = one.kinks[(one.kinks >= low) & (one.kinks <= high)]
        # Just inside the frame, where they cannot hide the curves.
        ax.plot(kinks, np.full(len(kinks), 0.03), "|", color=look.colour, transform=ax.get_xaxis_transform())
    inside = (points >= low) & (points <= high)
    ax.plot(points[inside], values[inside], "o", color=INK, markersize=4, label="training points", zorder=3)
    ax.set(xlim=(low, high), xlabel="Angle (radians)", ylabel="Output f")
    return ax


def circle_pictures(runs: Runs) -> Iterator[Picture]:
    """The predictors on the circle, whole and around the largest gap, a picture per target."""
    for target, part in runs.frame.groupby("target", sort=True):
        rows = _sums(part, dimension=2)
        if len(rows):
            yield _circle_picture(str(target), rows, looks(part["method"]))


def _circle_picture(target: str, rows: pd.DataFrame, shown: Mapping[str, Look]) -> Picture:
    first = rows.iloc[0]
    points, values = _angles(_vectors(first, "points")), np.asarray(first["values"], dtype=np.float64)
    predictors = {str(row["method"]): _on_circle(row) for _, row in rows.iterrows()}

    def draw(axes: np.ndarray) -> None:
        for ax, window in zip(axes[0], (None, _window(points)), strict=True):
            circle_predictors(ax, predictors, points=points, values=values, window=window, methods=shown)
            ax.set_title("around the largest gap" if window else "the whole circle")
        axes[0, 0].figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=4)

    rendered = render(draw, size_inches=(2 * _PANEL[0], _PANEL[1]), columns=2)
    name = capital(value_text("target", target))
    caption = f"{name}, d = 2: predictors from {len(points)} training points (seed {first['seed']})."
    if any(len(one.kinks) for one in predictors.values()):
        caption += " Ticks below: where a neuron has its kink."
    spans = [
        f"{value_text('method', method)} from {one.values.min():.3g} to {one.values.max():.3g}"
        for method, one in predictors.items()
    ]
    alt = f"{caption} Values: {'; '.join(spans)}."
    return Picture(f"circle-{_stem(target)}", rendered, caption, alt, wide=True)


def neuron_maps(runs: Runs) -> Iterator[Picture]:
    """Neurons on the circle (d = 2) and the 2-sphere (d = 3) at two sizes, a picture per target and dimension."""
    for target, part in runs.frame.groupby("target", sort=True):
        for dimension in (2, 3):
            rows = _sums(part[part["regime"] == "feature"], dimension=dimension, sizes=2)
            if len(rows):
                yield _neuron_map(str(target), rows, dimension)


def _neuron_map(target: str, rows: pd.DataFrame, dimension: int) -> Picture:
    from diffstab.sparsity import draw_neurons_on_circle, draw_neurons_on_sphere

    def draw(axes: np.ndarray) -> None:
        for ax, (_, row) in zip(axes.flat, rows.iterrows(), strict=False):
            place = draw_neurons_on_circle if dimension == 2 else draw_neurons_on_sphere
            weights = torch.as_tensor(np.asarray(row["coefficients"], dtype=np.float64))
            place(ax, _vectors(row, "centres"), weights.abs(), signs=weights, x=_vectors(row, "points"))
            ax.set_title(f"{value_text('method', row['method'])}, n = {row['n_train']}", pad=22)

    columns = min(len(rows), 3)
    lines = -(-len(rows) // columns)
    size = (_PANEL[0] * columns, _PANEL[1] * lines * (1 if dimension == 2 else 0.75))
    projection = "mollweide" if dimension == 3 else None
    rendered = render(draw, size_inches=size, rows=lines, columns=columns, projection=projection)
    where = "on the circle; ticks" if dimension == 2 else "on a map of the sphere; crosses"
    caption = (
        f"{capital(value_text('target', target))}, d = {dimension}: directions of the neurons {where}: training "
        "points. Area of a disc: size of the outgoing weight; colour: its sign."
    )
    counts = [f"{len(row['coefficients'])} at n = {row['n_train']}" for _, row in rows.iterrows()]
    alt = f"{caption} Number of neurons: {', '.join(counts)}."
    return Picture(f"neurons-d{dimension}-{_stem(target)}", rendered, caption, alt, wide=True)


def field_pictures(runs: Runs) -> Iterator[Picture]:
    """One realisation for each smoothness on the circle and on the 2-sphere; runs are not read."""
    for dimension in (2, 3):
        yield _fields(dimension, is_circle=dimension == 2)


def _fields(dimension: int, *, is_circle: bool) -> Picture:
    def draw(axes: np.ndarray) -> None:
        for ax, smoothness in zip(axes[0], FIELDS, strict=True):
            place = draw_field_on_circle if is_circle else draw_field_on_sphere
            place(ax, GaussianField(dimension, smoothness), generator=stream(0, "fields of a figure"))
            ax.set_title(f"ν = {smoothness:g}, d = {dimension}")

    width, height = (3.4, 3.5) if is_circle else (4.8, 2.9)
    projection = None if is_circle else "mollweide"
    size = (width * len(FIELDS), height)
    rendered = render(draw, size_inches=size, columns=len(FIELDS), projection=projection)
    where, shown = "2-sphere", "red is positive"
    if is_circle:
        where, shown = "circle", "the curve runs outside the circle where the field is positive"
    caption = f"Gaussian random fields on the {where}, made of the same random numbers; {shown}."
    alt = f"{caption} Rough at smoothness {FIELDS[0]:g}, of few waves at {FIELDS[1]:g}."
    return Picture(f"fields-d{dimension}", rendered, caption, alt, as_png=not is_circle, wide=True)


def _sums(frame: pd.DataFrame, *, dimension: int, sizes: int = 1) -> pd.DataFrame:
    """Records that hold the predictor's sum: of the first seed, the smallest sizes that are large enough."""
    if "centres" not in frame:
        return frame.iloc[:0]
    known = frame[frame["dimension"] == dimension].dropna(subset="centres")
    # Where all sizes are smaller, the largest of them.
    enough = known[known["n_train"] >= min(_LEAST_SIZE, known["n_train"].max())]
    chosen = np.unique(enough["n_train"])[:: max(1, enough["n_train"].nunique() // 2)][:sizes]
    kept = enough[enough["n_train"].isin(chosen) & (enough["seed"] == enough["seed"].min())]
    ranks = {method: rank for rank, method in enumerate(ordered("method", kept["method"]))}
    ranked: pd.DataFrame = kept.assign(rank=kept["method"].map(ranks))
    return ranked.sort_values(["rank", "n_train"], kind="stable")


def _vectors(row: pd.Series, name: str) -> Tensor:
    return torch.as_tensor(np.asarray(row[name], dtype=np.float64).reshape(-1, int(row["dimension"])))


def _angles(vectors: Tensor) -> np.ndarray:
    angles: np.ndarray = torch.atan2(vectors[:, 1], vectors[:, 0]).numpy()
    return angles


def _on_circle(row: pd.Series) -> CirclePredictor:
    """The recorded sum f(x) = sum_j g_j kappa(x . y_j) on a fine grid of angles."""
    angles = np.linspace(-np.pi, np.pi, _ANGLES)
    grid = torch.as_tensor(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    centres, kinks = _vectors(row, "centres"), np.empty(0)
    if row["predictor"] == "ntk":
        kernel = ntk(grid, centres)
    elif row["predictor"] == "random_features":
        kernel = random_feature_kernel(grid, centres)
    elif row["regime"] == "feature":
        kernel = torch.relu(grid @ centres.T)
        turned = _angles(centres)[:, None] + np.array([0.5, -0.5]) * np.pi
        kinks = (turned.ravel() + np.pi) % (2 * np.pi) - np.pi
    else:
        raise ArgumentError("predictor", "be one whose sum is known", repr(row["predictor"]))
    values = kernel @ torch.as_tensor(np.asarray(row["coefficients"], dtype=np.float64))
    return CirclePredictor(angles, values.numpy(), kinks)


def _window(points: np.ndarray) -> tuple[float, float]:
    """Angles from `_GAPS` // 2 gaps before the largest gap to as many after it, within the circle."""
    ascending = np.sort(points)
    widest = int(np.argmax(np.diff(ascending)))
    low, high = max(0, widest - _GAPS // 2), min(len(ascending) - 1, widest + 1 + _GAPS // 2)
    margin = 0.05 * (ascending[high] - ascending[low])
    return float(ascending[low] - margin), float(ascending[high] + margin)


def _stem(target: str) -> str:
    return file_stem(target.replace(".", "p"))
