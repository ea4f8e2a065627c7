import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.kernels.spectrum import multiplicities
from diffstab.sphere import GaussianField, uniform_points
from tests.references import sphere as reference

ACCURACY = 3e-12
ANGLES = [1e-7, 1e-4, 0.01, 0.3, 1.0, math.pi / 2, 2.0, 3.1]


def points_at(angles, dimension):
    """The first unit vector and one at each angle from it."""
    angle = torch.tensor(angles, dtype=torch.float64)
    points = torch.zeros(len(angles), dimension, dtype=torch.float64)
    points[:, 0], points[:, 1] = angle.cos(), angle.sin()
    start = torch.eye(1, dimension, dtype=torch.float64)
    return start, points


@pytest.mark.parametrize("parity", ["even", "all"])
@pytest.mark.parametrize("smoothness", [0.02, 0.1, 0.5, 1.0, 1.7, 4.0])
@pytest.mark.parametrize("dimension", [2, 4])
def test_the_covariance_is_that_of_the_infinite_series(dimension, smoothness, parity):
    """Against polylogarithms in many digits: the hard case of small smoothness included."""
    series = {2: reference.covariance_on_circle, 4: reference.covariance_in_four_dimensions}[dimension]
    expected = [series(angle, smoothness, even=parity == "even") for angle in ANGLES]
    field = GaussianField(dimension, smoothness, parity=parity)
    found = field.covariance_matrix(*points_at(ANGLES, dimension))[0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=ACCURACY)
    wide = torch.tensor(ANGLES[2:], dtype=torch.float64)
    # Cosines carry an error of 1e-16 / angle in the angle.
    np.testing.assert_allclose(field.covariance(wide.cos()).numpy(), expected[2:], rtol=0, atol=1e-11)


@pytest.mark.parametrize("parity", ["even", "all"])
@pytest.mark.parametrize(
    ("dimension", "smoothness", "degree_max", "tolerance"),
    [(3, 4.0, 100, 1e-12), (3, 1.5, 1500, 1e-9), (7, 2.5, 300, 1e-11), (50, 0.5, 40, 1e-11)],
)
def test_the_covariance_is_that_of_the_plain_sum(dimension, smoothness, parity, degree_max, tolerance):
    cosines = torch.linspace(-1, 1, 33, dtype=torch.float64)
    expected = reference.covariance_by_series(
        cosines.numpy(), dimension, smoothness, even=parity == "even", degree_max=degree_max
    )
    found = GaussianField(dimension, smoothness, parity=parity).covariance(cosines)
    # The plain sum drops a tail of degree_max^(-2 nu - 1 + ...), within the tolerance.
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance + ACCURACY)


