"""The list of statistics, and what each of them returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from diffstab.errors import ArgumentError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.confidence import Confidence
from diffstab.report.intervals import Estimate


@dataclass(frozen=True)
class Measurement:
    """Numbers that a claim is judged by.

    Attributes:
        estimates: Number with interval at each place that is judged.
        predicted: What theory says at a place.
        confidence: What the draws say of the number at a place; nothing where its limits alone decide.
        parts: The same at each place by itself, where the number is pooled over places.
        others: Numbers at places that are not judged.
        sample: What they rest on in words; "" for the draws of the estimates.
        detail: Further numbers in words.
        doubt: Why nothing is decided whatever the numbers are; "" where something is.
    """

    estimates: Mapping[str, Estimate]
    predicted: Mapping[str, float] = field(default_factory=dict)
    confidence: Mapping[str, Confidence] = field(default_factory=dict)
    parts: Mapping[str, Confidence] = field(default_factory=dict)
    others: Mapping[str, Estimate] = field(default_factory=dict)
    sample: str = ""
    detail: str = ""
    doubt: str = ""


class ClaimStatistic(NamedTuple):
    """A named statistic.

    Attributes:
        subject: What it judges, in the words of a rule: "the 95 % interval of the mean over draws".
        measure: Makes the numbers of the records that a claim selects, of these, the claim and further arguments.
    """

    subject: str
    measure: Callable[..., Measurement]

    def check(self, given: Collection[str]) -> None:
        """Refuse further arguments that it does not take, and the lack of those that it needs.

        Raises:
            ArgumentError: With the name of the first of them.
        """
        further = list(inspect.signature(self.measure).parameters.values())[2:]
        takes, needed = (
            {one.name for one in further},
            {one.name for one in further if one.default is one.empty},
        )
        if wrong := sorted(set(given) - takes) or sorted(needed - set(given)):
            condition = f"be given {', '.join(sorted(takes)) or 'nothing'} beside its name"
            raise ArgumentError(f"statistic {self.measure.__name__}", condition, wrong[0])


_REGISTERED: dict[str, ClaimStatistic] = {}


def statistic(subject: str) -> Callable[[Callable[..., Measurement]], Callable[..., Measurement]]:
    """Register a function of records and a claim as a statistic, under its own name.

    Args:
        subject: What it judges, for the sentence of the rule.
    """

    def register(measure: Callable[..., Measurement]) -> Callable[..., Measurement]:
        _REGISTERED[measure.__name__] = ClaimStatistic(subject, measure)
        return measure

    return register


def statistic_named(name: str) -> ClaimStatistic:
    """Return a statistic by its name.

    Raises:
        ArgumentError: If there is none of that name.
    """
    if name not in _REGISTERED:
        raise ArgumentError("statistic", f"be one of {', '.join(sorted(_REGISTERED))}", repr(name))
    return _REGISTERED[name]


def measure(claim: Claim, records: pd.DataFrame) -> Measurement:
    """Return the numbers of the records that a claim is judged by."""
    return statistic_named(claim.statistic).measure(records, claim, **claim.options)
