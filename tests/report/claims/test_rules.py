"""The rules behind verdicts, on intervals whose answer is plain."""

import math

import numpy as np
import pytest

from diffstab.errors import ArgumentError
from diffstab.report.claims.confidence import student
from diffstab.report.claims.rules import Evidence, decided, read_rule, together
from diffstab.report.intervals import Estimate, exact
from diffstab.results.schema import Column

PLAIN = Column("", "", "")
SHARE = Column("", "", "", 100.0, " %", " points")


def verdict(rule, low, high, predicted=math.nan):
    return read_rule(rule).evidence(Estimate((low + high) / 2, low, high, 5), predicted=predicted).verdict


@pytest.mark.parametrize(
    ("rule", "low", "high", "expected"),
    [
        ("above 0", 0.1, 3, "holds"),
        ("above 0", -0.1, 3, "undecided"),
        ("above 0", 0, 1, "undecided"),
        ("above 0", -2, -0.1, "does not"),
        ("above 0", math.nan, math.nan, "undecided"),
        ("above 1", 10, math.inf, "holds"),
        ("above 0.9", 0.92, 1.1, "holds"),
        ("above 0.9", 0.88, 1.1, "undecided"),
        ("above 0.9", 0.5, 0.8, "does not"),
        ("below 1", 0.2, 0.9, "holds"),
        ("below 1", 0.2, 1, "undecided"),
        ("below 1", 1.1, 2, "does not"),
        ("at most 1e-8", 0, 1e-8, "holds"),
        ("at most 1", -math.inf, 2, "undecided"),
        ("at most 1", -math.inf, 1, "holds"),
        ("at least 1", 0, 0, "does not"),
        ("at least 1", 1, 1, "holds"),
        ("within -1 1", -1, 1, "holds"),
        ("within -1 1", -1, 1.1, "undecided"),
        ("within -1 1", 1.1, 1.2, "does not"),
    ],
)
def test_bands_of_numbers(rule, low, high, expected):
    assert verdict(rule, low, high) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (2.3, 2.7, "holds"),
        (2.25, 2.75, "holds"),
        (2.2, 2.7, "undecided"),
        (2.0, 3.0, "undecided"),
        (1.6, 2.2, "does not"),
        (2.8, 3.2, "does not"),
        (math.nan, math.nan, "undecided"),
    ],
)
def test_an_exponent_near_the_predicted_one(low, high, expected):
    assert verdict("near predicted 10 %", low, high, 2.5) == expected


def test_the_exponents_of_the_two_regimes_are_told_apart():
    # 2.5 and 3, the closest predictions: their bands share 2.7 to 2.75, and what lies beyond is told apart.
    rule = "near predicted 10 %"
    assert verdict(rule, 2.7, 2.75, 2.5) == verdict(rule, 2.7, 2.75, 3.0) == "holds"
    assert verdict(rule, 2.76, 3.0, 2.5) == verdict(rule, 2.4, 2.69, 3.0) == "does not"


def test_what_is_predicted_may_bound_it_or_be_it():
    assert verdict("at most predicted", 4, 4, 4) == "holds"
    assert verdict("at most predicted", 5, 5, 4) == "does not"
    assert verdict("near predicted 2", 11, 12, 10) == "holds"
    assert verdict("near predicted 2", 13, 13, 10) == "does not"
    assert verdict("near predicted 0", 4, 4, 4) == "holds"
    assert verdict("near predicted 0", 4, 5, 4) == "undecided"


def test_without_a_prediction_nothing_is_decided():
    assert verdict("at most predicted", 4, 4) == "undecided"
    assert verdict("near predicted 10 %", 4, 4) == "undecided"


@pytest.mark.parametrize(
    "words", ["over 0", "above", "above zero", "within 1", "near 3", "near predicted", ""]
)
def test_other_words_are_refused(words):
    with pytest.raises(ArgumentError, match="rule must be one of above, below"):
        read_rule(words)


def test_an_empty_band_is_refused():
    with pytest.raises(
        ArgumentError, match=r"rule must name the lower end of a band first, got 'within 2 1'"
    ):
        read_rule("within 2 1")


