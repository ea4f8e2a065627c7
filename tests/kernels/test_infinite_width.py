import functools
import math

import numpy as np
import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.kernels import hermite, ntk, random_feature_kernel
from tests.references.kernels import (
    network_kernels,
    normalised_softplus,
    pair_kernels,
    relu,
    relu_expectations,
    smooth_expectations,
)

KERNELS = pytest.mark.parametrize("kernel", [ntk, random_feature_kernel], ids=["ntk", "random_feature"])
ACTIVATIONS = pytest.mark.parametrize("activation", ["relu", "softplus"])
DEPTHS = pytest.mark.parametrize("depth", [1, 2, 3])


@pytest.fixture
def points(generator):
    """Nine points of different norms in five dimensions."""
    return torch.randn(9, 5, dtype=torch.float64, generator=generator)


def unit(angle):
    """A vector of the plane with |x|^2/d = 1."""
    return math.sqrt(2) * torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=torch.float64)


@DEPTHS
@ACTIVATIONS
def test_quadrature_over_the_gaussian_preactivations_agrees(points, activation, depth):
    softplus = functools.partial(smooth_expectations, normalised_softplus(5.0))
    expectations = relu_expectations if activation == "relu" else softplus
    # Midpoint rule with 2e4 panels: error about 1e-9 per layer; Hermite series: tail below 1e-10.
    for i, j in [(0, 1), (2, 3), (4, 4), (5, 8)]:
        x, y = points[i], points[j]
        expected = pair_kernels(x.numpy(), y.numpy(), depth=depth, expectations=expectations)
        options = {"depth": depth, "activation": activation}
        computed = [float(k(x[None], y[None], **options)) for k in (ntk, random_feature_kernel)]
        assert computed == pytest.approx(expected, rel=3e-8, abs=1e-8)


@DEPTHS
@ACTIVATIONS
def test_mean_over_wide_random_networks_agrees(points, activation, depth):
    rng, width, count = np.random.default_rng(0), 128, 60
    function = relu if activation == "relu" else normalised_softplus(5.0)
    sampled = np.stack(
        [
            network_kernels(points[:4].numpy(), width=width, depth=depth, activation=function, rng=rng)
            for _ in range(count)
        ]
    )
    mean, error = sampled.mean(axis=0), sampled.std(axis=0, ddof=1) / math.sqrt(count)
    for kernel, m, e in zip((ntk, random_feature_kernel), mean, error):
        exact = kernel(points[:4], depth=depth, activation=activation).numpy()
        finite_width = 0.0 if depth == 1 else 4 * depth / width * exact.max()
        assert np.all(np.abs(m - exact) < 4.5 * e + finite_width)
        assert np.all(e < 0.12 * exact.max())  # the comparison has teeth


