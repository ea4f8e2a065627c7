"""How a claim, its rule and its numbers are told to people: one sentence for all."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from diffstab.report.claims.claim import Claim
from diffstab.report.claims.power import RATIOS, Reach
from diffstab.report.claims.rules import DOES_NOT, HOLDS, NO_EFFECT, NOT_TESTED, UNDECIDED, VERDICTS
from diffstab.report.claims.statistics.registry import Measurement, statistic_named
from diffstab.report.intervals import Estimate
from diffstab.report.words import capital, interval_text, number_text
from diffstab.results.schema import Column, describe, value_name

_FAILS = ", or if some of them show it and others refute it"
_FEW = 12
"""Places up to which all are listed."""
_PLACES = {"n_train": "pooled over n", "dataset": "pooled over data sets"}


def column_shown(claim: Claim) -> Column:
    """Return name, factor and unit of the number of a claim."""
    if claim.unit == "%":
        return Column("", "", "", 100.0, " %", " points")
    if claim.unit:
        return Column("", "", "", unit=f" {claim.unit}", difference_unit=f" {claim.unit}")
    return describe(claim.value) if claim.statistic == "mean" else Column("", "", "")


def shown(
    claim: Claim, found: Measurement, verdicts: Mapping[str, str], verdict: str, reach: Reach | None = None
) -> tuple[str, float, str]:
    """Return the numbers that stand for a claim as text, the first of them, and what the source expects."""
    estimates, front = found.estimates, front_place(claim, found)
    means = {place: one.mean * column_shown(claim).factor for place, one in estimates.items()}
    if claim.show in ("first", "mean"):
        value = means[front] if claim.show == "first" else sum(means.values()) / len(means)
        texts = [_all_text(claim, found, list(means.values()))]
    else:
        value, named = means[front], [front]
        if claim.show == "last" and verdicts[front] != verdict:
            # Beside the last place one that decides, where the last has another verdict than all together.
            named += [place for place in estimates if verdicts[place] == verdict][-1:]
        texts = [_placed(estimate_text(claim, estimates[place]), place) for place in named]
    if verdict == NO_EFFECT:
        texts.append(f"no effect larger than {margin_text(claim)}")
    if verdict == UNDECIDED and reach is not None:
        texts.append(reach_text(claim, reach))
    return "; ".join(filter(None, texts)), value, expectation(claim, found)


def front_place(claim: Claim, found: Measurement) -> str:
    """Return the place whose number stands in the table: the first, the last, or the one farthest outside."""
    places = list(found.estimates)
    if claim.show in ("first", "last"):
        return places[0 if claim.show == "first" else -1]
    return max(places, key=lambda place: _excess(claim, found, place))


def margin_text(claim: Claim) -> str:
    """Return the largest effect that counts as none: "0.5 points", "10 %"."""
    return distance_text(claim, math.log1p(claim.margin) if claim.statistic in RATIOS else claim.margin)


def reach_text(claim: Claim, reach: Reach) -> str:
    """Return which effect would have been seen: "an effect of 0.9 points would have been seen (80 %)"."""
    if not math.isfinite(reach.seen):
        return ""
    of = "an effect" if claim.margin else "a distance from the bound"
    return f"{of} of {distance_text(claim, reach.seen)} would have been seen with 80 % probability"


def distance_text(claim: Claim, distance: float) -> str:
    """Return a distance of the number in its unit; that of a ratio, a logarithm, as a share or a factor."""
    if claim.statistic in RATIOS:
        share = math.expm1(distance)
        return f"{100 * share:.3g} %" if share < 1 else f"a factor {1 + share:.3g}"
    column = column_shown(claim)
    return f"{distance * column.factor:.3g}" + (column.difference_unit or column.unit)


def _excess(claim: Claim, found: Measurement, place: str) -> float:
    """How far the number at a place lies towards the outside of the rule's band."""
    assert claim.rule is not None  # claims that are tested have one
    excess = claim.rule.excess(found.estimates[place], found.predicted.get(place, math.nan))
    return -math.inf if math.isnan(excess) else excess


def _all_text(claim: Claim, found: Measurement, means: list[float]) -> str:
    """All numbers, or their range where they are many."""
    if len(means) <= 5:
        text = ", ".join(estimate_text(claim, one, unit=False) for one in found.estimates.values())
    else:
        text = f"{number_text(min(means))} to {number_text(max(means))}"
    return text + column_shown(claim).unit


