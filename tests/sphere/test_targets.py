import math

import pytest
import torch
from jsonargparse import ArgumentParser

from diffstab.errors import ArgumentError
from diffstab.kernels.spectrum import absolute_power_spectrum, multiplicities
from diffstab.sphere import (
    ConstantTarget,
    GaussianField,
    GaussianFieldTarget,
    Target,
    TeacherTarget,
    estimated_power_per_degree,
    uniform_points,
)
from tests.references import sphere as reference


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("target", "name", "smoothness"),
    [
        (ConstantTarget(), "constant", math.inf),
        (ConstantTarget(2.5), "constant_2.5", math.inf),
        (GaussianFieldTarget(1.5), "gaussian_1.5", 1.5),
        (GaussianFieldTarget(4, parity="all"), "gaussian_4_all", 4),
        (TeacherTarget(1.0), "abs_teacher_1", 1.5),
        (TeacherTarget(2.0), "abs_teacher_2", math.inf),
        (TeacherTarget(2.0, "relu"), "relu_teacher_2", 2.5),
        (TeacherTarget(coordinates=2), "anisotropic_2", 1.5),
        (TeacherTarget(0.5, coordinates=3), "anisotropic_3_abs_0.5", 1.0),
    ],
)
def test_names_and_smoothness(target, name, smoothness):
    assert isinstance(target, Target)
    assert (target.name, target.smoothness) == (name, smoothness)


@pytest.mark.parametrize(
    "description",
    [
        {"class_path": "diffstab.sphere.ConstantTarget", "init_args": {"value": 2.0}},
        {"class_path": "diffstab.sphere.GaussianFieldTarget", "init_args": {"smoothness": 0.5}},
        {"class_path": "diffstab.sphere.TeacherTarget", "init_args": {"exponent": 0.5, "coordinates": 2}},
    ],
)
def test_targets_are_built_from_plain_descriptions(description, generator):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--target", type=Target)
    target = parser.instantiate(parser.parse_object({"target": description})).target
    assert target.values(uniform_points(3, 4, generator=generator), generator=generator).shape == (3,)


def test_the_constant_is_constant(generator):
    values = ConstantTarget(-2.0).values(uniform_points(4, 5, generator=generator), generator=generator)
    assert values.tolist() == [-2.0] * 4
    assert values.dtype == torch.float64


def test_the_field_is_that_of_its_law(generator):
    points = uniform_points(10, 3, generator=generator)
    for parity in ("even", "all"):
        expected = GaussianField(3, 0.7, parity=parity).sample(points, generator=seeded(2))[0]
        found = GaussianFieldTarget(0.7, parity=parity).values(points, generator=seeded(2))
        assert torch.equal(found, expected)


@pytest.mark.parametrize("activation", ["abs", "relu"])
@pytest.mark.parametrize("coordinates", [None, 2])
def test_a_teacher_is_one_function_whatever_the_points(activation, coordinates, generator):
    target = TeacherTarget(1.5, activation, width=50, coordinates=coordinates)
    points = uniform_points(30, 4, generator=generator)
    values = target.values(points, generator=seeded(1))
    # Other shapes of the matrix product may round differently.
    for chosen in ([3], [29, 0, 0], list(range(29, -1, -1))):
        again = target.values(points[chosen], generator=seeded(1))
        torch.testing.assert_close(again, values[chosen], rtol=0, atol=1e-13)
    assert not torch.allclose(values, target.values(points, generator=seeded(2)))


def test_a_teacher_by_hand(monkeypatch, generator):
    """f(x) = sum_h w_h relu(theta_h . x)^a / sqrt(H E[relu^2a]), also in many blocks."""
    points = uniform_points(7, 3, generator=generator)
    drawn = seeded(4)
    neurons = uniform_points(5, 3, generator=drawn)
    weights = torch.randn(5, dtype=torch.float64, generator=drawn)
    moment = reference.mean_power_of_projection(1.5, 3, relu=True)
    expected = [
        sum(float(w) * max(0.0, float(theta @ x)) ** 1.5 for w, theta in zip(weights, neurons))
        / math.sqrt(5 * moment)
        for x in points
    ]
    monkeypatch.setattr("diffstab.sphere.targets._PRODUCTS_AT_ONCE", 10)
    found = TeacherTarget(1.5, "relu", width=5).values(points, generator=seeded(4))
    assert found.tolist() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("coordinates", [None, 2])