def test_convention_one_hidden_layer_of_relu_is_the_published_formula(points):
    x, y = points[:4], points[4:]
    lengths = x.norm(dim=1)[:, None] * y.norm(dim=1)
    u = (x @ y.T) / lengths
    k0 = (math.pi - u.arccos()) / math.pi
    k1 = (u * (math.pi - u.arccos()) + (1 - u**2).sqrt()) / math.pi
    torch.testing.assert_close(ntk(x, y), lengths / (2 * 5) * (u * k0 + k1), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(random_feature_kernel(x, y), lengths / (2 * 5) * k1, rtol=1e-13, atol=1e-14)


@DEPTHS
def test_convention_relu_is_plain_so_that_each_layer_halves_the_second_moment(points, depth):
    moment = points.square().mean(dim=1)
    torch.testing.assert_close(
        random_feature_kernel(points, depth=depth).diagonal(), moment / 2**depth, rtol=1e-14, atol=0
    )
    torch.testing.assert_close(
        ntk(points, depth=depth).diagonal(), moment * (depth + 1) / 2**depth, rtol=1e-14, atol=0
    )


@DEPTHS
def test_convention_softplus_keeps_unit_second_moment(depth):
    assert float(random_feature_kernel(unit(0.3), depth=depth, activation="softplus")) == pytest.approx(
        1, rel=1e-9
    )


def test_opposite_points_share_no_relu():
    assert float(ntk(unit(0.4), -unit(0.4))) == pytest.approx(0, abs=1e-15)
    assert float(random_feature_kernel(unit(0.4), -unit(0.4))) == pytest.approx(0, abs=1e-15)
    # Beyond the first layer only the mean of the features, cosine k1(-1) = 0, connects them: k1(0) = 1/pi.
    assert float(random_feature_kernel(unit(0.4), -unit(0.4), depth=2)) == pytest.approx(0.25 / math.pi)


@pytest.mark.parametrize("angle", [1e-10, 1e-7, 1e-4])
@pytest.mark.parametrize(("depth", "slope"), [(1, 1 / 2), (2, 3 / 4), (3, 6 / 8)])
def test_cusp_of_the_relu_ntk_is_resolved_at_small_angles(angle, depth, slope):
    # t_l = k1 + t_(l-1) k0 with k0 = 1 - angle/pi and k1 = 1 + O(angle^2) gives slopes 1, 3, 6 over 2^depth.
    drop = float(ntk(unit(0.0), depth=depth) - ntk(unit(0.0), unit(angle), depth=depth))
    assert drop == pytest.approx(slope * angle / math.pi, rel=5 * angle, abs=1e-15)


def test_points_on_a_line_are_exact(generator):
    x = torch.randn(100, 1, dtype=torch.float64, generator=generator)
    # One dimension: relu features of each sign only meet their own sign.
    torch.testing.assert_close(ntk(x), torch.where(x * x.T > 0, x * x.T, 0.0), rtol=1e-14, atol=1e-14)


@KERNELS
@ACTIVATIONS
@DEPTHS
def test_gram_matrix_is_symmetric_and_positive(points, kernel, activation, depth):
    gram = kernel(points, depth=depth, activation=activation)
    assert torch.equal(gram, gram.T)
    assert float(torch.linalg.eigvalsh(gram)[0]) > 1e-6
    torch.testing.assert_close(
        gram, kernel(points, points.clone(), depth=depth, activation=activation), rtol=1e-12, atol=1e-13
    )


@KERNELS
def test_relu_kernels_are_homogeneous(points, kernel):
    scale = torch.rand(9, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.1
    torch.testing.assert_close(
        kernel(points * scale, points[:3], depth=2), scale * kernel(points, points[:3], depth=2)
    )


@KERNELS
def test_kernels_are_invariant_under_rotation(points, kernel):
    rotation = torch.linalg.qr(points[:5])[0]
    for activation in ("relu", "softplus"):
        torch.testing.assert_close(
            kernel(points @ rotation, depth=2, activation=activation),
            kernel(points, depth=2, activation=activation),
        )


def test_zero_vector_has_kernel_zero_with_relu_and_a_constant_with_softplus(points):
    zero = torch.zeros(1, 5, dtype=torch.float64)
    assert torch.equal(ntk(zero, points, depth=2), torch.zeros(1, 9, dtype=torch.float64))
    value, slope = normalised_softplus(5.0)(np.zeros(1))
    assert float(random_feature_kernel(zero, activation="softplus")) == pytest.approx(float(value[0] ** 2))
    assert slope > 0
    assert float(ntk(zero, activation="softplus")) == pytest.approx(float(value[0] ** 2))


@KERNELS
def test_steep_softplus_approaches_root_two_times_relu(kernel, generator):
    x = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    x = 2 * x / x.norm(dim=1, keepdim=True)
    distance = [
        float((kernel(x, activation="softplus", beta=beta) - 2 * kernel(x)).abs().max())
        for beta in (5.0, 10.0, 20.0)
    ]
    assert distance[2] < 0.7 * distance[1] < 0.7 * 0.7 * distance[0]
    assert distance[2] < 0.06


@KERNELS
@ACTIVATIONS
def test_tiles_do_not_show(points, kernel, activation, monkeypatch):
    whole, across = kernel(points, activation=activation), kernel(points, points[:5], activation=activation)
    monkeypatch.setattr("diffstab.kernels.infinite_width._TILE", 4)
    torch.testing.assert_close(kernel(points, activation=activation), whole, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(
        kernel(points, points[:5], activation=activation), across, rtol=1e-12, atol=1e-13
    )


def test_nearly_parallel_pairs_come_in_portions(monkeypatch):
    x = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    whole = ntk(x)
    monkeypatch.setattr("diffstab.kernels.arccosine._PAIRS_AT_ONCE", 3)
    assert torch.equal(ntk(x), whole)


@ACTIVATIONS
def test_images_are_flattened_and_computed_in_double_precision(points, activation):
    images = points[:8].float().reshape(8, 1, 1, 5).requires_grad_()
    gram = ntk(images, activation=activation)
    assert gram.dtype == torch.float64
    assert not gram.requires_grad
    assert torch.equal(gram, ntk(images.detach().double().flatten(1), activation=activation))


@ACTIVATIONS
def test_inputs_are_left_alone(points, activation):
    before = points.clone()
    ntk(points, points[:2], activation=activation, depth=2)
    assert torch.equal(points, before)


def test_series_keeps_the_second_moment_to_the_declared_tail():
    deviation = torch.tensor([0.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    (layer,) = hermite.softplus_layers(deviation, depth=1, beta=5.0)
    value, slope = normalised_softplus(5.0)(
        np.sqrt([0.0, 0.25, 1.0, 4.0])[:, None] * np.arange(-13, 13, 0.001)
    )
    density = np.exp(-(np.arange(-13, 13, 0.001) ** 2) / 2) * 0.001 / math.sqrt(2 * math.pi)
    assert layer.value.square().sum(1).numpy() == pytest.approx((value**2) @ density, rel=2e-10)
    assert layer.slope.square().sum(1).numpy() == pytest.approx((slope**2) @ density, rel=2e-10)


@KERNELS
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.ones((2, 3))}, "x must be a floating-point tensor, got ndarray"),
        ({"x": torch.ones(2, 3, dtype=torch.uint8)}, "x must be a floating-point tensor, got torch.uint8"),
        ({"y": torch.ones(2, 3, dtype=torch.int64)}, "y must be a floating-point tensor, got torch.int64"),
        ({"x": torch.ones(3)}, r"x must have shape \(n, ...\).*got \(3,\)"),
        ({"x": torch.ones(0, 3)}, r"x must have shape \(n, ...\).*got \(0, 3\)"),
        ({"x": torch.tensor([[1.0, math.nan]])}, "x must be finite"),
        ({"x": torch.tensor([[1.0, math.inf]])}, "x must be finite"),
        ({"y": torch.ones(2, 4)}, "y must have the dimension of x, 3, got 4"),
        ({"depth": 0}, "depth must be an integer >= 1"),
        ({"depth": 1.5}, "depth must be an integer >= 1.*got 1.5"),
        ({"depth": True}, "depth must be an integer >= 1.*got True"),
        ({"activation": "tanh"}, "activation must be 'relu' or 'softplus', got 'tanh'"),
        ({"activation": "softplus", "beta": 0.0}, "beta must be positive and finite, got 0.0"),
        ({"activation": "softplus", "beta": math.nan}, "beta must be positive and finite, got nan"),
        (
            {"activation": "softplus", "beta": 21.0},
            "beta must keep beta .* at most 20, got 21. Scale the inputs",
        ),
        ({"x": torch.full((1, 3), 5.0), "activation": "softplus"}, "at most 20, got 25. Scale the inputs"),
    ],
)
def test_bad_arguments_are_named(kernel, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        kernel(**({"x": torch.ones(2, 3)} | arguments))