def estimate_text(claim: Claim, one: Estimate, *, unit: bool = True) -> str:
    """Return a number with its interval: "+1.5 points [+1.1, +1.9]"; a number without limits stands alone."""
    if claim.statistic in RATIOS:
        # The limits of a ratio lie at unlike distances from it: each has digits of its own.
        texts = [number_text(value) for value in one[:3]]
        return f"{texts[0]} [{texts[1]}, {texts[2]}]" if math.isfinite(one.low) else texts[0]
    column = column_shown(claim) if unit else column_shown(claim)._replace(unit="", difference_unit="")
    limits = (one.low, one.high) if one.low < one.high and math.isfinite(one.low) else ()
    is_mean_difference = claim.statistic == "mean" and bool(claim.against or "-" in claim.value)
    return interval_text(
        column, one.mean, *limits, difference=is_mean_difference or claim.statistic == "rise"
    )


def _placed(text: str, place: str) -> str:
    """A number with the place where it was found."""
    if not place:
        return text
    return f"{text} at {place}" if place.startswith("n = ") else f"{text} ({place})"


def expectation(claim: Claim, found: Measurement) -> str:
    """Return what the source says the number is."""
    assert claim.rule is not None  # claims that are tested have one
    predicted = dict.fromkeys(one for one in found.predicted.values() if math.isfinite(one))
    if len(predicted) > 3 and claim.predicted:
        formula = claim.predicted.replace("n_train", "N").replace(" * ", " ")
        return claim.rule.text.replace("at most predicted", "≤ ") + formula
    return claim.rule.expectation(list(predicted), column_shown(claim))


def draws_text(found: Measurement) -> str:
    """Return what the numbers rest on: "5 draws", "3 to 5 draws", "27 restarts"."""
    ends = sorted({one.draws for one in found.estimates.values()}) or [0]
    text = str(ends[0]) if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
    return found.sample or f"{text} {'draw' if ends == [1] else 'draws'}"


def detail_text(claim: Claim, found: Measurement, verdicts: Mapping[str, str]) -> str:
    """Return all numbers, or how many of them hold where they are many."""
    # What stands in the table already is not told again, save with the names of its places.
    told = (claim.show in ("first", "mean") and not claim.by) or len(verdicts) > _FEW
    every = {**found.others, **({} if told else found.estimates)}
    texts = [f"{place}: {estimate_text(claim, one)}" for place, one in every.items() if place]
    parts = ["; ".join(texts)] if len(texts) > 1 else []
    if len(verdicts) > _FEW:
        counts = Counter(verdicts.values())
        named = ", ".join(f"{name} in {counts[name]}" for name in VERDICTS if counts[name])
        parts.append(f"{named} of {len(verdicts)}")
    return "; ".join([*parts, *([found.detail] if found.detail else [])])


def rule_text(claim: Claim) -> str:
    """Return how numbers decide about a claim, derived from its rule and statistic."""
    if claim.untested or claim.rule is None:
        return claim.untested
    at = " at the largest n" if claim.sizes == "largest" else ""
    at += f" {_PLACES.get(claim.by, f'pooled over the {describe(claim.by).noun}')}" if claim.by else ""
    at += ", the larger half of the sizes," if claim.sizes == "larger half" else ""
    subject, band = statistic_named(claim.statistic).subject, claim.rule.words(column_shown(claim))
    against = "does not if it lies wholly outside" + (_FAILS if claim.by else "")
    if claim.margin:
        against += f"; no effect if it lies within {margin_text(claim)} of {claim.rule.numbers[0]:g} ({claim.because})"
    number = capital(_number_words(claim))
    parts = (f"{number}." if number else "", f"Holds if {subject}{at} {band}; {against}; else undecided.")
    return " ".join(part for part in (*parts, claim.note, claim.certain) if part)


def _number_words(claim: Claim) -> str:
    """What number is judged: "test error, feature − lazy (exact) on the same draw"."""
    sign = " / " if claim.statistic == "ratio" else " − "
    sides = sign.join(value_name("method", name) for name in (claim.method, claim.against) if name)
    name = re.sub(r"[A-Za-z_]\w*", lambda found: describe(found[0]).noun, claim.value).replace("-", "−")
    pair = " on the same draw" if claim.against else ""
    return ", ".join(part for part in (name, sides + pair) if part)


def counts_text(verdicts: Iterable[str], *, certain: int = 0) -> str:
    """Return how many claims have each verdict: "64 hold (16 of them cannot fail), 25 are undecided, ..."."""
    counts = Counter(verdicts)
    texts = {
        HOLDS: "hold" + (f" ({certain} of them cannot fail)" if certain else ""),
        NO_EFFECT: "find no effect",
        UNDECIDED: "are undecided",
        DOES_NOT: "do not hold",
        NOT_TESTED: "are not tested",
    }
    return ", ".join(f"{counts[name]} {text}" for name, text in texts.items() if counts[name])
