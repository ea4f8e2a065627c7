"""What draws say of a number: p-values against scipy's own tests, intervals that belong to them."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from diffstab.report.claims.confidence import (
    IntervalConfidence,
    MeanConfidence,
    OddsConfidence,
    ShareConfidence,
    block,
    pooled,
    student,
)
from diffstab.report.intervals import Estimate

VALUES = np.random.default_rng(0).normal(0.4, 1.0, size=(7, 3))


def test_one_place_is_student_s_test():
    sure = student(VALUES[:, 0])
    for bound in (-1.0, 0.0, 0.7):
        above = stats.ttest_1samp(VALUES[:, 0], bound, alternative="greater").pvalue
        assert sure.above(bound) == pytest.approx(above)
        assert sure.below(bound) == pytest.approx(1 - above)


def test_a_ratio_is_judged_on_logarithms():
    sure = student(np.exp(VALUES[:, 0]), is_ratio=True)
    assert sure.above(2) == pytest.approx(student(VALUES[:, 0]).above(np.log(2)))
    assert sure.above(0) == 0
    assert sure.below(-1) == 1
    assert sure.estimate(7)[:3] == pytest.approx(np.exp(student(VALUES[:, 0]).estimate(7)[:3]))


def test_fewer_than_two_draws_say_nothing():
    assert student([1.0, np.nan]) is None
    assert student([-1.0, 2.0, 0.0], is_ratio=True) is None


def frame(values, sizes=(64, 256, 1024), seeds=range(100)):
    rows = [
        {"dataset": "digits", "seed": seed, "n_train": n, "value": value}
        for seed, row in zip(seeds, values, strict=False)
        for n, value in zip(sizes, row, strict=True)
    ]
    return pd.DataFrame(rows)


def test_sizes_are_pooled_seed_by_seed_with_root_n():
    # Weights 8, 16 and 32 of 56.
    of_seeds = VALUES @ np.array([8, 16, 32]) / 56
    sure = pooled(frame(VALUES), "n_train")
    assert sure.above(0) == pytest.approx(stats.ttest_1samp(of_seeds, 0, alternative="greater").pvalue)
    middle, low, high, _ = sure.estimate(7)
    ends = stats.ttest_1samp(of_seeds, 0).confidence_interval()
    assert (middle, low, high) == pytest.approx((of_seeds.mean(), ends.low, ends.high))


def test_other_places_are_pooled_equally():
    values = frame(VALUES).assign(dataset=lambda one: one["n_train"].map(str))
    of_seeds = VALUES.mean(1)
    sure = pooled(values, "dataset")
    assert sure.below(0) == pytest.approx(stats.ttest_1samp(of_seeds, 0, alternative="less").pvalue)


def test_seeds_of_some_sizes_are_a_block_of_their_own():
    more = np.random.default_rng(1).normal(0.4, 1.0, size=(10, 1))
    parts = [frame(VALUES), frame(more, sizes=(64,), seeds=range(100, 110))]
    sure = pooled(pd.concat(parts), "n_train")
    scores = [
        stats.norm.isf(stats.ttest_1samp(one, 0, alternative="greater").pvalue)
        for one in (VALUES @ np.array([8, 16, 32]) / 56, more[:, 0])
    ]
    weights = np.sqrt([7 * 56, 10 * 8])
    expected = stats.norm.sf(weights @ scores / np.sqrt((weights**2).sum()))
    assert sure.above(0) == pytest.approx(expected)
    # The ends of the interval are where either side has a p-value of 2.5 %.
    _, low, high, _ = sure.estimate(17)
    assert sure.above(low) == pytest.approx(0.025)
    assert sure.below(high) == pytest.approx(0.025)


def test_a_single_seed_forms_no_block():
    assert pooled(frame(VALUES[:1]), "n_train") is None
    with_one_more = pd.concat([frame(VALUES), frame(VALUES[:1, :1], sizes=(64,), seeds=[99])])
    assert pooled(with_one_more, "n_train").above(0) == pooled(frame(VALUES), "n_train").above(0)


def test_equal_draws_are_sure_of_their_value():
    sure = MeanConfidence((block(np.full((5, 1), 3.0)),))
    assert sure.estimate(5)[:3] == pytest.approx((3, 3, 3))
    assert sure.above(2) < 1e-6
    assert sure.below(2) > 1 - 1e-6
    assert sure.above(3) == 0.5


@pytest.mark.parametrize(("count", "trials"), [(0, 25), (23, 25), (25, 25), (7, 9)])
def test_a_share_has_clopper_and_pearson_s_interval(count, trials):
    sure = ShareConfidence(count, count, trials)
    ends = stats.binomtest(count, trials).proportion_ci(method="exact")
    assert sure.estimate()[:3] == pytest.approx((count / trials, ends.low, ends.high))
    for bound in (0.1, 0.8):
        greater = stats.binomtest(count, trials, bound, alternative="greater").pvalue
        assert sure.above(bound) == pytest.approx(greater)
        less = stats.binomtest(count, trials, bound, alternative="less").pvalue
        assert sure.below(bound) == pytest.approx(less)
    # No share lies beyond 0 or 1.
    assert sure.above(-0.05) == sure.below(1.05) == 0


def test_trials_that_may_count_widen_a_share():
    sure, known = ShareConfidence(5, 8, 10), ShareConfidence(5, 5, 10)
    assert sure.above(0.3) == known.above(0.3)
    assert sure.below(0.9) > known.below(0.9)
    assert sure.estimate().high == pytest.approx(stats.binomtest(8, 10).proportion_ci(method="exact").high)


@pytest.mark.parametrize("failed", [(20, 9), (9, 20), (0, 12), (27, 0)])
def test_odds_are_judged_by_fisher_s_test(failed):
    sure = OddsConfidence(failed[0], 27, failed[1], 27)
    table = [[bad, 27 - bad] for bad in failed]
    assert sure.above(1) == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)
    assert sure.below(1) == pytest.approx(stats.fisher_exact(table, alternative="less").pvalue)


def test_odds_beyond_one_belong_to_the_exact_interval():
    limits = stats.contingency.odds_ratio([[20, 7], [9, 18]]).confidence_interval(0.95)
    sure = OddsConfidence(20, 27, 9, 27)
    assert sure.above(limits.low) == pytest.approx(0.025, rel=1e-4)
    assert sure.below(limits.high) == pytest.approx(0.025, rel=1e-4)


def test_an_interval_alone_is_gaussian_on_each_side():
    sure = IntervalConfidence(Estimate(2.0, 1.0, 5.0, 5))
    assert sure.above(1.0) == pytest.approx(0.025)
    assert sure.below(5.0) == pytest.approx(0.025)
    assert sure.above(2.0) == 0.5
