"""How few neurons carry a layer: numbers of their masses and of the spectrum of the weights.

A neuron is a point theta_h with mass m_h = |w_h| |theta_h|: for a positively homogeneous activation the predictor
depends on the two norms through the mass alone.

Source: Petrini, Cagnetta, Vanden-Eijnden, Wyart, "Learning sparse features can lead to overfitting in neural
networks", NeurIPS 2022 (arXiv 2206.12314).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.sparsity.validation import checked_masses, checked_matrix

CARRIED_SHARE = 0.99
"""Share of the mass that the counted neurons or atoms must hold, unless another is asked for."""


def mass(theta: Tensor, weights_out: Tensor) -> Tensor:
    """Return the masses m_h = |w_h| |theta_h| of a layer's neurons.

    Args:
        theta: Weights into the layer, shape (H, d).
        weights_out: Weights out of it, shape (H,) or (C, H); |w_h| is the norm over the C outputs.

    Returns:
        Float64, shape (H,).

    Raises:
        ArgumentError: If the shapes do not fit or an entry is not a finite float.
    """
    incoming = checked_matrix("theta", theta)
    outgoing = weights_out if weights_out.ndim == 2 else weights_out[None]
    outgoing = checked_matrix("weights_out", outgoing, columns=len(incoming))
    masses: Tensor = outgoing.norm(dim=0) * incoming.norm(dim=1)
    return masses


def participation_ratio(masses: Tensor) -> float:
    """Return (sum m)^2 / sum m^2 of masses (H,): H when all are equal, 1 when one has everything.

    Raises:
        ArgumentError: If the masses are not finite and non-negative.
        DegenerateError: If all vanish.
    """
    return float(1 / mass_shares(masses).square().sum())


def entropy_number(masses: Tensor) -> float:
    """Return exp(-sum p log p) with p = m / sum m, of masses (H,): H when all are equal, 1 for a single one.

    Raises:
        ArgumentError: If the masses are not finite and non-negative.
        DegenerateError: If all vanish.
    """
    return float(torch.special.entr(mass_shares(masses)).sum().exp())


def number_carrying(masses: Tensor, *, share: float = CARRIED_SHARE) -> int:
    """Return the least number of neurons or atoms that together hold a share of the mass.

    Args:
        masses: Shape (H,), in any order.
        share: In (0, 1]; at 1 every mass counts that changes the float64 sum.

    Raises:
        ArgumentError: If the share or a mass is out of range.
        DegenerateError: If all masses vanish.
    """
    if not 0 < share <= 1:
        raise ArgumentError("share", "lie in (0, 1]", share)
    reached = mass_shares(masses).sort(descending=True).values.cumsum(0)
    return int((reached < share * reached[-1]).sum()) + 1


def number_above(masses: Tensor, *, relative_threshold: float = 1e-3) -> int:
    """Return how many neurons or atoms have more than a fraction of the largest mass.

    Args:
        masses: Shape (H,).
        relative_threshold: In [0, 1).

    Raises:
        ArgumentError: If the threshold or a mass is out of range.
        DegenerateError: If all masses vanish.
    """
    if not 0 <= relative_threshold < 1:
        raise ArgumentError("relative_threshold", "lie in [0, 1)", relative_threshold)
    shares = mass_shares(masses)
    return int((shares > relative_threshold * shares.max()).sum())


def mass_shares(masses: Tensor) -> Tensor:
    """Return m / sum m, float64, shape (H,).

    Raises:
        ArgumentError: If the masses are not finite and non-negative.
        DegenerateError: If all vanish.
    """
    checked = checked_masses(masses)
    if not checked.max() > 0:
        raise DegenerateError("All neurons have zero mass: no share, count or effective number is defined.")
    # Divided by the largest first: the sum and its square cannot overflow.
    scaled = checked / checked.max()
    return scaled / scaled.sum()


def singular_values(matrix: Tensor) -> Tensor:
    """Return the singular values of a matrix (rows, columns), float64, largest first.

    Raises:
        ArgumentError: If it is not a finite floating matrix.
    """
    values: Tensor = torch.linalg.svdvals(checked_matrix("matrix", matrix))
    return values


def stable_rank(matrix: Tensor) -> float:
    """Return |W|_F^2 / |W|_op^2 of a matrix: between 1 and its rank, insensitive to small singular values.

    Raises:
        ArgumentError: If it is not a finite floating matrix.
        DegenerateError: If it is zero.
    """
    checked = checked_matrix("matrix", matrix)
    size = checked.abs().max()
    if not size > 0:
        raise DegenerateError("The stable rank of a zero matrix is undefined.")
    scaled = checked / size  # squares can neither overflow nor all vanish
    return float(scaled.square().sum() / largest_square(scaled))


def largest_square(matrix: Tensor) -> Tensor:
    """Return |W|_op^2 of a float64 matrix with entries of order 1: the largest eigenvalue of its smaller Gram matrix.

    All singular values of 1000 x 3072 weights take several times as long.
    """
    narrow = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    values: Tensor = torch.linalg.eigvalsh(narrow @ narrow.T)
    return values[-1]


def numerical_rank(matrix: Tensor, *, relative_tolerance: float | None = None) -> int:
    """Return how many singular values exceed a fraction of the largest; 0 for a zero matrix.

    Args:
        matrix: Shape (rows, columns).
        relative_tolerance: In (0, 1); None is max(rows, columns) times the rounding unit of its floating type.

    Raises:
        ArgumentError: If the matrix or the tolerance is out of range.
    """
    values = singular_values(matrix)
    if relative_tolerance is None:
        relative_tolerance = max(matrix.shape) * torch.finfo(matrix.dtype).eps
    if not 0 < relative_tolerance < 1:
        raise ArgumentError("relative_tolerance", "lie in (0, 1)", relative_tolerance)
    return int((values > relative_tolerance * values[0]).sum())


class SigmaRank(NamedTuple):
    """Ranks of the hidden covariances K = Z^T Z and K^s = s(Z)^T s(Z) of a layer."""

    preactivations: int
    activations: int

    @property
    def lower_bound(self) -> int:
        """Least value that Rank_s(K, K^s) can take."""
        return max(self)


def sigma_rank(
    preactivations: Tensor, activations: Tensor, *, relative_tolerance: float | None = None
) -> SigmaRank:
    """Return the ranks of a layer's covariances, which bound its sigma-rank from below.

    Rank_s(K, K^s) is the least number of vectors z in R^n with K = sum z z^T and K^s = sum s(z) s(z)^T; a sum of
    so many terms has no larger rank, hence Rank_s >= max(rank K, rank K^s).

    Args:
        preactivations: Z at each of n points, shape (n, H), without biases.
        activations: s(Z), same shape.
        relative_tolerance: Of singular values of Z and s(Z), see `numerical_rank`.

    Raises:
        ArgumentError: If the shapes differ or an entry is not a finite float.

    Source: Jacot, Golikov, Hongler, Gabriel, NeurIPS 2022 (arXiv 2205.15809), who define the rank.
    """
    if preactivations.shape != activations.shape:
        shapes = f"{tuple(preactivations.shape)} and {tuple(activations.shape)}"
        raise ArgumentError("preactivations and activations", "have one shape", shapes)
    # The rank of Z^T Z is that of Z, whose singular values keep twice as many digits.
    parts = (preactivations, activations)
    return SigmaRank(*(numerical_rank(part, relative_tolerance=relative_tolerance) for part in parts))
