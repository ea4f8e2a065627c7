"""The power law y = a x^b over models, with intervals that do not need equal scatter along it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from diffstab.errors import ArgumentError
from diffstab.report.intervals import Estimate

_Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class PowerLaw(NamedTuple):
    """A line through log x and log y, with its intervals.

    Attributes:
        exponent: b of y = a x^b.
        prefactor: a, the value of y at x = 1.
        correlation: Pearson's, of log x and log y.
        spread: Typical factor by which y lies off the line, exp of the residual standard deviation; >= 1.
    """

    exponent: Estimate
    prefactor: Estimate
    correlation: Estimate
    spread: float

    def at(self, x: ArrayLike) -> _Array:
        """Return a x^b."""
        return np.asarray(self.prefactor.mean * np.asarray(x, dtype=np.float64) ** self.exponent.mean)


def fit_power_law(x: ArrayLike, y: ArrayLike, *, confidence: float = 0.95) -> PowerLaw:
    """Fit y = a x^b by least squares of log y on log x, each point counting the same.

    The limits of a and b are b +- t_{n-2} s, with s from the HC3 covariance, which holds when the scatter changes along
    the line; those of the correlation are Fisher's. A measurement error in x makes |b| too small, by the share of the
    variance of log x that it makes up.

    Args:
        x: Positive numbers, one per model, shape (n,), n >= 3.
        y: Likewise.
        confidence: Nominal coverage for independent points, in (0, 1).

    Returns:
        The law.

    Raises:
        ArgumentError: Fewer than three points, numbers that are not positive and finite, or one x alone.

    Source: HC3: MacKinnon, White, "Some heteroskedasticity-consistent covariance matrix estimators with improved finite
    sample properties", Journal of Econometrics 29 (1985).
    """
    horizontal, vertical = _logarithms(x, y, confidence)
    design = np.stack([np.ones_like(horizontal), horizontal], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    solution = inverse @ design.T @ vertical
    residuals = vertical - design @ solution
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    # A point of leverage 1 fits itself: its residual is rounding over rounding.
    weights = (residuals / np.maximum(1 - leverage, 1e-9)) ** 2
    errors = np.sqrt(np.diag(inverse @ (design.T * weights) @ design @ inverse))
    freedom = len(horizontal) - 2
    halves = stats.t.ppf((1 + confidence) / 2, freedom) * errors
    ends = np.exp([solution[0] - halves[0], solution[0] + halves[0]])
    return PowerLaw(
        Estimate(
            float(solution[1]),
            float(solution[1] - halves[1]),
            float(solution[1] + halves[1]),
            len(horizontal),
        ),
        Estimate(float(np.exp(solution[0])), float(ends[0]), float(ends[1]), len(horizontal)),
        _correlation(horizontal, vertical, confidence),
        float(np.exp(np.sqrt((residuals**2).sum() / freedom))),
    )


def _logarithms(x: ArrayLike, y: ArrayLike, confidence: float) -> tuple[_Array, _Array]:
    pair = [np.asarray(values, dtype=np.float64) for values in (x, y)]
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape or len(pair[0]) < 3:
        shapes = " and ".join(str(values.shape) for values in pair)
        raise ArgumentError("x and y", "be two vectors of one length of at least 3", f"shapes {shapes}")
    for name, values in zip("xy", pair, strict=True):
        if not (np.isfinite(values) & (values > 0)).all():
            raise ArgumentError(name, "be positive and finite", "another value", "A logarithm is fitted.")
    if not np.ptp(np.log(pair[0])) > 0:
        raise ArgumentError("x", "take two values or more", f"{pair[0][0]} alone")
    if not 0 < confidence < 1:
        raise ArgumentError("confidence", "lie strictly between 0 and 1", confidence)
    return np.log(pair[0]), np.log(pair[1])


def _correlation(x: _Array, y: _Array, confidence: float) -> Estimate:
    if not np.ptp(y) > 0:
        return Estimate(np.nan, np.nan, np.nan, len(x))
    found = stats.pearsonr(x, y)
    known = len(x) > 3
    low, high = found.confidence_interval(confidence) if known else (np.nan, np.nan)
    return Estimate(float(found.statistic), float(low), float(high), len(x))
