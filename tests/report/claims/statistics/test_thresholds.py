"""Sizes read off learning curves, on curves whose sizes are known."""

import numpy as np
import pytest

from diffstab.report.claims.entries import sources_claims
from diffstab.report.claims.judging import judge, judge_records
from diffstab.report.claims.statistics.thresholds import crossing, crossings
from tests.references.hierarchy_records import hierarchy_records

SPARSE = ((2, 4, 0), (2, 4, 1), (2, 4, 2), (3, 4, 0), (3, 4, 1))


def judged(records):
    return {one.claim.id: one for one in judge_records(records, "hierarchy")}


def test_a_crossing_is_linear_in_the_logarithm_of_the_size():
    sizes = [10, 100, 1000]
    assert crossing(sizes, [1.0, 0.5, 0.0], 0.75) == pytest.approx(10**1.5)
    assert crossing(sizes, [1.0, 0.5, 0.0], 0.5) == pytest.approx(100)
    assert crossing(sizes, [1.0, 0.2, 0.9], 0.6) == pytest.approx(10**1.5)  # the first one
    assert crossing(sizes, [0.3, 1.0, 0.0], 0.5) == pytest.approx(10**2.5)  # past the largest
    assert np.isnan(crossing(sizes, [0.3, 0.6, 1.0], 0.5))
    assert np.isnan(crossing(sizes, [1.0, 0.9, 0.8], 0.5))
    assert np.isnan(crossing(sizes, [0.4, 0.3, 0.2], 0.5))  # below from the start


def test_crossings_of_each_draw_are_those_that_the_curves_were_made_with():
    records = hierarchy_records(factor=2.0)
    found = crossings(records, "test_error / chance", at=0.1)
    for (name, seed), size in found.items():
        known = {"L = 2, m = 4": 128, "L = 2, m = 8": 512, "L = 3, m = 4": 512}[name]
        # Beyond it the curve ends at zero, which bends it by at most the step of sizes.
        assert size == pytest.approx(2 * known * (1 + seed / 100), rel=0.03)


@pytest.mark.parametrize(("factor", "verdict"), [(2.0, "holds"), (5.0, "holds")])
def test_sizes_in_proportion_to_theory_have_the_exponent_one_whatever_the_prefactor(factor, verdict):
    one = judged(hierarchy_records(factor=factor))["hierarchy-size"]
    assert one.verdict == verdict
    assert one.value == pytest.approx(1, abs=1e-9)


def test_sizes_that_grow_faster_are_found():
    records = hierarchy_records(tasks=((2, 4, 0), (2, 8, 0)))
    records["n_train"] *= records["known_size"] / 128  # so P* goes as the square
    one = judged(records)["hierarchy-size"]
    assert one.verdict == "does not"
    assert one.value == pytest.approx(2, abs=1e-9)


@pytest.mark.parametrize(("lag", "verdict"), [(1.0, "holds"), (1.5, "holds"), (3.0, "does not")])
def test_the_ratio_of_sizes_is_that_of_the_curves(lag, verdict):
    found = judged(hierarchy_records(tasks=SPARSE, lag=lag, moves=True))
    for name in ("hierarchy-synonyms", "hierarchy-moves"):
        assert found[name].verdict == verdict
        assert found[name].value == pytest.approx(lag, rel=1e-9)


def test_a_task_without_moves_loses_no_draw():
    records = hierarchy_records(tasks=SPARSE, moves=True)
    records.loc[records["empty"] == 0, "D_moves"] = float("nan")
    one = judged(records)["hierarchy-moves"]
    assert (one.verdict, one.doubt) == ("holds", "")


def test_the_factor_of_sparsity_is_fitted_at_each_depth():
    one = judged(hierarchy_records(tasks=SPARSE))["hierarchy-sparsity"]
    assert one.verdict == "holds"
    assert one.value == pytest.approx(2, abs=1e-9)


def test_curves_that_never_fall_decide_nothing():
    records = hierarchy_records()
    records.loc[records["levels"] == 3, "test_error"] = 0.8
    one = judged(records)["hierarchy-size"]
    assert one.verdict == "undecided"
    assert "3 of 9 curves do not cross the level" in one.doubt


def test_dense_records_say_nothing_of_moves_and_sparsity():
    assert not {"hierarchy-moves", "hierarchy-sparsity"} & judged(hierarchy_records()).keys()


def test_claims_of_no_stage_are_left_to_the_pages_of_folders():
    ids = {one.claim.id for one in judge({})}
    assert not {one.id for one in sources_claims() if one.kind == "hierarchy"} & ids
    assert "filters-stride" in ids
