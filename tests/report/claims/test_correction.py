"""Verdicts corrected for many tests, against the procedures as they are defined."""

import math

import numpy as np
import pytest

from diffstab.report.claims.claim import Claim
from diffstab.report.claims.correction import corrected, verdict_at
from diffstab.report.claims.judging import Judgement


def judgement(p_value, certain=""):
    claim = Claim(id="one", source="a", place="b", statement="c.", certain=certain)
    return Judgement(claim, "holds", p_value=p_value)


def test_step_up_by_benjamini_and_hochberg():
    values = [0.01, 0.04, 0.03, 0.005, 0.55]
    found = corrected([judgement(value) for value in values])
    order = np.argsort(values)
    for rate in (0.02, 0.05, 0.06):
        ranks = np.arange(1, 6)
        passing = np.sort(values) <= rate * ranks / 5
        kept = set(order[: ranks[passing].max(initial=0)])
        assert {place for place, one in enumerate(found) if one.bh <= rate + 1e-12} == kept
    # Any dependence costs the harmonic sum.
    harmonic = sum(1 / k for k in range(1, 6))
    assert found[3].by == pytest.approx(found[3].bh * harmonic)


def test_what_cannot_fail_and_what_no_draws_decide_are_no_tests():
    found = corrected([judgement(0.04), judgement(0.001, certain="Proven."), judgement(math.nan)])
    assert found[0].bh == found[0].by == 0.04
    assert math.isnan(found[1].bh)
    assert math.isnan(found[2].bh)
    assert corrected([]) == []


def test_a_verdict_falls_above_the_rate():
    assert verdict_at(judgement(0.01), 0.051) == "undecided"
    assert verdict_at(judgement(0.01), 0.05) == "holds"
    assert verdict_at(judgement(math.nan), math.nan) == "holds"
