import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.kernels import empirical_ntk, kernel_alignment, kernel_drift, ntk
from diffstab.nets import FCN, CentredOutput
from tests.references.kernels import network_kernels, relu


@pytest.fixture
def images(generator):
    return torch.randn(7, 1, 2, 3, dtype=torch.float64, generator=generator)


@pytest.fixture
def convolutional(generator):
    """A small network of another kind, three outputs."""
    convolution, linear = nn.utils.skip_init(nn.Conv2d, 1, 2, 2), nn.utils.skip_init(nn.Linear, 4, 3)
    net = nn.Sequential(convolution, nn.Tanh(), nn.Flatten(), linear).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, generator=generator)
    return net


def fcn(generator, width=16, hidden_layers=1, **options):
    return FCN(6, (width,) * hidden_layers, generator=generator, dtype=torch.float64, **options)


def by_loops(net, x, y):
    """One backward pass per point and output."""

    def gradients(points):
        rows = []
        for point in points:
            output = net(point[None]).flatten()
            per_output = [torch.autograd.grad(o, list(net.parameters()), retain_graph=True) for o in output]
            rows.append(torch.stack([torch.cat([g.flatten() for g in gs]) for gs in per_output]))
        return torch.stack(rows)

    return torch.tensordot(gradients(x), gradients(y), dims=([2], [2])).transpose(1, 2)


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_backward_passes_one_by_one_agree(images, convolutional, chunk):
    kernel = empirical_ntk(convolutional, images, images[:4], chunk=chunk)
    assert kernel.shape == (7, 4, 3, 3)
    torch.testing.assert_close(kernel, by_loops(convolutional, images, images[:4]), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_kernel_of_points_with_themselves_is_the_one_across(images, convolutional, chunk):
    own = empirical_ntk(convolutional, images, chunk=chunk)
    torch.testing.assert_close(own, empirical_ntk(convolutional, images, images), rtol=1e-12, atol=1e-13)
    assert torch.equal(own, own.permute(1, 0, 3, 2))


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("hidden_layers", [1, 2])
@pytest.mark.parametrize("other", [None, slice(3)])
def test_factors_of_the_fully_connected_net_give_the_same_kernel(
    images, generator, activation, hidden_layers, other
):
    net = fcn(generator, hidden_layers=hidden_layers, activation=activation)
    y = None if other is None else images[other]
    factored, generic = empirical_ntk(net, images, y), empirical_ntk(nn.Sequential(net), images, y)
    torch.testing.assert_close(factored, generic, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(
        factored, by_loops(net, images, images if y is None else y)[:, :, 0, 0], rtol=1e-12, atol=1e-13
    )
    assert y is not None or torch.equal(factored, factored.T)


def test_a_fully_connected_net_that_trains_only_its_readout_has_the_kernel_of_its_features(images, generator):
    net = fcn(generator, activation="relu")
    net.weights[0].requires_grad_(False)
    hidden = torch.relu(images.flatten(1) @ net.weights[0].T / math.sqrt(6)) / math.sqrt(16)
    torch.testing.assert_close(empirical_ntk(net, images), hidden @ hidden.T, rtol=1e-12, atol=1e-13)


def test_scaled_and_centred_predictor_has_alpha_squared_times_the_kernel(images, generator):
    net = fcn(generator)
    predictor = CentredOutput(net, alpha=3.0)
    torch.testing.assert_close(empirical_ntk(predictor, images), 9 * empirical_ntk(net, images))
    # Wrapped, it is differentiated like any other module.
    torch.testing.assert_close(
        empirical_ntk(nn.Sequential(predictor), images), 9 * empirical_ntk(net, images)
    )


def test_wide_network_approaches_the_exact_kernel(images, generator):
    width = 20_000
    kernel = empirical_ntk(fcn(generator, width, activation="relu"), images)
    # The mean of `width` terms with standard deviation below 3 times the largest entry.
    exact = ntk(images)
    assert (kernel - exact).abs().max() < 4 * 3 / math.sqrt(width) * exact.max()


def test_explicit_network_in_numpy_has_the_same_kernel_on_average(images, generator):
    x = images.flatten(1).numpy()
    rng = np.random.default_rng(0)
    reference, _ = network_kernels(x, width=20_000, depth=1, activation=relu, rng=rng)
    kernel = empirical_ntk(fcn(generator, 20_000, activation="relu"), images).numpy()
    assert np.abs(kernel - reference).max() < 0.1 * reference.max()


def test_only_parameters_that_require_gradients_count(images, convolutional):
    frozen = copy.deepcopy(convolutional)
    frozen[0].requires_grad_(False)
    features = convolutional[:3](images)
    expected = torch.einsum("ij,ab->ijab", features @ features.T + 1, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(empirical_ntk(frozen, images), expected, rtol=1e-12, atol=1e-13)


def test_net_is_left_alone(images, convolutional):
    before = copy.deepcopy(convolutional.state_dict())
    assert not empirical_ntk(convolutional, images).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in convolutional.state_dict().items())
    assert all(p.grad is None for p in convolutional.parameters())


def test_drift_is_the_relative_change(images, generator):
    net = fcn(generator, activation="relu")
    assert float(kernel_drift(net, net, images)) == 0
    scaled = copy.deepcopy(net)
    with torch.no_grad():
        for weight in scaled.weights:
            weight.mul_(1.5)
    # One hidden layer of relu: every gradient is linear in the weights.
    assert float(kernel_drift(net, scaled, images, chunk=2)) == pytest.approx(1.5**2 - 1)
    assert float(kernel_drift(scaled, net, images)) == pytest.approx(1 - 1 / 1.5**2)


def test_drift_needs_a_kernel_to_start_with(images, generator):
    net = fcn(generator, activation="relu")
    with torch.no_grad():
        for weight in net.weights:
            weight.zero_()
    with pytest.raises(DegenerateError, match="drift of the kernel is undefined: the initial kernel is zero"):
        kernel_drift(net, net, images)


def test_alignment_is_a_cosine(generator):
    a, b = torch.randn(2, 5, 5, dtype=torch.float64, generator=generator)
    assert float(kernel_alignment(a, 3 * a)) == pytest.approx(1)
    assert float(kernel_alignment(a, -a)) == pytest.approx(-1)
    cosine = np.vdot(a.numpy(), b.numpy()) / np.linalg.norm(a.numpy()) / np.linalg.norm(b.numpy())
    assert float(kernel_alignment(a, b)) == pytest.approx(cosine)
    y = torch.tensor([1.0, -1, 1, -1, 1], dtype=torch.float64)
    # The identity knows nothing of the task: 1/sqrt(n).
    assert float(kernel_alignment(torch.eye(5, dtype=torch.float64), y * y[:, None])) == pytest.approx(
        5**-0.5
    )


def test_alignment_of_unequal_or_zero_kernels_is_refused():
    with pytest.raises(ArgumentError, match=r"second must have the shape of first, \(2, 2\), got \(3, 3\)"):
        kernel_alignment(torch.eye(2), torch.eye(3))
    with pytest.raises(DegenerateError, match="alignment of kernels is undefined"):
        kernel_alignment(torch.eye(2), torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": torch.zeros(2, 6, dtype=torch.uint8)}, "x must be a floating-point tensor.*got torch.uint8"),
        ({"x": [[1.0]]}, "x must be a floating-point tensor.*got list"),
        ({"x": torch.zeros(6)}, r"x must be a floating-point tensor of shape \(n, ...\).*shape \(6,\)"),
        ({"x": torch.full((2, 6), math.nan)}, "x must be finite"),
        ({"y": torch.full((2, 6), math.inf)}, "y must be finite"),
        ({"y": torch.zeros(2, 5)}, r"y must hold points of the shape of x, \(6,\), got \(5,\)"),
        ({"chunk": 0}, "chunk must be >= 1, got 0"),
        ({"net": nn.Tanh()}, "net must have parameters that require gradients, got none"),
    ],
)
def test_bad_arguments_are_named(generator, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        empirical_ntk(**({"net": fcn(generator), "x": torch.zeros(2, 6, dtype=torch.float64)} | arguments))
