"""How a number with its interval decides: one three-way rule, and one verdict of several places."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from diffstab.errors import ArgumentError
from diffstab.report.intervals import Estimate
from diffstab.results.schema import Column

HOLDS, DOES_NOT, UNDECIDED, NOT_TESTED = "holds", "does not", "undecided", "not tested"
VERDICTS = (HOLDS, DOES_NOT, UNDECIDED, NOT_TESTED)

_NUMBER = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)"


class _Form(NamedTuple):
    """A kind of rule.

    Attributes:
        pattern: Of its words.
        band: The least and the most that the number may be, from the first and the last number of the words, and what
            is predicted.
        words: The band in a sentence.
        expectation: The band in a table.
    """

    pattern: str
    band: Callable[[float, float, float], tuple[float, float]]
    words: str
    expectation: str


_FORMS = {
    "above": _Form(rf"above {_NUMBER}", lambda a, b, _: (a, math.inf), "lies above {0}", "> {0}"),
    "below": _Form(rf"below {_NUMBER}", lambda a, b, _: (-math.inf, a), "lies below {0}", "< {0}"),
    "at least": _Form(rf"at least {_NUMBER}", lambda a, b, _: (a, math.inf), "is at least {0}", "≥ {0}"),
    "at most": _Form(
        rf"at most (?:{_NUMBER}|predicted)", lambda a, b, _: (-math.inf, a), "is at most {0}", "≤ {0}"
    ),
    "within": _Form(
        rf"within {_NUMBER} {_NUMBER}", lambda a, b, _: (a, b), "lies between {0} and {1}", "{0} to {1}"
    ),
    "share": _Form(
        rf"near predicted {_NUMBER} %",
        lambda a, b, p: (p - a / 100 * abs(p), p + a / 100 * abs(p)),
        "lies within {number:g} % of the predicted one",
        "{predicted}",
    ),
    "equal": _Form("near predicted 0", lambda a, b, p: (p, p), "is the predicted one", "{predicted}"),
    "distance": _Form(
        rf"near predicted {_NUMBER}",
        lambda a, b, p: (p - a, p + a),
        "lies within {0} of the predicted one",
        "{predicted} ± {number:g}",
    ),
}
"""`near predicted 10 %` is a band of that share around what is predicted, without % of that width."""


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
        numbers = self.numbers or (predicted,)
        return _FORMS[self.form].band(numbers[0], numbers[-1], predicted)

    def verdict(self, one: Estimate, predicted: float = math.nan) -> str:
        """Return what an interval decides: wholly inside the band holds, wholly outside does not.

        Limits that are NaN decide nothing. The ends of a band are inside it, save for "above" and "below".
        """
        least, most = self.band(predicted)
        if any(math.isnan(end) for end in (one.low, one.high, least, most)):
            return UNDECIDED
        if one.high < least or one.low > most:
            return DOES_NOT
        is_inside = least <= one.low and one.high <= most
        if self.form in ("above", "below"):
            is_inside = one.low > least if self.form == "above" else one.high < most
        return HOLDS if is_inside else UNDECIDED

    def excess(self, one: Estimate, predicted: float = math.nan) -> float:
        """Return how far a number lies towards the outside of the band: the largest of several is the worst."""
        least, most = self.band(predicted)
        ends = [end for end in (least - one.mean, one.mean - most) if math.isfinite(end)]
        return max(ends, default=-math.inf)

    def words(self, shown: Column) -> str:
        """Return the band for a sentence: "lies above 0", "lies within 10 % of the predicted one"."""
        ends = [_bound(number, shown) for number in self.numbers] or ["the predicted one"]
        return _FORMS[self.form].words.format(*ends, number=self.numbers[0] if self.numbers else math.nan)

    def expectation(self, predicted: Collection[float], shown: Column) -> str:
        """Return what the source expects, for a table: "> 0", "4", "10 ± 2 neurons"."""
        named = ", ".join(dict.fromkeys(_bound(one, shown) for one in predicted))
        ends = [_bound(number, shown) for number in self.numbers] or [named]
        number = self.numbers[0] if self.numbers else math.nan
        return _FORMS[self.form].expectation.format(*ends, number=number, predicted=named)


def _bound(number: float, shown: Column) -> str:
    text = f"{number * shown.factor:.6g}".replace("-", "−")
    return text + shown.unit if number and shown.unit == " %" else text


def read_rule(text: str) -> Rule:
    """Return the rule that words name.

    Args:
        text: "above A", "below A", "at least A", "at most A" or "predicted", "within A B" or "near predicted A [%]".

    Raises:
        ArgumentError: If the words are none of these, or the band is empty.
    """
    for form, one in _FORMS.items():
        if found := re.fullmatch(one.pattern, text):
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
