"""Directions of neurons: angles to the nearest neighbour, against uniform ones, and alignment.

Nearest-neighbour angles of H independent uniform points on the sphere S^(d-1): a given point has none of the other
H - 1 within the angle a with probability (1 - p(a))^(H-1), p(a) the share of the sphere in a cap of that angle.
"""

from __future__ import annotations

import math

import torch
from scipy.special import betainc, betaincinv
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.sparsity.measures import largest_square, mass_shares
from diffstab.sparsity.validation import checked_masses, checked_matrix


def unit_directions(theta: Tensor) -> Tensor:
    """Return theta_h / |theta_h|, float64, shape (H, d); a zero neuron stays zero.

    Raises:
        ArgumentError: If theta is not a finite floating matrix.
    """
    checked = checked_matrix("theta", theta)
    # Scaled by the largest entry first: the square of a tiny weight cannot underflow.
    largest = checked.abs().amax(dim=1, keepdim=True)
    scaled = checked / torch.where(largest > 0, largest, 1.0)
    norms = scaled.norm(dim=1, keepdim=True)
    return scaled / torch.where(norms > 0, norms, 1.0)


def nearest_angles_deg(theta: Tensor, *, block: int = 1024) -> Tensor:
    """Return the angle between each neuron and the nearest other one.

    Args:
        theta: Weights, shape (H, d), H >= 2.
        block: Rows of the matrix of cosines that are held at once.

    Returns:
        Degrees in [0, 180], float64, shape (H,), to about 1e-6 degrees; NaN for a zero neuron and where all
        other neurons are zero.

    Raises:
        ArgumentError: If theta is not a finite floating matrix of two neurons at least.
    """
    unit = unit_directions(theta)
    if len(unit) < 2:
        raise ArgumentError("theta", "hold at least two neurons", len(unit))
    exists = unit.abs().amax(dim=1) > 0
    nearest = []
    for start in range(0, len(unit), block):
        rows = unit[start : start + block]
        cosine = (rows @ unit.T).masked_fill_(~exists, -math.inf)
        cosine.diagonal(start).fill_(-math.inf)
        best, partner = cosine.max(dim=1)
        # Half the angle from the two diagonals of the rhombus: exact also where the cosine is flat.
        angle = 2 * torch.atan2((rows - unit[partner]).norm(dim=1), (rows + unit[partner]).norm(dim=1))
        defined = exists[start : start + block] & torch.isfinite(best)
        nearest.append(torch.where(defined, torch.rad2deg(angle), math.nan))
    return torch.cat(nearest)


def cap_share(angle_deg: Tensor, dimension: int) -> Tensor:
    """Return the share of the sphere S^(d-1) within an angle of a point.

        p(a) = I_{sin^2 a}((d - 1) / 2, 1 / 2) / 2 up to 90 degrees, 1 - p(180 - a) beyond,

    with I the regularised incomplete beta function; on S^0 (d = 1) 1/2 below 180 degrees.

    Args:
        angle_deg: Angles in [0, 180] degrees, any shape.
        dimension: Number d of coordinates.

    Returns:
        Float64, the same shape.

    Raises:
        ArgumentError: If an angle or the dimension is out of range.

    Source: Li, "Concise formulas for the area and volume of a hyperspherical cap", Asian J. Math. Stat. 4 (2011).
    """
    _check_dimension(dimension)
    if not ((angle_deg >= 0) & (angle_deg <= 180)).all():
        raise ArgumentError("angle_deg", "lie in [0, 180]", angle_deg)
    angle = angle_deg.double()
    if dimension == 1:
        return torch.where(angle < 180, 0.5, 1.0).double()
    sine_squared = torch.deg2rad(angle).sin().square().clamp(max=1)
    half = torch.as_tensor(betainc((dimension - 1) / 2, 0.5, sine_squared.cpu().numpy())) / 2
    return torch.where(angle.cpu() <= 90, half, 1 - half)


def uniform_nearest_angle_share(angle_deg: Tensor, *, neurons: int, dimension: int) -> Tensor:
    """Return the probability that a uniform neuron has another one within an angle: 1 - (1 - p(a))^(H-1).

    Args:
        angle_deg: Angles in [0, 180] degrees, any shape.
        neurons: Number H of independent uniform directions, at least 2.
        dimension: Number d of coordinates.

    Raises:
        ArgumentError: If an argument is out of range.
    """
    _check_neurons(neurons)
    return -torch.expm1((neurons - 1) * torch.log1p(-cap_share(angle_deg, dimension)))


