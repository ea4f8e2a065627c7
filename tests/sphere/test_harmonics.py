import math

import numpy as np
import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.kernels.spectrum import kernel_spectrum, ntk_profile, random_feature_profile, relu_profile
from diffstab.sphere import ZonalSum, estimated_power_per_degree, power_per_degree, uniform_points
from tests.references import sphere as reference

BASES = {2: reference.harmonics_on_circle, 3: reference.harmonics_on_sphere}


def drawn_sum(count, dimension, generator, profile=relu_profile, degree_max=6):
    centres = uniform_points(count, dimension, generator=generator)
    coefficients = torch.randn(count, dtype=torch.float64, generator=generator)
    return ZonalSum(centres, coefficients, kernel_spectrum(profile, dimension, degree_max))


def lattice(dimension):
    """Points and weights of an accurate mean over S^1 or S^2."""
    if dimension == 2:
        angle = 2 * np.pi * np.arange(20_000) / 20_000
        return np.stack([np.cos(angle), np.sin(angle)], 1), np.full(20_000, 1 / 20_000)
    height, weight = np.polynomial.legendre.leggauss(150)
    angle = 2 * np.pi * np.arange(300) / 300
    radius = np.sqrt(1 - height**2)[:, None]
    around = [radius * np.cos(angle), radius * np.sin(angle), np.repeat(height[:, None], 300, 1)]
    return np.stack(around, 2).reshape(-1, 3), np.repeat(weight / 600, 300)


