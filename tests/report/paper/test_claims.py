"""The list of claims as a whole, those computed on the spot, and what happens to missing and damaged stages."""

from collections import Counter

import pytest

from diffstab.report.document import BADGES
from diffstab.report.paper.claims import CLAIMS, judge
from diffstab.report.paper.claims_evidence import Claim, Evidence, Finding
from diffstab.report.paper.claims_fields import FIELD_CLAIMS, far_power_share
from diffstab.report.paper.claims_nets import NET_CLAIMS
from diffstab.report.paper.figures import FIGURES


def test_claims_are_complete_and_their_names_unique():
    assert max(Counter(claim.identifier for claim in CLAIMS).values()) == 1
    for claim in CLAIMS:
        assert claim.statement.endswith("."), claim.identifier
        assert claim.rule.endswith((".", ")")), claim.identifier
        assert claim.document, claim.identifier
        assert claim.place, claim.identifier
        assert claim.figure in {"", *FIGURES}, claim.identifier


@pytest.mark.parametrize("claim", [one for one in CLAIMS if one.check], ids=lambda claim: claim.identifier)
def test_every_rule_says_when_a_claim_holds(claim):
    assert "Holds if" in claim.rule


def test_without_any_stage_only_what_is_computed_on_the_spot_is_tested():
    claims = [claim for claim in CLAIMS if claim.stages or claim.check is None]
    found = judge({}, claims=claims)
    assert {one.finding.verdict for one in found} == {"not tested"}
    assert all(one.finding.detail for one in found)


@pytest.mark.parametrize("claim", [*FIELD_CLAIMS, *NET_CLAIMS], ids=lambda claim: claim.identifier)
def test_what_is_computed_on_the_spot_holds(claim):
    # Proven statements and laws of our own samplers: anything else is an error in the check.
    found = claim.check(Evidence({}))
    assert found.verdict == "holds"
    assert found.measured


def test_power_far_above_the_cut_is_no_less_than_the_target_s():
    assert far_power_share(2, 4.0, seed=0) > 1


def test_every_claim_is_judged_on_small_runs(stage_folders):
    found = judge(stage_folders, claims=[claim for claim in CLAIMS if claim.stages])
    assert all(one.finding.verdict in BADGES for one in found)
    tested = [one for one in found if one.finding.verdict != "not tested"]
    assert len(tested) > 40
    for one in tested:
        assert one.finding.measured, one.claim.identifier
        assert one.finding.draws, one.claim.identifier


def test_a_claim_of_several_stages_holds_only_if_all_were_run(tmp_path):
    def claim(verdict):
        return Claim(
            verdict, "a", "b", "c.", "Holds if so.", lambda evidence: Finding(verdict), ("one", "two")
        )

    claims = [claim("holds"), claim("does not")]
    part = judge({"one": tmp_path}, claims=claims)
    assert [one.finding.verdict for one in part] == ["undecided", "does not"]
    assert part[0].finding.detail.startswith("Not run: two.")
    whole = judge({"one": tmp_path, "two": tmp_path}, claims=claims)
    assert [one.finding.verdict for one in whole] == ["holds", "does not"]


def test_a_damaged_stage_is_said_and_the_other_claims_are_judged(make_records, make_folder, tmp_path):
    folder = make_folder(tmp_path / "mnist", make_records(sizes=(8,), seeds=(0,)))
    next((folder / "records").iterdir()).write_bytes(b"not a record")
    sound = Claim("sound", "a", "b", "c.", "Holds if so.", lambda evidence: Finding("holds"))
    claims = [next(claim for claim in CLAIMS if claim.identifier == "error-mnist"), sound]
    damaged, other = judge({"images_mnist": folder}, claims=claims)
    assert damaged.finding.verdict == "not tested"
    assert "damaged" in damaged.finding.detail
    assert other.finding.verdict == "holds"
