"""What the measures accept: finite floating matrices and masses, returned as detached float64."""

from __future__ import annotations

import torch
from torch import Tensor

from diffstab.errors import ArgumentError


def checked_matrix(name: str, matrix: Tensor, *, columns: int | None = None) -> Tensor:
    """Return a matrix as float64, without its history.

    Args:
        name: Name of the argument in an error message.
        matrix: Floating, finite, two-dimensional, with at least one entry.
        columns: Number of columns it must have; any if None.

    Raises:
        ArgumentError: If it is none of these.
    """
    wanted = "any number of columns" if columns is None else f"{columns} columns"
    if matrix.ndim != 2 or matrix.numel() == 0 or (columns is not None and matrix.shape[1] != columns):
        raise ArgumentError(name, f"be a matrix of {wanted}, not empty", f"shape {tuple(matrix.shape)}")
    return _finite(name, matrix)


def checked_masses(masses: Tensor, *, count: int | None = None) -> Tensor:
    """Return masses (H,) as float64, without their history.

    Args:
        masses: Floating, finite, non-negative.
        count: Number H of them; any positive one if None.

    Raises:
        ArgumentError: If they are none of these.
    """
    if masses.ndim != 1 or len(masses) == 0 or (count is not None and len(masses) != count):
        wanted = "(H,)" if count is None else f"({count},)"
        raise ArgumentError("masses", f"have shape {wanted}, not empty", tuple(masses.shape))
    checked = _finite("masses", masses)
    if (checked < 0).any():
        raise ArgumentError("masses", "be non-negative", float(checked.min()), "Take |w| |theta|.")
    return checked


def _finite(name: str, values: Tensor) -> Tensor:
    if not values.is_floating_point():
        raise ArgumentError(name, "be of a floating type", values.dtype, "Convert with .float().")
    if not torch.isfinite(values).all():
        raise ArgumentError(name, "be finite", "NaN or infinity")
    return values.detach().double()
