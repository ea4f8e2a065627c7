r"""The shape of a layer's representations: planes for pictures, separation of classes, neurons on rays.

Columns of Z, (n, N), are data points in the space of the neurons; rows are neurons in the space of the data points.
Both have their principal axes from one singular value decomposition.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError


class PrincipalPlanes(NamedTuple):
    """Two principal axes of the columns and of the rows of a matrix Z, shape (n, N).

    Attributes:
        columns: Orthonormal columns, shape (n, 2): the plane of the data points.
        rows: Orthonormal columns, shape (N, 2): the plane of the neurons.
        column_share: Share of |Z - mean column|_F^2 in the first plane, in [0, 1]; 1 where that is 0.
        row_share: Share of |Z|_F^2 in the second plane.
    """

    columns: Tensor
    rows: Tensor
    column_share: float
    row_share: float

    def points(self, matrix: Tensor) -> Tensor:
        """Return the columns of a matrix (n, N) in the plane of the data points, shape (N, 2)."""
        return matrix.mT @ self.columns

    def neurons(self, matrix: Tensor) -> Tensor:
        """Return the rows of a matrix (n, N) in the plane of the neurons, shape (n, 2)."""
        return matrix @ self.rows


def principal_planes(representation: Tensor) -> PrincipalPlanes:
    """Return the planes in which a layer is pictured.

    The axes of the columns are those of their scatter about the mean. Those of the rows are about the origin, so that
    aligned neurons lie on one ray from the origin of the picture.

    Args:
        representation: Z, shape (n, N), finite and floating. A missing axis (n or N of 1, say) is zero.

    Raises:
        ArgumentError: If it is no finite floating matrix.

    Convention: the largest coordinate of each axis is positive.
    """
    if representation.ndim != 2 or 0 in representation.shape or not representation.is_floating_point():
        received = f"{tuple(representation.shape)} of {representation.dtype}"
        raise ArgumentError("representation", "be a floating matrix (neurons, points), not empty", received)
    if not representation.isfinite().all():
        raise ArgumentError("representation", "be finite", "NaN or infinite entries")
    centred = representation - representation.mean(dim=1, keepdim=True)
    columns, column_share = _plane(centred.mT)
    rows, row_share = _plane(representation)
    return PrincipalPlanes(columns, rows, column_share, row_share)


def _plane(matrix: Tensor) -> tuple[Tensor, float]:
    """Return the two leading right singular vectors of a matrix, shape (columns, 2), and their share of its norm."""
    _, sizes, basis = torch.linalg.svd(matrix, full_matrices=False)
    found = basis[:2].mT * (sizes[:2] > 0)
    largest = found.gather(0, found.abs().argmax(dim=0, keepdim=True))
    found = found * torch.where(largest < 0, -1, 1)
    total = float(sizes.square().sum())
    share = float(sizes[:2].square().sum()) / total if total > 0 else 1.0
    return torch.cat([found, found.new_zeros(len(found), 2 - found.shape[1])], dim=1), share


def class_separation(representation: Tensor, labels: Tensor) -> float:
    r"""Return the share of the scatter of the columns that lies between classes, in [0, 1].

        sum_c N_c |m_c - m|^2 / sum_i |z_i - m|^2,

    m_c the mean of class c and m that of all: 0 for classes with one mean, 1 for classes without inner scatter.

    Args:
        representation: Z, shape (n, N).
        labels: Class of each column, shape (N,), int64, at least 0.

    Returns:
        The share; NaN where all columns are equal.

    Raises:
        ArgumentError: If the labels do not fit.
    """
    count = representation.shape[-1]
    if labels.shape != (count,) or labels.dtype != torch.int64 or (labels < 0).any():
        received = f"{tuple(labels.shape)} of {labels.dtype}"
        raise ArgumentError("labels", f"be class indices of shape ({count},) and type int64", received)
    points = (representation - representation.mean(dim=1, keepdim=True)).double().mT
    sums = points.new_zeros(int(labels.max()) + 1, points.shape[1]).index_add(0, labels, points)
    sizes = torch.bincount(labels).clamp_min(1)[:, None]
    between, total = float((sums.square() / sizes).sum()), float(points.square().sum())
    return between / total if total > 0 else float("nan")
