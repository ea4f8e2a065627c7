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


def dummies(groups):
    return np.array([[float(label == one) for one in dict.fromkeys(groups)] for label in groups])


def by_matrices(x, y, groups):
    """Slope and mean intercept with their HC3 errors, by the matrices of a regression with dummies."""
    design = np.column_stack([np.log(x), dummies(groups)])
    inverse = np.linalg.inv(design.T @ design)
    solution = inverse @ design.T @ np.log(y)
    leverage = np.diag(design @ inverse @ design.T)
    misses = (np.log(y) - design @ solution) / (1 - leverage)
    covariance = inverse @ design.T @ np.diag(misses**2) @ design @ inverse
    contrasts = np.array([[1, *np.zeros(design.shape[1] - 1)], [0, *dummies(groups).mean(axis=0)]])
    return contrasts @ solution, np.sqrt(np.diag(contrasts @ covariance @ contrasts.T))


@pytest.mark.parametrize("groups", [["a"] * 30, ["a"] * 4 + ["b"] * 11 + ["c"] * 15])
def test_groups_are_a_regression_with_dummies(groups):
    x, y = drawn(np.random.default_rng(3), growing=True)
    law, (solution, errors) = fit_power_law(x, y, groups=groups), by_matrices(x, y, groups)
    half = stats.t.ppf(0.975, 30 - len(set(groups)) - 1) * errors
    assert law.exponent[:3] == pytest.approx((solution[0], solution[0] - half[0], solution[0] + half[0]))
    assert np.log(law.prefactor[:3]) == pytest.approx(solution[1] + np.array([0, -half[1], half[1]]))


def test_what_lies_between_groups_says_nothing_of_the_exponent_within_them():
    """Three groups along error = R, in each of which the error falls as 1 / R: Simpson's paradox."""
    place, steps = np.repeat([0.01, 0.1, 1.0], 5), np.tile(np.geomspace(0.5, 2, 5), 3)
    x, y = place * steps, 0.2 * place / steps
    assert fit_power_law(x, y).exponent.mean > 0.7
    within = fit_power_law(x, y, groups=list(place))
    assert within.exponent[:3] == pytest.approx((-1, -1, -1))
    assert within.correlation.mean == pytest.approx(-1)


def test_the_limits_of_the_correlation_are_those_of_scipy():
    x, y = drawn(np.random.default_rng(4))
    found, interval = (
        fit_power_law(x, y).correlation,
        stats.pearsonr(np.log(x), np.log(y)).confidence_interval(),
    )
    assert found[1:3] == pytest.approx((interval.low, interval.high))


def clustered(rng, *, count=8, size=6):
    """Nets of `count` architectures, each with an offset of its own in R and in the error."""
    cluster = np.repeat(np.arange(count), size)
    x = np.exp(rng.normal(size=count)[cluster] + 0.5 * rng.normal(size=count * size))
    offset = 0.3 * rng.normal(size=count)[cluster] + 0.05 * rng.normal(size=count * size)
    return x, 0.2 * x**0.5 * np.exp(offset), cluster


def test_intervals_of_clusters_cover_where_those_of_single_models_do_not():
    rng, covered, trials = np.random.default_rng(5), {"clusters": 0, "single": 0}, 500
    for _ in range(trials):
        x, y, cluster = clustered(rng)
        for name, law in (
            ("clusters", fit_power_law(x, y, clusters=list(cluster))),
            ("single", fit_power_law(x, y)),
        ):
            covered[name] += law.exponent.low <= 0.5 <= law.exponent.high
    assert covered["single"] / trials < 0.8
    assert 0.92 < covered["clusters"] / trials < 0.99  # the jackknife of eight clusters is a little wide


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [1, 1, 2, 2]}, "hold a label for each of 5 models"),
        ({"groups": [1, 1, 2, 2, 3, 3][:5]}, None),
        ({"groups": [1, 2, 3, 4, 4]}, "two models more than there are groups"),
        ({"groups": [1, 2, 2, 2, 2], "x": [1, 3, 3, 3, 3]}, "two values or more"),
        ({"clusters": [1, 1, 1, 2, 2]}, "clusters must be at least three"),
        ({"clusters": [1, 2, 3, 3, 3], "x": [1, 3, 3, 3, 3]}, "without any one cluster"),
    ],
)
def test_groups_and_clusters_that_say_nothing_are_refused(options, message):
    x = options.pop("x", [1.0, 2, 3, 4, 5])
    if message is None:
        assert np.isfinite(fit_power_law(x, [1, 2, 1, 2, 1.5], **options).exponent.mean)
        return
    with pytest.raises(ArgumentError, match=message):
        fit_power_law(x, [1, 2, 1, 2, 1.5], **options)


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
