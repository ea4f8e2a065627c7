"""Slow, obvious references for harmonic analysis and fields on the sphere, numpy, scipy and mpmath only."""

import math

import mpmath
import numpy as np
from scipy.integrate import quad
from scipy.special import eval_chebyt, eval_gegenbauer, sph_harm_y


def legendre(degree, dimension, u):
    """P_k in d dimensions, from scipy's Gegenbauer polynomials."""
    if dimension == 2:
        return eval_chebyt(degree, u)
    order = (dimension - 2) / 2
    return eval_gegenbauer(degree, order, u) / eval_gegenbauer(degree, order, 1.0)


def multiplicity(degree, dimension):
    """Homogeneous polynomials of the degree minus those of two degrees less, in exact integers."""
    lower = math.comb(degree + dimension - 3, dimension - 1) if degree >= 2 else 0
    return math.comb(degree + dimension - 1, dimension - 1) - lower


def eigenvalue(profile, degree, dimension, *, digits=40):
    """E[kappa(u) P_k(u)] by quadrature in many digits; the profile takes and returns mpmath numbers."""
    with mpmath.workdps(digits):
        order = mpmath.mpf(dimension - 2) / 2

        def polynomial(u):
            if dimension == 2:
                return mpmath.chebyt(degree, u)
            return mpmath.gegenbauer(degree, order, u) / mpmath.gegenbauer(degree, order, 1)

        def weighted(angle):
            u = mpmath.cos(angle)
            return profile(u) * polynomial(u) * mpmath.sin(angle) ** (dimension - 2)

        nodes = mpmath.linspace(0, mpmath.pi, 2 * (degree // 10 + 2) + 1)
        total = mpmath.quad(lambda angle: mpmath.sin(angle) ** (dimension - 2), [0, mpmath.pi])
        return float(mpmath.quad(weighted, nodes) / total)


def harmonics_on_circle(points, degree_max):
    """Orthonormal harmonics of S^1 under the uniform probability measure, by degree: list of (n, N_k)."""
    angle = np.arctan2(points[:, 1], points[:, 0])
    waves = [
        np.sqrt(2) * np.stack([np.cos(k * angle), np.sin(k * angle)], 1) for k in range(1, degree_max + 1)
    ]
    return [np.ones((len(points), 1)), *waves]


def harmonics_on_sphere(points, degree_max):
    """The same for S^2, from scipy's complex harmonics."""
    polar, azimuth = np.arccos(points[:, 2]), np.arctan2(points[:, 1], points[:, 0])
    bases = []
    for k in range(degree_max + 1):
        columns = [sph_harm_y(k, 0, polar, azimuth).real]
        for m in range(1, k + 1):
            value = sph_harm_y(k, m, polar, azimuth)
            columns += [math.sqrt(2) * value.real, math.sqrt(2) * value.imag]
        bases.append(math.sqrt(4 * math.pi) * np.stack(columns, 1))
    return bases


def covariance_on_circle(angle, smoothness, *, even):
    """d = 2: sum of cos(k angle) k^-(2 nu + 1), normalised: a polylogarithm."""
    s = 2 * mpmath.mpf(smoothness) + 1
    wave = mpmath.e ** (1j * mpmath.mpf(angle) * (2 if even else 1))
    return float(mpmath.re(mpmath.polylog(s, wave)) / mpmath.zeta(s))


def covariance_in_four_dimensions(angle, smoothness, *, even):
    """d = 4: N_k P_k = (k + 1) sin((k + 1) angle) / sin(angle), so sums are polylogarithms too."""
    p, angle = 2 * mpmath.mpf(smoothness) + 3, mpmath.mpf(angle)
    step = 2 if even else 1
    wave, shift = mpmath.e ** (1j * angle * step), mpmath.e ** (1j * angle)

    def part(power):
        return mpmath.mpf(step) ** -power

    value = part(p - 1) * mpmath.polylog(p - 1, wave) + part(p) * mpmath.polylog(p, wave)
    total = sum(part(q) * factor * mpmath.zeta(q) for q, factor in ((p - 2, 1), (p - 1, 2), (p, 1)))
    return float(mpmath.im(shift * value) / mpmath.sin(angle) / total)


def covariance_by_series(cosines, dimension, smoothness, *, even, degree_max):
    """Plain sum of the series up to a degree, normalised by its own value at 1."""
    total, found = 0.0, np.zeros_like(cosines)
    for k in range(2 if even else 1, degree_max + 1, 2 if even else 1):
        weight = float(k) ** -(2 * smoothness + dimension - 1) * multiplicity(k, dimension)
        total += weight
        found += weight * legendre(k, dimension, cosines)
    return found / total


def mean_power_of_projection(exponent, dimension, *, relu):
    """E[s(u)^2] for one coordinate u of a uniform point, s(u) = |u|^a or relu(u)^a, by adaptive quadrature."""
    weight = lambda t: math.sin(t) ** (dimension - 2)  # noqa: E731
    value, _ = quad(lambda t: math.cos(t) ** (2 * exponent) * weight(t), 0, math.pi / 2, epsabs=1e-13)
    total, _ = quad(weight, 0, math.pi, epsabs=1e-13)
    return value * (1 if relu else 2) / total
