import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.nets import FCN, Ensemble


def explicit(net, x, last_scale):
    """One hidden layer, neuron by neuron."""
    theta, w = net.weights[0], net.weights[1]
    total = torch.zeros(len(x), dtype=x.dtype)
    for h in range(len(theta)):
        z = x @ theta[h] / math.sqrt(x.shape[1])
        total += w[0, h] * z.clamp_min(0)
    return total * last_scale


@pytest.mark.parametrize(("scaling", "last_scale"), [("ntk", 1 / math.sqrt(50)), ("mean_field", 1 / 50)])
def test_convention_scales(scaling, last_scale, generator):
    net = FCN(7, (50,), activation="relu", scaling=scaling, generator=generator, dtype=torch.float64)
    x = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(net(x).squeeze(1), explicit(net, x, last_scale), rtol=1e-12, atol=1e-12)


def test_outputs_have_the_variance_of_the_infinite_net(generator):
    # Normalised softplus keeps E s(z)^2 = 1 from layer to layer, so Var f = 1 at |x| = sqrt(d), at any depth.
    x = torch.ones(1, 9, dtype=torch.float64)
    nets = (FCN(9, (60, 60), generator=generator, dtype=torch.float64) for _ in range(2000))
    outputs = torch.stack([net(x).detach().squeeze() for net in nets])
    # Kurtosis of a product of two wide layers is near 3: the relative error of the variance is sqrt(2 / 2000).
    assert outputs.var().item() == pytest.approx(1, abs=4 * math.sqrt(2 / 2000) + 3 / 60)


def test_images_are_flattened(generator):
    net = FCN(12, (4,), generator=generator)
    images = torch.randn(3, 3, 2, 2, generator=generator)
    assert torch.equal(net(images), net(images.flatten(1)))
    assert net(images).shape == (3, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": ()}, "hidden must name at least one hidden layer"),
        ({"hidden": (0,)}, "layer sizes must all be at least 1"),
        ({"scaling": "ntk2"}, "scaling must be one of ntk, mean_field"),
        ({"activation": "tanh"}, "activation must be one of relu, softplus"),
        ({"beta": 0.0}, "beta must be positive and finite"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, generator):
    with pytest.raises(ArgumentError, match=message):
        FCN(4, **arguments, generator=generator)


def test_inputs_of_another_size_are_refused(generator):
    with pytest.raises(ArgumentError, match="x must have 4 numbers per sample"):
        FCN(4, (3,), generator=generator)(torch.zeros(2, 5))


def test_the_mean_of_an_ensemble(generator):
    nets = [FCN(4, (3,), generator=generator) for _ in range(3)]
    x = torch.randn(6, 4, generator=generator)
    mean = (nets[0](x) + nets[1](x) + nets[2](x)) / 3
    torch.testing.assert_close(Ensemble(nets)(x), mean)
    assert len(list(Ensemble(nets).parameters())) == 6
    with pytest.raises(ArgumentError, match="members must hold at least one predictor"):
        Ensemble([])
