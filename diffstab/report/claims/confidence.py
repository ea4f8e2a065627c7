"""How sure draws are that a number lies above or below a bound: p-values, which intervals and verdicts follow.

All of it works on batches too, so that error rates are simulated with the very code that judges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from diffstab.report.intervals import Estimate

LEVEL = 0.025
"""One-sided p-value up to which something is taken as shown: that of a 95 % interval with two ends."""
_FARTHEST = 38.0
"""Normal quantile beyond which a p-value is below every float."""
_ROUNDING = 1e-12
"""Least standard error relative to a mean: equal draws are equal up to rounding."""
_Floats = NDArray[np.float64]


class Confidence(Protocol):
    """What draws say about where a number lies."""

    def above(self, bound: float) -> Any:
        """Return the one-sided p-value for "the number lies above the bound"."""

    def below(self, bound: float) -> Any:
        """Return the one-sided p-value for "the number lies below the bound"."""

    @property
    def is_ratio(self) -> bool:
        """Whether distances of the number are ratios."""


class Block(NamedTuple):
    """Student's statistics of seeds that were drawn at the same places, each of shape (...).

    Attributes:
        mean: Mean over seeds of the weighted mean over places.
        error: Its standard error.
        freedom: Degrees of freedom, seeds less one.
        information: Seeds times the sum of the weights.
    """

    mean: _Floats
    error: _Floats
    freedom: int
    information: float


def block(values: ArrayLike, weights: ArrayLike = (1.0,)) -> Block:
    """Return the statistics of draws that are complete: every seed at every place.

    Places (sizes, data sets, layers) of one seed share images, weights or test points, so the seed is what counts: each
    has the mean of its places. The weights are fixed, which keeps Student's law exact; those of sizes n are sqrt(n),
    between equal variances and variances ~ 1/n.

    Args:
        values: One number for each seed and place, shape (..., seeds, places), at least two seeds.
        weights: Of the places, shape (places,).
    """
    numbers, weights = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    of_seeds = numbers @ weights / weights.sum()
    seeds = of_seeds.shape[-1]
    mean = of_seeds.mean(-1)
    error = np.maximum(
        of_seeds.std(-1, ddof=1) / np.sqrt(seeds), _ROUNDING * np.maximum(np.abs(mean), _ROUNDING)
    )
    return Block(mean, error, seeds - 1, float(seeds * weights.sum()))


@dataclass(frozen=True)
class MeanConfidence:
    """Confidence in a mean over seeds; blocks of unlike places are combined as independent.

    The one-sided p-values of the blocks' Student tests become normal quantiles z and are added with weights
    sqrt(information) (Stouffer): exact where all blocks have one mean, whatever their variances.

    Attributes:
        blocks: Seeds that share their places, block by block.
        is_ratio: Whether the blocks are of logarithms and bounds are not.
    """

    blocks: tuple[Block, ...]
    is_ratio: bool = False

    def above(self, bound: float) -> Any:
        """Return the one-sided p-value for "the mean lies above the bound"."""
        return stats.norm.cdf(self._quantile(bound))

    def below(self, bound: float) -> Any:
        """Return the one-sided p-value for "the mean lies below the bound"."""
        return stats.norm.sf(self._quantile(bound))

    def estimate(self, draws: int) -> Estimate:
        """Return the median of the confidence and its 95 % interval."""
        ends = np.array([self._at(probability) for probability in (0.5, LEVEL, 1 - LEVEL)])
        middle, low, high = map(float, np.exp(ends) if self.is_ratio else ends)
        return Estimate(middle, low, high, draws)

    def _quantile(self, bound: float) -> Any:
        with np.errstate(divide="ignore"):
            return self._combined(np.log(max(bound, 0.0)) if self.is_ratio else bound)

    def _combined(self, bound: Any) -> Any:
        total, squares = 0.0, 0.0
        for one in self.blocks:
            distance = (bound - one.mean) / one.error
            tail = stats.norm.isf(stats.t.sf(np.abs(distance), one.freedom))
            total = total + np.sqrt(one.information) * np.sign(distance) * np.minimum(tail, _FARTHEST)
            squares += one.information
        return total / np.sqrt(squares)

    def _at(self, probability: float) -> float:
        """The bound below which the mean lies with this confidence; that of one block in closed form."""
        ends = [
            float(one.mean + one.error * stats.t.ppf(probability, one.freedom)) for one in self.blocks
        ] + [float(one.mean) for one in self.blocks if len(self.blocks) > 1]
        if max(ends) <= min(ends):
            return ends[0]
        wanted = stats.norm.ppf(probability)
        return float(optimize.brentq(lambda bound: self._combined(bound) - wanted, min(ends), max(ends)))


def student(values: Iterable[float], *, is_ratio: bool = False) -> MeanConfidence | None:
    """Return the confidence in the mean, or geometric mean, of independent draws; None for fewer than two."""
    finite = _finite(np.asarray(list(values), dtype=np.float64), is_ratio=is_ratio)
    return MeanConfidence((block(finite[:, None]),), is_ratio) if len(finite) > 1 else None


def pooled(part: pd.DataFrame, over: str, *, is_ratio: bool = False) -> MeanConfidence | None:
    """Return the confidence in the mean of draws over places; None where no two seeds have the same places.

    Args:
        part: Columns dataset, seed, n_train and value, a row for each draw.
        over: The column of the places; sizes n_train are weighted by sqrt(n), others equally.
        is_ratio: Whether the geometric mean is meant.
    """
    index = ["dataset", "seed"] if over == "n_train" else ["seed"]
    table = part.pivot_table(index=index, columns=over, values="value", sort=True)
    blocks = []
    for _, rows in table.groupby(table.notna().apply(tuple, axis=1)):
        complete = rows.dropna(axis=1)
        if len(rows) > 1:
            numbers, places = complete.to_numpy(dtype=np.float64), complete.columns.to_numpy()
            weights = np.sqrt(places.astype(np.float64)) if over == "n_train" else np.ones(len(places))
            blocks.append(block(np.log(numbers) if is_ratio else numbers, weights))
    return MeanConfidence(tuple(blocks), is_ratio) if blocks else None


@dataclass(frozen=True)
class IntervalConfidence:
    """Confidence of a number that comes with a 95 % interval alone: Gaussian, of a width of its own on each side.

    Attributes:
        one: The number with its limits.
    """

    one: Estimate
    is_ratio: bool = False

    def above(self, bound: float) -> Any:
        """Return the one-sided p-value for "the number lies above the bound"."""
        return stats.norm.cdf(self._quantile(bound))

    def below(self, bound: float) -> Any:
        """Return the one-sided p-value for "the number lies below the bound"."""
        return stats.norm.sf(self._quantile(bound))

    def _quantile(self, bound: float) -> float:
        distance = bound - self.one.mean
        half = self.one.high - self.one.mean if distance > 0 else self.one.mean - self.one.low
        return float(distance / max(half, _ROUNDING * abs(self.one.mean)) * stats.norm.isf(LEVEL))


@dataclass(frozen=True)
class ShareConfidence:
    """Clopper and Pearson's confidence in a share of trials.

    Attributes:
        least: Trials that count for certain.
        most: These and trials that may count.
        trials: Of all.
    """

    least: Any
    most: Any
    trials: int
    is_ratio: bool = False

    def above(self, bound: float) -> Any:
        """Return the p-value for "the share lies above the bound"."""
        certain = bound < 0
        return 0.0 if certain else stats.binom.sf(np.asarray(self.least) - 1, self.trials, bound)

    def below(self, bound: float) -> Any:
        """Return the p-value for "the share lies below the bound"."""
        certain = bound > 1
        return 0.0 if certain else stats.binom.cdf(self.most, self.trials, bound)

    def estimate(self) -> Estimate:
        """Return the share with its 95 % interval."""
        low = stats.beta.ppf(LEVEL, self.least, self.trials - self.least + 1) if self.least else 0.0
        high = (
            stats.beta.isf(LEVEL, self.most + 1, self.trials - self.most) if self.most < self.trials else 1.0
        )
        return Estimate(self.least / self.trials, float(low), float(high), self.trials)


@dataclass(frozen=True)
class OddsConfidence:
    """Fisher's exact confidence in the ratio of the odds of two rows of trials.

    Attributes:
        first: Trials of the first row that fail.
        first_trials: All of its trials.
        second: Trials of the second row that fail.
        second_trials: All of its trials.
    """

    first: Any
    first_trials: int
    second: Any
    second_trials: int
    is_ratio: bool = True

    def above(self, bound: float) -> Any:
        """Return the p-value for "the ratio lies above the bound"."""
        return self._law(bound).sf(self.first - 1)

    def below(self, bound: float) -> Any:
        """Return the p-value for "the ratio lies below the bound"."""
        return self._law(bound).cdf(self.first)

    def _law(self, odds: float) -> Any:
        trials, failed = self.first_trials + self.second_trials, self.first + self.second
        if odds == 1:  # the same law, a thousand times faster
            return stats.hypergeom(trials, self.first_trials, failed)
        return stats.nchypergeom_fisher(trials, self.first_trials, failed, odds)


def _finite(values: _Floats, *, is_ratio: bool) -> _Floats:
    kept = values[np.isfinite(values)]
    return np.log(kept[kept > 0]) if is_ratio else kept
