"""How a number with its interval decides: one three-way rule, and one verdict of several places."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

from diffstab.errors import ArgumentError
from diffstab.report.intervals import Estimate
from diffstab.results.schema import Column

HOLDS, DOES_NOT, UNDECIDED, NOT_TESTED = "holds", "does not", "undecided", "not tested"
VERDICTS = (HOLDS, DOES_NOT, UNDECIDED, NOT_TESTED)

_NUMBER = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)"
_FORMS = {
    "above": rf"above {_NUMBER}",
    "below": rf"below {_NUMBER}",
    "at least": rf"at least {_NUMBER}",
    "at most": rf"at most (?:{_NUMBER}|predicted)",
    "within": rf"within {_NUMBER} {_NUMBER}",
    "share": rf"near predicted {_NUMBER} %",
    "distance": rf"near predicted {_NUMBER}",
}
"""Words of a rule: `near predicted 10 %` is a band of that share around what is predicted, without % of that width."""


@dataclass(frozen=True)
class Rule:
    """A band that a number must lie in, read from words such as "above 0", "within -1 1" or "near predicted 10 %".

    Attributes:
        text: The words.
        form: Key of their form.
        numbers: The numbers in them.
    """

    text: str
    form: str
    numbers: tuple[float, ...]

    def band(self, predicted: float = math.nan) -> tuple[float, float]:
        """Return the least and the most that the number may be; NaN where they need what is not predicted."""
        first = self.numbers[0] if self.numbers else predicted
        if self.form in ("above", "at least"):
            return first, math.inf
        if self.form in ("below", "at most"):
            return -math.inf, first
        if self.form == "within":
            return first, self.numbers[1]
        half = first / 100 * abs(predicted) if self.form == "share" else first
        return predicted - half, predicted + half

    def verdict(self, one: Estimate, predicted: float = math.nan) -> str:
        """Return what an interval decides: wholly inside the band holds, wholly outside does not.

        Limits that are NaN decide nothing. The ends of a band are inside it, save for "above" and "below".
        """
        least, most = self.band(predicted)
        if any(math.isnan(end) for end in (one.low, one.high, least, most)):
            return UNDECIDED
        if one.high < least or one.low > most:
            return DOES_NOT
        if self.form in ("above", "below"):
            is_inside = one.low > least if self.form == "above" else one.high < most
            return HOLDS if is_inside else UNDECIDED
        return HOLDS if least <= one.low and one.high <= most else UNDECIDED

    def excess(self, one: Estimate, predicted: float = math.nan) -> float:
        """Return how far a number lies towards the outside of the band: the largest of several is the worst."""
        least, most = self.band(predicted)
        ends = [end for end in (least - one.mean, one.mean - most) if math.isfinite(end)]
        return max(ends, default=-math.inf)

    def words(self, shown: Column) -> str:
        """Return the band for a sentence: "lies above 0", "lies within 10 % of the predicted one"."""
        ends = [_bound(number, shown) for number in self.numbers] or ["the predicted one"]
        if self.form == "within":
            return f"lies between {ends[0]} and {ends[1]}"
        if self.form == "share":
            return f"lies within {self.numbers[0]:g} % of the predicted one"
        if self.form == "distance":
            return (
                f"lies within {ends[0]} of the predicted one" if self.numbers[0] else "is the predicted one"
            )
        return f"{'lies' if self.form in ('above', 'below') else 'is'} {self.form} {ends[0]}"

    def expectation(self, predicted: Collection[float], shown: Column) -> str:
        """Return what the source expects, for a table: "> 0", "4", "10 ± 2 neurons"."""
        ends = [_bound(number, shown) for number in self.numbers]
        named = ", ".join(dict.fromkeys(_bound(one, shown) for one in predicted))
        signs = {"above": "> ", "below": "< ", "at most": "≤ ", "at least": "≥ "}
        if self.form in signs:
            return signs[self.form] + (ends[0] if ends else named)
        if self.form == "within":
            return f"{ends[0]} to {ends[1]}"
        return f"{named} ± {self.numbers[0]:g}" if self.form == "distance" and self.numbers[0] else named


def _bound(number: float, shown: Column) -> str:
    text = f"{number * shown.factor:.6g}".replace("-", "−")
    return text + shown.unit if number and shown.unit == " %" else text


def read_rule(text: str) -> Rule:
    """Return the rule that words name.

    Args:
        text: "above A", "below A", "at most A", "at most predicted", "within A B" or "near predicted A [%]".

    Raises:
        ArgumentError: If the words are none of these, or the band is empty.
    """
    for form, pattern in _FORMS.items():
        if found := re.fullmatch(pattern, text):
            numbers = tuple(float(number) for number in found.groups() if number)
            if form == "within" and numbers[0] > numbers[1]:
                raise ArgumentError("rule", "name the lower end of a band first", repr(text))
            return Rule(text, form, numbers)
    raise ArgumentError("rule", f"be one of {', '.join(_FORMS)} (near predicted)", repr(text))


def together(verdicts: Collection[str]) -> str:
    """Return one verdict of several: against if one is, not tested for none, for if all are, else undecided."""
    if DOES_NOT in verdicts:
        return DOES_NOT
    if not verdicts or set(verdicts) == {NOT_TESTED}:
        return NOT_TESTED
    return HOLDS if set(verdicts) == {HOLDS} else UNDECIDED
