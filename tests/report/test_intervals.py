"""Intervals and sign tests against independent references."""

from math import comb

import numpy as np
import pytest
from scipy import stats

from diffstab.errors import ArgumentError
from diffstab.report.intervals import mean_interval, sign_test


@pytest.mark.parametrize("count", [2, 3, 5, 40])
def test_interval_equals_the_inverted_t_test(count):
    values = np.random.default_rng(count).gamma(2.0, size=count)
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_interval(values)
    assert found.mean == pytest.approx(values.mean(), rel=1e-14)
    assert (found.low, found.high) == pytest.approx(tuple(reference), rel=1e-10)
    assert found.draws == count


def test_interval_covers_the_true_mean_at_its_level():
    samples = np.random.default_rng(0).normal(loc=2.0, size=(1500, 3))
    covered = np.mean([low <= 2.0 <= high for _, low, high, _ in map(mean_interval, samples)])
    # Four standard deviations of a share of 1500 draws.
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 1500)


def test_one_value_has_no_interval_and_none_no_mean():
    assert mean_interval([3.0, np.nan, np.inf])[0] == 3.0
    assert np.isnan(mean_interval([3.0])[1:3]).all()
    assert np.isnan(mean_interval([np.nan])[:3]).all()
    assert mean_interval([]).draws == 0


def test_confidence_outside_the_unit_interval_is_refused():
    with pytest.raises(ArgumentError, match="confidence must lie strictly between 0 and 1, got 95"):
        mean_interval([1.0, 2.0], confidence=95)


@pytest.mark.parametrize(("below", "above"), [(0, 5), (1, 4), (3, 3), (7, 2)])
def test_sign_test_equals_the_counted_tail(below, above):
    total, extreme = below + above, min(below, above)
    tail = sum(comb(total, k) for k in range(extreme + 1)) / 2**total
    found = sign_test([-1.0] * below + [2.0] * above + [0.0, 0.0, np.nan])
    assert found[:3] == (below, above, 2)
    assert found.p_value == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_sign_test_of_ties_alone_says_nothing():
    assert np.isnan(sign_test([0.0, 0.0]).p_value)
