"""Gaussian random fields on the sphere with a power law of variances: any smoothness, any dimension.

f = sum over k > 0 and l of f_kl Y_kl with independent f_kl of variance c_k ~ k^(-2 nu - (d-1)), the Y_kl orthonormal
under the uniform probability measure. Its covariance is sum c_k N_k P_k(cos angle). For small nu the series takes
forever, so it is summed in closed form: k^-p = integral of t^(p-1) e^(-kt) dt / Gamma(p), cut at t = 1. Above the
cut the sum over k converges like e^-k; below it, the sum over k is Poisson's kernel,
sum N_k r^k P_k(u) = (1 - r^2) / (1 - 2ru + r^2)^(d/2) with r = e^-t, which leaves one smooth integral over log t.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from scipy.linalg import lapack
from scipy.special import gammaincc
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.kernels.arccosine import accurate_angle
from diffstab.kernels.spectrum import legendre_gaps, multiplicities
from diffstab.sphere.points import checked_points, normal_draws

_SMALLEST_ANGLE = 1e-9
"""The table of the variogram starts here; below, it follows its power law."""

_NODES = 4096
"""Angles of the table, equidistant in their logarithm."""

_ORDER = 5
"""Degree of the spline through the table: an error of about 1e-12 of the variogram."""

_TILE = 512
"""Side of the square blocks of a covariance matrix: 2 MB each, so that all passes over one stay in the cache."""


class _PowerLaw(NamedTuple):
    dimension: int
    smoothness: float
    even: bool

    @property
    def exponent(self) -> float:
        """p, the variances fall as k^-p."""
        return 2 * self.smoothness + self.dimension - 1

    @property
    def first(self) -> int:
        """Lowest degree."""
        return 2 if self.even else 1


class GaussianField:
    """Isotropic Gaussian random field of unit variance on S^(d-1), with c_k proportional to k^(-2 nu - (d-1)).

    E|f(x) - f(y)|^2 ~ |x - y|^(2 nu) for nu < 1, and ~ |x - y|^2 above. Neurons relu(theta . x) without bias and the
    kernels built of them have no odd degree k >= 3, so that a field of even parity is one that they can learn.

    The covariance is right to about 2e-12 for every angle, also where its series converges too slowly to be summed.
    In high dimensions the power law leaves nearly all variance in the lowest degree.

    Args:
        dimension: d >= 2.
        smoothness: nu > 0.
        parity: "even": degrees 2, 4, 6, ..., so that f(-x) = f(x); "all": degrees 1, 2, 3, ...

    Raises:
        ArgumentError: If an argument is out of range.

    Source:
        Petrini et al. 2022 (arXiv 2206.12314), section 2, for the field; Atkinson and Han 2012, proposition 2.28, for
        Poisson's kernel.
    """

    def __init__(self, dimension: int, smoothness: float, *, parity: str = "even") -> None:
        if dimension < 2:
            raise ArgumentError("dimension", "be at least 2", dimension)
        if not 0 < smoothness < math.inf:
            raise ArgumentError("smoothness", "be positive and finite", smoothness)
        if parity not in ("even", "all"):
            raise ArgumentError("parity", "be 'even' or 'all'", repr(parity))
        self.dimension = dimension
        self.smoothness = smoothness
        self.parity = parity
        self._law = _PowerLaw(dimension, smoothness, parity == "even")
        self._table = _variogram_table(self._law)

    def covariance(self, cosines: Tensor) -> Tensor:
        """Return E[f(x) f(y)] = sum over k of c_k N_k P_k(x . y).

        Cosines in float64 do not resolve angles below 1e-8; `covariance_matrix` does.

        Args:
            cosines: x . y in [-1, 1], any shape, float64; rounding errors beyond 1 are clamped.

        Returns:
            The same shape.
        """
        return 1 - self._variogram(cosines.clamp(-1, 1).arccos_())

    def variances(self, degree_max: int) -> Tensor:
        """Return c_k, the variance of each mode of degree k, so that the sum of c_k N_k over all k is 1.

        Args:
            degree_max: Largest degree.

        Returns:
            Shape (degree_max + 1,); 0 for k = 0 and for the degrees that the parity leaves out.
        """
        k = torch.arange(degree_max + 1, dtype=torch.float64)
        found = (k / self._law.first) ** -self._law.exponent / self._table.total
        found[0] = 0
        if self._law.even:
            found[1::2] = 0
        return found

    def covariance_matrix(self, points: Tensor, others: Tensor | None = None) -> Tensor:
        """Return the covariances between points.

        Besides the result only a few blocks are held.

        Args:
            points: Unit rows, float64, shape (n, d).
            others: The same, shape (m, d); the points themselves when None.

        Returns:
            Shape (n, m); exactly symmetric with a diagonal of ones when `others` is None.

        Raises:
            ArgumentError: If the points do not lie on the sphere of the field.
        """
        rows = checked_points("points", points, dimension=self.dimension)
        columns = rows if others is None else checked_points("others", others, dimension=self.dimension)
        matrix = torch.empty(len(rows), len(columns), dtype=torch.float64, device=rows.device)
        for i in range(0, len(rows), _TILE):
            above = slice(i, i + _TILE)
            for j in range(i if others is None else 0, len(columns), _TILE):
                right = slice(j, j + _TILE)
                cosines = (rows[above] @ columns[right].T).clamp_(-1, 1)
                block = 1 - self._variogram(accurate_angle(cosines, rows[above], columns[right]))
                if others is None and i == j:
                    block = (block + block.T).div_(2)
                elif others is None:
                    matrix[right, above] = block.T
                matrix[above, right] = block
        return matrix.fill_diagonal_(1) if others is None else matrix

    def sample(self, points: Tensor, *, generator: torch.Generator, samples: int = 1) -> Tensor:
        """Draw independent realisations of the field at the points, each an exact joint draw.

        The covariance matrix A is factored in place, A = U^T U (Cholesky), so that the peak memory is one n x n
        matrix: 3.2 GB for 20,000 points. The matrix of a smooth field is singular to rounding; then Cholesky with
        pivoting stops at the rank where no remaining variance exceeds n times machine epsilon. The values lack that
        part, at most 2.2e-16 n of unit variance at each point, and no noise is added. Values at coinciding points
        differ by no more than about its root.

        Args:
            points: Unit rows, float64, shape (n, d).
            generator: Source of randomness, on any device with float64.
            samples: Number of realisations.

        Returns:
            Shape (samples, n), on the device of the points.

        Raises:
            ArgumentError: If the points do not lie on the sphere of the field, or no sample is asked for.
        """
        if samples < 1:
            raise ArgumentError("samples", "be at least 1", samples)
        # LAPACK works in the memory of the CPU.
        matrix = self.covariance_matrix(points).cpu()
        # Row-major upper is column-major lower: LAPACK works on the tensor's own memory, and on one triangle of it.
        _, stopped = lapack.dpotrf(matrix.numpy().T, lower=1, clean=0, overwrite_a=1)
        if stopped == 0:
            noise = normal_draws(samples, len(points), generator=generator).cpu()
            return (noise @ matrix.triu_()).to(points.device)
        return _sample_by_pivots(matrix.fill_diagonal_(1), samples, generator).to(points.device)

    def _variogram(self, angles: Tensor) -> Tensor:
        """(1 - covariance), from the table; overwrites the angles."""
        if self._law.even:
            angles = torch.minimum(angles, math.pi - angles)
        return self._table.interpolate(angles)


def _sample_by_pivots(matrix: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Draw from a singular covariance, given in the lower triangle and the diagonal; it is overwritten."""
    _, pivots, rank, _ = lapack.dpstrf(matrix.numpy().T, lower=0, overwrite_a=1)
    noise = normal_draws(samples, rank, generator=generator).cpu()
    drawn = torch.empty(samples, len(matrix), dtype=torch.float64)
    drawn[:, torch.from_numpy(pivots.astype(np.int64)) - 1] = noise @ matrix.tril_()[:, :rank].T
    return drawn


