"""Intervals of means that stay where the quantity can be: shares within 0 and 1, sizes above 0."""

from collections.abc import Iterable

import numpy as np
from scipy import stats

from diffstab.report.intervals import Estimate
from diffstab.results.schema import describe

LEAST_DRAWS = 3
"""Draws below which no interval is given: with two, Student's quantile is 12.7 and the interval says nothing."""

DIFFERENCE = "delta_"
"""Before the name of a measurement: the difference of two methods on the same draw, which may have any sign."""


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
    array = np.asarray(list(values), dtype=np.float64)
    finite = array[np.isfinite(array)]
    count, mean = len(finite), float(finite.mean()) if len(finite) else np.nan
    is_free = of.startswith(DIFFERENCE) or (finite < 0).any()
    if count < (2 if is_free else LEAST_DRAWS):
        return Estimate(mean, np.nan, np.nan, count)
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1) * finite.std(ddof=1) / np.sqrt(count))
    if half == 0:
        low, high = np.nan, np.nan
    elif is_free:
        low, high = mean - half, mean + half
    elif describe(of).share and mean < 1:
        odds = mean / (1 - mean)
        factor = np.exp(half / (mean * (1 - mean)))
        low, high = odds / factor / (1 + odds / factor), 1 / (1 + 1 / (odds * factor))
    else:
        factor = np.exp(half / mean)
        low, high = mean / factor, mean * factor
    return Estimate(mean, float(low), float(high), count)
