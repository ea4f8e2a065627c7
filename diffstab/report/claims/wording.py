"""How a claim, its rule and its numbers are told to people: one sentence for all."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from diffstab.report.claims.claim import Claim
from diffstab.report.intervals import Estimate
from diffstab.report.numbers import interval_text, number_text
from diffstab.report.rules import DOES_NOT, HOLDS, NOT_TESTED, UNDECIDED, VERDICTS
from diffstab.report.statistics.registry import Measurement, statistic_named
from diffstab.results.schema import Column, describe, value_name

_RATIOS = ("ratio", "failing_odds")
_FEW = 12
"""Places up to which all are listed."""
_PLACES = {"n_train": "at every n", "dataset": "on every data set"}


class ClaimTexts(NamedTuple):
    """The numbers of a claim in a table: as text, the first of them, and what the source expects."""

    measured: str
    value: float
    predicted: str


def column_shown(claim: Claim) -> Column:
    """Return name, factor and unit of the number of a claim."""
    if claim.unit == "%":
        return Column("", "", "", 100.0, " %", " points")
    if claim.unit:
        return Column("", "", "", unit=f" {claim.unit}", difference_unit=f" {claim.unit}")
    return describe(claim.value) if claim.statistic == "mean" else Column("", "", "")


def shown(claim: Claim, found: Measurement, verdicts: Mapping[str, str], verdict: str) -> ClaimTexts:
    """Return the numbers that stand for a claim."""
    column, estimates = column_shown(claim), found.estimates
    means = [one.mean * column.factor for one in estimates.values()]
    if claim.show in ("first", "mean"):
        value = means[0] if claim.show == "first" else sum(means) / len(means)
        return ClaimTexts(_listed(claim, found, column), value, expectation(claim, found))
    places = list(estimates)
    front = (
        places[-1] if claim.show == "last" else max(places, key=lambda place: _excess(claim, found, place))
    )
    # Beside the last place one that decides, where the last has another verdict than all together.
    deciding = [] if verdicts[front] == verdict else [place for place in places if verdicts[place] == verdict]
    named = [front, *(deciding[-1:] if claim.show == "last" else [])]
    texts = [placed_text(estimate_text(claim, estimates[place]), place) for place in named]
    return ClaimTexts("; ".join(texts), estimates[front].mean * column.factor, expectation(claim, found))


def _excess(claim: Claim, found: Measurement, place: str) -> float:
    """How far the number at a place lies towards the outside of the rule's band."""
    assert claim.rule is not None  # claims that are tested have one
    excess = claim.rule.excess(found.estimates[place], found.predicted.get(place, math.nan))
    return -math.inf if math.isnan(excess) else excess


def _listed(claim: Claim, found: Measurement, column: Column) -> str:
    """All numbers, or their range where they are many."""
    estimates = list(found.estimates.values())
    if len(estimates) <= 5:
        return ", ".join(estimate_text(claim, one, unit=False) for one in estimates) + column.unit
    means = [one.mean * column.factor for one in estimates]
    return f"{number_text(min(means))} to {number_text(max(means))}{column.unit}"


def estimate_text(claim: Claim, one: Estimate, *, unit: bool = True) -> str:
    """Return a number with its interval: "+1.5 points [+1.1, +1.9]"; a number without limits stands alone."""
    column = column_shown(claim) if unit else column_shown(claim)._replace(unit="", difference_unit="")
    if claim.statistic in _RATIOS:
        # The limits of a ratio lie at unlike distances from it: each has digits of its own.
        texts = [number_text(value) for value in one[:3]]
        return f"{texts[0]} [{texts[1]}, {texts[2]}]" if math.isfinite(one.low) else texts[0]
    limits = (one.low, one.high) if one.low < one.high and math.isfinite(one.low) else (math.nan, math.nan)
    return interval_text(column, one.mean, *limits, difference=is_difference(claim))


