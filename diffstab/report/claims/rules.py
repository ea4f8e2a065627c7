"""How a number decides: one rule for both answers and for "no effect", and one verdict of several places."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from diffstab.errors import ArgumentError
from diffstab.report.claims.confidence import LEVEL, Confidence
from diffstab.report.intervals import Estimate
from diffstab.results.schema import Column

HOLDS, DOES_NOT, NO_EFFECT = "holds", "does not", "no effect"
UNDECIDED, NOT_TESTED = "undecided", "not tested"
VERDICTS = (HOLDS, DOES_NOT, NO_EFFECT, UNDECIDED, NOT_TESTED)

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


class Evidence(NamedTuple):
    """One-sided p-values of what may be said of a claim; arrays for batches.

    Attributes:
        inside: For "the number lies in the band".
        outside: For "the number lies outside of it, on one side".
        none: For "no effect larger than the margin".
    """

    inside: Any = 1.0
    outside: Any = 1.0
    none: Any = 1.0

    @property
    def verdict(self) -> Any:
        """What is shown at `LEVEL`: "holds", "does not", "no effect" or, if nothing is, "undecided"."""
        chosen = np.select([one <= LEVEL for one in self], [HOLDS, DOES_NOT, NO_EFFECT], UNDECIDED)
        return str(chosen) if chosen.ndim == 0 else chosen

    @property
    def p_value(self) -> Any:
        """Two-sided p-value of the verdict that is nearest: a verdict is reached where it is 0.05 or less."""
        return np.minimum(1.0, 2 * np.minimum.reduce(self))


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

    def evidence(
        self,
        one: Estimate,
        sure: Confidence | None = None,
        *,
        predicted: float = math.nan,
        margin: float = 0.0,
    ) -> Evidence:
        """Return what a number says of the band, with the same evidence asked for both answers.

        Args:
            one: The number; its limits decide where nothing is known of its draws.
            sure: What its draws say.
            predicted: What theory says.
            margin: Largest distance from the bound of "above" and "below" that counts as no effect, as a share where
                the number is a ratio; 0 for none.
        """
        least, most = self.band(predicted)
        if any(math.isnan(end) for end in (one.low, one.high, least, most)):
            return Evidence()
        if sure is None:
            return self._of_limits(one, least, most)
        lower, upper = math.isfinite(least), math.isfinite(most)
        inside = np.maximum(sure.above(least) if lower else 0.0, sure.below(most) if upper else 0.0)
        outside = np.minimum(sure.below(least) if lower else 1.0, sure.above(most) if upper else 1.0)
        if not margin:
            return Evidence(inside, outside)
        low, high = self.nothing(margin, is_ratio=sure.is_ratio)
        return Evidence(inside, outside, np.maximum(sure.above(low), sure.below(high)))

    def nothing(self, margin: float, *, is_ratio: bool) -> tuple[float, float]:
        """Return the least and the most that count as no effect around the bound."""
        bound = self.numbers[0]
        return (bound / (1 + margin), bound * (1 + margin)) if is_ratio else (bound - margin, bound + margin)

    def _of_limits(self, one: Estimate, least: float, most: float) -> Evidence:
        """Wholly inside the band or wholly outside; its ends are inside, save for "above" and "below"."""
        if one.high < least or one.low > most:
            return Evidence(outside=0.0)
        is_inside = least <= one.low and one.high <= most
        if self.form in ("above", "below"):
            is_inside = one.low > least if self.form == "above" else one.high < most
        return Evidence(inside=0.0) if is_inside else Evidence()

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


def together(several: Collection[Evidence]) -> Evidence:
    """Return the evidence on "at every place": for it by the weakest place, against it by Holm over the places."""
    return Evidence(
        np.maximum.reduce([one.inside for one in several]),
        np.minimum(1.0, len(several) * np.minimum.reduce([one.outside for one in several])),
        np.maximum.reduce([one.none for one in several]),
    )


def decided(whole: Evidence, places: Collection[Evidence] = ()) -> Any:
    """Return the verdict; "does not" where some places show a claim and others refute it, both by Holm over places."""
    if len(places) < 2:
        return whole.verdict
    sides = [np.minimum.reduce([one[side] for one in places]) for side in (0, 1)]
    is_mixed = len(places) * np.maximum(*sides) <= LEVEL
    verdict = np.where(is_mixed, DOES_NOT, whole.verdict)
    return str(verdict) if verdict.ndim == 0 else verdict
