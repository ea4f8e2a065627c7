"""The rules behind verdicts, on intervals whose answer is plain."""

import math

import pytest

from diffstab.errors import ArgumentError
from diffstab.report.intervals import Interval
from diffstab.report.paper.claims_rules import (
    above,
    always,
    draws_text,
    inside,
    near,
    ratio_text,
    sizes_text,
    together,
)


def interval(low, high):
    return Interval((low + high) / 2, low, high, 5)


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [
        ([(1, 2), (0.1, 3)], "holds"),
        ([(1, 2), (-0.1, 3)], "undecided"),
        ([(1, 2), (-2, -0.1)], "does not"),
        ([(-1, 2), (-2, -0.1)], "does not"),
        ([(math.nan, math.nan)], "undecided"),
        ([(0, 1)], "undecided"),
        ([], "not tested"),
    ],
)
def test_a_mean_above_zero_at_every_size(limits, verdict):
    assert together([above(interval(*pair)) for pair in limits]) == verdict


@pytest.mark.parametrize(
    ("verdicts", "shown"),
    [
        (("holds", "holds", "holds"), "c at n = 4"),
        (("undecided", "undecided", "holds"), "c at n = 4; b at n = 2"),
        (("does not", "undecided", "holds"), "c at n = 4; a at n = 1"),
        (("holds", "holds", "undecided"), "c at n = 4"),
    ],
)
def test_the_size_that_decides_is_shown_beside_the_largest(verdicts, shown):
    assert sizes_text({1: "a", 2: "b", 4: "c"}, dict(zip((1, 2, 4), verdicts, strict=True))) == shown


def test_the_bound_may_be_another():
    assert above(interval(0.92, 1.1), bound=0.9) == "holds"
    assert above(interval(0.88, 1.1), bound=0.9) == "undecided"
    assert above(interval(0.5, 0.8), bound=0.9) == "does not"


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [
        ((2.3, 2.7), "holds"),
        ((2.25, 2.75), "holds"),
        ((2.2, 2.7), "undecided"),
        ((2.0, 3.0), "undecided"),
        ((1.6, 2.2), "does not"),
        ((2.8, 3.2), "does not"),
        ((math.nan, math.nan), "undecided"),
    ],
)
def test_an_exponent_near_the_predicted_one(limits, verdict):
    assert near(*limits, 2.5) == verdict


def test_the_exponents_of_the_two_regimes_are_told_apart():
    # 2.5 and 3, the closest predictions: their bands share 2.7 to 2.75, and what lies beyond is told apart.
    assert near(2.7, 2.75, 2.5) == "holds"
    assert near(2.7, 2.75, 3.0) == "holds"
    assert near(2.76, 3.0, 2.5) == "does not"
    assert near(2.4, 2.69, 3.0) == "does not"


def test_an_empty_band_is_refused():
    with pytest.raises(ArgumentError, match=r"least must be at most `most`, got 2 and 1"):
        inside(0, 1, least=2, most=1)


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "undecided"], "undecided"),
        (["holds", "not tested"], "undecided"),
        (["does not", "undecided"], "does not"),
        (["not tested", "not tested"], "not tested"),
        ([], "not tested"),
    ],
)
def test_one_verdict_of_several(verdicts, verdict):
    assert together(verdicts) == verdict


def test_what_must_always_be_so():
    assert [always([]), always([True, True]), always([True, False])] == ["not tested", "holds", "does not"]


def test_texts():
    assert draws_text([5, 5]) == "5 draws"
    assert draws_text([3, 5]) == "3 to 5 draws"
    assert draws_text([1]) == "1 draw"
    assert draws_text([]) == "0 draws"
    assert ratio_text(1, 0, 2) == "10 [1, 100]"
    assert ratio_text(0, math.nan, math.nan) == "1"
