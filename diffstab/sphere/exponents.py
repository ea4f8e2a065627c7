"""Exponents of learning curves eps(n) = A n^-beta exp(c n^-omega), fitted to measured errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from diffstab.errors import ArgumentError

_Array = NDArray[np.float64]

LEAST_SIZES = 5
"""Sizes that the range rule leaves."""

SLOWEST, FASTEST = 0.5, 2.0
"""Range of omega in the correction exp(c n^-omega): theory has min(1, 2 / (d - 1)), 1/2 or more up to d = 5."""

_RATES = 7
"""Values of omega that are tried."""

_PARAMETERS = 4
"""A, beta, c and omega."""

ROUNDING_FLOOR = (1e3 * np.finfo(np.float64).eps) ** 2
"""Mean square error, relative to the target's square, below which an error is rounding: (10^3 epsilon)^2."""


class ExponentFit(NamedTuple):
    """The law A n^-beta exp(c n^-omega) fitted to a learning curve.

    Attributes:
        exponent: beta, extrapolated to infinite n.
        low: Lower limit of its interval; NaN where no residual is left to tell.
        high: Upper limit.
        effective: Local slope beta + omega c n^-omega at the largest size: the exponent that the sizes show.
        effective_low: Its lower limit.
        effective_high: Its upper limit.
        amplitude: A, for the geometric mean of the error over seeds.
        correction: c.
        rate: omega with the least residuals; the interval is over all of them.
        sizes: The sizes used, ascending.
        misfit_p: p-value of the scatter of the sizes about the law, given that of the seeds; NaN where seeds or sizes
            are too few.
        at_floor: Errors left out because they are at or below the floor.
    """

    exponent: float
    low: float
    high: float
    effective: float
    effective_low: float
    effective_high: float
    amplitude: float
    correction: float
    rate: float
    sizes: tuple[int, ...]
    misfit_p: float
    at_floor: int

    def at(self, n_train: ArrayLike) -> _Array:
        """Return the fitted error at sizes."""
        n = np.asarray(n_train, dtype=np.float64)
        return np.asarray(self.amplitude * n**-self.exponent * np.exp(self.correction * n**-self.rate))


class _Curve(NamedTuple):
    """Logarithms of size and error, and the weight of each draw, shape (draws,)."""

    size: _Array
    error: _Array
    weight: _Array


class _Profile(NamedTuple):
    """For each omega: coefficients of least squares, variance of the slope over sigma^2, and sum of squares left."""

    solution: _Array
    variance: _Array
    residual: _Array


