"""Intervals that stay in the range of their quantity, and cover the mean as often as they say."""

import numpy as np
import pytest
from scipy import stats

from diffstab.report.intervals import mean_interval, ranged_interval

LAWS = {
    "shares around 8 %": (lambda rng, shape: rng.beta(8, 92, shape), 0.08, "test_error"),
    "shares of a rare event": (lambda rng, shape: rng.binomial(5000, 4e-4, shape) / 5000, 4e-4, "test_error"),
    "log-normal sizes": (lambda rng, shape: rng.lognormal(0, 0.3, shape), np.exp(0.045), "R"),
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("draws", [3, 5])
def test_convention_intervals_respect_the_range_and_cover_the_mean(name, draws):
    make, mean, column = LAWS[name]
    found = [ranged_interval(row, of=column) for row in make(np.random.default_rng(0), (1500, draws))]
    known = [one for one in found if np.isfinite(one.low)]
    assert len(known) > 0.9 * len(found)
    assert all(one.low > 0 for one in known)
    assert column != "test_error" or all(one.high < 1 for one in known)
    covered = np.mean([one.low <= mean <= one.high for one in known])
    # 1500 repetitions have a standard error of 0.6 %; equal draws, without interval, are too few to matter below.
    assert 0.92 < covered < 0.99


def test_a_small_spread_gives_student_s_interval():
    values = 0.3 + 1e-6 * np.arange(5)
    for column in ("test_error", "R"):
        np.testing.assert_allclose(ranged_interval(values, of=column), mean_interval(values), atol=1e-11)


def test_differences_keep_student_s_interval():
    values = [-0.1, 0.3, 0.2]
    assert ranged_interval(values, of="delta_test_error") == mean_interval(values)
    half = stats.t.ppf(0.975, 1) * np.std([1, 2], ddof=1) / np.sqrt(2)
    assert ranged_interval([1, 2], of="delta_R").high == pytest.approx(1.5 + half)


@pytest.mark.parametrize("values", [[0.02, 0.15], [0.1], [0.0, 0.0, 0.0], [0.5] * 4])
def test_too_few_draws_and_equal_ones_have_no_interval(values):
    found = ranged_interval([*values, np.nan], of="test_error")
    assert (found.mean, found.draws) == (pytest.approx(np.mean(values)), len(values))
    assert np.isnan([found.low, found.high]).all()


def test_no_draw_has_no_mean():
    assert np.isnan(ranged_interval([np.nan], of="R").mean)
