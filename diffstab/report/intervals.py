"""Intervals of means over draws, and the sign test of paired differences."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import stats

from diffstab.errors import ArgumentError
from diffstab.results.schema import describe

LEAST_DRAWS = 3
"""Draws below which no interval is given: with two, Student's quantile is 12.7 and the interval says nothing."""
DIFFERENCE = "delta_"
"""Before the name of a measurement: the difference of two methods on the same draw, which may have any sign."""


class Estimate(NamedTuple):
    """A mean and its confidence interval; the limits are NaN where there are fewer than two values."""

    mean: float
    low: float = np.nan
    high: float = np.nan
    draws: int = 1


class SignTest(NamedTuple):
    """How many differences are below, above and at zero, and the two-sided p-value without the zeros."""

    below: int
    above: int
    ties: int
    p_value: float


def exact(value: float, draws: int = 1) -> Estimate:
    """A number that is known without spread: its limits are the number itself."""
    return Estimate(value, value, value, draws)


def mean_interval(values: Iterable[float], *, confidence: float = 0.95) -> Estimate:
    """Mean of the finite values with its Student interval.

    mean +- t_{(1 + confidence) / 2, count - 1} * s / sqrt(count), with s^2 the unbiased variance.

    Args:
        values: Independent draws of one quantity; values that are not finite are left out.
        confidence: Coverage for Gaussian values, in (0, 1).

    Returns:
        The interval; its limits are NaN for fewer than two finite values, the mean too for none.

    Raises:
        ArgumentError: `confidence` is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ArgumentError("confidence", "lie strictly between 0 and 1", confidence)
    finite = _finite(values)
    count = len(finite)
    if count < 2:
        return Estimate(float(finite[0]) if count else np.nan, draws=count)
    mean = float(finite.mean())
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1) * finite.std(ddof=1) / np.sqrt(count))
    return Estimate(mean, mean - half, mean + half, count)


def ranged_interval(values: Iterable[float], *, of: str, confidence: float = 0.95) -> Estimate:
    r"""Mean of the finite values with an interval that respects the range of the quantity.

    The mean m and its standard error s are carried to a scale g without ends, g(m) +- t g'(m) s with Student's quantile
    t of n - 1 degrees of freedom, and back: g is the logit for a share, the logarithm for what is never negative, and
    the identity (Student's interval) for differences. Draws that are all equal have no interval.

    Args:
        values: Independent draws of one quantity.
        of: Its column, which sets the range.
        confidence: Nominal coverage, in (0, 1).

    Returns:
        The interval; limits are NaN below `LEAST_DRAWS` draws, for a difference below two.
    """
    finite = _finite(values)
    one = mean_interval(finite, confidence=confidence)
    mean, half = one.mean, (one.high - one.low) / 2
    is_free = of.startswith(DIFFERENCE) or bool((finite < 0).any())
    if not half > 0 or (one.draws < LEAST_DRAWS and not is_free):
        return Estimate(mean, draws=one.draws)
    if is_free:
        return one
    if describe(of).share and mean < 1:
        odds = mean / (1 - mean)
        factor = float(np.exp(half / (mean * (1 - mean))))
        return one._replace(low=odds / factor / (1 + odds / factor), high=1 / (1 + 1 / (odds * factor)))
    factor = float(np.exp(half / mean))
    return one._replace(low=mean / factor, high=mean * factor)


def geometric_interval(values: Iterable[float]) -> Estimate:
    """Geometric mean of the positive values, with Student's interval of their logarithms."""
    finite = _finite(values)
    logs = mean_interval(np.log(finite[finite > 0]))
    return logs._replace(mean=np.exp(logs.mean), low=np.exp(logs.low), high=np.exp(logs.high))


def sign_test(differences: Iterable[float]) -> SignTest:
    """Count the signs of paired differences and test that either sign is equally likely.

    Args:
        differences: One difference per draw; values that are not finite are left out.

    Returns:
        The counts, and the two-sided binomial p-value over the differences that are not zero (NaN for none).
    """
    finite = _finite(differences)
    below, above = int((finite < 0).sum()), int((finite > 0).sum())
    decided = below + above
    p_value = float(stats.binomtest(below, decided).pvalue) if decided else np.nan
    return SignTest(below, above, len(finite) - decided, p_value)


def _finite(values: Iterable[float]) -> np.ndarray:
    array = np.asarray(list(values), dtype=np.float64)
    return array[np.isfinite(array)]
