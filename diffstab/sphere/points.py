"""Points of the unit sphere S^(d-1), and the checks that every function of such points shares."""

import torch
from torch import Tensor

from diffstab.errors import ArgumentError

_NORM_TOLERANCE = 1e-9
"""Largest deviation from norm 1 that counts as rounding; points in float32 are off by 1e-7."""


def uniform_points(count: int, dimension: int, *, generator: torch.Generator) -> Tensor:
    """Draw independent points, uniform on the sphere: normalised Gaussian vectors.

    Args:
        count: Number of points, at least 1.
        dimension: d >= 2: the sphere is S^(d-1).
        generator: Source of randomness, on any device with float64; the points lie there.

    Returns:
        Unit rows, float64, shape (count, d).

    Raises:
        ArgumentError: If the count or the dimension is too small.

    Source:
        Muller 1959, "A note on a method for generating points uniformly on n-dimensional spheres".
    """
    if count < 1:
        raise ArgumentError("count", "be at least 1", count)
    if dimension < 2:
        raise ArgumentError("dimension", "be at least 2", dimension)
    points = normal_draws(count, dimension, generator=generator)
    return points.div_(torch.linalg.vector_norm(points, dim=1, keepdim=True))


def normal_draws(*shape: int, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers, float64, on the device of the generator."""
    return torch.randn(shape, dtype=torch.float64, generator=generator, device=generator.device)


def checked_points(name: str, points: Tensor, *, dimension: int | None = None) -> Tensor:
    """Return points of the unit sphere as they are, once they are known to be that.

    Args:
        name: Name of the argument in an error message.
        points: Unit rows, float64, shape (n, d), n >= 1, d >= 2.
        dimension: The d it must have; any if None.

    Raises:
        ArgumentError: If they are not.
    """
    if not isinstance(points, Tensor) or points.dtype != torch.float64:
        received = points.dtype if isinstance(points, Tensor) else type(points).__name__
        way_out = "Convert before normalising the rows, on the CPU where a device has no float64."
        raise ArgumentError(name, "be a float64 tensor", received, way_out)
    wanted = "d >= 2" if dimension is None else f"d = {dimension}"
    if (
        points.ndim != 2
        or len(points) == 0
        or points.shape[1] < 2
        or dimension not in (None, points.shape[1])
    ):
        raise ArgumentError(name, f"have shape (n, d) with n >= 1 and {wanted}", tuple(points.shape))
    error = float((torch.linalg.vector_norm(points, dim=1) - 1).abs().max())
    if not error <= _NORM_TOLERANCE:  # also catches NaN
        raise ArgumentError(name, "have rows of norm 1", f"norms off by {error:.2g}", "Normalise the rows.")
    return points
