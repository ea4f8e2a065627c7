"""Verdicts corrected for the number of claims that are tested at once: the false discovery rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats

from diffstab.report.claims.judging import Judgement
from diffstab.report.claims.rules import UNDECIDED

RATE = 0.05
"""Share of wrong verdicts that is accepted among those that are reached."""


class Corrected(NamedTuple):
    """Adjusted p-values of a claim; NaN where no draws decide, so that there is nothing to correct.

    Attributes:
        bh: By Benjamini and Hochberg, for claims that are independent or err together.
        by: By Benjamini and Yekutieli, for any dependence.
    """

    bh: float = math.nan
    by: float = math.nan


def corrected(judged: Sequence[Judgement]) -> list[Corrected]:
    """Return the adjusted p-values of claims; the family is all whose verdict rests on draws and can fail.

    At a rate of 5 % those up to 0.05 keep their verdict: of the verdicts kept at most 5 % are wrong on average.

    Source:
        Benjamini, Hochberg 1995; Benjamini, Yekutieli 2001 and 2005 (directions are controlled as well).
    """
    family = [
        place for place, one in enumerate(judged) if math.isfinite(one.p_value) and not one.claim.certain
    ]
    found = [Corrected()] * len(judged)
    values = [judged[place].p_value for place in family]
    if family:
        adjusted = [stats.false_discovery_control(values, method=method) for method in ("bh", "by")]
        for place, *pair in zip(family, *adjusted, strict=True):
            found[place] = Corrected(*map(float, pair))
    return found


def verdict_at(one: Judgement, adjusted: float) -> str:
    """Return the verdict that is left at an adjusted p-value."""
    return UNDECIDED if adjusted > RATE else one.verdict
