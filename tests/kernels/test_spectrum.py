import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import torch

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.kernels import NTKRegressor, ntk, random_feature_kernel
from diffstab.kernels.spectrum import (
    absolute_power_spectrum,
    kernel_spectrum,
    legendre,
    legendre_gaps,
    multiplicities,
    ntk_profile,
    random_feature_profile,
    relu_profile,
    self_consistent_error,
    spectral_bias_error,
)
from diffstab.sphere import GaussianField, field_averaged_error, uniform_points
from tests.references import sphere as reference

PROFILES = {"ntk": ntk_profile, "random_features": random_feature_profile}


def in_many_digits(name, dimension):
    """The profiles as functions of mpmath numbers."""
    if name == "relu":
        return lambda u: max(u, 0)
    extra = 2 if name == "ntk" else 1
    return lambda u: (
        (extra * u * (mpmath.pi - mpmath.acos(u)) + mpmath.sqrt(1 - u * u)) / (2 * mpmath.pi * dimension)
    )


@pytest.mark.parametrize("dimension", [2, 3, 5, 20])
def test_legendre_polynomials_are_scaled_gegenbauer_ones(dimension):
    u = torch.linspace(-1, 1, 41, dtype=torch.float64)
    found = legendre(60, dimension, u)
    expected = np.stack([reference.legendre(k, dimension, u.numpy()) for k in range(61)])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    assert (found[:, -1] == 1).all()


def test_the_circle_has_cosines_up_to_high_degree():
    angle = torch.linspace(0, math.pi, 50, dtype=torch.float64)
    degrees = torch.arange(2001, dtype=torch.float64)
    # cos(k arccos u) amplifies the rounding of u by k / sin(angle).
    torch.testing.assert_close(
        legendre(2000, 2, angle.cos()), torch.outer(degrees, angle).cos(), rtol=0, atol=1e-11
    )


def test_gaps_keep_their_relative_accuracy():
    gaps = torch.tensor([1e-18, 1e-12, 1e-6], dtype=torch.float64)
    found = legendre_gaps(10, 3, gaps)
    # P_k(1 - g) = 1 - g k (k + 1) / 2 + g^2 (k - 1) k (k + 1) (k + 2) / 16 - ...
    k = torch.arange(11, dtype=torch.float64)[:, None]
    series = gaps * k * (k + 1) / 2 - gaps**2 * (k - 1) * k * (k + 1) * (k + 2) / 16
    torch.testing.assert_close(found, series, rtol=1e-8, atol=0)
    torch.testing.assert_close(found[:, :2], series[:, :2], rtol=1e-14, atol=0)


