"""How few neurons carry a layer: numbers of its weights (theta_h, w_h) and their masses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError


def mass(theta: Tensor, weights_out: Tensor) -> Tensor:
    """Return m_h = |w_h| |theta_h|, shape (H,), for theta (H, d) and outgoing weights (H,) or (C, H).

    Raises:
        ArgumentError: If the shapes do not fit or a weight is not finite.
    """
    outgoing = weights_out if weights_out.ndim == 2 else weights_out[None]
    if theta.ndim != 2 or outgoing.shape[-1] != len(theta):
        received = f"{tuple(theta.shape)} and {tuple(weights_out.shape)}"
        raise ArgumentError("theta and weights_out", "have shapes (H, d) and (H,) or (C, H)", received)
    if not (torch.isfinite(theta).all() and torch.isfinite(outgoing).all()):
        raise ArgumentError("theta and weights_out", "be finite", "NaN or infinity")
    return outgoing.norm(dim=0) * theta.norm(dim=1)


def participation_ratio(masses: Tensor) -> float:
    """Return (sum m)^2 / sum m^2: H for equal masses, 1 for a single one.

    Raises:
        DegenerateError: If all masses vanish.
    """
    share = _shares(masses)
    return float(1 / share.square().sum())


def entropy_number(masses: Tensor) -> float:
    """Return exp(-sum p log p) with p = m / sum m: H for equal masses, 1 for a single one.

    Raises:
        DegenerateError: If all masses vanish.
    """
    share = _shares(masses)
    return float(torch.special.entr(share).sum().exp())


def stable_rank(matrix: Tensor) -> float:
    """Return |W|_F^2 / |W|_op^2, between 1 and the rank.

    Raises:
        DegenerateError: If the matrix is zero.
    """
    squares = torch.linalg.svdvals(matrix).square()
    if not squares.max() > 0:
        raise DegenerateError("The stable rank of a zero matrix is undefined.")
    return float(squares.sum() / squares.max())


def nearest_angles_deg(theta: Tensor, *, block: int = 1024) -> Tensor:
    """Return the angle of each neuron to its nearest neighbour, degrees, shape (H,); NaN for a zero neuron."""
    if len(theta) < 2:
        raise ArgumentError("theta", "hold at least two neurons", len(theta))
    unit = theta / theta.norm(dim=1, keepdim=True)
    nearest = []
    for start in range(0, len(unit), block):
        cosine = unit[start : start + block] @ unit.T
        cosine.diagonal(start).fill_(-math.inf)
        partner = unit[cosine.nan_to_num(nan=-2.0).argmax(1)]
        # The chord resolves small angles, which the arc cosine of a rounded product does not.
        chord = (unit[start : start + block] - partner).norm(dim=1)
        nearest.append(torch.rad2deg(2 * torch.asin((chord / 2).clamp(max=1))))
    return torch.cat(nearest)


def weighted_median(values: Tensor, weights: Tensor) -> float:
    """Return the smallest value at which half of the weight is reached."""
    order = values.argsort()
    reached = weights[order].cumsum(0)
    return float(values[order][torch.searchsorted(reached, reached[-1] / 2)])


def dead_share(theta: Tensor, x: Tensor) -> float:
    """Return the share of neurons whose preactivation theta_h . x_i is at most 0 on every point x (n, d)."""
    return float(((theta @ x.T) <= 0).all(1).double().mean())


def _shares(masses: Tensor) -> Tensor:
    total = masses.sum()
    if not total > 0:
        raise DegenerateError("All neurons have zero mass; their effective number is undefined.")
    return masses / total
