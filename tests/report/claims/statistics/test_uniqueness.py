"""Two predictors of the least norm: one where they can differ, and one where they cannot."""

import numpy as np
import pytest

from diffstab.errors import ResultsError
from diffstab.report.claims.statistics.uniqueness import spread


def test_a_unique_solution_has_no_spread():
    # y = 2 with features (1, 0.5): the first alone has the least norm 2.
    assert spread(np.array([[1.0, 0.5]]), np.array([2.0]), np.array([[3.0, 7.0]])) == pytest.approx(
        0, abs=1e-6
    )


def test_equal_features_leave_the_test_point_open():
    # Either of two equal features: at the test point 2 * 3 or 2 * 7.
    assert spread(np.array([[1.0, 1.0]]), np.array([2.0]), np.array([[3.0, 7.0]])) == pytest.approx(
        8, abs=1e-6
    )


def test_values_that_cannot_be_met_are_said():
    with pytest.raises(ResultsError, match="A linear program was not solved"):
        spread(np.zeros((1, 2)), np.ones(1), np.ones((1, 2)))
