import math

import numpy as np
import pytest

from diffstab.errors import ArgumentError
from diffstab.sphere.curves import LEAST_SIZES, ROUNDING_FLOOR, fit_exponent, predicted_exponent

SIZES = np.array([8, 16, 32, 64, 128, 256, 512])


def power_law(rng, *, exponent=2.5, seeds=5, spread=0.3, decay=0.0, sizes=SIZES):
    """Draws of 3 n^-exponent times log-normal noise of standard deviation spread (n / 8)^-decay."""
    n_train = np.repeat(sizes, seeds)
    noise = spread * (n_train / 8) ** -decay * rng.normal(size=len(n_train))
    return n_train, 3 * n_train**-exponent * np.exp(noise)


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


def test_an_exact_power_law_is_found_exactly():
    fit = fit_exponent(*power_law(np.random.default_rng(0), spread=0.0))
    assert fit.exponent == pytest.approx(2.5, abs=1e-10)
    assert fit.amplitude == pytest.approx(3, rel=1e-10)
    assert fit.exponent_of_means == pytest.approx(2.5, abs=1e-10)
    assert fit.high - fit.low < 1e-10


@pytest.mark.parametrize("decay", [0.0, 0.5], ids=["even_noise", "noise_falls_with_n"])
def test_the_interval_covers_the_true_exponent(decay):
    rng, draws = np.random.default_rng(1), 400
    fits = [fit_exponent(*power_law(rng, decay=decay)) for _ in range(draws)]
    covered = np.mean([fit.low <= 2.5 <= fit.high for fit in fits])
    # Nominal 95 %; the search for a range and estimated weights cost about two points. Binomial error: 1.1 points.
    assert 0.89 <= covered <= 0.98
    assert np.mean([fit.exponent for fit in fits]) == pytest.approx(2.5, abs=0.02)


def test_weights_follow_the_noise():
    rng = np.random.default_rng(2)
    fits = [fit_exponent(*power_law(rng, decay=0.7)) for _ in range(200)]
    spread = np.std([fit.exponent_of_all for fit in fits])
    data = [power_law(rng, decay=0.7) for _ in range(200)]
    unweighted = np.std([np.polyfit(np.log(n), np.log(error), 1)[0] for n, error in data])
    assert spread < 0.8 * unweighted


def test_curvature_shortens_the_range_from_below():
    rng = np.random.default_rng(3)
    n_train, errors = power_law(rng, spread=0.05)
    bent = errors * (1 + 200 * n_train**-2.0)
    fit = fit_exponent(n_train, bent)
    assert fit.sizes[0] > 8
    assert fit.sizes[-1] == 512
    assert len(fit.sizes) >= LEAST_SIZES
    assert fit.exponent_of_all > fit.exponent + 0.1
    assert fit.exponent == pytest.approx(2.5, abs=0.1)
    assert fit_exponent(n_train, errors).sizes == tuple(SIZES)


def test_the_range_keeps_the_least_number_of_sizes():
    n_train = np.repeat(SIZES, 3)
    always_bent = np.exp(-0.3 * np.log(n_train) ** 2) * np.tile([0.999, 1.0, 1.001], len(SIZES))
    fit = fit_exponent(n_train, always_bent)
    assert fit.sizes == tuple(SIZES[-LEAST_SIZES:])
    assert fit.curvature_p < 0.05


def test_errors_at_the_floor_are_left_out_and_counted():
    n_train, errors = power_law(np.random.default_rng(4))
    dead = np.where(n_train == 512, ROUNDING_FLOOR / 2, errors)
    fit = fit_exponent(n_train, dead)
    assert fit.at_floor == 5
    assert fit.sizes[-1] == 256
    assert fit_exponent(n_train, errors, floor=0.0).at_floor == 0
    with pytest.raises(ArgumentError, match=r"errors must exceed 1 at two sizes or more, got 0\. Add sizes"):
        fit_exponent(n_train, errors, floor=1.0)


def test_one_draw_per_size_has_even_weights():
    n_train, errors = power_law(np.random.default_rng(5), seeds=1)
    fit = fit_exponent(n_train, errors)
    slope = np.polyfit(np.log(n_train), np.log(errors), 1)[0]
    assert fit.exponent_of_all == pytest.approx(-slope, rel=1e-10)
    two = fit_exponent([8, 16], [1.0, 0.25])
    assert two.exponent == pytest.approx(2.0)
    assert math.isnan(two.low)
    assert math.isnan(two.curvature_p)


def test_the_units_of_the_error_do_not_matter():
    n_train, errors = power_law(np.random.default_rng(6))
    fits = [fit_exponent(n_train, scale * errors) for scale in (1.0, 1e-6)]
    assert fits[1].exponent == pytest.approx(fits[0].exponent, rel=1e-10)
    assert fits[1].low == pytest.approx(fits[0].low, rel=1e-9)
    assert fits[1].amplitude == pytest.approx(1e-6 * fits[0].amplitude, rel=1e-9)


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


@pytest.mark.parametrize(
    ("n_train", "errors", "options", "message"),
    [
        ([8, 16], [1.0], {}, "n_train and errors must be two vectors of one length"),
        ([0, 16], [1.0, 0.5], {}, "n_train must be finite and at least 1"),
        ([8, 16], [1.0, math.nan], {}, "errors must be finite and not negative"),
        ([8, 16], [1.0, -0.5], {}, "errors must be finite and not negative"),
        ([8, 16], [1.0, 0.5], {"floor": -1.0}, "floor must be at least 0"),
        ([8, 16], [1.0, 0.5], {"confidence": 1.0}, "confidence must lie strictly between 0 and 1"),
        ([8, 8], [1.0, 0.5], {}, "errors must exceed .* at two sizes or more, got 1"),
    ],
)
def test_wrong_errors_are_refused(n_train, errors, options, message):
    with pytest.raises(ArgumentError, match=message):
        fit_exponent(n_train, errors, **options)
