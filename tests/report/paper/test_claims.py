"""All claims on small runs of every stage."""

from diffstab.report.claims.entries import sources_claims
from diffstab.report.claims.judging import judge
from diffstab.report.document import BADGES


def test_every_claim_is_judged_on_small_runs(stage_folders):
    found = judge(stage_folders, claims=[claim for claim in sources_claims() if claim.stage])
    assert all(one.verdict in BADGES for one in found)
    tested = [one for one in found if one.verdict != "not tested"]
    assert len(tested) > 40
    for one in tested:
        assert one.measured, one.claim.id
        assert one.draws, one.claim.id
