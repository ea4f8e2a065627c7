import math

import numpy as np
import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.kernels import NTKRegressor
from diffstab.kernels.spectrum import multiplicities
from diffstab.sphere import (
    GaussianField,
    field_averaged_error,
    field_averaged_power,
    uniform_points,
)
from tests.references import sphere as reference

NAMES = {"ntk": "ntk", "random_features": "random_feature"}


@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("kernel", list(NAMES))
@pytest.mark.parametrize(("dimension", "smoothness"), [(2, 0.5), (3, 1.5), (5, 0.3)])
def test_the_average_is_that_of_monte_carlo_over_fields(kernel, dimension, smoothness, ridge, generator):
    field = GaussianField(dimension, smoothness)
    train = uniform_points(25, dimension, generator=generator)
    test = uniform_points(40, dimension, generator=generator)
    exact = field_averaged_error(kernel, field, train, test, ridge=ridge)
    drawn = field.sample(torch.cat([train, test]), generator=generator, samples=3000)
    regressor = NTKRegressor(kernel=NAMES[kernel], ridge=ridge).fit(train.numpy(), drawn[:, :25].T.numpy())
    squares = (torch.from_numpy(regressor.predict(test.numpy())).T - drawn[:, 25:]).square()
    per_draw = squares.mean(1)
    assert exact.mean == pytest.approx(
        float(per_draw.mean()), abs=4 * float(per_draw.std()) / math.sqrt(3000)
    )
    errors = 5 * squares.std(0) / math.sqrt(3000) + 1e-12
    assert bool(((squares.mean(0) - exact.per_point).abs() < errors).all())
    assert exact.mean == pytest.approx(float(exact.per_point.mean()), rel=1e-14)


def test_the_average_in_loops(generator):
    field = GaussianField(3, 0.8)
    train, test = uniform_points(6, 3, generator=generator), uniform_points(3, 3, generator=generator)
    found = field_averaged_error("ntk", field, train, test, ridge=0.1).per_point
    profile = lambda u: (2 * u * (math.pi - math.acos(u)) + math.sqrt(1 - u * u)) / (6 * math.pi)  # noqa: E731
    gram = np.array([[profile(min(1.0, float(x @ y))) for y in train] for x in train]) + 0.1 * np.eye(6)
    covariance = field.covariance_matrix(torch.cat([train, test])).numpy()
    for index, point in enumerate(test):
        weights = np.linalg.solve(gram, [profile(float(point @ x)) for x in train])
        error = 1.0
        for i in range(6):
            error -= 2 * weights[i] * covariance[i, 6 + index]
            for j in range(6):
                error += weights[i] * weights[j] * covariance[i, j]
        # The loops lose half of the digits of arccos on the diagonal of the kernel.
        assert float(found[index]) == pytest.approx(error, rel=1e-7)


def test_limits_of_the_average(generator):
    field = GaussianField(3, 1.0)
    train, test = uniform_points(20, 3, generator=generator), uniform_points(10, 3, generator=generator)
    at_training_points = field_averaged_error("ntk", field, train, train)
    # Interpolation, up to rounding amplified by the condition number.
    assert float(at_training_points.per_point.abs().max()) < 1e-11
    assert at_training_points.conditioning.solver == "cholesky"
    assert field_averaged_error("ntk", field, train, test, ridge=1e9).mean == pytest.approx(1, abs=1e-6)


def test_one_and_coinciding_training_points(generator):
    field, test = GaussianField(3, 1.0), uniform_points(10, 3, generator=generator)
    train = uniform_points(4, 3, generator=generator)
    once = field_averaged_error("ntk", field, train, test)
    twice = field_averaged_error("ntk", field, torch.cat([train, train]), test)
    torch.testing.assert_close(twice.per_point, once.per_point, rtol=0, atol=1e-10)
    assert twice.conditioning.solver == "eigh"
    assert field_averaged_error("ntk", field, train[:1], test).per_point.shape == (10,)


@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("kernel", list(NAMES))
def test_the_power_of_the_error_adds_up_to_it(kernel, ridge, generator):
    field = GaussianField(3, 1.5)
    train = uniform_points(30, 3, generator=generator)
    power = field_averaged_power(kernel, field, train, 150, ridge=ridge)
    points = uniform_points(20_000, 3, generator=generator)
    exact = field_averaged_error(kernel, field, train, points, ridge=ridge)
    error = 4 * float(exact.per_point.std()) / math.sqrt(20_000)
    # The tail of both field and kernel beyond degree 150 is below 150^-3.
    assert float(power.sum()) == pytest.approx(exact.mean, abs=error + 1e-6)
    assert (power > -1e-12).all()


def test_the_power_of_the_error_is_that_of_projections(generator):
    """Monte Carlo over fields, each error projected on brute-force harmonics of the circle."""
    field = GaussianField(2, 0.7)
    train = uniform_points(9, 2, generator=generator)
    found = field_averaged_power("ntk", field, train, 12)
    angle = torch.arange(256, dtype=torch.float64) * (2 * math.pi / 256)
    grid = torch.stack([angle.cos(), angle.sin()], 1)
    drawn = field.sample(torch.cat([train, grid]), generator=generator, samples=2000)
    regressor = NTKRegressor().fit(train.numpy(), drawn[:, :9].T.numpy())
    error = drawn[:, 9:] - torch.from_numpy(regressor.predict(grid.numpy())).T
    for k, basis in enumerate(reference.harmonics_on_circle(grid.numpy(), 12)):
        power = (error @ torch.from_numpy(basis) / 256).square().sum(1)
        # Aliases k + 256 j add less than 1e-4.
        assert float(found[k]) == pytest.approx(
            float(power.mean()), abs=4 * float(power.std()) / math.sqrt(2000) + 1e-4
        )


def test_learnt_degrees_lose_their_power_and_odd_ones_keep_none(generator):
    field = GaussianField(3, 1.5)
    train = uniform_points(200, 3, generator=generator)
    share = field_averaged_power("ntk", field, train, 30) / (field.variances(30) * multiplicities(30, 3))
    assert float(share[2]) < 0.01
    assert float(share[4]) < 0.1
    assert float(share[30]) > 0.9


def test_bad_arguments_are_refused(generator):
    field = GaussianField(3, 1.0)
    points = uniform_points(5, 3, generator=generator)
    with pytest.raises(ArgumentError, match="kernel must be one of ntk, random_features, got 'rbf'"):
        field_averaged_error("rbf", field, points, points)
    with pytest.raises(ArgumentError, match="ridge must be finite and >= 0"):
        field_averaged_error("ntk", field, points, points, ridge=-1.0)
    with pytest.raises(ArgumentError, match=r"train must have shape .* d = 3"):
        field_averaged_error("ntk", field, uniform_points(5, 4, generator=generator), points)
    with pytest.raises(ArgumentError, match="test must have rows of norm 1"):
        field_averaged_error("ntk", field, points, 2 * points)
    with pytest.raises(ArgumentError, match="kernel must be one of ntk, random_features, got 'rbf'"):
        field_averaged_power("rbf", field, points, 4)
    with pytest.raises(ArgumentError, match="degree_max must be at least 0"):
        field_averaged_power("ntk", field, points, -1)
