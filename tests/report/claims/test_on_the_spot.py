"""Claims that are computed while a page is written."""

import pytest

from diffstab.report.claims.entries import sources_claims
from diffstab.report.claims.judging import judge
from diffstab.report.claims.statistics.fields import share_above_cut


@pytest.mark.parametrize(
    "claim",
    [one for one in sources_claims() if not (one.stage or one.kind or one.untested)],
    ids=lambda claim: claim.id,
)
def test_what_is_computed_on_the_spot_holds(claim):
    # Proven statements and laws of our own samplers: anything else is an error in the check.
    (found,) = judge({}, claims=[claim])
    assert found.verdict == "holds"
    assert found.measured


def test_power_far_above_the_cut_is_no_less_than_the_target_s():
    assert share_above_cut(2, 4.0, seed=0) > 1