@pytest.mark.parametrize("blocks", [2**22, 30], ids=["one_block", "many_blocks"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_power_is_that_of_brute_force_projections(dimension, blocks, generator, monkeypatch):
    monkeypatch.setattr("diffstab.sphere.harmonics._VALUES_AT_ONCE", blocks)
    first, second = (drawn_sum(count, dimension, generator) for count in (5, 4))
    points, weights = lattice(dimension)
    values = [np.maximum(points @ s.centres.numpy().T, 0) @ s.coefficients.numpy() for s in (first, second)]
    bases = BASES[dimension](points, 6)
    parts = [[(weights * v) @ basis for basis in bases] for v in values]
    # Kinks of relu make the lattice's mean wrong by about its squared spacing.
    for found, (f, h) in (
        (power_per_degree(first), (parts[0], parts[0])),
        (power_per_degree(first, second), (parts[0], parts[1])),
    ):
        np.testing.assert_allclose(found.numpy(), [a @ b for a, b in zip(f, h)], atol=2e-4)


@pytest.mark.parametrize("dimension", [3, 5])
def test_powers_add_up_to_the_mean_square(dimension, generator):
    """Sum over degrees of the power of neurons is g . E[relu relu] g, the kernel of random features."""
    neurons = drawn_sum(6, dimension, generator, degree_max=60)
    cosines = (neurons.centres @ neurons.centres.T).clamp(-1, 1)
    gram = random_feature_profile(cosines, dimension=dimension)
    expected = float(neurons.coefficients @ gram @ neurons.coefficients)
    # The tail beyond degree k falls as k^-3.
    assert float(power_per_degree(neurons).sum()) == pytest.approx(expected, rel=1e-4)


def test_the_power_of_a_difference(generator):
    first = drawn_sum(5, 4, generator, ntk_profile)
    second = drawn_sum(3, 4, generator, ntk_profile)
    both = ZonalSum(
        torch.cat([first.centres, second.centres]),
        torch.cat([first.coefficients, -second.coefficients]),
        first.eigenvalues,
    )
    expected = power_per_degree(both)
    found = power_per_degree(first) - 2 * power_per_degree(first, second) + power_per_degree(second)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(power_per_degree(first, second), power_per_degree(second, first))


def test_power_does_not_depend_on_the_frame(generator):
    neurons = drawn_sum(5, 3, generator)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    turned = neurons._replace(centres=neurons.centres @ turn)
    torch.testing.assert_close(power_per_degree(turned), power_per_degree(neurons), rtol=1e-10, atol=1e-14)


def test_estimates_are_unbiased_and_know_their_error(generator):
    neurons = drawn_sum(6, 3, generator)
    exact = power_per_degree(neurons)
    estimates = []
    for _ in range(200):
        points = uniform_points(150, 3, generator=generator)
        values = torch.relu(points @ neurons.centres.T) @ neurons.coefficients
        estimates.append(estimated_power_per_degree(points, values, 6))
    power = torch.stack([e.power for e in estimates])
    assert bool(((power.mean(0) - exact).abs() < 4 * power.std(0) / math.sqrt(200)).all())
    claimed = torch.stack([e.standard_error for e in estimates]).square().mean(0).sqrt()
    ratio = claimed / power.std(0)
    # On average not too small; twice the variance, so 1.41, where the degree holds no power. 5% of spread.
    assert float(ratio.min()) > 0.85
    assert float(ratio.max()) < 1.65


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_estimate_is_the_double_sum(dimension, generator):
    points = uniform_points(9, dimension, generator=generator)
    values = torch.randn(9, dtype=torch.float64, generator=generator)
    found = estimated_power_per_degree(points, values, 4)
    for k in range(5):
        total, without = 0.0, [0.0] * 9
        modes = 2 * k + 1 if dimension == 3 else min(k, 1) + 1
        for i in range(9):
            for j in range(9):
                if i != j:
                    cosine = float(points[i] @ points[j])
                    term = float(values[i] * values[j]) * reference.legendre(k, dimension, cosine) * modes
                    total += term
                    without = [w + term * (left not in (i, j)) for left, w in enumerate(without)]
        assert float(found.power[k]) == pytest.approx(total / 72, rel=1e-10, abs=1e-13)
        error = math.sqrt(8 / 9 * np.sum((np.array(without) / 56 - np.mean(without) / 56) ** 2))
        assert float(found.standard_error[k]) == pytest.approx(error, rel=1e-9)


def test_convention_the_powers_of_a_coordinate(generator):
    """f(x) = x_1 has all its power, 1/d, in degree 1."""
    points = uniform_points(4000, 3, generator=generator)
    found = estimated_power_per_degree(points, points[:, 0], 3)
    assert float(found.power[1]) == pytest.approx(1 / 3, abs=4 * float(found.standard_error[1]))
    assert bool((found.power[[0, 2, 3]].abs() < 4 * found.standard_error[[0, 2, 3]]).all())
    assert float(found.standard_error[1]) < 0.02


def test_bad_sums_are_refused(generator):
    good = drawn_sum(4, 3, generator)
    with pytest.raises(ArgumentError, match="centres must have rows of norm 1"):
        power_per_degree(good._replace(centres=2 * good.centres))
    with pytest.raises(ArgumentError, match=r"centres must have shape .* d = 3"):
        power_per_degree(good, drawn_sum(4, 2, generator))
    with pytest.raises(ArgumentError, match="coefficients must be one per centre"):
        power_per_degree(good._replace(coefficients=good.coefficients[:2]))
    with pytest.raises(ArgumentError, match="eigenvalues must reach the same degree"):
        power_per_degree(good, good._replace(eigenvalues=good.eigenvalues[:3]))


def test_bad_estimates_are_refused(generator):
    points = uniform_points(4, 3, generator=generator)
    with pytest.raises(ArgumentError, match="points must be at least 3"):
        estimated_power_per_degree(points[:2], points[:2, 0], 3)
    with pytest.raises(ArgumentError, match="values must be finite, one per point"):
        estimated_power_per_degree(points, points[:3, 0], 3)
    with pytest.raises(ArgumentError, match="values must be finite, one per point"):
        estimated_power_per_degree(points, math.nan * points[:, 0], 3)
    with pytest.raises(ArgumentError, match="degree_max must be at least 0"):
        estimated_power_per_degree(points, points[:, 0], -1)
