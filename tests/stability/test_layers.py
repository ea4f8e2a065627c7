import pytest
import torch
from torch import nn

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN
from diffstab.stability import (
    diffeomorphism,
    draw_pairs,
    fcn_layer_outputs,
    layer_outputs,
    layer_stability,
    stability,
)


class Small(nn.Module):
    """A convolution, an in-place ReLU that runs twice, dropout, an unused layer and one that returns a pair."""

    def __init__(self, generator):
        super().__init__()
        with torch.random.fork_rng():
            self.conv = nn.Conv2d(1, 3, 3, dtype=torch.float64)
            self.head = nn.Linear(3 * 10 * 10, 2, dtype=torch.float64)
            self.unused = nn.Linear(2, 2)
        self.relu, self.dropout = nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.pair = nn.MaxPool2d(1, return_indices=True)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator)

    def forward(self, x):
        x, _ = self.pair(self.dropout(self.relu(self.conv(x))))
        return self.relu(self.head(x.flatten(1)) - 1000) + self.head(x.flatten(1))


@pytest.fixture
def net(generator):
    return Small(generator).eval()  # dropout at work would draw from the global seed


@pytest.fixture
def probes(generator):
    images = torch.randn(9, 1, 12, 12, generator=generator, dtype=torch.float64)
    return draw_pairs(images, deform=diffeomorphism(0.2, 2), fields_per_image=2, generator=generator)


def test_outputs_are_those_of_the_modules(net, probes):
    outputs = layer_outputs(net, ["head", "conv", ""])(probes.clean)
    assert list(outputs) == ["head", "conv", ""]
    # the in-place ReLU behind it does not reach what was recorded
    assert torch.equal(outputs["conv"], net.conv(probes.clean))
    assert bool((outputs["conv"] < 0).any())
    hidden = net.conv(probes.clean).relu().flatten(1)
    assert torch.equal(outputs["head"], net.head(hidden))
    assert torch.equal(outputs[""], net(probes.clean))


def test_convention_a_module_that_runs_twice_gives_its_last_output(net, probes):
    assert layer_outputs(net, ["relu"])(probes.clean)["relu"].shape == (9, 2)


def test_no_hook_stays_not_even_after_an_error(net, probes):
    layer_outputs(net, ["conv"])(probes.clean)
    with pytest.raises(RuntimeError):
        layer_outputs(net, ["conv"])(probes.clean.flatten(1))
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("batch_size", [2, 9, 100])
def test_layer_stability_is_that_of_the_activations(net, probes, batch_size):
    result = layer_stability(net.train(), probes, ["conv", ""], batch_size=batch_size)
    assert all(module.training for module in net.modules())
    net.eval()
    with torch.no_grad():
        for name, part in (("conv", net.conv), ("", net)):
            changed = [torch.stack([part(x) for x in fields]) for fields in (probes.deformed, probes.noisy)]
            expected = [float(x) for x in stability(part(probes.clean), *changed)]
            assert [float(x) for x in result[name]] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("hidden", [(5,), (6, 4, 3)])
def test_layers_of_an_fcn_end_in_its_output(generator, probes, hidden, activation):
    net = FCN(144, hidden, out_features=2, activation=activation, generator=generator, dtype=torch.float64)
    outputs = fcn_layer_outputs(net)(probes.clean)
    assert list(outputs) == [f"hidden_{i + 1}" for i in range(len(hidden))] + ["output"]
    assert torch.equal(outputs["output"], net(probes.clean))
    first = net.activation(probes.clean.flatten(1) @ net.weights[0].T / 12)
    assert torch.allclose(outputs["hidden_1"], first, atol=1e-12)


def test_layer_stability_takes_the_layers_of_an_fcn(generator, probes):
    net = FCN(144, (6, 4), generator=generator, dtype=torch.float64)
    result = layer_stability(net, probes, fcn_layer_outputs(net), batch_size=4)
    with torch.no_grad():
        parts = [net(x.flatten(0, -4)).view(x.shape[:-3]) for x in probes[:3]]
    assert [float(x) for x in result["output"]] == pytest.approx(
        [float(x) for x in stability(*parts)], rel=1e-9
    )
    assert list(result) == ["hidden_1", "hidden_2", "output"]


def test_unknown_modules_are_refused(net):
    with pytest.raises(
        ArgumentError, match=r"names must be among the modules '', 'conv', .* got 'convolution'"
    ):
        layer_outputs(net, ["conv", "convolution"])


def test_modules_that_do_not_run_are_refused(net, probes):
    with pytest.raises(ArgumentError, match="names must be modules that the net runs, got 'unused'"):
        layer_outputs(net, ["unused"])(probes.clean)


def test_modules_that_return_no_tensor_are_refused(net, probes):
    with pytest.raises(ArgumentError, match="output of 'pair' must be a tensor, got tuple"):
        layer_outputs(net, ["pair"])(probes.clean)


def test_a_layer_that_is_constant_is_refused(net, probes):
    nn.init.zeros_(net.conv.weight)
    with pytest.raises(DegenerateError, match="constant"):
        layer_stability(net, probes, ["conv"])


def test_a_batch_size_of_zero_is_refused(net, probes):
    with pytest.raises(ArgumentError, match="batch_size must be >= 1, got 0"):
        layer_stability(net, probes, ["conv"], batch_size=0)