@pytest.mark.parametrize(("exponent", "activation"), [(1.0, "abs"), (0.5, "relu"), (2.5, "relu")])
def test_convention_teachers_have_unit_variance(exponent, activation, coordinates, generator):
    """Mean square over weights and points is 1; the mean over the weights is 0."""
    target = TeacherTarget(exponent, activation, width=200, coordinates=coordinates)
    points = uniform_points(200, 5, generator=generator)
    values = torch.stack([target.values(points, generator=generator) for _ in range(600)])
    squares = values.square().mean(1)
    assert float(squares.mean()) == pytest.approx(1, abs=4 * float(squares.std()) / math.sqrt(600))
    means = values.mean(1)
    assert float(means.mean()) == pytest.approx(0, abs=4 * float(means.std()) / math.sqrt(600))


def test_a_wide_teacher_has_the_power_law_of_its_smoothness(generator):
    """E power in degree k = N_k (eigenvalue of |u|^a)^2 / E|u|^2a, from values at points."""
    target, points = TeacherTarget(0.5, width=2000), uniform_points(800, 3, generator=generator)
    spectrum = absolute_power_spectrum(0.5, 3, 4).square() * multiplicities(4, 3) * 2  # E|u| = 1/2 for d = 3
    found = torch.stack(
        [
            estimated_power_per_degree(points, target.values(points, generator=generator), 4).power
            for _ in range(60)
        ]
    )
    # Points are shared, so that the estimates of small powers share an error of about N_k / 800.
    errors = 4 * found.std(0) / math.sqrt(60) + 0.02
    assert bool(((found.mean(0) - spectrum).abs() < errors).all())
    assert float(spectrum[0]) > 0.5


def test_an_anisotropic_target_sees_its_coordinates_only(generator):
    target = TeacherTarget(coordinates=2, width=100)
    points = uniform_points(20, 5, generator=generator)
    turned = points.clone()
    turned[:, 2:] = points[:, [4, 2, 3]]
    first = target.values(points, generator=seeded(0))
    assert torch.equal(first, target.values(turned, generator=seeded(0)))
    swapped = points[:, [1, 0, 2, 3, 4]]
    assert not torch.allclose(first, target.values(swapped, generator=seeded(0)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConstantTarget(math.nan), "value must be finite"),
        (lambda: GaussianFieldTarget(-1.0), "smoothness must be positive"),
        (lambda: GaussianFieldTarget(1.0, "odd"), "parity must be 'even' or 'all'"),
        (lambda: TeacherTarget(0.0), "exponent must be positive and finite"),
        (lambda: TeacherTarget(1.0, "tanh"), "activation must be 'abs' or 'relu', got 'tanh'"),
        (lambda: TeacherTarget(width=0), "width must be at least 1"),
        (lambda: TeacherTarget(coordinates=1), "coordinates must be at least 2, or None"),
    ],
)
def test_bad_targets_are_refused(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()


@pytest.mark.parametrize("target", [ConstantTarget(), GaussianFieldTarget(1.0), TeacherTarget(width=3)])
def test_points_off_the_sphere_are_refused(target, generator):
    with pytest.raises(ArgumentError, match="points must have rows of norm 1"):
        target.values(2 * uniform_points(3, 3, generator=generator), generator=generator)


def test_more_coordinates_than_there_are_are_refused(generator):
    with pytest.raises(ArgumentError, match="coordinates must be at most the dimension 3, got 4"):
        TeacherTarget(coordinates=4).values(uniform_points(3, 3, generator=generator), generator=generator)
