"""What the rules can tell: the effect that draws would have shown, and error rates and power by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from diffstab.report.claims.claim import Claim
from diffstab.report.claims.confidence import LEVEL, MeanConfidence, ShareConfidence, block
from diffstab.report.claims.rules import DOES_NOT, HOLDS, NO_EFFECT, UNDECIDED, Evidence, depends, read_rule, together
from diffstab.report.claims.statistics.registry import Measurement
from diffstab.report.intervals import Estimate
from diffstab.sphere.curves import fit_exponent

RATIOS = ("ratio", "failing_odds")
"""Statistics whose distances are logarithms."""
POWER = 0.8
_HALF = float(stats.norm.isf(LEVEL))
_SEEN = 1 + float(stats.norm.ppf(POWER)) / _HALF
_BOTH = 1 + float(stats.norm.ppf((1 + POWER) / 2)) / _HALF
"""Half-widths of a 95 % interval within a margin with 80 % probability where there is no effect: both sides may fail."""


class Reach(NamedTuple):
    """How exactly draws tell a number; logarithms for a ratio, NaN where it is not known.

    Attributes:
        seen: Distance from the bound that would have been seen with 80 % probability.
        wanted: Distance that matters: the margin, or half of the band.
        draws: Draws behind it.
    """

    seen: float
    wanted: float
    draws: int

    @property
    def needed(self) -> float:
        """Draws with which the claim is decided with 80 % probability, be there no effect or one of the margin."""
        half = self.seen / _SEEN
        return self.draws * (half * _BOTH / self.wanted) ** 2


def reach_of(claim: Claim, found: Measurement, place: str) -> Reach:
    """Return how exactly the draws tell the number at a place.

    A 95 % interval reaches 1.96 standard errors to each side; a distance of 1.96 + 0.84 of them is seen with 80 %
    probability. With five draws it takes up to 6 % less, as Student's quantiles show.
    """
    assert claim.rule is not None  # claims that are tested have one
    one, is_ratio = found.estimates[place], claim.statistic in RATIOS
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (np.log(end) if is_ratio else end for end in (one.low, one.high))
    least, most = claim.rule.band(found.predicted.get(place, math.nan))
    wanted = (math.log1p(claim.margin) if is_ratio else claim.margin) or _half_of(least, most)
    return Reach(float(high - low) / 2 * _SEEN, wanted, one.draws)


def _half_of(least: float, most: float) -> float:
    return (most - least) / 2 if math.isfinite(most - least) and most > least else math.nan
