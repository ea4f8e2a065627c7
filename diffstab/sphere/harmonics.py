"""Power of functions on the sphere in each degree of the spherical harmonics.

The power of f in degree k is p_k = E[f_k(x)^2], f_k its part of that degree and x uniform; sum p_k = E[f^2].
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.kernels.spectrum import legendre, multiplicities
from diffstab.sphere.points import checked_points

_VALUES_AT_ONCE = 2**22
"""Values of Legendre polynomials held together: 32 MiB."""


class ZonalSum(NamedTuple):
    """The function f(x) = sum_j g_j kappa(x . y_j): a kernel predictor, or neurons of unit norm.

    Attributes:
        centres: y_j, unit rows, float64, shape (n, d).
        coefficients: g_j, shape (n,).
        eigenvalues: lambda_k of kappa, from `diffstab.kernels.spectrum.kernel_spectrum`, shape (K + 1,).
    """

    centres: Tensor
    coefficients: Tensor
    eigenvalues: Tensor


class PowerEstimate(NamedTuple):
    """Power per degree as estimated from values.

    Attributes:
        power: Unbiased, so that it may be negative, shape (K + 1,).
        standard_error: By the jackknife, which on average is not too small, shape (K + 1,).
    """

    power: Tensor
    standard_error: Tensor


def power_per_degree(first: ZonalSum, second: ZonalSum | None = None) -> Tensor:
    """Return the power of a sum of profiles in each degree, or the cross-power E[f_k(x) h_k(x)] of two sums.

    By the addition theorem it is lambda_k mu_k N_k sum_ij g_i h_j P_k(y_i . z_j), exactly. The power of a difference
    f - h is that of f, minus twice the cross-power, plus that of h.

    Args:
        first: f.
        second: h; f itself when None.

    Returns:
        Shape (K + 1,), on the CPU.

    Raises:
        ArgumentError: If centres do not lie on one sphere or shapes do not fit.

    Source:
        Atkinson and Han 2012, theorem 2.9.
    """
    other = first if second is None else second
    dimension = checked_points("centres", first.centres).shape[1]
    checked_points("centres", other.centres, dimension=dimension)
    for sum_ in (first, other):
        if sum_.coefficients.shape != (len(sum_.centres),):
            raise ArgumentError("coefficients", "be one per centre", tuple(sum_.coefficients.shape))
    if first.eigenvalues.shape != other.eigenvalues.shape or first.eigenvalues.ndim != 1:
        raise ArgumentError("eigenvalues", "reach the same degree", tuple(other.eigenvalues.shape))
    degree_max = len(first.eigenvalues) - 1
    forms = (_forms_on_circle if dimension == 2 else _forms_over_pairs)(first, other, degree_max).cpu()
    if second is None:
        forms.clamp_(min=0)  # a sum of squares, negative by rounding only
    eigenvalues = first.eigenvalues.cpu() * other.eigenvalues.cpu()
    return eigenvalues * multiplicities(degree_max, dimension) * forms


def estimated_power_per_degree(points: Tensor, values: Tensor, degree_max: int) -> PowerEstimate:
    """Estimate the power of any function in each degree from its values on independent uniform points.

    The U-statistic N_k / (m (m - 1)) sum over i != j of f_i f_j P_k(x_i . x_j) has the mean p_k.

    Args:
        points: Unit rows, float64, shape (m, d), m >= 3.
        values: f at the points, float64, shape (m,).
        degree_max: Largest degree K.

    Returns:
        Estimates and their standard errors, on the CPU.

    Raises:
        ArgumentError: If the points do not lie on the sphere, are fewer than 3, or the values do not fit.

    Source:
        Efron and Stein 1981, "The jackknife estimate of variance", for its upward bias.
    """
    count, dimension = checked_points("points", points).shape
    if count < 3:
        raise ArgumentError("points", "be at least 3", count)
    if values.shape != (count,) or not bool(values.isfinite().all()):
        raise ArgumentError("values", "be finite, one per point", tuple(values.shape))
    modes = multiplicities(degree_max, dimension)
    sums = (_sums_on_circle if dimension == 2 else _sums_over_pairs)(points, values, degree_max).cpu()
    total = sums.sum(1)
    power = modes * total / (count * (count - 1))
    without = modes[:, None] * (total[:, None] - 2 * sums) / ((count - 1) * (count - 2))
    error = without.var(1, correction=0).mul_(count - 1).sqrt_()
    return PowerEstimate(power, error)


def _forms_over_pairs(first: ZonalSum, other: ZonalSum, degree_max: int) -> Tensor:
    """Sum over i and j of g_i h_j P_k(y_i . z_j), shape (K + 1,)."""
    forms = torch.zeros(degree_max + 1, dtype=torch.float64, device=first.centres.device)
    for rows, values in legendre_blocks(first.centres, other.centres, degree_max):
        forms += values @ other.coefficients @ first.coefficients[rows]
    return forms


def _forms_on_circle(first: ZonalSum, other: ZonalSum, degree_max: int) -> Tensor:
    """The same where P_k(y_i . z_j) = cos k (s_i - t_j): the product of two sums instead of one over pairs."""
    ours, theirs = (
        _waves(part.centres, degree_max) @ part.coefficients.to(torch.complex128) for part in (first, other)
    )
    return (ours * theirs.conj()).real


def _sums_over_pairs(points: Tensor, values: Tensor, degree_max: int) -> Tensor:
    """f_i sum over j != i of f_j P_k(x_i . x_j), shape (K + 1, m)."""
    sums = torch.empty(degree_max + 1, len(points), dtype=torch.float64, device=points.device)
    for rows, polynomials in legendre_blocks(points, points, degree_max):
        sums[:, rows] = (polynomials @ values - values[rows]) * values[rows]
    return sums


def _sums_on_circle(points: Tensor, values: Tensor, degree_max: int) -> Tensor:
    """The same where P_k(x_i . x_j) = cos k (t_i - t_j): one sum for each degree instead of one for each pair."""
    waves = _waves(points, degree_max)
    totals = waves @ values.to(waves.dtype)
    return ((totals[:, None] * waves.conj()).real - values) * values


def _waves(points: Tensor, degree_max: int) -> Tensor:
    """e^(i k t) of points (m, 2) at angles t, shape (K + 1, m)."""
    angles = torch.atan2(points[:, 1], points[:, 0])
    degrees = torch.arange(degree_max + 1, dtype=torch.float64, device=points.device)
    return torch.polar(torch.ones((), dtype=torch.float64, device=points.device), degrees[:, None] * angles)


def legendre_blocks(points: Tensor, others: Tensor, degree_max: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield P_k(x_i . y_j) for a few rows i at a time.

    Args:
        points: x_i, unit rows, shape (n, d).
        others: y_j, unit rows, shape (m, d).
        degree_max: Largest degree K.

    Yields:
        The rows, and values of shape (K + 1, rows, m).
    """
    step = max(1, _VALUES_AT_ONCE // ((degree_max + 1) * len(others)))
    for start in range(0, len(points), step):
        rows = slice(start, start + step)
        yield rows, legendre(degree_max, points.shape[1], (points[rows] @ others.T).clamp_(-1, 1))
