"""Fitted exponents on made-up learning curves: what is found, and how often the interval holds the truth."""

import math

import numpy as np
import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.kernels.spectrum import (
    kernel_spectrum,
    multiplicities,
    ntk_profile,
    relu_profile,
    self_consistent_error,
    spectral_bias_error,
)
from diffstab.sphere.exponents import LEAST_SIZES, ROUNDING_FLOOR, SLOWEST, fit_exponent, slowest_rate

SIZES = 2 ** np.arange(3, 10)
BETA = 2.5


def curve(rng, transient=np.zeros_like, *, seeds=5, spread=0.1, decay=0.0, sizes=SIZES):
    """Draws of 3 n^-2.5 exp(transient(8/n)), times log-normal noise of standard deviation spread (8/n)^decay."""
    n = np.repeat(sizes, seeds).astype(np.float64)
    noise = spread * (8 / n) ** decay * rng.normal(size=len(n))
    return n, 3 * n**-BETA * np.exp(transient(8 / n) + noise)


def coverage(make, truth=BETA, *, draws=120, **options):
    """Share of intervals that hold the truth; its binomial error is 0.02 at 0.94."""
    rng = np.random.default_rng(1)
    fits = [fit_exponent(*make(rng), **options) for _ in range(draws)]
    return np.mean([fit.low <= truth <= fit.high for fit in fits])


def test_an_exact_law_is_found_exactly():
    n = np.repeat(SIZES, 3)
    fit = fit_exponent(n, 3 * n**-2.5 * np.exp(2 / n))
    assert fit.exponent == pytest.approx(2.5, abs=1e-8)
    assert fit.effective == pytest.approx(2.5 + 2 / 512, abs=1e-8)
    assert (fit.amplitude, fit.correction, fit.rate) == pytest.approx((3, 2, 1), rel=1e-6)
    assert fit.high - fit.low < 1e-6
    assert fit.at([8.0]) == pytest.approx(3 * 8**-2.5 * math.exp(2 / 8), rel=1e-8)
    pure = fit_exponent(n, 3 * n**-2.5)
    assert pure.effective == pytest.approx(pure.exponent, abs=1e-8)
    assert pure.high - pure.low < 1e-6


TRANSIENTS = {
    "none": np.zeros_like,
    "1/n": lambda x: x / 2,
    "large 1/n": lambda x: 2 * x,
    "from below": lambda x: -x,
    "n^-1/2": np.sqrt,
    "n^-2": np.square,
    "log(1 + 3/n)": lambda x: np.log1p(3 * x),
    "1/log n": lambda x: 1 / np.log(8 / x),
}


@pytest.mark.parametrize("transient", TRANSIENTS.values(), ids=TRANSIENTS)
def test_the_interval_holds_the_limit(transient):
    # Nominal 95 %, and more as omega is not known; the last two have no power omega of the fit.
    assert coverage(lambda rng: curve(rng, transient)) >= 0.93


@pytest.mark.parametrize("name", ["none", "1/n", "n^-1/2"])
def test_the_interval_holds_the_limit_with_one_draw_per_size(name):
    sizes = 2 ** np.arange(3, 13)
    assert coverage(lambda rng: curve(rng, TRANSIENTS[name], seeds=1, sizes=sizes)) >= 0.92


def test_a_line_leaves_the_limit_out():
    """What a power law without correction does on log error + n_min / 2n."""
    rng, held = np.random.default_rng(1), []
    for _ in range(100):
        n, errors = curve(rng, lambda x: x / 2)
        (slope, _), covariance = np.polyfit(np.log(n), np.log(errors), 1, cov=True)
        held.append(abs(-slope - BETA) <= 2 * math.sqrt(covariance[0, 0]))
    assert np.mean(held) < 0.2


def test_transients_beyond_the_assumption_are_covered_less():
    """The docstring says how much: a slower power, and two powers that bend opposite ways."""
    slow = coverage(lambda rng: curve(rng, lambda x: x**0.25))
    assert 0.6 < slow < 0.93
    assert coverage(lambda rng: curve(rng, lambda x: x**0.25), slowest=0.25) >= 0.93
    assert coverage(lambda rng: curve(rng, lambda x: 2 * np.sqrt(x) - 1.5 * x)) < 0.4


@pytest.mark.parametrize(("dimension", "beta"), [(3, 3.0), (5, 2.5)])
def test_the_limit_of_kernel_regression_is_held(dimension, beta):
    """The transient of the theory of kernel regression itself, n = 8 to 4096."""
    degrees = {3: 3000, 5: 500}[dimension]
    spectrum = kernel_spectrum(ntk_profile, dimension, degrees), _constant(degrees)
    counts, sizes = multiplicities(degrees, dimension), 2 ** np.arange(3, 13)
    tail = float(ntk_profile(torch.ones(1).double(), dimension=dimension)) - float(counts @ spectrum[0])
    errors = [self_consistent_error(*spectrum, counts, n, kernel_tail=max(tail, 0)).total for n in sizes]
    assert coverage(lambda rng: _around(rng, sizes, errors), beta) >= 0.88


def test_the_limit_of_the_spectral_bias_is_held():
    """That of least norm, d = 5, n = 8 to 512, by the sum over the modes that are not learnt."""
    spectrum, counts = (kernel_spectrum(relu_profile, 5, 400), _constant(400)), multiplicities(400, 5)
    errors = [spectral_bias_error(*spectrum, counts, n).total for n in SIZES]
    assert coverage(lambda rng: _around(rng, SIZES, errors), 1.75) >= 0.88


