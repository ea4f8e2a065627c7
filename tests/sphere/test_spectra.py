import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.kernels.spectrum import multiplicities
from diffstab.sphere import ConstantTarget, GaussianFieldTarget, TeacherTarget, ZonalSum, uniform_points
from diffstab.sphere.spectra import (
    constant_error_power,
    degrees_to_measure,
    estimated_error_power,
    field_of,
    lazy_theory,
    learnt_degree,
    profile_spectrum,
    target_variances,
)


@pytest.mark.parametrize("dimension", [3, 5])
def test_the_powers_of_an_error_against_a_constant_add_up_to_its_mean_square(generator, dimension):
    neurons = uniform_points(6, dimension, generator=generator)
    weights = torch.rand(6, dtype=torch.float64, generator=generator)
    summed = ZonalSum(neurons, weights, profile_spectrum("exact", dimension, 60))
    found = constant_error_power(summed, 0.7)
    assert found.kind == "exact"
    # E[relu(a.x) relu(b.x)] is the kernel of random features, E[relu(a.x)] the eigenvalue of degree 0.
    cosines = (neurons @ neurons.T).clamp(-1, 1)
    angles = cosines.arccos()
    kernel = (cosines * (math.pi - angles) + angles.sin()) / (2 * math.pi * dimension)
    mean = float(summed.eigenvalues[0] * weights.sum())
    expected = float(weights @ kernel @ weights) - 2 * 0.7 * mean + 0.7**2
    # The tail beyond degree k falls as k^-3.
    assert float(found.power.sum()) == pytest.approx(expected, rel=1e-3)


def test_an_error_in_one_degree_is_found_there(generator):
    points = uniform_points(400, 3, generator=generator)
    found = estimated_error_power(points, points[:, 2], 4)  # E[x_3^2] = 1/3, all in degree 1
    assert found.kind == "estimated"
    assert float(found.power[1]) == pytest.approx(1 / 3, abs=0.06)
    assert float(found.power[[0, 2, 3, 4]].abs().max()) < 0.06


def test_convention_no_odd_degrees_above_one():
    """Neurons and kernels without bias have no odd modes k >= 3: they count for no learnt degree."""
    for predictor in ("exact", "ntk", "random_features"):
        eigenvalues = profile_spectrum(predictor, 3, 9)
        assert (eigenvalues[3::2] == 0).all()
        assert (eigenvalues[[0, 1, 2, 4, 6, 8]] != 0).all()
    # Modes 1, 3, 5, 0, 9: 9 points pass degree 3 and stop before degree 4; 18 points reach degree 5.
    assert [learnt_degree("ntk", 3, n) for n in (1, 9, 18)] == [0, 3, 5]
    # On the circle two modes in each even degree, and degree 1: 1 + 2 + 2 m <= n.
    assert learnt_degree("exact", 2, 513) == 2 * 255 + 1


def test_degrees_are_measured_to_four_modes_per_point():
    # On the 2-sphere there are (k + 1)^2 modes up to degree k.
    assert degrees_to_measure(3, 25, 200) == 9
    assert degrees_to_measure(3, 25, 5) == 5
    assert degrees_to_measure(2, 10, 200) == 20


def test_the_variances_of_targets():
    assert target_variances(ConstantTarget(3.0), 3, 4).tolist() == [9, 0, 0, 0, 0]
    field = target_variances(GaussianFieldTarget(1.5), 3, 200)
    assert float(field @ multiplicities(200, 3)) == pytest.approx(1, rel=1e-3)
    assert (field[1::2] == 0).all()
    assert target_variances(TeacherTarget(1.0, width=5), 3, 4) is None
    assert field_of(GaussianFieldTarget(1.5, parity="all"), 5).dimension == 5
    assert field_of(ConstantTarget(), 5) is None


def test_theory_of_a_field_that_is_not_learnt_is_its_variance():
    ridge = 1e9
    theory = lazy_theory("ntk", GaussianFieldTarget(0.5), 3, 10, ridge=ridge)
    assert theory.total == pytest.approx(1, rel=1e-6)
    doubled = lazy_theory("ntk", ConstantTarget(2.0), 3, 20)
    assert doubled.total == pytest.approx(4 * lazy_theory("ntk", ConstantTarget(), 3, 20).total)


@pytest.mark.parametrize(("dimension", "exponent"), [(3, 3.0), (5, 2.5)])
def test_theory_has_the_exponent_of_the_lazy_regime(dimension, exponent):
    errors = [lazy_theory("ntk", ConstantTarget(), dimension, n).total for n in (4096, 8192)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(exponent, rel=0.05)


def test_there_is_no_theory_for_a_teacher():
    assert lazy_theory("ntk", TeacherTarget(1.0, width=5), 3, 10) is None


def test_an_unknown_predictor_is_refused():
    with pytest.raises(ArgumentError, match="predictor must be one of ntk, random_features, exact, trained"):
        profile_spectrum("svm", 3, 4)
