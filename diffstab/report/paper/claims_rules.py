"""Verdicts from numbers and their intervals: the same few rules for all claims."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from diffstab.errors import ArgumentError
from diffstab.report.intervals import Interval
from diffstab.report.numbers import number_text
from diffstab.report.paper.claims_evidence import DOES_NOT, HOLDS, NOT_TESTED, UNDECIDED

EXPONENT_TOLERANCE = 0.10
"""Relative distance within which an exponent is the predicted one: half of that between the two regimes' 2.5 and 3."""

ABOVE_RULE = (
    "Holds if the 95 % Student interval of the mean over draws lies above 0 at every {sizes}; does not if it lies "
    "below 0 at one of them; else undecided."
)
NEAR_RULE = (
    "Holds if the whole 95 % interval of the fitted exponent lies within 10 % of the predicted one (half of what "
    "tells the two regimes apart, 2.5 from 3); does not if it lies wholly outside; else undecided."
)


def above(interval: Interval, *, bound: float = 0.0) -> str:
    """Whether an interval lies above a bound, below it, or neither; limits that are NaN decide nothing."""
    if interval.high < bound:
        return DOES_NOT
    return HOLDS if interval.low > bound else UNDECIDED


def inside(low: float, high: float, *, least: float, most: float) -> str:
    """Whether an interval lies wholly inside a band, wholly outside, or neither.

    Args:
        low: Lower limit of the interval; NaN decides nothing.
        high: Upper limit.
        least: Lower end of the band.
        most: Upper end.

    Raises:
        ArgumentError: If the band is empty.
    """
    if least > most:
        raise ArgumentError("least", "be at most `most`", f"{least} and {most}")
    if not math.isfinite(high - low):
        return UNDECIDED
    if high < least or low > most:
        return DOES_NOT
    return HOLDS if least <= low and high <= most else UNDECIDED


def near(low: float, high: float, predicted: float, *, tolerance: float = EXPONENT_TOLERANCE) -> str:
    """Whether an interval lies within a share of a predicted positive value."""
    return inside(low, high, least=predicted * (1 - tolerance), most=predicted * (1 + tolerance))


def always(flags: Sequence[bool]) -> str:
    """Whether something holds in every case; not tested for no case."""
    if not flags:
        return NOT_TESTED
    return HOLDS if all(flags) else DOES_NOT


def together(verdicts: Collection[str]) -> str:
    """One verdict of several: against if one is, not tested if none is more, for if all are, else undecided."""
    if DOES_NOT in verdicts:
        return DOES_NOT
    if not verdicts or set(verdicts) == {NOT_TESTED}:
        return NOT_TESTED
    return HOLDS if set(verdicts) == {HOLDS} else UNDECIDED


def sizes_text(texts: Mapping[int, str], verdicts: Mapping[int, str]) -> str:
    """The number at the largest size and, where that has another verdict than all together, at one that has theirs.

    Args:
        texts: The number at each n; at least one.
        verdicts: The verdict of each n alone.
    """
    last, verdict = max(texts), together(verdicts.values())
    shown = [last] if verdicts[last] == verdict else [last, max(n for n in texts if verdicts[n] == verdict)]
    return "; ".join(f"{texts[n]} at n = {n}" for n in shown)


def draws_text(counts: Iterable[int], noun: str = "draw") -> str:
    """Draws behind the numbers: "5 draws", "3 to 5 draws"."""
    ends = sorted(set(counts)) or [0]
    text = str(ends[0]) if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
    return f"{text} {noun}{'' if ends == [1] else 's'}"


def ratio_text(mean: float, low: float, high: float) -> str:
    """A ratio given by the logarithm to base 10 of its geometric mean and limits."""
    texts = [number_text(10**value) if math.isfinite(value) else "–" for value in (mean, low, high)]
    return texts[0] if texts[1] == "–" else f"{texts[0]} [{texts[1]}, {texts[2]}]"