class _Table(NamedTuple):
    """Spline of the logarithm of (1 - covariance) in the logarithm of the angle.

    Attributes:
        coefficients: Of the powers of the distance from the left node, shape (6, intervals).
        start: Logarithm of the first angle.
        step: Distance of the nodes.
        total: Sum of (k / first degree)^-p N_k.
    """

    coefficients: Tensor
    start: float
    step: float
    total: float

    def interpolate(self, angles: Tensor) -> Tensor:
        """1 - covariance."""
        coefficients = self.coefficients.to(angles.device)
        place = angles.log().sub_(self.start).div_(self.step)
        interval = place.long().clamp_(0, coefficients.shape[1] - 1)
        offset = place - interval
        below = place < 0
        value = coefficients[_ORDER][interval]
        for power in range(_ORDER - 1, -1, -1):
            value.mul_(offset).add_(coefficients[power][interval])
        if bool(below.any()):
            value[below] = coefficients[0, 0] + coefficients[1, 0] * place[below]
        return value.exp_()


@lru_cache(maxsize=64)
def _variogram_table(law: _PowerLaw) -> _Table:
    largest = math.pi / 2 if law.even else math.pi
    logs = np.linspace(math.log(_SMALLEST_ANGLE), math.log(largest), _NODES)
    gaps = 2 * torch.from_numpy(np.sin(np.exp(logs) / 2) ** 2)
    high_sum, high_total = _high_degrees(law, gaps)
    low_sum, low_total = _low_degrees(law, gaps)
    total = high_total + low_total
    spline = make_interp_spline(np.arange(_NODES), ((high_sum + low_sum) / total).log().numpy(), k=_ORDER)
    left = np.arange(_NODES - 1)
    columns = [spline(left, nu=power) / math.factorial(power) for power in range(_ORDER + 1)]
    return _Table(
        torch.from_numpy(np.stack(columns)), float(logs[0]), float(logs[-1] - logs[0]) / (_NODES - 1), total
    )


