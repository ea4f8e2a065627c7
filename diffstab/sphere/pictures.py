"""Pictures of random fields on the circle and on the 2-sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.sphere.fields import GaussianField
from diffstab.streams import stream

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh

_RANGE = 3.0
"""Colours saturate at so many standard deviations."""

_COLOURS = "RdBu_r"  # white is 0; its ends are told apart with any common colour blindness
_FORMATS = (".png", ".pdf", ".svg")
_FOLDER = Path("results")
"""The folder that all commands write to unless told otherwise: the only one that is made for a picture."""
_RELIEF = 0.2  # of the radius, for one standard deviation on the circle


def field_on_circle(
    field: GaussianField, *, generator: torch.Generator, count: int = 2048
) -> tuple[Tensor, Tensor]:
    """Draw a field of d = 2 on equidistant angles.

    Args:
        field: The law.
        generator: Decides the realisation.
        count: Number of angles.

    Returns:
        Angles in radians, shape (count,), and values, shape (count,).

    Raises:
        ArgumentError: If the field is not one of d = 2.
    """
    _check_dimension(field, 2)
    height = torch.zeros(1, dtype=torch.float64)
    angles = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
    return angles, _sample_rings(field, height, count, generator)[0]


def field_on_sphere(field: GaussianField, *, generator: torch.Generator, count: int = 120) -> Tensor:
    """Draw a field of d = 3 at the centres of a grid of latitudes and longitudes.

    Rows run over latitudes (i + 1/2) pi / count - pi/2, columns over 2 count longitudes (j + 1/2) pi / count - pi.

    Args:
        field: The law.
        generator: Decides the realisation.
        count: Number of latitudes.

    Returns:
        Shape (count, 2 count).

    Raises:
        ArgumentError: If the field is not one of d = 3.
    """
    _check_dimension(field, 3)
    latitude = (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / count) - math.pi / 2
    return _sample_rings(field, latitude.sin(), 2 * count, generator)


def draw_field_on_circle(ax: Axes, field: GaussianField, *, generator: torch.Generator) -> Axes:
    """Draw one realisation as a curve around the unit circle, outside of it where the field is positive.

    Args:
        ax: Where to draw.
        field: A field of d = 2.
        generator: Decides the realisation.

    Returns:
        The same axes.

    Raises:
        ArgumentError: If the field is not one of d = 2.
    """
    angles, values = field_on_circle(field, generator=generator)
    closed = torch.cat([angles, angles[:1]])
    across, up = closed.cos().numpy(), closed.sin().numpy()
    radius = 1 + _RELIEF * torch.cat([values, values[:1]]).numpy()
    ax.plot(across, up, color="#8a8a8a", linewidth=0.8)
    ax.plot(radius * across, radius * up, color="#0072B2", linewidth=1.0)
    limit = 1 + _RELIEF * (_RANGE + 0.5)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[])
    ax.set_aspect("equal")
    ax.spines[:].set_visible(False)
    return ax


def draw_field_on_sphere(ax: Axes, field: GaussianField, *, generator: torch.Generator) -> QuadMesh:
    """Draw one realisation on an equal-area map of the sphere, red where positive, blue where negative.

    Args:
        ax: Axes of the projection "mollweide".
        field: A field of d = 3.
        generator: Decides the realisation.

    Returns:
        The coloured mesh, for a colour bar.

    Raises:
        ArgumentError: If the axes are of another projection or the field is not one of d = 3.
    """
    if ax.name != "mollweide":
        raise ArgumentError("ax", "be of the projection mollweide", ax.name, 'Pass projection="mollweide".')
    values = field_on_sphere(field, generator=generator)
    rows, columns = values.shape
    longitude = torch.linspace(-math.pi, math.pi, columns + 1).numpy()
    latitude = torch.linspace(-math.pi / 2, math.pi / 2, rows + 1).numpy()
    shown = values.numpy()
    mesh = ax.pcolormesh(
        longitude, latitude, shown, cmap=_COLOURS, vmin=-_RANGE, vmax=_RANGE, rasterized=True
    )
    ax.set(xticklabels=[], yticklabels=[])
    ax.grid(visible=False)
    return mesh


def write_field_picture(
    path: str | Path, dimension: int, smoothnesses: Sequence[float], parity: str = "even", seed: int = 0
) -> Path:
    """Write a picture of one realisation for each smoothness, all from the same noise.

    Args:
        path: File to write, in `results` or a folder that is there; its ending decides the format (png, pdf or svg).
        dimension: 2 for the circle, 3 for the 2-sphere.
        smoothnesses: nu of each panel.
        parity: "even" or "all", see `GaussianField`.
        seed: Seed of the realisations.

    Returns:
        The path.

    Raises:
        ArgumentError: If the dimension is neither 2 nor 3, there is no panel, the seed is out of range or the path is
            no file of a known format in a folder that is there.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    target = Path(path)
    if target.suffix not in _FORMATS:
        raise ArgumentError("output", f"end in {', '.join(_FORMATS)}", target)
    if not target.parent.is_dir() and target.parent != _FOLDER:
        raise ArgumentError("output", "be in a folder that is there", target, f"Make {target.parent} first.")
    if target.is_dir():
        raise ArgumentError("output", "be a file", target)
    if not 0 <= seed < 2**63:
        raise ArgumentError("seed", "be at least 0 and below 2^63", seed)
    if dimension not in (2, 3):
        raise ArgumentError("dimension", "be 2 or 3 for a picture", dimension)
    if not smoothnesses:
        raise ArgumentError("smoothnesses", "not be empty", list(smoothnesses))
    fields = [GaussianField(dimension, smoothness, parity=parity) for smoothness in smoothnesses]
    width, projection = (3.2, None) if dimension == 2 else (4.6, "mollweide")
    figure = Figure(figsize=(width * len(fields), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(fields), squeeze=False, subplot_kw={"projection": projection})[0]
    for ax, field in zip(panels, fields):
        generator = stream(seed, "pictured field")
        if dimension == 2:
            draw_field_on_circle(ax, field, generator=generator)
        else:
            mesh = draw_field_on_sphere(ax, field, generator=generator)
        ax.set_title(rf"$\nu_t$ = {field.smoothness:g}", fontsize=11)
    if dimension == 3:
        figure.colorbar(
            mesh, ax=list(panels), orientation="horizontal", shrink=0.3, label="Standard deviations"
        )
    if target.parent == _FOLDER:
        _FOLDER.mkdir(exist_ok=True)
    figure.savefig(target, dpi=200, bbox_inches="tight")
    return target


def _sample_rings(field: GaussianField, heights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Exact joint draw on rings of equidistant longitudes, shape (rings, count).

    Between two rings the covariance depends on the difference of longitudes only, so that Fourier modes in longitude
    are independent: one small matrix for each instead of one large one.
    """
    turn = (torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)).cos()
    radius = (1 - heights.square()).sqrt()
    cosines = torch.outer(heights, heights)[:, :, None] + torch.outer(radius, radius)[:, :, None] * turn
    cosines.diagonal(dim1=0, dim2=1)[0] = 1  # the point itself, free of rounding
    spectrum = torch.fft.rfft(field.covariance(cosines)).real.permute(2, 0, 1)
    values, vectors = torch.linalg.eigh(spectrum)
    root = vectors * values.clamp_(min=0).sqrt_()[:, None, :]
    noise = torch.randn(len(heights), count, dtype=torch.float64, generator=generator)
    modes = root.to(torch.complex128) @ torch.fft.rfft(noise).T[:, :, None]
    drawn: Tensor = torch.fft.irfft(modes[:, :, 0].T, n=count)
    return drawn


def _check_dimension(field: GaussianField, dimension: int) -> None:
    if field.dimension != dimension:
        raise ArgumentError("field", f"be one of dimension {dimension}", field.dimension)