@pytest.mark.parametrize("dimension", [2, 3, 4, 7, 50])
def test_multiplicities_count_polynomials(dimension):
    expected = [float(reference.multiplicity(k, dimension)) for k in range(40)]
    torch.testing.assert_close(multiplicities(39, dimension).tolist(), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_convention_profiles_are_the_kernels_at_unit_inputs(dimension, generator):
    points = uniform_points(20, dimension, generator=generator)
    cosines = (points[:10] @ points[10:].T).clamp(-1, 1)
    for profile, kernel in ((ntk_profile, ntk), (random_feature_profile, random_feature_kernel)):
        torch.testing.assert_close(
            profile(cosines, dimension=dimension), kernel(points[:10], points[10:]), rtol=0, atol=1e-14
        )


@pytest.mark.parametrize(("dimension", "degree"), [(2, 1), (2, 100), (3, 0), (3, 24), (5, 6), (10, 40)])
@pytest.mark.parametrize("name", ["ntk", "random_features", "relu"])
def test_eigenvalues_are_right_relative_to_their_size(name, dimension, degree):
    profile = {**PROFILES, "relu": relu_profile}[name]
    expected = reference.eigenvalue(in_many_digits(name, dimension), degree, dimension)
    found = float(kernel_spectrum(profile, dimension, degree)[degree])
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("dimension", [2, 3, 6])
def test_powers_of_the_absolute_value(exponent, dimension):
    found = absolute_power_spectrum(exponent, dimension, 12)
    for degree in (0, 2, 8):
        expected = reference.eigenvalue(lambda u: abs(u) ** exponent, degree, dimension, digits=20)
        assert float(found[degree]) == pytest.approx(expected, rel=1e-6, abs=1e-10)
    assert (found[1::2] == 0).all()


def test_the_spectrum_of_a_teacher_falls_with_its_smoothness():
    """c_k ~ (k-th eigenvalue of |u|^a)^2 ~ k^(-2 nu - (d - 1)) with nu = a + 1/2."""
    for exponent, dimension in ((0.5, 3), (1.0, 5)):
        variances = absolute_power_spectrum(exponent, dimension, 4000)[2000::2000].square()
        slope = -math.log2(float(variances[1] / variances[0]))
        assert slope == pytest.approx(2 * (exponent + 0.5) + dimension - 1, abs=0.01)


@pytest.mark.parametrize("dimension", [2, 3, 5])
@pytest.mark.parametrize("name", list(PROFILES))
def test_quadrature_agrees_with_closed_forms_and_sums_up_the_kernel(name, dimension):
    profile = PROFILES[name]
    exact = kernel_spectrum(profile, dimension, 200)
    numeric = kernel_spectrum(lambda u: profile(u, dimension=dimension), dimension, 200)
    torch.testing.assert_close(numeric, exact, rtol=0, atol=1e-14)
    cosines = torch.linspace(-0.9, 0.9, 7, dtype=torch.float64)
    summed = (exact * multiplicities(200, dimension)) @ legendre(200, dimension, cosines)
    # Away from cosine 1 the tail beyond degree 200 oscillates and is far below 200^-2.
    torch.testing.assert_close(summed, profile(cosines, dimension=dimension), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dimension", [2, 3, 5, 8])
def test_convention_no_odd_degree_above_one(dimension):
    """relu(u) = (u + |u|)/2: neither neurons without bias nor their kernels have odd degrees k >= 3."""
    for profile in (relu_profile, random_feature_profile, ntk_profile):
        found = kernel_spectrum(profile, dimension, 41)
        assert (found[3::2] == 0).all()
        assert (found[torch.tensor([0, 1, *range(2, 42, 2)])] != 0).all()
    odd = kernel_spectrum(lambda u: ntk_profile(u, dimension=dimension), dimension, 41)[3::2]
    assert float(odd.abs().max()) < 1e-15


@pytest.mark.parametrize(("profile", "extra"), [(ntk_profile, 1), (random_feature_profile, 3)])
@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_decay_of_the_eigenvalues(profile, extra, dimension):
    found = kernel_spectrum(profile, dimension, 2000)
    slope = -math.log2(float(found[2000] / found[1000]))
    assert slope == pytest.approx(dimension - 1 + extra, abs=0.02)


def sphere_case(kernel, dimension, smoothness, degree_max):
    """Spectra of a kernel and a field with their tails, as the theory takes them."""
    field = GaussianField(dimension, smoothness)
    eigenvalues = kernel_spectrum(PROFILES[kernel], dimension, degree_max)
    counts, variances = multiplicities(degree_max, dimension), field.variances(degree_max)
    diagonal = PROFILES[kernel](torch.ones((), dtype=torch.float64), dimension=dimension)
    tails = {
        "kernel_tail": max(0.0, float(diagonal - (eigenvalues * counts).sum())),
        "target_tail": max(0.0, 1 - float((variances * counts).sum())),
    }
    return field, (eigenvalues, variances, counts), tails


@pytest.mark.parametrize(
    ("kernel", "dimension", "smoothness", "ridge", "allowed"),
    [
        ("ntk", 3, 0.5, 1e-2, 0.04),
        ("ntk", 5, 0.5, 1e-2, 0.03),
        ("ntk", 5, 1.5, 1e-2, 0.03),
        ("random_features", 3, 0.5, 1e-2, 0.03),
        ("random_features", 5, 1.5, 1e-2, 0.04),
        ("ntk", 3, 0.5, 0.0, 0.08),
        ("ntk", 5, 0.5, 0.0, 0.04),
    ],
)
def test_the_self_consistent_error_is_that_of_kernel_regression(
    kernel, dimension, smoothness, ridge, allowed, generator
):
    """The theory holds for independent features; on a sphere without ridge it is a few per cent low."""
    field, spectra, tails = sphere_case(kernel, dimension, smoothness, 100)
    predicted = self_consistent_error(*spectra, 256, ridge=ridge, **tails).total
    test = uniform_points(400, dimension, generator=generator)
    measured = [
        field_averaged_error(
            kernel, field, uniform_points(256, dimension, generator=generator), test, ridge=ridge
        ).mean
        for _ in range(6)
    ]
    assert np.mean(measured) == pytest.approx(predicted, rel=allowed)


def test_the_self_consistent_error_is_exact_for_independent_gaussian_features():
    """One degree of N equal modes, ridge: ridge regression on isotropic Gaussian inputs, by simulation."""
    rng = np.random.default_rng(0)
    modes, n, ridge = 60, 90, 7.0
    theory = self_consistent_error(
        torch.tensor([2.0]).double(),
        torch.tensor([1 / modes]).double(),
        torch.tensor([float(modes)]).double(),
        n,
        ridge=ridge,
    )
    errors = []
    for _ in range(100):
        features, target = rng.standard_normal((n, modes)), rng.standard_normal(modes) / math.sqrt(modes)
        dual = np.linalg.solve(2 * features @ features.T + ridge * np.eye(n), features @ target)
        errors.append(np.sum((2 * features.T @ dual - target) ** 2))
    # Standard error of the mean of 100 draws plus corrections of relative order 1 / n.
    assert np.mean(errors) == pytest.approx(theory.total, abs=4 * np.std(errors) / 10 + 0.01 * theory.total)
    assert float(theory.power.sum()) == pytest.approx(theory.total, rel=1e-12)


def test_limits_of_the_self_consistent_error():
    _, spectra, tails = sphere_case("ntk", 3, 1.5, 50)
    nothing_learnt = self_consistent_error(*spectra, 10, ridge=1e9, **tails)
    assert nothing_learnt.total == pytest.approx(1, rel=1e-6)
    curve = [self_consistent_error(*spectra, n, **tails).total for n in (8, 32, 128, 512)]
    assert all(later < sooner for sooner, later in pairwise(curve))
    # Few modes, many points, no ridge: all that can be learnt is learnt.
    few = [values[:4] for values in spectra]
    everything = self_consistent_error(*few, 100)
    assert everything.total == pytest.approx(float((spectra[1] * spectra[2])[3]), abs=1e-15)


def test_the_power_of_the_theory_adds_up_to_its_error():
    _, spectra, _ = sphere_case("ntk", 3, 1.5, 80)
    for theory in (self_consistent_error(*spectra, 100, ridge=1e-3), spectral_bias_error(*spectra, 100)):
        assert float(theory.power.sum()) == pytest.approx(theory.total, rel=1e-9)
        assert (theory.power >= 0).all()


@pytest.mark.parametrize(
    ("profile", "dimension", "smoothness", "expected"),
    [
        (ntk_profile, 2, 8, 4),
        (ntk_profile, 3, 8, 3),
        (ntk_profile, 5, 8, 2.5),
        (relu_profile, 2, 8, 4),
        (relu_profile, 3, 8, 2.5),
        (relu_profile, 5, 8, 1.75),
        (ntk_profile, 3, 0.5, 0.5),
        (relu_profile, 3, 1.0, 1.0),
    ],
)
def test_the_spectral_bias_has_the_published_exponents(profile, dimension, smoothness, expected):
    """beta = min(2(d-1) + 2, 2 nu)/(d-1) for the NTK and min((d-1) + 3, 2 nu)/(d-1) for neurons."""
    degree_max = {2: 40_000, 3: 4000, 5: 400}[dimension]
    field, counts = GaussianField(dimension, smoothness), multiplicities(degree_max, dimension)
    spectra = kernel_spectrum(profile, dimension, degree_max), field.variances(degree_max), counts
    tail = max(0.0, 1 - float((spectra[1] * counts).sum()))
    # Training sets that learn all of the degrees up to k and 4k.
    low, high = {2: (500, 2000), 3: (100, 400), 5: (24, 96)}[dimension]
    learnable = (counts * (spectra[0] != 0)).cumsum(0)
    sizes = [float(learnable[k]) for k in (low, high)]
    errors = [spectral_bias_error(*spectra, n, target_tail=tail).total for n in sizes]
    slope = -math.log(errors[1] / errors[0]) / math.log(sizes[1] / sizes[0])
    assert slope == pytest.approx(expected, rel=0.05)


def test_the_spectral_bias_error_by_hand():
    """Degrees of 1, 2 and 4 modes, n = 2: half of degree 1 is learnt, and all of degree 0."""
    columns = [[2.0, 0.5, 0.1], [0.4, 0.2, 0.05], [1.0, 2.0, 4.0]]
    phi, c, counts = torch.tensor(columns, dtype=torch.float64)
    noise = (0.4 / 4 + 1 * 0.2 / 0.25) / 2
    expected = 1 * (noise * 0.25 + 0.2) + 4 * (noise * 0.01 + 0.05)
    assert spectral_bias_error(phi, c, counts, 2).total == pytest.approx(expected, rel=1e-13)
    assert spectral_bias_error(phi, c, counts, 2, target_tail=0.1).total == pytest.approx(expected + 0.1)


def test_convention_the_ridge_is_added_to_the_matrix():
    """self_consistent_error takes the ridge of NTKRegressor: K + ridge I, not K + n ridge I."""
    generator = torch.Generator().manual_seed(3)
    _, (eigenvalues, _, counts), tails = sphere_case("ntk", 3, 1.0, 60)
    x, test = uniform_points(300, 3, generator=generator), uniform_points(500, 3, generator=generator)
    regressor = NTKRegressor(ridge=1.0).fit(x.numpy(), np.ones(300))
    constant = torch.zeros(61, dtype=torch.float64)
    constant[0] = 1
    theory = self_consistent_error(
        eigenvalues, constant, counts, 300, ridge=1.0, kernel_tail=tails["kernel_tail"]
    )
    measured = np.mean((regressor.predict(test.numpy()) - 1) ** 2)
    assert measured == pytest.approx(theory.total, rel=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: legendre(-1, 3, torch.zeros(1).double()), "degree_max must be at least 0"),
        (lambda: legendre(2, 1, torch.zeros(1).double()), "dimension must be at least 2"),
        (lambda: legendre(2, 3, torch.zeros(1)), "cosines must be of float64"),
        (lambda: legendre(2, 3, torch.tensor([1.1]).double()), r"cosines must lie in \[-1, 1\]"),
        (lambda: legendre(2, 3, torch.tensor([math.nan]).double()), r"cosines must lie in \[-1, 1\]"),
        (lambda: multiplicities(4000, 2000), "degree_max must be smaller in 2000 dimensions"),
        (lambda: kernel_spectrum(lambda u: u / 0, 3, 4), "profile must be finite"),
    ],
)
def test_bad_harmonics_are_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize("theory", [self_consistent_error, spectral_bias_error])
def test_bad_theory_is_refused(theory):
    ones = torch.ones(3, dtype=torch.float64)
    with pytest.raises(ArgumentError, match="variances must be finite, one per degree"):
        theory(ones, ones[:2], ones, 1)
    with pytest.raises(ArgumentError, match="counts must be finite, one per degree"):
        theory(ones, ones, ones * math.nan, 1)
    with pytest.raises(ArgumentError, match="n must be positive"):
        theory(ones, ones, ones, 0)
    with pytest.raises(ArgumentError, match="target_tail must be finite and >= 0"):
        theory(ones, ones, ones, 1, target_tail=-1.0)


def test_theory_outside_its_range_is_refused():
    ones = torch.ones(3, dtype=torch.float64)
    with pytest.raises(ArgumentError, match="ridge must be finite and >= 0"):
        self_consistent_error(ones, ones, ones, 1, ridge=-1.0)
    with pytest.raises(ArgumentError, match="kernel_tail must be finite and >= 0"):
        self_consistent_error(ones, ones, ones, 1, kernel_tail=-1.0)
    with pytest.raises(ArgumentError, match="eigenvalues must be >= 0"):
        self_consistent_error(-ones, ones, ones, 1)
    with pytest.raises(DegenerateError, match="diverges: without ridge, 3 modes are fit to 3 points"):
        self_consistent_error(ones, ones, ones, 3)
    with pytest.raises(ArgumentError, match="eigenvalues must hold more than n = 3 modes"):
        spectral_bias_error(ones, ones, ones, 3)