def _constant(degrees):
    return torch.nn.functional.one_hot(torch.tensor(0), degrees + 1).double()


def _around(rng, sizes, errors, seeds=5, spread=0.2):
    """Draws about a curve with the scatter that the recorded ones have: it halves from n = 128 on."""
    n = np.repeat(sizes, seeds)
    noise = spread * np.where(n < 128, 1, 0.5) * rng.normal(size=len(n))
    return n, np.repeat(errors, seeds) * np.exp(noise)


def test_the_slope_at_the_largest_size_is_held_and_is_known_better():
    rng = np.random.default_rng(2)
    fits = [fit_exponent(*curve(rng, np.sqrt)) for _ in range(100)]
    truth = BETA + math.sqrt(8 / 512) / 2
    assert np.mean([fit.effective_low <= truth <= fit.effective_high for fit in fits]) >= 0.87
    widths = [(fit.effective_high - fit.effective_low) / (fit.high - fit.low) for fit in fits]
    assert np.median(widths) < 0.8


def test_weights_follow_the_noise():
    rng = np.random.default_rng(2)
    data = [curve(rng, spread=0.3, decay=0.7) for _ in range(150)]
    spread = np.std([fit_exponent(*one).effective for one in data])
    bend = [np.polyfit(np.log(n), np.log(error), 2) for n, error in data]
    assert spread < 0.8 * np.std([2 * two * math.log(512) + one for two, one, _ in bend])


def test_sizes_that_follow_another_law_are_left_out_from_below():
    n, errors = curve(np.random.default_rng(3), spread=0.05)
    fit = fit_exponent(n, np.where(n == 8, 3 * errors, errors))
    assert fit.sizes == tuple(SIZES[1:])
    assert fit.misfit_p > 0.05
    assert fit_exponent(n, errors).sizes == tuple(SIZES)


def test_the_range_keeps_the_least_number_of_sizes_and_the_interval_is_widened():
    n, errors = curve(np.random.default_rng(3), spread=0.01)
    waves = fit_exponent(n, errors * np.exp(0.3 * np.cos(3 * np.log2(n))))
    assert waves.sizes == tuple(SIZES[-LEAST_SIZES:])
    assert waves.misfit_p < 0.05
    calm = fit_exponent(n[n >= 32], errors[n >= 32])
    assert waves.high - waves.low > 5 * (calm.high - calm.low)


def test_errors_at_the_floor_are_left_out_and_counted():
    n, errors = curve(np.random.default_rng(4))
    fit = fit_exponent(n, np.where(n == 512, ROUNDING_FLOOR / 2, errors))
    assert fit.at_floor == 5
    assert fit.sizes[-1] == 256
    assert fit_exponent(n, errors, floor=0.0).at_floor == 0
    with pytest.raises(
        ArgumentError, match=r"errors must exceed 1 at three sizes or more, got 0\. Add sizes"
    ):
        fit_exponent(n, errors, floor=1.0)


def test_few_sizes_say_that_little_is_known():
    n, errors = curve(np.random.default_rng(5), sizes=SIZES[:4], spread=0.3)
    four = fit_exponent(n, errors)
    assert four.high - four.low > 1
    assert math.isnan(four.misfit_p)
    bare = fit_exponent(SIZES[:4], SIZES[:4] ** -2.0)
    assert bare.exponent == pytest.approx(2)
    assert math.isnan(bare.low)
    assert math.isnan(bare.effective_high)


def test_the_units_of_the_error_do_not_matter():
    n, errors = curve(np.random.default_rng(6))
    fits = [fit_exponent(n, scale * errors) for scale in (1.0, 1e-6)]
    assert fits[1].exponent == pytest.approx(fits[0].exponent, rel=1e-9)
    assert fits[1].low == pytest.approx(fits[0].low, rel=1e-8)
    assert fits[1].amplitude == pytest.approx(1e-6 * fits[0].amplitude, rel=1e-7)


def test_theory_has_slower_corrections_in_higher_dimensions():
    assert [slowest_rate(d) for d in (2, 5, 9)] == [SLOWEST, SLOWEST, 0.25]


@pytest.mark.parametrize(
    ("n_train", "errors", "options", "message"),
    [
        ([8, 16], [1.0], {}, "n_train and errors must be two vectors of one length"),
        ([0, 16], [1.0, 0.5], {}, "n_train must be finite and at least 1"),
        ([8, 16], [1.0, math.nan], {}, "errors must be finite and not negative"),
        ([8, 16], [1.0, -0.5], {}, "errors must be finite and not negative"),
        ([8, 16], [1.0, 0.5], {"floor": -1.0}, "floor must be at least 0"),
        ([8, 16], [1.0, 0.5], {"confidence": 1.0}, "confidence must lie strictly between 0 and 1"),
        ([8, 16], [1.0, 0.5], {"slowest": 0.0}, "slowest must lie above 0 and up to 2"),
        ([8, 16], [1.0, 0.5], {}, "errors must exceed .* at three sizes or more, got 2"),
    ],
)
def test_wrong_errors_are_refused(n_train, errors, options, message):
    with pytest.raises(ArgumentError, match=message):
        fit_exponent(n_train, errors, **options)
