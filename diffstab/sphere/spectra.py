"""What a record says about the error of a predictor degree by degree, and the theory beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.kernels.spectrum import (
    TheoryError,
    kernel_spectrum,
    multiplicities,
    ntk_profile,
    random_feature_profile,
    relu_profile,
    self_consistent_error,
)
from diffstab.sphere.fields import GaussianField
from diffstab.sphere.harmonics import ZonalSum, estimated_power_per_degree, power_per_degree
from diffstab.sphere.lazy import field_averaged_power
from diffstab.sphere.targets import ConstantTarget, GaussianFieldTarget, Target

_MODES_PER_POINT = 4
"""Degrees are measured until their modes are so many times the training points."""

_THEORY_MODES_PER_POINT = 200
"""Modes that theory sums one degree at a time; it takes those beyond together."""

_THEORY_DEGREES = 20_000

_PROFILES: dict[str, Callable[..., Tensor]] = {
    "ntk": ntk_profile,
    "random_features": random_feature_profile,
    "exact": relu_profile,
    "trained": relu_profile,
}


class ErrorPower(NamedTuple):
    """The power of an error per degree, shape (degrees + 1,), and how it was found.

    Attributes:
        power: An estimate may be below 0 where there is next to none.
        kind: "exact" by the addition theorem, "averaged" over the field in closed form, or "estimated" from values.
    """

    power: Tensor
    kind: str


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
    if predictor not in _PROFILES:
        raise ArgumentError("predictor", f"be one of {', '.join(_PROFILES)}", repr(predictor))
    return kernel_spectrum(_PROFILES[predictor], dimension, degree_max)


def degrees_to_measure(
    dimension: int, n_train: int, limit: int, modes_per_point: int = _MODES_PER_POINT
) -> int:
    """Return the degree from which all modes are so many times n, at most `limit`."""
    modes = multiplicities(limit, dimension).cumsum(0)
    return min(limit, int((modes < modes_per_point * n_train).sum()))


def learnt_degree(predictor: str, dimension: int, n_train: int) -> int:
    """Return k_c: the largest degree up to which a predictor has at most n modes of an eigenvalue that is not 0."""
    degrees = degrees_to_measure(dimension, n_train, 4 * n_train + 4)
    learnable = multiplicities(degrees, dimension) * (profile_spectrum(predictor, dimension, degrees) != 0)
    return max(0, int((learnable.cumsum(0) <= n_train).sum()) - 1)


def field_of(target: Target, dimension: int) -> GaussianField | None:
    """Return the law of a target that is a Gaussian field, None for another."""
    if isinstance(target, GaussianFieldTarget):
        return GaussianField(dimension, target.smoothness, parity=target.parity)
    return None


def target_variances(target: Target, dimension: int, degree_max: int) -> Tensor | None:
    """Return c_k, the variance per mode, of a constant or a Gaussian field; None where it has no closed form.

    Args:
        target: The target.
        dimension: d.
        degree_max: Largest degree.

    Returns:
        Shape (degree_max + 1,); a constant has its square in degree 0.
    """
    if isinstance(target, ConstantTarget):
        variances = torch.zeros(degree_max + 1, dtype=torch.float64)
        variances[0] = target.value**2
        return variances
    field = field_of(target, dimension)
    return None if field is None else field.variances(degree_max)


def constant_error_power(predictor: ZonalSum, value: float) -> ErrorPower:
    """Return the power of f - value for a sum f of profiles, exactly."""
    power = power_per_degree(predictor)
    power[0] = (predictor.eigenvalues[0] * predictor.coefficients.sum() - value).square()
    return ErrorPower(power, "exact")


def averaged_error_power(
    predictor: str, field: GaussianField, train: Tensor, degree_max: int, *, ridge: float
) -> ErrorPower:
    """Return the power of a lazy predictor's error, averaged over the field."""
    return ErrorPower(field_averaged_power(predictor, field, train, degree_max, ridge=ridge), "averaged")


def estimated_error_power(points: Tensor, errors: Tensor, degree_max: int) -> ErrorPower:
    """Return the power of an error estimated from its values at independent points."""
    return ErrorPower(estimated_power_per_degree(points, errors, degree_max).power, "estimated")


def lazy_theory(
    predictor: str, target: Target, dimension: int, n_train: int, *, ridge: float = 0.0
) -> TheoryError | None:
    """Return the self-consistent theory of kernel regression on a constant or a Gaussian field.

    Args:
        predictor: "ntk" or "random_features".
        target: The target.
        dimension: d.
        n_train: n.
        ridge: Added to the diagonal of the kernel matrix.

    Returns:
        The error and what each degree carries of it; None for a target whose law is not known in closed form.
    """
    degrees = degrees_to_measure(dimension, n_train, _THEORY_DEGREES, _THEORY_MODES_PER_POINT)
    variances = target_variances(target, dimension, degrees)
    if variances is None:
        return None
    eigenvalues, counts = profile_spectrum(predictor, dimension, degrees), multiplicities(degrees, dimension)
    at_zero_angle = _PROFILES[predictor](torch.ones(1, dtype=torch.float64), dimension=dimension).item()
    total = target.value**2 if isinstance(target, ConstantTarget) else 1.0
    return self_consistent_error(
        eigenvalues,
        variances,
        counts,
        n_train,
        ridge=ridge,
        kernel_tail=max(0.0, at_zero_angle - float(counts @ eigenvalues)),
        target_tail=max(0.0, total - float(counts @ variances)),
    )
