"""Intervals of means over seeds and the sign test of paired differences."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import stats

from diffstab.errors import ArgumentError


class Estimate(NamedTuple):
    """A mean and its confidence interval; the limits are NaN where there are fewer than two values."""

    mean: float
    low: float
    high: float
    draws: int


def exact(value: float, draws: int = 1) -> Estimate:
    """A number that is known without spread: its limits are the number itself."""
    return Estimate(value, value, value, draws)


class SignTest(NamedTuple):
    """How many differences are below, above and at zero, and the two-sided p-value without the zeros."""

    below: int
    above: int
    ties: int
    p_value: float


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
    if count == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    mean = float(finite.mean())
    if count == 1:
        return Estimate(mean, np.nan, np.nan, 1)
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1) * finite.std(ddof=1) / np.sqrt(count))
    return Estimate(mean, mean - half, mean + half, count)


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