def fit_exponent(
    n_train: ArrayLike,
    errors: ArrayLike,
    *,
    slowest: float = SLOWEST,
    floor: float = ROUNDING_FLOOR,
    confidence: float = 0.95,
) -> ExponentFit:
    """Fit beta of eps(n) = A n^-beta exp(c n^-omega), to first order in c that of A n^-beta (1 + c n^-omega).

    A line through log error keeps what is left of the small sizes: its interval held the limit in at most a fifth
    of curves whose error has a factor exp(n_min / 2n). So the correction is always fitted, never tested for. omega is
    not known: the interval holds every beta that some omega from `slowest` to `FASTEST` fits, in the joint region of
    both, sum of squares <= least + 2 F s^2, with Fisher's F of 2 and N - 4 degrees of freedom for N draws.

    Draws are points, so that the scatter over seeds makes s; with one draw per size the residuals do. Where the sizes
    scatter about the law by more than the seeds explain, the larger scatter is taken. Weights are inverse variances
    of log error between draws, which a line log variance = a + b log n smooths over the sizes, as a variance of few
    draws is poor; with one draw per size all weights are equal.

    Range rule: from all sizes, drop the smallest while the law misses the means of the sizes beyond chance (5 %) and
    more than `LEAST_SIZES` sizes are left. The rule never sees a predicted value.

    Coverage of the 95 % interval in simulations, seven to ten sizes: 97 % or more on the pure law and with a
    correction of a power in the range; 93 % or more with the transients of kernel regression and of the spectral
    bias in d = 2, 3, 5, which are no such powers. It fails for a slower transient (n^-1/4: 85 % at a scatter of 10 %)
    and for two that bend opposite ways and nearly cancel (2 x^(1/2) - 1.5 x, x = n_min / n: 10 %).

    The mean of log error is fitted, since the arithmetic mean of few draws is ruled by the worst of them (on the
    circle, by the largest gap between points); where the law of error / mean does not change with n the
    exponent is the same.

    Args:
        n_train: Number of training points of each draw, shape (draws,).
        errors: Test error of each draw, not negative, shape (draws,).
        slowest: Least omega, in (0, `FASTEST`]; a smaller one costs width.
        floor: Errors at or below it are left out and counted; by default that of rounding for a target of order 1.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The fit.

    Raises:
        ArgumentError: Shapes differ, a value is out of range, or fewer than three sizes have an error above the floor.
    """
    sizes, values = np.asarray(n_train, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    _check(sizes, values, floor, confidence)
    if not 0 < slowest <= FASTEST:
        raise ArgumentError("slowest", f"lie above 0 and up to {FASTEST}", slowest)
    kept = values > floor
    if (count := len(np.unique(sizes[kept]))) < 3:
        way_out = "Add sizes, or lower the floor."
        raise ArgumentError("errors", f"exceed {floor:.3g} at three sizes or more", count, way_out)
    sizes, values = sizes[kept], values[kept]
    curve = _Curve(np.log(sizes), np.log(values), _weights(sizes, values))
    rates = np.linspace(slowest, FASTEST, _RATES)
    curve, misfit = _in_range(curve, rates)
    limit, last = (_profile(curve, rates, at) for at in (np.inf, curve.size.max()))
    best = int(limit.residual.argmin())
    level, beta, bend = limit.solution[best]
    return ExponentFit(
        float(beta),
        *_limits(limit, curve, confidence),
        float(last.solution[best, 1]),
        *_limits(last, curve, confidence),
        amplitude=float(np.exp(level)),
        correction=float(bend * np.exp(rates[best] * curve.size.min())),
        rate=float(rates[best]),
        sizes=tuple(round(size) for size in np.exp(np.unique(curve.size))),
        misfit_p=misfit,
        at_floor=int((~kept).sum()),
    )


def slowest_rate(dimension: int) -> float:
    """Return the least omega that theory leaves possible in d dimensions, for `fit_exponent`: min(1/2, 2 / (d - 1)).

    Sums over the degrees above k_c ~ n^(1 / (d - 1)) have corrections in k_c^-2: multiplicities and eigenvalues are
    series in (k + (d - 2) / 2)^-2. The number of points itself has one of 1/n, which rules on the circle.
    """
    return min(SLOWEST, 2 / (dimension - 1))


def _check(sizes: _Array, values: _Array, floor: float, confidence: float) -> None:
    if sizes.ndim != 1 or sizes.shape != values.shape:
        shapes = f"shapes {sizes.shape} and {values.shape}"
        raise ArgumentError("n_train and errors", "be two vectors of one length", shapes)
    if not (np.isfinite(sizes).all() and (sizes >= 1).all()):
        raise ArgumentError("n_train", "be finite and at least 1", "another value")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ArgumentError("errors", "be finite and not negative", "another value")
    if not floor >= 0:
        raise ArgumentError("floor", "be at least 0", floor)
    if not 0 < confidence < 1:
        raise ArgumentError("confidence", "lie strictly between 0 and 1", confidence)


def _groups(sizes: _Array, values: _Array) -> list[tuple[float, _Array]]:
    return [(size, values[sizes == size]) for size in np.unique(sizes)]


def _weights(sizes: _Array, values: _Array) -> _Array:
    """Inverse variances of log error between draws, smoothed by a line in log n; all one where there are none."""
    found = [
        (size, np.log(group).var(ddof=1), len(group) - 1)
        for size, group in _groups(sizes, values)
        if len(group) > 1
    ]
    kept = np.array([row for row in found if row[1] > 0])
    if len(kept) < 2:
        return np.ones_like(sizes)
    # The log of a variance of m degrees of freedom has a variance near 2 / m, so the weights are m.
    design = np.stack([np.ones(len(kept)), np.log(kept[:, 0])], axis=1)
    root = np.sqrt(kept[:, 2])
    line = np.linalg.lstsq(design * root[:, None], np.log(kept[:, 1]) * root)[0]
    return np.asarray(np.exp(-(line[0] + line[1] * np.log(sizes))))


def _profile(curve: _Curve, rates: _Array, at: float) -> _Profile:
    """Least squares of log error = a - beta log n + c g(n) for each omega, in which beta is the slope at log n = at.

    g = (n / n_min)^-omega + omega (n_at / n_min)^-omega log n has no slope at n_at; the last term vanishes at infinity.
    """
    root, found = np.sqrt(curve.weight), []
    for rate in rates:
        first = curve.size.min()
        bend = np.exp(-rate * (curve.size - first)) + rate * np.exp(-rate * (at - first)) * curve.size
        design = np.stack([np.ones_like(bend), -curve.size, bend], axis=1) * root[:, None]
        solution = np.linalg.lstsq(design, curve.error * root)[0]
        variance = np.linalg.pinv(design.T @ design)[1, 1]
        found.append((solution, variance, np.square(curve.error * root - design @ solution).sum()))
    return _Profile(*(np.array(column) for column in zip(*found, strict=True)))


def _limits(profile: _Profile, curve: _Curve, confidence: float) -> tuple[float, float]:
    """The least and the largest slope in the joint region of slope and omega; NaN without degrees of freedom."""
    least, freedom = float(profile.residual.min()), len(curve.size) - _PARAMETERS
    if freedom < 1:
        return np.nan, np.nan
    variance = max(least / freedom, _misfit(curve, least)[0])
    bound = least + variance * 2 * stats.f.ppf(confidence, 2, freedom)
    fits = profile.residual <= bound
    half = np.sqrt((bound - profile.residual[fits]) * profile.variance[fits])
    slope = profile.solution[fits, 1]
    return float((slope - half).min()), float((slope + half).max())


def _misfit(curve: _Curve, residual: float) -> tuple[float, float]:
    """Mean square of the sizes about the law, and its p-value given the scatter of the draws of a size.

    Returns:
        0 and NaN where draws or sizes are too few, or the law is met to rounding.
    """
    groups, which = np.unique(curve.size, return_inverse=True)
    total = np.bincount(which, curve.weight)
    means = np.bincount(which, curve.weight * curve.error) / total
    within = float((curve.weight * np.square(curve.error - means[which])).sum())
    free_between, free_within = len(groups) - _PARAMETERS, len(curve.size) - len(groups)
    is_met = residual <= 1e-24 * float((curve.weight * np.square(curve.error)).sum())
    if min(free_between, free_within) < 1 or not within > 0 or is_met:
        return 0.0, np.nan
    between = max(residual - within, 0.0) / free_between
    return between, float(stats.f.sf(between / (within / free_within), free_between, free_within))


def _in_range(curve: _Curve, rates: _Array) -> tuple[_Curve, float]:
    """What the range rule keeps, and the p-value of its misfit."""
    ladder = np.unique(curve.size)
    for index, first in enumerate(ladder):
        part = _Curve(*(column[curve.size >= first] for column in curve))
        _, p_value = _misfit(part, float(_profile(part, rates, np.inf).residual.min()))
        if not p_value < 0.05 or len(ladder) - index <= LEAST_SIZES:
            break
    return part, p_value
