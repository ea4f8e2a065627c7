"""Power of a predictor's error in each degree of the spherical harmonics.

A function f has the power p_k = E[f_k(x)^2] in degree k, f_k its part of that degree and x uniform; the sum of all is
E[f^2]. By the addition theorem the part of degree k of f = sum_j g_j kappa(x . y_j) has
p_k = lambda_k^2 N_k sum_ij g_i g_j P_k(y_i . y_j), with lambda_k the eigenvalues of the profile kappa.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.kernels.spectrum import (
    kernel_spectrum,
    legendre,
    multiplicities,
    ntk_profile,
    random_feature_profile,
    relu_profile,
)
from diffstab.sphere.fields import GaussianField
from diffstab.sphere.targets import ConstantTarget, GaussianFieldTarget, Target

_MODES_PER_POINT = 4
"""Degrees are measured until their modes are so many times the training points."""

_VALUES_AT_ONCE = 2**22
"""Values of Legendre polynomials held together: 32 MiB."""


def profile_spectrum(predictor: str, dimension: int, degree_max: int) -> Tensor:
    """Return the eigenvalues of what a predictor sums up: its kernel, or one neuron.

    Args:
        predictor: "ntk", "random_features", "exact" or "trained".
        dimension: d.
        degree_max: Largest degree.

    Returns:
        Shape (degree_max + 1,).

    Raises:
        ArgumentError: If the predictor is unknown.
    """
    profiles: dict[str, Callable[..., Tensor]] = {
        "ntk": ntk_profile,
        "random_features": random_feature_profile,
        "exact": relu_profile,
        "trained": relu_profile,
    }
    if predictor not in profiles:
        raise ArgumentError("predictor", f"be one of {', '.join(profiles)}", repr(predictor))
    return kernel_spectrum(profiles[predictor], dimension, degree_max)


def degrees_to_measure(dimension: int, n_train: int, limit: int) -> int:
    """Return the degree from which all modes are `_MODES_PER_POINT` n, at most `limit`."""
    modes = multiplicities(limit, dimension).cumsum(0)
    return min(limit, int((modes < _MODES_PER_POINT * n_train).sum()))


def power_of_sum(centres: Tensor, coefficients: Tensor, eigenvalues: Tensor) -> Tensor:
    """Return lambda_k^2 N_k sum_ij g_i g_j P_k(y_i . y_j) for f = sum_j g_j kappa(x . y_j).

    Args:
        centres: y_j, unit rows, shape (n, d).
        coefficients: g_j, shape (n,).
        eigenvalues: lambda_k of kappa, shape (degrees + 1,).

    Returns:
        Shape (degrees + 1,).
    """
    quadratic = _quadratic_forms(centres, coefficients, len(eigenvalues) - 1)
    counts = multiplicities(len(eigenvalues) - 1, centres.shape[1])
    # A sum of squares: below 0 by rounding only.
    return eigenvalues.square() * counts * quadratic.clamp(min=0)


def power_from_values(points: Tensor, values: Tensor, degree_max: int) -> Tensor:
    """Return the unbiased estimate N_k / (m (m - 1)) sum over i != j of f_i f_j P_k(x_i . x_j).

    Args:
        points: Independent uniform points, shape (m, d), m >= 2.
        values: f at the points, shape (m,).
        degree_max: Largest degree.

    Returns:
        Shape (degree_max + 1,).
    """
    forms = _quadratic_forms(points, values, degree_max) - values.square().sum()
    count = len(points)
    return multiplicities(degree_max, points.shape[1]) * forms / (count * (count - 1))


def target_power(target: Target, points: Tensor, values: Tensor, degree_max: int) -> Tensor:
    """Return the power of a target per degree: its law's for a constant and a Gaussian field, else an estimate.

    Args:
        target: The target.
        points: Independent uniform points, shape (m, d).
        values: Its values there, shape (m,).
        degree_max: Largest degree.

    Returns:
        Shape (degree_max + 1,).
    """
    dimension = points.shape[1]
    if isinstance(target, ConstantTarget):
        power = torch.zeros(degree_max + 1, dtype=torch.float64)
        power[0] = target.value**2
        return power
    if isinstance(target, GaussianFieldTarget):
        field = GaussianField(dimension, target.smoothness, parity=target.parity)
        return field.variances(degree_max) * multiplicities(degree_max, dimension)
    return power_from_values(points, values, degree_max)


def _quadratic_forms(points: Tensor, weights: Tensor, degree_max: int) -> Tensor:
    """sum_ij w_i w_j P_k(x_i . x_j), by blocks of rows."""
    total = torch.zeros(degree_max + 1, dtype=torch.float64)
    rows = max(1, _VALUES_AT_ONCE // ((degree_max + 1) * len(points)))
    for block, factors in zip(torch.split(points, rows), torch.split(weights, rows)):
        cosines = (block @ points.T).clamp_(-1, 1)
        total += legendre(degree_max, points.shape[1], cosines) @ weights @ factors
    return total


def learnt_degree(eigenvalues: Tensor, dimension: int, n_train: int) -> int:
    """Return k_c: the largest degree up to which there are at most n modes of an eigenvalue that is not 0."""
    modes = multiplicities(len(eigenvalues) - 1, dimension) * (eigenvalues != 0)
    return max(0, int((modes.cumsum(0) <= n_train).sum()) - 1)
