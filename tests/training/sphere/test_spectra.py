import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.kernels.spectrum import multiplicities
from diffstab.sphere import ConstantTarget, GaussianFieldTarget, TeacherTarget, uniform_points
from diffstab.training.sphere.spectra import (
    degrees_to_measure,
    learnt_degree,
    power_from_values,
    power_of_sum,
    profile_spectrum,
    target_power,
)


def parts_on_the_circle(function, degree_max):
    """Power of a function of the angle in each degree, by a Fourier sum over a fine grid."""
    angles = 2 * math.pi * torch.arange(4096, dtype=torch.float64) / 4096
    coefficients = torch.fft.rfft(function(torch.stack([angles.cos(), angles.sin()], 1))).abs() / 4096
    return torch.cat([coefficients[:1].square(), 2 * coefficients[1 : degree_max + 1].square()])


@pytest.mark.parametrize("blocks", [2**22, 40], ids=["one_block", "many_blocks"])
def test_the_power_of_neurons_on_the_circle_is_that_of_their_fourier_series(generator, monkeypatch, blocks):
    monkeypatch.setattr("diffstab.training.sphere.spectra._VALUES_AT_ONCE", blocks)
    neurons = uniform_points(5, 2, generator=generator)
    weights = torch.randn(5, dtype=torch.float64, generator=generator)
    power = power_of_sum(neurons, weights, profile_spectrum("exact", 2, 8))
    expected = parts_on_the_circle(lambda x: torch.relu(x @ neurons.T) @ weights, 8)
    # The grid of 4096 angles misses kinks by 1 / 4096 each.
    torch.testing.assert_close(power, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dimension", [3, 5])
def test_the_powers_of_neurons_add_up_to_their_mean_square(generator, dimension):
    neurons = uniform_points(6, dimension, generator=generator)
    weights = torch.randn(6, dtype=torch.float64, generator=generator)
    power = power_of_sum(neurons, weights, profile_spectrum("exact", dimension, 60))
    # E[relu(a.x) relu(b.x)] is the kernel of random features.
    cosines = (neurons @ neurons.T).clamp(-1, 1)
    angles = cosines.arccos()
    kernel = (cosines * (math.pi - angles) + angles.sin()) / (2 * math.pi * dimension)
    # The tail beyond degree k falls as k^-3.
    assert float(power.sum()) == pytest.approx(float(weights @ kernel @ weights), rel=1e-4)


def test_an_estimate_agrees_with_the_exact_power_within_its_error(generator):
    neurons = uniform_points(6, 3, generator=generator)
    weights = torch.randn(6, dtype=torch.float64, generator=generator)
    exact = power_of_sum(neurons, weights, profile_spectrum("exact", 3, 6))
    draws = []
    for _ in range(40):
        points = uniform_points(200, 3, generator=generator)
        draws.append(power_from_values(points, torch.relu(points @ neurons.T) @ weights, 6))
    mean, error = torch.stack(draws).mean(0), torch.stack(draws).std(0) / math.sqrt(40)
    assert bool(((mean - exact).abs() < 4 * error).all())


def test_convention_no_odd_degrees_above_one():
    """Neurons and kernels without bias have no odd modes k >= 3: they count for no learnt degree."""
    for predictor in ("exact", "ntk", "random_features"):
        eigenvalues = profile_spectrum(predictor, 3, 9)
        assert (eigenvalues[3::2] == 0).all()
        assert (eigenvalues[[0, 1, 2, 4, 6, 8]] != 0).all()
    # Modes 1, 3, 5, 0, 9: 9 points pass degree 3 and stop before degree 4; 18 points reach degree 5.
    assert learnt_degree(profile_spectrum("ntk", 3, 9), 3, 9) == 3
    assert learnt_degree(profile_spectrum("ntk", 3, 9), 3, 18) == 5
    assert learnt_degree(profile_spectrum("ntk", 3, 9), 3, 1) == 0


def test_degrees_are_measured_to_four_modes_per_point():
    # On the 2-sphere there are (k + 1)^2 modes up to degree k.
    assert degrees_to_measure(3, 25, 200) == 9
    assert degrees_to_measure(3, 25, 5) == 5
    assert degrees_to_measure(2, 10, 200) == 20


def test_the_power_of_targets(generator):
    points = uniform_points(400, 3, generator=generator)
    constant = target_power(ConstantTarget(3.0), points, torch.full((400,), 3.0, dtype=torch.float64), 4)
    assert constant.tolist() == [9, 0, 0, 0, 0]
    field = target_power(GaussianFieldTarget(1.5), points, points[:, 0], 200)
    assert float(field.sum()) == pytest.approx(1, rel=1e-3)
    assert (field[1::2] == 0).all()
    values = points[:, 2]  # one coordinate: all in degree 1, E[x_3^2] = 1/3
    linear = target_power(TeacherTarget(1.0, width=5), points, values, 4)
    assert float(linear[1]) == pytest.approx(1 / 3, abs=0.06)
    assert float(linear[[0, 2, 3, 4]].abs().max()) < 0.06
    assert multiplicities(4, 3).tolist() == [1, 3, 5, 7, 9]


def test_an_unknown_predictor_is_refused():
    with pytest.raises(ArgumentError, match="predictor must be one of ntk, random_features, exact, trained"):
        profile_spectrum("svm", 3, 4)