def is_difference(claim: Claim) -> bool:
    """Whether the number of a claim is a difference, so that its sign is always written."""
    return claim.statistic == "rise" or (
        claim.statistic == "mean" and bool(claim.against or "-" in claim.value)
    )


def placed_text(text: str, place: str) -> str:
    """Return a number with the place where it was found."""
    if not place:
        return text
    return f"{text} at {place}" if place.startswith("n = ") else f"{text} ({place})"


def expectation(claim: Claim, found: Measurement) -> str:
    """Return what the source says the number is."""
    assert claim.rule is not None  # claims that are tested have one
    predicted = dict.fromkeys(one for one in found.predicted.values() if math.isfinite(one))
    if len(predicted) > 3 and claim.predicted:
        return claim.rule.text.replace("at most predicted", "≤ ") + claim.predicted.replace(
            "n_train", "N"
        ).replace(" * ", " ")
    return claim.rule.expectation(list(predicted), column_shown(claim))


def draws_text(found: Measurement) -> str:
    """Return what the numbers rest on: "5 draws", "3 to 5 draws", "27 restarts"."""
    ends = sorted({one.draws for one in found.estimates.values()}) or [0]
    text = str(ends[0]) if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
    return found.sample or f"{text} {'draw' if ends == [1] else 'draws'}"


def detail_text(claim: Claim, found: Measurement, verdicts: Mapping[str, str]) -> str:
    """Return all numbers, or how many of them hold where they are many."""
    # What stands in the table already is not told again, save with the names of its places.
    told = claim.show in ("first", "mean") and not claim.by
    every = dict(found.others) if told or len(found.estimates) > _FEW else {**found.others, **found.estimates}
    texts = [f"{place}: {estimate_text(claim, one)}" for place, one in every.items() if place]
    parts = ["; ".join(texts)] if len(texts) > 1 else []
    if len(verdicts) > _FEW:
        counts = Counter(verdicts.values())
        parts.append(
            ", ".join(f"{name} in {counts[name]}" for name in VERDICTS if counts[name])
            + f" of {len(verdicts)}"
        )
    return "; ".join([*parts, *([found.detail] if found.detail else [])])


def number_words(claim: Claim) -> str:
    """Return what number is judged: "test_error, feature − lazy_exact on the same draw"."""
    sign = " / " if claim.statistic == "ratio" else " − "
    sides = sign.join(value_name("method", name) for name in (claim.method, claim.against) if name)
    name = re.sub(r"[A-Za-z_]\w*", lambda found: describe(found[0]).noun, claim.value).replace("-", "−")
    pair = " on the same draw" if claim.against else ""
    return ", ".join(part for part in (name, sides + pair) if part)


def rule_text(claim: Claim) -> str:
    """Return how numbers decide about a claim, derived from its rule and statistic."""
    if claim.untested or claim.rule is None:
        return claim.untested
    number, subject = number_words(claim), statistic_named(claim.statistic).subject
    at = " at the largest n" if claim.sizes == "largest" else ""
    at += f" {_PLACES.get(claim.by, f'for every {describe(claim.by).noun}')}" if claim.by else ""
    at += " of the larger half of the sizes" if claim.sizes == "larger half" else ""
    band = claim.rule.words(column_shown(claim))
    against = "does not if it lies wholly outside" + (" at one of them" if claim.by else "")
    text = f"Holds if {subject} {band}{at}; {against}; else undecided."
    lead = f"{number[:1].upper()}{number[1:]}. " if number else ""
    return lead + text + (f" {claim.note}" if claim.note else "")


def source_text(claim: Claim) -> str:
    """Return where a claim stands."""
    return f"{claim.source}, {claim.place}"


def counts_text(verdicts: Iterable[str]) -> str:
    """Return how many claims have each verdict: "64 hold, 25 are undecided, ..."."""
    counts = Counter(verdicts)
    texts = {HOLDS: "hold", UNDECIDED: "are undecided", DOES_NOT: "do not hold", NOT_TESTED: "are not tested"}
    return ", ".join(f"{counts[name]} {text}" for name, text in texts.items() if counts[name])