def uniform_nearest_angle_deg(neurons: int, dimension: int, *, quantile: float = 0.5) -> float:
    """Return a quantile of the nearest-neighbour angle of uniform neurons, exact.

    Args:
        neurons: Number H of independent uniform directions, at least 2.
        dimension: Number d of coordinates.
        quantile: In (0, 1); the median unless another is asked for.

    Returns:
        Degrees in [0, 180].

    Raises:
        ArgumentError: If an argument is out of range.
    """
    _check_neurons(neurons)
    _check_dimension(dimension)
    if not 0 < quantile < 1:
        raise ArgumentError("quantile", "lie strictly between 0 and 1", quantile)
    cap = -math.expm1(math.log1p(-quantile) / (neurons - 1))
    if dimension == 1:
        return 0.0 if cap <= 0.5 else 180.0
    sine_squared = float(betaincinv((dimension - 1) / 2, 0.5, 2 * min(cap, 1 - cap)))
    acute = math.degrees(math.asin(math.sqrt(sine_squared)))
    return acute if cap <= 0.5 else 180 - acute


def alignment(theta: Tensor, target: Tensor, *, masses: Tensor | None = None) -> float:
    """Return the mean |cos| of the angle between the neurons and a line, weighted by mass.

    Uniform neurons have `uniform_alignment`, neurons on the line 1. Zero neurons are left out.

    Args:
        theta: Weights, shape (H, d).
        target: The line's direction, shape (d,), of any length but zero.
        masses: Weights of the mean, shape (H,); equal ones if None.

    Raises:
        ArgumentError: If the shapes do not fit or an entry is not a finite float.
        DegenerateError: If the target is zero or no neuron has mass.
    """
    unit, shares = _weighted_directions(theta, masses)
    line = unit_directions(checked_matrix("target", target[None], columns=unit.shape[1]))[0]
    if not line.any():
        raise DegenerateError("The target is zero and has no direction.")
    return float(shares @ (unit @ line).abs())


def uniform_alignment(dimension: int) -> float:
    """Return the mean |cos| between a uniform direction and a line: Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2))."""
    _check_dimension(dimension)
    return math.exp(math.lgamma(dimension / 2) - math.lgamma((dimension + 1) / 2)) / math.sqrt(math.pi)


def principal_share(theta: Tensor, *, masses: Tensor | None = None) -> float:
    """Return the largest eigenvalue of sum_h p_h u_h u_h^T, u_h the directions and p_h the shares of the mass.

    1 when all neurons lie on one line, 1/d when they are spread evenly over all directions.

    Args:
        theta: Weights, shape (H, d); zero neurons are left out.
        masses: Shape (H,); equal ones if None.

    Raises:
        ArgumentError: If the shapes do not fit or an entry is not a finite float.
        DegenerateError: If no neuron has mass.
    """
    unit, shares = _weighted_directions(theta, masses)
    return float(largest_square(unit * shares.sqrt()[:, None]))


def weighted_median(values: Tensor, weights: Tensor) -> float:
    """Return the smallest value at which half of the weight of the values is reached.

    Args:
        values: Shape (H,); those that are NaN are left out.
        weights: Non-negative, shape (H,).

    Returns:
        NaN if no other value has weight.
    """
    checked = checked_masses(weights, count=len(values))
    kept = ~values.isnan() & (checked > 0)
    if not kept.any():
        return math.nan
    ordered, order = values[kept].sort()
    reached = checked[kept][order].cumsum(0)
    return float(ordered[torch.searchsorted(reached, reached[-1] / 2)])


def _weighted_directions(theta: Tensor, masses: Tensor | None) -> tuple[Tensor, Tensor]:
    unit = unit_directions(theta)
    given = torch.ones(len(unit), dtype=torch.float64) if masses is None else masses
    exists = unit.abs().amax(dim=1) > 0
    return unit, mass_shares(checked_masses(given, count=len(unit)).to(unit.device) * exists)


def _check_dimension(dimension: int) -> None:
    if dimension < 1:
        raise ArgumentError("dimension", "be at least 1", dimension)


def _check_neurons(neurons: int) -> None:
    if neurons < 2:
        raise ArgumentError("neurons", "be at least 2", neurons, "One neuron has no neighbour.")
