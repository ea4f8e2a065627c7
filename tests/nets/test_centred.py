import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.nets import FCN, CentredOutput


def moved(model):
    with torch.no_grad():
        for weight in model.net.weights:
            weight += 0.1
    return model


@pytest.mark.parametrize("xi", [0.0, 0.5, 1.0])
def test_convention_centred_output(xi, generator):
    net = FCN(5, (8,), generator=generator, dtype=torch.float64)
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    start = net(x).detach().squeeze(1)
    model = CentredOutput(net, alpha=3.0, xi=xi)
    torch.testing.assert_close(model(x), 3.0 * (1 - xi) * start)
    moved(model)
    torch.testing.assert_close(model(x), 3.0 * (net(x).squeeze(1) - xi * start))
    assert torch.equal(model(x, model.start(x)), model(x))


def test_the_initial_net_is_frozen_and_travels_in_the_state(generator):
    model = moved(CentredOutput(FCN(5, (8,), generator=generator)))
    assert not any(parameter.requires_grad for parameter in model.initial.parameters())
    copy = CentredOutput(FCN(5, (8,), generator=generator))
    copy.load_state_dict(model.state_dict())
    x = torch.randn(4, 5, generator=generator)
    assert torch.equal(copy(x), model(x))


def test_several_outputs_keep_their_axis(generator):
    model = CentredOutput(FCN(5, (8,), out_features=3, generator=generator))
    assert model(torch.zeros(4, 5)).shape == (4, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.0}, "alpha must be positive and finite"),
        ({"xi": 1.5}, r"xi must lie in \[0, 1\]"),
        ({"alpha": 1e6}, "alpha must be resolved by the net's type torch.float32.*Make the net float64"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, generator):
    with pytest.raises(ArgumentError, match=message):
        CentredOutput(FCN(5, (8,), generator=generator), **arguments)
