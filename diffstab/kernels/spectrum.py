"""Harmonic analysis of functions of a cosine on the sphere S^(d-1), and the eigenvalues of kernels on it.

With the uniform probability measure on the sphere, a kernel kappa(x . y) has the expansion

    kappa(x . y) = sum over k of lambda_k N_k P_k(x . y),    lambda_k = E[kappa(u) P_k(u)],

P_k the Legendre polynomials in d dimensions (P_k(1) = 1), N_k the number of spherical harmonics of degree k, u the
cosine between independent points, of density proportional to (1 - u^2)^((d-3)/2). Each lambda_k is the eigenvalue of
the kernel's integral operator on all N_k harmonics of degree k.

Source: Atkinson and Han 2012, "Spherical Harmonics and Approximations on the Unit Sphere", chapter 2 (addition
theorem 2.9, Funk-Hecke 2.22, recurrence 2.86).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError

Profile = Callable[[Tensor], Tensor]
"""A function of the cosine, elementwise, float64."""

_SPARE_NODES = 64
"""Quadrature nodes on each half of the interval beyond those that the polynomials alone would need."""


_DIVERGENCE = 1e-12
"""1 - gamma below this is rounding around a divergence."""


class TheoryError(NamedTuple):
    """A predicted mean square test error.

    Attributes:
        total: The error.
        power: What each degree up to K carries of it, shape (K + 1,).
    """

    total: float
    power: Tensor


def legendre(degree_max: int, dimension: int, cosines: Tensor) -> Tensor:
    """Return the Legendre polynomials in d dimensions: Gegenbauer polynomials scaled to P_k(1) = 1.

    P_k(u) is cos(k arccos u) for d = 2 and the usual Legendre polynomial for d = 3.

    Args:
        degree_max: Largest degree, >= 0.
        dimension: d >= 2.
        cosines: u in [-1, 1], any shape, float64.

    Returns:
        Shape (degree_max + 1, *cosines.shape).

    Raises:
        ArgumentError: If an argument is out of range or not float64.

    Source:
        Atkinson and Han 2012, equation 2.86.
    """
    _check_degrees(degree_max, dimension)
    if cosines.dtype != torch.float64:
        raise ArgumentError("cosines", "be of float64", cosines.dtype)
    if not bool((cosines.abs() <= 1).all()):
        raise ArgumentError("cosines", "lie in [-1, 1]", "entries outside, or NaN", "Clamp rounding errors.")
    values = 1 - legendre_gaps(degree_max, dimension, 1 - cosines.abs())
    values[1::2] *= torch.where(cosines < 0, -1.0, 1.0).to(torch.float64)
    return values


def legendre_gaps(degree_max: int, dimension: int, gaps: Tensor) -> Tensor:
    """Return 1 - P_k(1 - gap), accurate relative to its size also where the gap is tiny.

    With D_k = 1 - P_k, the differences E_k = D_(k+1) - D_k obey
    (k + d - 2) E_k = k E_(k-1) + (2k + d - 2) gap (1 - D_k), which is the recurrence of P_k without its cancellation.

    Args:
        degree_max: Largest degree, >= 0.
        dimension: d >= 2.
        gaps: 1 - u, in [0, 2], any shape, float64.

    Returns:
        Shape (degree_max + 1, *gaps.shape).

    Source:
        Atkinson and Han 2012, equation 2.86, rearranged.
    """
    found = torch.zeros(degree_max + 1, *gaps.shape, dtype=torch.float64, device=gaps.device)
    if degree_max == 0:
        return found
    difference = gaps.clone()
    found[1] = gaps
    for k in range(1, degree_max):
        difference.mul_(k).addcmul_(gaps, 1 - found[k], value=2 * k + dimension - 2).div_(k + dimension - 2)
        torch.add(found[k], difference, out=found[k + 1])
    return found


def multiplicities(degree_max: int, dimension: int) -> Tensor:
    """Return N_k, the number of linearly independent spherical harmonics of each degree.

    N_k = (2k + d - 2)/(k + d - 2) binomial(k + d - 2, k): 1, 2, 2, ... for d = 2 and 2k + 1 for d = 3.

    Args:
        degree_max: Largest degree, >= 0.
        dimension: d >= 2.

    Returns:
        Shape (degree_max + 1,), float64.

    Raises:
        ArgumentError: If an argument is out of range, or a number overflows.

    Source:
        Atkinson and Han 2012, equation 2.10.
    """
    _check_degrees(degree_max, dimension)
    k = torch.arange(1, degree_max + 1, dtype=torch.float64)
    counts = ((k + dimension - 2) / k).cumprod(0) * (2 * k + dimension - 2) / (k + dimension - 2)
    if not bool(counts.isfinite().all()):
        raise ArgumentError("degree_max", f"be smaller in {dimension} dimensions", degree_max)
    return torch.cat([torch.ones(1, dtype=torch.float64), counts])


def ntk_profile(cosines: Tensor, *, dimension: int) -> Tensor:
    """Return `diffstab.kernels.ntk` of one hidden layer of ReLU between unit vectors: (u k0(u) + k1(u)) / (2d).

    Args:
        cosines: u in [-1, 1], float64.
        dimension: d.
    """
    angle = cosines.arccos()
    supplement = math.pi - angle
    return (2 * cosines * supplement + angle.sin()) / (2 * math.pi * dimension)


def random_feature_profile(cosines: Tensor, *, dimension: int) -> Tensor:
    """Return `diffstab.kernels.random_feature_kernel` of one hidden layer of ReLU: k1(u) / (2d).

    It equals E[relu(theta . x) relu(theta . y)] over theta uniform on the unit sphere.

    Args:
        cosines: u in [-1, 1], float64.
        dimension: d.
    """
    angle = cosines.arccos()
    return (cosines * (math.pi - angle) + angle.sin()) / (2 * math.pi * dimension)


def relu_profile(cosines: Tensor) -> Tensor:
    """Return max(0, u), the profile of one neuron of unit norm."""
    return cosines.clamp(min=0)


def kernel_spectrum(profile: Profile | Callable[..., Tensor], dimension: int, degree_max: int) -> Tensor:
    """Return the eigenvalues lambda_k = E[kappa(u) P_k(u)] of kappa(x . y) under the uniform probability measure.

    For `ntk_profile`, `random_feature_profile` and `relu_profile`, recognised when passed as they are, closed forms
    are used: every eigenvalue has a relative error near 1e-14 (and those that vanish are 0). Any other profile is
    integrated over the angle by Gauss-Legendre quadrature on both halves of [0, pi], where arc-cosine kernels are
    analytic and a kink at u = 0 does no harm; the error is then some 1e-15 of the largest |kappa|, absolute, which
    in high d and degree exceeds lambda_k itself.

    Args:
        profile: kappa, a function of cosines, or one of the three profiles of this module.
        dimension: d >= 2.
        degree_max: Largest degree k.

    Returns:
        Shape (degree_max + 1,), float64; negative where the coefficient of the profile is.

    Raises:
        ArgumentError: If an argument is out of range or the profile is not finite.

    Source:
        Atkinson and Han 2012, Funk-Hecke formula 2.22; Bach 2017, "Breaking the curse of dimensionality with convex
        neural networks", appendix D, for ReLU.
    """
    _check_degrees(degree_max, dimension)
    if profile is relu_profile:
        return _relu_power_spectrum(1, dimension, degree_max)
    if profile is random_feature_profile:
        return _relu_power_spectrum(1, dimension, degree_max).square()
    if profile is ntk_profile:
        return _ntk_spectrum(dimension, degree_max)
    return _quadrature_spectrum(profile, dimension, degree_max)


def absolute_power_spectrum(exponent: float, dimension: int, degree_max: int) -> Tensor:
    """Return the eigenvalues of |u|^a: E|u|^a times the product over j < k/2 of (a - 2j)/(a + d + 2j), for even k.

    Args:
        exponent: a >= 0.
        dimension: d >= 2.
        degree_max: Largest degree k.

    Returns:
        Shape (degree_max + 1,); 0 in odd degrees.

    Source:
        Beta integrals and Rodrigues' formula (Atkinson and Han 2012, proposition 2.26).
    """
    _check_degrees(degree_max, dimension)
    found = torch.zeros(degree_max + 1, dtype=torch.float64)
    found[::2] = _running_products(exponent, dimension, degree_max // 2 + 1)
    return found * _absolute_moment(exponent, dimension)


def spectral_bias_error(
    eigenvalues: Tensor, variances: Tensor, counts: Tensor, n: float, *, target_tail: float = 0.0
) -> TheoryError:
    """Mean square error of an interpolating sum of n profiles if exactly its first n modes are learnt.

    Modes with an eigenvalue other than 0 are learnt in the order of their degree, n of them (a degree that n cuts is
    learnt by its share). On them the coefficients of the sum are g_kl = f_kl / phi_k. Above, phases are random, all
    E[g_kl^2] are equal, and n of them are the power of the learnt ones: E[g^2] = 1/n sum over learnt c_k / phi_k^2.
    The error is sum over the modes not learnt of E[g^2] phi_k^2 + c_k. It is meant for exponents; its prefactor is
    that of a lattice of points.

    Args:
        eigenvalues: phi_k: of the kernel for the lazy regime, of `relu_profile` for the feature regime, shape (K + 1,).
        variances: c_k, variance of the target per mode, shape (K + 1,).
        counts: N_k, from `multiplicities`, shape (K + 1,).
        n: Number of training points, below the number of modes with an eigenvalue.
        target_tail: The target's variance in degrees above K.

    Raises:
        ArgumentError: If the shapes differ, a value is out of range, or there are not more than n modes to learn.

    Source:
        Petrini et al. 2022 (arXiv 2206.12314), section 4, the spectral bias ansatz.
    """
    _check_theory(eigenvalues, variances, counts, n, target_tail)
    learnable = counts * (eigenvalues != 0)
    before = learnable.cumsum(0) - learnable
    if float(learnable.sum()) <= n:
        raise ArgumentError(
            "eigenvalues", f"hold more than n = {n} modes", float(learnable.sum()), "Go higher."
        )
    learnt = ((n - before) / counts).clamp(0, 1) * (eigenvalues != 0)
    powers = torch.where(learnt > 0, variances / eigenvalues.square(), 0.0)
    noise = float((learnt * counts * powers).sum()) / n
    power = counts * (1 - learnt) * (noise * eigenvalues.square() + variances)
    return TheoryError(float(power.sum()) + target_tail, power)


def self_consistent_error(
    eigenvalues: Tensor,
    variances: Tensor,
    counts: Tensor,
    n: float,
    *,
    ridge: float = 0.0,
    kernel_tail: float = 0.0,
    target_tail: float = 0.0,
) -> TheoryError:
    """Mean square test error of kernel ridge regression on n random points, from the eigenvalues alone.

    With kappa the root of n = sum N_k L_k + ridge / kappa, L_k = lambda_k / (lambda_k + kappa) the learnt share of
    each mode, and gamma = 1/n sum N_k L_k^2, the error is B / (1 - gamma), B = sum N_k c_k (1 - L_k)^2. A degree
    carries N_k (c_k (1 - L_k)^2 + error L_k^2 / n) of it. Degrees above K, lambda << kappa, act as a ridge.

    Args:
        eigenvalues: lambda_k >= 0 of the kernel, shape (K + 1,).
        variances: c_k, variance of the target per mode (or its squared coefficients' mean), shape (K + 1,).
        counts: N_k, shape (K + 1,).
        n: Number of training points.
        ridge: Added to the diagonal of the n x n kernel matrix, as in `NTKRegressor` (not divided by n).
        kernel_tail: Sum of lambda_k N_k over degrees above K: kappa(1) minus the sum up to K.
        target_tail: The target's variance in degrees above K.

    Raises:
        ArgumentError: If the shapes differ or a value is out of range.
        DegenerateError: Without ridge or tail, there are exactly n modes to learn, where the error diverges.

    Source:
        Bordelon, Canatar and Pehlevan 2020 (arXiv 2002.02561), equations 4-6; Jacot et al. 2020 (arXiv 2006.09796);
        Simon et al. 2021 (arXiv 2110.03922), section 4, in whose notation it stands here.
    """
    _check_theory(eigenvalues, variances, counts, n, target_tail)
    for name, value in {"ridge": ridge, "kernel_tail": kernel_tail}.items():
        if not 0 <= value < math.inf:
            raise ArgumentError(name, "be finite and >= 0", value)
    if bool((eigenvalues < 0).any()):
        raise ArgumentError("eigenvalues", "be >= 0, as those of a kernel", float(eigenvalues.min()))
    learnt = _learnt_shares(eigenvalues, counts, n, ridge + kernel_tail)
    gamma = float((counts * learnt.square()).sum()) / n
    if gamma >= 1 - _DIVERGENCE:
        raise DegenerateError(
            f"The error of kernel regression diverges: without ridge, {n} modes are fit to {n} points."
        )
    bias = counts * variances * (1 - learnt).square()
    error = (float(bias.sum()) + target_tail) / (1 - gamma)
    return TheoryError(error, bias + counts * learnt.square() * (error / n))


def _learnt_shares(eigenvalues: Tensor, counts: Tensor, n: float, ridge: float) -> Tensor:
    """L_k at the root of n = sum N_k lambda_k / (lambda_k + kappa) + ridge / kappa, found in log kappa."""
    positive = eigenvalues > 0
    if ridge == 0 and float(counts[positive].sum()) <= n:
        return positive.to(torch.float64)  # kappa = 0
    values, number = eigenvalues[positive], counts[positive]

    def excess(logarithm: float) -> float:
        kappa = math.exp(logarithm)
        return float((number * (values / (values + kappa))).sum()) + ridge / kappa - n

    trace = float((number * values).sum()) + ridge
    upper = math.log(trace / n)  # each share is below lambda / kappa
    lower = upper
    while excess(lower) < 0:
        lower -= 5
    kappa = math.exp(brentq(excess, lower, upper + 1, xtol=1e-13))
    return eigenvalues / (eigenvalues + kappa)


def _check_theory(
    eigenvalues: Tensor, variances: Tensor, counts: Tensor, n: float, target_tail: float
) -> None:
    for name, values in {"eigenvalues": eigenvalues, "variances": variances, "counts": counts}.items():
        if values.ndim != 1 or values.shape != eigenvalues.shape or not bool(values.isfinite().all()):
            raise ArgumentError(name, "be finite, one per degree", f"shape {tuple(values.shape)}")
    if not 0 < n < math.inf:
        raise ArgumentError("n", "be positive and finite", n)
    if not 0 <= target_tail < math.inf:
        raise ArgumentError("target_tail", "be finite and >= 0", target_tail)


def _relu_power_spectrum(exponent: int, dimension: int, degree_max: int) -> Tensor:
    """Eigenvalues of relu(u)^a = (|u|^a + sign(u) |u|^a) / 2; a = 0 is the step.

    Those of sign(u) |u|^a in degree 2m + 1 are E|u|^(a+1) times the m-th product for a - 1 in d + 2 dimensions.
    """
    found = absolute_power_spectrum(exponent, dimension, degree_max)
    odd = _running_products(exponent - 1, dimension + 2, (degree_max + 1) // 2)
    found[1::2] = odd * _absolute_moment(exponent + 1, dimension)
    return found / 2


def _ntk_spectrum(dimension: int, degree_max: int) -> Tensor:
    """Eigenvalues of k1/(2d) plus those of u k0/(2d), all terms of one sign.

    k0/2 = E[step step] has the squared eigenvalues of the step, and multiplication by u mixes neighbouring degrees:
    (2k + d - 2) u P_k = (k + d - 2) P_(k+1) + k P_(k-1).
    """
    steps = _relu_power_spectrum(0, dimension, degree_max + 1).square()
    k = torch.arange(1, degree_max + 1, dtype=torch.float64)
    mixed = steps[1:2].clone()  # for k = 0, u P_0 = P_1
    if degree_max > 0:
        higher = ((k + dimension - 2) * steps[2:] + k * steps[:-2]) / (2 * k + dimension - 2)
        mixed = torch.cat([mixed, higher])
    return _relu_power_spectrum(1, dimension, degree_max).square() + mixed / dimension


def _running_products(exponent: float, dimension: int, count: int) -> Tensor:
    """Products over j < m of (a - 2j)/(a + d + 2j), for m = 0 ... count - 1."""
    j = torch.arange(max(count - 1, 0), dtype=torch.float64)
    ratios = (exponent - 2 * j) / (exponent + dimension + 2 * j)
    return torch.cat([torch.ones(1, dtype=torch.float64), ratios.cumprod(0)])[:count]


def _absolute_moment(exponent: float, dimension: int) -> float:
    """E|u|^a for one coordinate u of a uniform point: Gamma((a+1)/2) Gamma(d/2) / (sqrt(pi) Gamma((a+d)/2))."""
    numerator = math.lgamma((exponent + 1) / 2) + math.lgamma(dimension / 2)
    return math.exp(numerator - math.lgamma((exponent + dimension) / 2) - math.lgamma(0.5))


def _quadrature_spectrum(profile: Profile, dimension: int, degree_max: int) -> Tensor:
    """Quadrature in the angle: u = cos(angle) turns the weight into sin(angle)^(d-2) and takes off its singularity."""
    roots, weights = np.polynomial.legendre.leggauss(degree_max + _SPARE_NODES)
    half = torch.from_numpy((roots + 1) * (math.pi / 4))
    angle = torch.cat([half, math.pi - half])
    measure = torch.from_numpy(weights).repeat(2) * angle.sin() ** (dimension - 2)
    values = profile(angle.cos())
    if not bool(values.isfinite().all()):
        raise ArgumentError("profile", "be finite on [-1, 1]", "NaN or infinite values")
    return legendre(degree_max, dimension, angle.cos()) @ (measure * values / measure.sum())


def _check_degrees(degree_max: int, dimension: int) -> None:
    if degree_max < 0:
        raise ArgumentError("degree_max", "be at least 0", degree_max)
    if dimension < 2:
        raise ArgumentError("dimension", "be at least 2", dimension)
