"""The power law over models: against scipy, its coverage, and what it refuses."""

import numpy as np
import pytest
from scipy import stats

from diffstab.errors import ArgumentError
from diffstab.report.scatter import fit_power_law


def drawn(rng, *, count=30, exponent=0.5, prefactor=0.2, growing=False):
    """R log-uniform over two decades, test error on the law with a scatter that grows along it or not."""
    x = 10 ** rng.uniform(-2, 0, count)
    scale = 0.05 + (0.1 * (np.log10(x) + 2) ** 2 if growing else 0.1)
    return x, prefactor * x**exponent * np.exp(scale * rng.normal(size=count))


def test_an_exact_law_is_found_without_scatter():
    x = np.array([0.01, 0.05, 0.2, 1.5])
    law = fit_power_law(x, 0.2 * x**0.5)
    assert law.exponent[:3] == pytest.approx((0.5, 0.5, 0.5))
    assert law.prefactor[:3] == pytest.approx((0.2, 0.2, 0.2))
    assert law.correlation.mean == pytest.approx(1)
    assert law.spread == pytest.approx(1)
    assert law.at([4.0]) == pytest.approx([0.4])


def test_the_line_is_that_of_scipy():
    x, y = drawn(np.random.default_rng(0))
    law, line = fit_power_law(x, y), stats.linregress(np.log(x), np.log(y))
    assert law.exponent.mean == pytest.approx(line.slope)
    assert np.log(law.prefactor.mean) == pytest.approx(line.intercept)
    assert law.correlation.mean == pytest.approx(line.rvalue)


@pytest.mark.parametrize("growing", [False, True])
def test_the_intervals_cover_the_law(growing):
    rng, trials = np.random.default_rng(1), 600
    laws = [fit_power_law(*drawn(rng, growing=growing)) for _ in range(trials)]
    for name, truth in (("exponent", 0.5), ("prefactor", 0.2)):
        found = np.mean([getattr(law, name).low <= truth <= getattr(law, name).high for law in laws])
        assert 0.92 < found < 0.985, name  # 95 % within 3.4 standard deviations of 600 trials


def test_a_law_of_the_other_direction_is_not_its_inverse():
    """Scatter flattens a fit: what is fitted is y given x."""
    x, y = drawn(np.random.default_rng(2), growing=True)
    forth, back = fit_power_law(x, y), fit_power_law(y, x)
    assert forth.exponent.mean * back.exponent.mean == pytest.approx(forth.correlation.mean**2)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2], [1, 2], "length of at least 3"),
        ([1, 2, 3], [1, 2], "one length"),
        ([1, 2, 0], [1, 2, 3], "x must be positive"),
        ([1, 2, 3], [1, np.nan, 3], "y must be positive"),
        ([2, 2, 2], [1, 2, 3], "two values or more"),
    ],
)
def test_numbers_without_a_law_are_refused(x, y, message):
    with pytest.raises(ArgumentError, match=message):
        fit_power_law(x, y)


def test_confidence_is_a_share():
    with pytest.raises(ArgumentError, match="confidence"):
        fit_power_law([1, 2, 3], [1, 2, 3], confidence=95)
