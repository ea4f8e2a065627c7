import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.sphere import uniform_points
from diffstab.sphere.points import checked_points


@pytest.mark.parametrize("dimension", [2, 3, 50])
def test_points_are_uniform(dimension, generator):
    points = uniform_points(20_000, dimension, generator=generator)
    assert points.dtype == torch.float64
    torch.testing.assert_close(
        points.norm(dim=1), torch.ones(20_000, dtype=torch.float64), rtol=1e-14, atol=0
    )
    # Mean 0 and covariance I/d; entries of the latter have a standard deviation of at most sqrt(2)/d / sqrt(n).
    five_errors = 5 * math.sqrt(2 / 20_000)
    assert float(points.mean(0).abs().max()) < five_errors / math.sqrt(dimension)
    covariance = points.T @ points / 20_000 - torch.eye(dimension, dtype=torch.float64) / dimension
    assert float(covariance.abs().max()) < five_errors / dimension
    # E u^4 = 3 / (d (d + 2)) for each coordinate: not so for a cube or a Gaussian.
    fourth = float(points[:, 0].pow(4).mean())
    assert fourth == pytest.approx(3 / (dimension * (dimension + 2)), rel=0.15)


def test_the_generator_decides(generator):
    first = uniform_points(5, 3, generator=generator)
    assert torch.equal(first, uniform_points(5, 3, generator=torch.Generator().manual_seed(0)))
    assert not torch.equal(first, uniform_points(5, 3, generator=generator))


def test_bad_sizes_are_refused(generator):
    with pytest.raises(ArgumentError, match="count must be at least 1, got 0"):
        uniform_points(0, 3, generator=generator)
    with pytest.raises(ArgumentError, match="dimension must be at least 2, got 1"):
        uniform_points(4, 1, generator=generator)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.eye(3), "x must be a float64 tensor, got torch.float32"),
        (torch.ones(2, 2, dtype=torch.uint8), "x must be a float64 tensor, got torch.uint8"),
        ([[1.0, 0.0]], "x must be a float64 tensor, got list"),
        (torch.ones(3, dtype=torch.float64), r"x must have shape \(n, d\) with n >= 1 and d = 3"),
        (torch.eye(2, dtype=torch.float64), r"x must have shape .* d = 3, got \(2, 2\)"),
        (torch.empty(0, 3, dtype=torch.float64), r"x must have shape .*got \(0, 3\)"),
        (2 * torch.eye(3, dtype=torch.float64), "x must have rows of norm 1, got norms off by 1"),
        (
            torch.full((2, 3), math.nan, dtype=torch.float64),
            "x must have rows of norm 1, got norms off by nan",
        ),
    ],
)
def test_points_off_the_sphere_are_refused(points, message):
    with pytest.raises(ArgumentError, match=message):
        checked_points("x", points, dimension=3)


def test_points_on_the_sphere_pass(generator):
    points = uniform_points(4, 3, generator=generator)
    assert checked_points("x", points) is points
    assert checked_points("x", points, dimension=3) is points