def _low_degrees(law: _PowerLaw, gaps: Tensor) -> tuple[Tensor, float]:
    """The part t > 1 of the sums of (k/first)^-p N_k (1 - P_k) and of (k/first)^-p N_k."""
    p = law.exponent
    degree_max = math.ceil(p + 12 * math.sqrt(p) + 50)  # where the part above the cut is below rounding
    k = torch.arange(degree_max + 1, dtype=torch.float64)
    share = torch.from_numpy(gammaincc(p, k.numpy()))
    weights = (k / law.first) ** -p * multiplicities(degree_max, law.dimension) * share
    chosen = weights[law.first :: law.first]
    return chosen @ legendre_gaps(degree_max, law.dimension, gaps)[law.first :: law.first], float(
        chosen.sum()
    )


def _high_degrees(law: _PowerLaw, gaps: Tensor) -> tuple[Tensor, float]:
    """The part t < 1 of the same sums, by panels of Gauss-Legendre quadrature of unit width in log t."""
    p, d = law.exponent, law.dimension
    # Below the start, only the leading power 2 t^(2 nu) is left of both integrands: (t / angle)^2 < 1e-16.
    panels = math.ceil(19 - math.log(_SMALLEST_ANGLE))
    roots, weights = np.polynomial.legendre.leggauss(16)
    log_t = torch.from_numpy(((roots + 1) / 2 - np.arange(1, panels + 1)[:, None]).ravel())
    measure = torch.from_numpy(np.tile(weights / 2, panels))
    r, distance = (-log_t.exp()).exp(), -(-log_t.exp()).expm1()  # distance = 1 - r
    power = p * log_t + p * math.log(law.first) - math.lgamma(p)
    near = (power - d * distance.log()).exp() * measure * distance * (1 + r)  # Poisson's kernel at u = 1
    drop = _relative_drop(2 * gaps[:, None] * r / distance.square(), d)
    constant = float((power.exp() * measure).sum())  # degree 0, which the field leaves out
    tail = math.exp(p * math.log(law.first) - math.lgamma(p) - 2 * law.smoothness * panels) / law.smoothness
    found, total = drop @ near + tail, float(near.sum()) + tail
    if law.even:  # the mean of the sums at u and -u
        far = (power - d * r.log1p()).exp() * measure * distance * (1 + r)
        found += _relative_drop(-2 * gaps[:, None] * r / (1 + r).square(), d) @ far
        found, total = found / 2, (total + float(far.sum())) / 2
    return found, total - constant


def _relative_drop(ratio: Tensor, dimension: int) -> Tensor:
    """1 - (1 + ratio)^(-d/2)."""
    return ratio.log1p().mul_(-dimension / 2).expm1_().neg_()
