import numpy as np
import pytest
import torch
from scipy.integrate import quad

from diffstab.nets import Activation, softplus_normalisation


@pytest.mark.parametrize("beta", [0.5, 1.0, 5.0, 50.0])
def test_convention_softplus_has_unit_second_moment(beta):
    activation = Activation("softplus", beta)

    def integrand(z):
        value = activation(torch.tensor(z, dtype=torch.float64)).item()
        return value**2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)

    moment = sum(quad(integrand, low, low + 1, epsabs=1e-12)[0] for low in range(-12, 12))
    assert moment == pytest.approx(1, rel=1e-9)


def test_a_sharp_softplus_is_a_normalised_relu():
    # E relu(z)^2 = 1/2, and the correction of the bend is of order 1 / beta^2.
    assert softplus_normalisation(1000.0) == pytest.approx(np.sqrt(2), rel=1e-5)


@pytest.mark.parametrize("name", ["relu", "softplus"])
def test_the_slope_is_that_of_autograd(name):
    z = torch.tensor([-300.0, -2.0, -1e-3, 0.0, 1e-3, 0.7, 300.0], dtype=torch.float64, requires_grad=True)
    activation = Activation(name, 5.0)
    expected = activation(z)
    (gradient,) = torch.autograd.grad(expected.sum(), z)
    value, slope = activation.value_and_slope(z.detach())
    torch.testing.assert_close(value, expected.detach(), rtol=1e-12, atol=1e-15)
    # torch switches to the linear branch at beta z > 20, with a slope off by exp(-20).
    torch.testing.assert_close(slope, gradient, rtol=1e-8, atol=1e-15)


def test_the_callers_tensor_is_left_alone():
    z = torch.linspace(-1, 1, 5)
    before = z.clone()
    Activation("softplus").value_and_slope(z)
    assert torch.equal(z, before)