@pytest.mark.parametrize(
    ("several", "expected"),
    [
        ([Evidence(inside=0.01), Evidence(inside=0.02)], "holds"),
        ([Evidence(inside=0.01), Evidence(inside=0.03)], "undecided"),
        # Holm: the smallest of two is doubled.
        ([Evidence(outside=0.012), Evidence(inside=0.01)], "does not"),
        ([Evidence(outside=0.02), Evidence(inside=0.01)], "undecided"),
        ([Evidence(none=0.01), Evidence(none=0.02)], "no effect"),
    ],
)
def test_one_verdict_of_several(several, expected):
    assert together(several).verdict == expected


def test_places_that_contradict_each_other_refute():
    sides = [Evidence(inside=0.001), Evidence(outside=0.012)]
    assert decided(Evidence(inside=0.001), sides) == "does not"
    assert decided(Evidence(inside=0.001), [sides[0], Evidence(outside=0.02)]) == "holds"
    assert decided(Evidence(), sides[:1]) == "undecided"


DRAWS = np.array([-1.2, -0.7, 0.0, 0.7, 1.2]) / 10


@pytest.mark.parametrize(
    ("shift", "margin", "expected"),
    [
        (0.5, 0.2, "holds"),
        (-0.5, 0.2, "does not"),
        (0.0, 0.2, "no effect"),
        (0.0, 0.05, "undecided"),
        (0.0, 0.0, "undecided"),
        # An effect that is surely there and surely smaller than the margin is there.
        (0.15, 0.5, "holds"),
    ],
)
def test_no_effect_is_a_verdict(shift, margin, expected):
    values = DRAWS + shift
    for rule, sign in (("above 0", 1), ("below 0", -1)):
        sure = student(sign * values)
        assert read_rule(rule).evidence(sure.estimate(5), sure, margin=margin).verdict == expected


def test_the_margin_of_a_ratio_is_a_share_to_both_sides():
    rule = read_rule("above 1")
    assert rule.nothing(0.25, is_ratio=True) == (0.8, 1.25)
    assert read_rule("above 0.5").nothing(0.25, is_ratio=False) == (0.25, 0.75)
    sure = student(np.exp(DRAWS), is_ratio=True)
    assert rule.evidence(sure.estimate(5), sure, margin=0.25).verdict == "no effect"


def test_a_p_value_is_five_percent_at_the_edge_of_a_verdict():
    sure = student(DRAWS)
    low, high = sure.estimate(5)[1:3]
    one = sure.estimate(5)
    assert read_rule(f"above {low:.12f}").evidence(one, sure).p_value == pytest.approx(0.05)
    assert read_rule(f"above {high:.12f}").evidence(one, sure).p_value == pytest.approx(0.05)
    assert read_rule("above 0").evidence(one, sure).p_value == pytest.approx(1)


@pytest.mark.parametrize(
    ("rule", "worst"),
    [
        ("above 0", -1.0),
        ("below 0", 5.0),
        ("at most predicted", 5.0),
        ("near predicted 1", 5.0),
        ("within 0 4", -1.0),
    ],
)
def test_the_worst_lies_farthest_outside(rule, worst):
    numbers = (-1.0, 1.0, 5.0)
    assert max(numbers, key=lambda value: read_rule(rule).excess(exact(value), 1.5)) == worst


@pytest.mark.parametrize(
    ("rule", "predicted", "words", "expected"),
    [
        ("above 0", [], "lies above 0", "> 0"),
        ("at most predicted", [24.0], "is at most the predicted one", "≤ 24"),
        ("near predicted 10 %", [1.75], "lies within 10 % of the predicted one", "1.75"),
        ("near predicted 2", [10.0], "lies within 2 of the predicted one", "10 ± 2"),
        ("near predicted 0", [4.0, 9.0], "is the predicted one", "4, 9"),
        ("within -0.01 0.01", [], "lies between −0.01 and 0.01", "−0.01 to 0.01"),
    ],
)
def test_a_rule_in_words_and_in_short(rule, predicted, words, expected):
    assert read_rule(rule).words(PLAIN) == words
    assert read_rule(rule).expectation(predicted, PLAIN) == expected


def test_bounds_are_told_in_the_unit_shown():
    assert read_rule("within -0.01 0.01").words(SHARE) == "lies between −1 % and 1 %"
    assert read_rule("at most 0.01").expectation([], SHARE) == "≤ 1 %"