@pytest.mark.parametrize("parity", ["even", "all"])
@pytest.mark.parametrize(("dimension", "smoothness"), [(2, 0.3), (3, 0.5), (5, 1.5)])
def test_the_variances_are_a_power_law_of_unit_sum(dimension, smoothness, parity):
    field = GaussianField(dimension, smoothness, parity=parity)
    step = 2 if parity == "even" else 1
    variances = field.variances(4000)
    k = torch.arange(step, 4001, step, dtype=torch.float64)
    expected = variances[step] * (k / step) ** -(2 * smoothness + dimension - 1)
    torch.testing.assert_close(variances[step::step], expected, rtol=1e-12, atol=0)
    assert variances[0] == 0
    assert parity == "all" or (variances[1::2] == 0).all()
    mass = variances * multiplicities(4000, dimension)
    # The tail of a power law k^(-2 nu - 1) beyond degree K is mass_K K / (2 nu) / step, up to O(1/K).
    tail = float(mass[-1]) * 4000 / (2 * smoothness) / step
    assert float(mass.sum()) + tail == pytest.approx(1, abs=1e-3 * tail + 1e-12)


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_covariance_is_that_of_independent_harmonics(dimension, generator):
    """Addition theorem: sum over l of Y_kl(x) Y_kl(y) = N_k P_k(x . y), by brute-force harmonics."""
    points = uniform_points(6, dimension, generator=generator)
    basis = {2: reference.harmonics_on_circle, 3: reference.harmonics_on_sphere}[dimension]
    field = GaussianField(dimension, 4.0)
    variances = field.variances(60)
    harmonics = basis(points.numpy(), 60)
    expected = sum(float(c) * block @ block.T for c, block in zip(variances, harmonics))
    np.testing.assert_allclose(field.covariance_matrix(points).numpy(), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("smoothness", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_increments_grow_as_the_distance_to_the_smoothness(dimension, smoothness):
    """E|f(x) - f(y)|^2 = 2 (1 - C) ~ |x - y|^(2 nu) for nu < 1."""
    increments = (
        1
        - GaussianField(dimension, smoothness).covariance_matrix(*points_at([1e-7, 1e-6, 1e-5], dimension))[0]
    )
    # The next term is of angle^2: relatively 1e-5^(2 - 2 nu) = 1e-2 for nu = 0.8.
    assert increments.log10().diff().tolist() == pytest.approx([2 * smoothness] * 2, abs=0.02)


def test_a_smooth_field_is_differentiable():
    increments = 1 - GaussianField(3, 2.5).covariance_matrix(*points_at([1e-5, 1e-4, 1e-3], 3))[0]
    assert increments.log10().diff().tolist() == pytest.approx([2, 2], abs=1e-4)


@pytest.mark.parametrize("smoothness", [0.1, 1.5, 4.0])
def test_samples_have_the_covariance(smoothness, generator):
    field = GaussianField(3, smoothness)
    points = uniform_points(60, 3, generator=generator)
    drawn = field.sample(points, generator=generator, samples=4000)
    covariance = field.covariance_matrix(points)
    # Var of an entry of the empirical covariance: (1 + C^2) / samples; five of them among 1800 entries.
    error = (drawn.T @ drawn / 4000 - covariance) / ((1 + covariance.square()) / 4000).sqrt()
    assert float(error.abs().max()) < 5
    assert float(error.square().mean()) == pytest.approx(1, abs=0.35)


def test_samples_have_the_power_law_in_their_harmonics(generator):
    """Projections on brute-force harmonics over a grid of the circle have the variances c_k."""
    field = GaussianField(2, 1.5)
    angle = torch.arange(128, dtype=torch.float64) * (2 * math.pi / 128)
    points = torch.stack([angle.cos(), angle.sin()], 1)
    drawn = field.sample(points, generator=generator, samples=3000)
    harmonics = reference.harmonics_on_circle(points.numpy(), 8)
    for k, block in enumerate(harmonics):
        measured = (drawn @ torch.from_numpy(block) / 128).square().mean()
        # 6000 squares have a relative error of 1.8%; aliases k + 128 j add variances of 128^-4.
        assert float(measured) == pytest.approx(float(field.variances(8)[k]), rel=0.08, abs=1e-7)


@pytest.mark.parametrize("smoothness", [0.1, 0.5, 4.0])
def test_coinciding_and_antipodal_points_share_their_value(smoothness, generator):
    points = uniform_points(300, 3, generator=generator)
    points[1], points[2] = points[0], -points[0]
    drawn = GaussianField(3, smoothness).sample(points, generator=generator, samples=5)
    # The variance left out is at most n times machine epsilon.
    allowed = 10 * math.sqrt(300 * 2.2e-16)
    assert float((drawn[:, 0] - drawn[:, 1]).abs().max()) < allowed
    assert float((drawn[:, 0] - drawn[:, 2]).abs().max()) < allowed


def test_a_singular_covariance_adds_no_noise(generator):
    """Values of a smooth field on a fine arc are smooth: their fourth differences show no jitter."""
    angle = torch.linspace(0, 0.5, 200, dtype=torch.float64)
    points = torch.stack([angle.cos(), angle.sin(), 0 * angle], 1)
    drawn = GaussianField(3, 6.0).sample(points, generator=generator)[0]
    # f'''' h^4 is below 1e-7 here; jitter of variance 1e-12 would leave about 1e-5.
    assert float(drawn.diff(n=4).abs().max()) < 2e-6
    assert float(drawn.std()) > 1e-3


def test_the_covariance_matrix_is_symmetric_and_the_same_in_tiles(generator):
    field = GaussianField(3, 0.4)
    points = uniform_points(1100, 3, generator=generator)
    matrix = field.covariance_matrix(points)
    assert torch.equal(matrix, matrix.T)
    assert (matrix.diagonal() == 1).all()
    cross = field.covariance_matrix(points[:7], points)
    torch.testing.assert_close(cross, matrix[:7], rtol=0, atol=1e-8)
    torch.testing.assert_close(cross[:, 10:], matrix[:7, 10:], rtol=0, atol=1e-12)


def test_one_draw_is_one_function_of_the_generator(generator):
    field, points = GaussianField(3, 1.0), uniform_points(20, 3, generator=generator)
    before = points.clone()
    first = field.sample(points, generator=torch.Generator().manual_seed(5))
    assert first.shape == (1, 20)
    assert torch.equal(first, field.sample(points, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(points, before)


def test_convention_parity(generator):
    points = uniform_points(5, 4, generator=generator)
    even, both = GaussianField(4, 0.7), GaussianField(4, 0.7, parity="all")
    torch.testing.assert_close(even.covariance_matrix(points, -points).diagonal(), torch.ones(5).double())
    assert float(both.covariance_matrix(points, -points).diagonal().max()) < 0


@pytest.mark.slow
@pytest.mark.parametrize("smoothness", [0.5, 4.0])
def test_sampling_holds_one_matrix(smoothness):
    """Peak memory of a fresh process beyond what it had before, in matrices."""
    program = f"""
import resource, torch
from diffstab.sphere import GaussianField, uniform_points
generator = torch.Generator().manual_seed(0)
field, few = GaussianField(3, {smoothness}), uniform_points(600, 3, generator=generator)
field.sample(few, generator=generator)
points = uniform_points(5000, 3, generator=generator)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
field.sample(points, generator=generator)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (8 * 5000**2))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 1.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1.0), "dimension must be at least 2"),
        ((3, 0.0), "smoothness must be positive and finite"),
        ((3, math.nan), "smoothness must be positive and finite"),
        ((3, math.inf), "smoothness must be positive and finite"),
    ],
)
def test_bad_fields_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        GaussianField(*arguments)


def test_bad_calls_are_refused(generator):
    with pytest.raises(ArgumentError, match="parity must be 'even' or 'all', got 'odd'"):
        GaussianField(3, 1.0, parity="odd")
    field, points = GaussianField(3, 1.0), uniform_points(4, 3, generator=generator)
    with pytest.raises(ArgumentError, match="samples must be at least 1"):
        field.sample(points, generator=generator, samples=0)
    with pytest.raises(ArgumentError, match=r"points must have shape .* d = 3"):
        field.sample(uniform_points(4, 2, generator=generator), generator=generator)
    with pytest.raises(ArgumentError, match="others must have rows of norm 1"):
        field.covariance_matrix(points, 2 * points)
