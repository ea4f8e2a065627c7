"""The power law y = a x^b over models, with intervals that do not need equal scatter along it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from diffstab.errors import ArgumentError
from diffstab.report.intervals import Estimate

_Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
_Places = np.ndarray[tuple[int, ...], np.dtype[np.intp]]


class PowerLaw(NamedTuple):
    """A line through log x and log y, with its intervals.

    Attributes:
        exponent: b of y = a x^b.
        prefactor: a, the value of y at x = 1; of several groups the geometric mean over models.
        correlation: Pearson's, of log x and log y; within the groups, if there are any.
        spread: Typical factor by which y lies off the line, exp of the residual standard deviation; >= 1.
    """

    exponent: Estimate
    prefactor: Estimate
    correlation: Estimate
    spread: float

    def at(self, x: ArrayLike) -> _Array:
        """Return a x^b."""
        return np.asarray(self.prefactor.mean * np.asarray(x, dtype=np.float64) ** self.exponent.mean)


def fit_power_law(
    x: ArrayLike,
    y: ArrayLike,
    *,
    groups: Sequence[Any] | None = None,
    clusters: Sequence[Any] | None = None,
    confidence: float = 0.95,
) -> PowerLaw:
    """Fit y = a x^b by least squares of log y on log x, each point counting the same.

    With groups, y = a_g x^b: one exponent, and a prefactor for each group. What differs between the groups then says
    nothing about b. The limits of a and b are b +- t s. By default s is from the HC3 covariance, which holds when the
    scatter changes along the line. With clusters, s is the jackknife's that leaves out a cluster at a time, and t has
    one degree of freedom less than there are clusters. The limits of the correlation are Fisher's, for independent
    points. A measurement error in x makes |b| too small, by the share of the variance of log x that it makes up.

    Args:
        x: Positive numbers, one per model, shape (n,).
        y: Likewise.
        groups: A label for each model; None is one group. At least two models more than groups.
        clusters: A label for each model: those of one cluster may depend on each other. At least three clusters.
        confidence: Nominal coverage, in (0, 1), for points, or clusters, that are independent.

    Returns:
        The law.

    Raises:
        ArgumentError: Too few points or clusters, numbers that are not positive and finite, or one x alone.

    Source: HC3: MacKinnon, White, "Some heteroskedasticity-consistent covariance matrix estimators with improved finite
    sample properties", Journal of Econometrics 29 (1985).
    """
    horizontal, vertical = _logarithms(x, y, confidence)
    places = _places("groups", groups, len(horizontal))
    freedom = len(horizontal) - len(set(places)) - 1
    if freedom < 1:
        received = f"{len(horizontal)} models in {len(set(places))} groups"
        raise ArgumentError("x and y", "hold two models more than there are groups", received)
    if not np.ptp(_centred(horizontal, places)) > 0:
        raise ArgumentError("x", "take two values or more (in some group)", "one alone")
    solution = _line(horizontal, vertical, places)
    if clusters is None:
        errors, quantile = _hc3(horizontal, vertical, places), _t(confidence, freedom)
    else:
        cluster = _places("clusters", clusters, len(horizontal))
        errors, quantile = _jackknife(horizontal, vertical, places, cluster), _t(confidence, max(cluster))
    low, high = solution - quantile * errors, solution + quantile * errors
    count, residuals = len(horizontal), _residuals(horizontal, vertical, places)
    return PowerLaw(
        Estimate(float(solution[0]), float(low[0]), float(high[0]), count),
        Estimate(float(np.exp(solution[1])), float(np.exp(low[1])), float(np.exp(high[1])), count),
        _correlation(_centred(horizontal, places), _centred(vertical, places), freedom, confidence),
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
    if not 0 < confidence < 1:
        raise ArgumentError("confidence", "lie strictly between 0 and 1", confidence)
    return np.log(pair[0]), np.log(pair[1])


def _places(name: str, labels: Sequence[Any] | None, count: int) -> _Places:
    """Return a whole number from 0 for each label."""
    if labels is None:
        return np.zeros(count, dtype=np.intp)
    if len(labels) != count:
        raise ArgumentError(name, f"hold a label for each of {count} models", f"{len(labels)} labels")
    known = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    if name == "clusters" and len(known) < 3:
        raise ArgumentError(name, "be at least three", f"{len(known)}")
    return np.array([known[label] for label in labels], dtype=np.intp)


def _centred(values: _Array, places: _Places) -> _Array:
    """Return values less the mean of their group."""
    counts = np.bincount(places)
    means = np.bincount(places, values) / np.maximum(counts, 1)
    return np.asarray(values - means[places])


def _line(x: _Array, y: _Array, places: _Places) -> _Array:
    """Return exponent, and the mean over models of the logarithm of their group's prefactor."""
    centred = _centred(x, places)
    slope = centred @ y / (centred @ centred)
    return np.array([slope, y.mean() - slope * x.mean()])


def _residuals(x: _Array, y: _Array, places: _Places) -> _Array:
    return np.asarray(_centred(y, places) - _line(x, y, places)[0] * _centred(x, places))


def _hc3(x: _Array, y: _Array, places: _Places) -> _Array:
    """Return the standard errors of `_line`, whose results are sums of the y by weights."""
    centred = _centred(x, places)
    scale = centred @ centred
    leverage = 1 / np.bincount(places)[places] + centred**2 / scale
    # A point of leverage 1 fits itself: its residual is rounding over rounding.
    misses = _residuals(x, y, places) / np.maximum(1 - leverage, 1e-9)
    weights = np.stack([centred / scale, 1 / len(x) - x.mean() * centred / scale])
    return np.asarray(np.sqrt((weights**2) @ misses**2))


def _jackknife(x: _Array, y: _Array, places: _Places, clusters: _Places) -> _Array:
    count = int(clusters.max()) + 1
    found = []
    for cluster in range(count):
        kept = clusters != cluster
        if not np.ptp(_centred(x[kept], places[kept])) > 0:
            raise ArgumentError("x", "take two values without any one cluster", "one alone")
        found.append(_line(x[kept], y[kept], places[kept]))
    return np.asarray(np.sqrt((count - 1) * np.var(found, axis=0)))


def _t(confidence: float, freedom: int) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, freedom))


def _correlation(x: _Array, y: _Array, freedom: int, confidence: float) -> Estimate:
    """Return the correlation of centred values with Fisher's limits; freedom is that of the line."""
    if not np.ptp(y) > 0:
        return Estimate(np.nan, np.nan, np.nan, len(x))
    value = float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))
    if freedom < 2:
        return Estimate(value, np.nan, np.nan, len(x))
    with np.errstate(divide="ignore"):  # of a perfect line
        place = np.arctanh(value)
    half = stats.norm.ppf((1 + confidence) / 2) / np.sqrt(freedom - 1)
    return Estimate(value, float(np.tanh(place - half)), float(np.tanh(place + half)), len(x))
