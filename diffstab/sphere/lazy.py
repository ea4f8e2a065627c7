"""Lazy predictors on the sphere averaged over a Gaussian field exactly: no sampling noise of the target."""

import warnings
from typing import NamedTuple

import torch
from scipy.linalg import LinAlgWarning
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.kernels import NTKRegressor
from diffstab.kernels.ridge import Conditioning
from diffstab.kernels.spectrum import kernel_spectrum, multiplicities, ntk_profile, random_feature_profile
from diffstab.sphere.fields import GaussianField
from diffstab.sphere.harmonics import legendre_blocks
from diffstab.sphere.points import checked_points

_POINTS_AT_ONCE = 1024
"""Test points handled together."""

_PROFILES = {"ntk": ntk_profile, "random_features": random_feature_profile}
_ESTIMATOR_NAMES = {"ntk": "ntk", "random_features": "random_feature"}


class FieldAveragedError(NamedTuple):
    """Mean square error of kernel regression over all realisations of a field, training points fixed.

    Attributes:
        per_point: E over the field of (f(x) - prediction)^2 at each test point, shape (m,).
        mean: Its mean over the test points.
        conditioning: How the kernel matrix was solved.
    """

    per_point: Tensor
    mean: float
    conditioning: Conditioning


def field_averaged_error(
    kernel: str, field: GaussianField, train: Tensor, test: Tensor, *, ridge: float = 0.0
) -> FieldAveragedError:
    """Return the error of kernel ridge regression, averaged over the field in closed form.

    The predictor is linear in the training values, f^(x) = a(x) . f(X) with a(x) = (K + ridge I)^-1 k(x), so that

        E (f(x) - f^(x))^2 = C(1) - 2 a(x) . C(X, x) + a(x) . C(X, X) a(x).

    Rounding, of the size of the condition number times 1e-16, bounds from below what can be resolved. Three n x n
    matrices are held.

    Args:
        kernel: "ntk" or "random_features", one hidden layer of ReLU without bias.
        field: Law of the target.
        train: Training points X, unit rows, float64, shape (n, d).
        test: Test points, shape (m, d).
        ridge: Added to the diagonal of K (not divided by n), >= 0.

    Returns:
        Error per test point and its mean.

    Raises:
        ArgumentError: If the kernel is unknown, the points do not lie on the field's sphere or the ridge is negative.
    """
    weights, conditioning = _inverse(kernel, field, train, ridge)
    covariance = field.covariance_matrix(train)
    checked_points("test", test, dimension=field.dimension)
    errors = []
    for points in torch.split(test, _POINTS_AT_ONCE):
        predictor = torch.from_numpy(weights.predict(points)).to(points.device)  # rows are a(x)
        quadratic = predictor @ covariance
        quadratic -= 2 * field.covariance_matrix(points, train)
        errors.append(1 + (quadratic * predictor).sum(1))
    per_point = torch.cat(errors)
    return FieldAveragedError(per_point, float(per_point.mean()), conditioning)


def field_averaged_power(
    kernel: str, field: GaussianField, train: Tensor, degree_max: int, *, ridge: float = 0.0
) -> Tensor:
    """Return the power per degree of the error of kernel ridge regression, averaged over the field in closed form.

    With M = (K + ridge I)^-1, P^k the matrix of P_k(x_i . x_j), lambda_k the eigenvalues of the kernel and C the
    covariance of the training values, degree k carries

        N_k ( c_k - 2 lambda_k c_k tr(M P^k) + lambda_k^2 tr(M C M P^k) ).

    The sum over all degrees is the error averaged over field and uniform test points. The terms cancel in learnt
    degrees: what is below about the condition number times 1e-16 of c_k N_k is rounding, and may be negative (1e-8
    for random features at n = 1024 in d = 3, below 1e-11 for the NTK).

    Args:
        kernel: "ntk" or "random_features".
        field: Law of the target.
        train: Training points, unit rows, float64, shape (n, d).
        degree_max: Largest degree K.
        ridge: Added to the diagonal of the kernel matrix, >= 0.

    Returns:
        Shape (K + 1,), on the CPU.

    Raises:
        ArgumentError: As in `field_averaged_error`, or a negative degree.

    Source:
        The addition theorem (Atkinson and Han 2012, theorem 2.9) in both terms.
    """
    train = train.cpu()
    estimator, _ = _inverse(kernel, field, train, ridge)
    eigenvalues = kernel_spectrum(_PROFILES[kernel], field.dimension, degree_max)
    inverse = torch.from_numpy(estimator.dual_coef_)
    spread = inverse @ field.covariance_matrix(train) @ inverse
    first, second = torch.zeros(2, degree_max + 1, dtype=torch.float64)
    for rows, values in legendre_blocks(train, train, degree_max):
        first += values.flatten(1) @ inverse[rows].flatten()
        second += values.flatten(1) @ spread[rows].flatten()
    variances = field.variances(degree_max)
    power: Tensor = variances * (1 - 2 * eigenvalues * first) + eigenvalues.square() * second
    power *= multiplicities(degree_max, field.dimension)
    return power


def _inverse(
    kernel: str, field: GaussianField, train: Tensor, ridge: float
) -> tuple[NTKRegressor, Conditioning]:
    """The estimator fitted to the unit vectors: its coefficients are (K + ridge I)^-1, its predictions a(x)."""
    if kernel not in _PROFILES:
        raise ArgumentError("kernel", f"be one of {', '.join(_PROFILES)}", repr(kernel))
    points = checked_points("train", train, dimension=field.dimension)
    estimator = NTKRegressor(kernel=_ESTIMATOR_NAMES[kernel], ridge=ridge)
    with warnings.catch_warnings():
        # Unit vectors contradict each other on equal points, where the field, that they are for, does not.
        warnings.simplefilter("ignore", LinAlgWarning)
        estimator.fit(points, torch.eye(len(points), dtype=torch.float64).numpy())
    return estimator, estimator.conditioning_
