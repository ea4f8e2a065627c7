import math

import numpy as np
import pytest

from diffstab.errors import ArgumentError
from diffstab.sphere.curves import predicted_exponent


@pytest.mark.parametrize(
    ("dimension", "lazy", "feature"), [(2, 4.0, 4.0), (3, 3.0, 2.5), (5, 2.5, 1.75)], ids=["d2", "d3", "d5"]
)
def test_convention_exponents_of_the_constant_target(dimension, lazy, feature):
    assert predicted_exponent(dimension, math.inf, regime="lazy") == lazy
    assert predicted_exponent(dimension, math.inf, regime="feature") == feature


def test_exponents_of_random_features_and_of_rough_targets():
    assert predicted_exponent(3, math.inf, regime="lazy", kernel="random_features") == 5.0
    for regime in ("lazy", "feature"):
        assert predicted_exponent(3, 0.5, regime=regime) == 0.5
    assert predicted_exponent(3, 2.75, regime="lazy") == 2.75
    assert predicted_exponent(3, 2.75, regime="feature") == 2.5


@pytest.mark.parametrize("dimension", [2, 3, 5])
@pytest.mark.parametrize(
    ("square_decay", "choice"),
    [
        (lambda circle: 2 * (circle + 1), {"regime": "lazy", "kernel": "ntk"}),
        (lambda circle: 2 * (circle + 3), {"regime": "lazy", "kernel": "random_features"}),
        (lambda circle: circle + 3, {"regime": "feature"}),
    ],
    ids=["ntk", "random_features", "neurons"],
)
def test_the_prediction_is_the_sum_over_modes_that_are_not_learnt(dimension, square_decay, choice):
    """(1/n) sum over k > n^(1/(d-1)) of N_k lambda_k^2 (or phi_k^2), summed as it stands."""
    degree = np.arange(1, 200_001, dtype=np.float64)
    terms = degree ** (dimension - 2) * degree ** -square_decay(dimension - 1)
    tails = np.cumsum(terms[::-1])[::-1]
    cut = np.array([200, 400])
    errors = tails[cut] / cut ** (dimension - 1)
    slope = -np.diff(np.log(errors)) / np.diff(np.log(cut ** (dimension - 1)))
    # The tail beyond k_c is that of an integral up to 1 / k_c.
    assert slope.item() == pytest.approx(predicted_exponent(dimension, math.inf, **choice), rel=5 / 200)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 1}, "dimension must be at least 2, got 1"),
        ({"smoothness": 0.0}, "smoothness must be positive, got 0"),
        ({"smoothness": math.nan}, "smoothness must be positive, got nan"),
        ({"regime": "rich"}, "regime must be lazy or feature, got 'rich'"),
        ({"kernel": "rbf"}, "kernel must be one of ntk, random_features, got 'rbf'"),
    ],
)
def test_a_wrong_prediction_is_refused(options, message):
    arguments = {"dimension": 3, "smoothness": 1.0, "regime": "lazy", **options}
    with pytest.raises(ArgumentError, match=message):
        predicted_exponent(**arguments)
