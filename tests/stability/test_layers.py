import math

import pytest
import torch
from torch import nn

from diffstab.errors import ArgumentError, ConstantLayerWarning
from diffstab.nets import FCN
from diffstab.stability import (
    diffeomorphism,
    fcn_layer_outputs,
    layer_outputs,
    layer_stability,
    measure_stability,
    numbered_pairs,
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
def images(generator):
    return torch.randn(9, 1, 12, 12, generator=generator, dtype=torch.float64)


def test_outputs_are_those_of_the_modules(net, images):
    outputs = layer_outputs(net, ["dropout", "conv", ""])(images)
    assert list(outputs) == ["dropout", "conv", ""]
    # the in-place ReLU behind it does not reach what was recorded
    assert torch.equal(outputs["conv"], net.conv(images))
    assert bool((outputs["conv"] < 0).any())
    assert torch.equal(outputs["dropout"], net.conv(images).relu())
    assert torch.equal(outputs[""], net(images))


def test_convention_a_module_that_runs_twice_gives_both_outputs(net, images):
    outputs = layer_outputs(net, ["relu", "head"])(images)
    assert list(outputs) == ["relu#1", "relu#2", "head#1", "head#2"]
    assert torch.equal(outputs["relu#1"], net.conv(images).relu())
    assert outputs["relu#2"].shape == (9, 2)


def test_no_hook_stays_not_even_after_an_error(net, images):
    layer_outputs(net, ["conv"])(images)
    with pytest.raises(RuntimeError):
        layer_outputs(net, ["conv"])(images.flatten(1))
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_layer_stability_is_that_of_the_activations(net, images, batch_size):
    options = {"deform": diffeomorphism(0.2, 2), "fields_per_image": 2, "seed": 3}
    result = layer_stability(net.train(), images, ["conv", ""], batch_size=batch_size, **options)
    assert all(module.training for module in net.modules())
    net.eval()
    probes = numbered_pairs(images, torch.arange(9), **options)
    with torch.no_grad():
        for name, part in (("conv", net.conv), ("", net)):
            changed = [torch.stack([part(x) for x in fields]) for fields in (probes.deformed, probes.noisy)]
            expected = [float(x) for x in stability(part(images), *changed)]
            assert [float(x) for x in result[name].estimate] == pytest.approx(expected, rel=1e-9)
            assert result[name].low.relative < result[name].estimate.relative < result[name].high.relative


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("hidden", [(5,), (6, 4, 3)])
def test_layers_of_an_fcn_end_in_its_output(generator, images, hidden, activation):
    net = FCN(144, hidden, out_features=2, activation=activation, generator=generator, dtype=torch.float64)
    outputs = fcn_layer_outputs(net)(images)
    assert list(outputs) == [f"hidden_{i + 1}" for i in range(len(hidden))] + ["output"]
    assert torch.equal(outputs["output"], net(images))
    first = net.activation(images.flatten(1) @ net.weights[0].T / 12)
    assert torch.allclose(outputs["hidden_1"], first, atol=1e-12)


def test_layer_stability_takes_the_layers_of_an_fcn(generator, images):
    net = FCN(144, (6, 4), generator=generator, dtype=torch.float64)
    options = {"deform": diffeomorphism(0.2, 2), "bootstrap": 0}
    result = layer_stability(net, images, fcn_layer_outputs(net), batch_size=4, **options)
    whole = measure_stability(net, images, **options)
    assert [float(x) for x in result["output"].estimate] == pytest.approx([float(x) for x in whole.estimate])
    assert list(result) == ["hidden_1", "hidden_2", "output"]
    assert result["output"].draw.deformation_norms.shape == (1, 9)


def test_unknown_modules_are_refused(net):
    with pytest.raises(
        ArgumentError, match=r"layers must be among the modules '', 'conv', .* got 'convolution'"
    ):
        layer_outputs(net, ["conv", "convolution"])


def test_modules_that_do_not_run_are_refused(net, images):
    with pytest.raises(ArgumentError, match="layers must be modules that the model runs, got 'unused'"):
        layer_outputs(net, ["unused"])(images)


def test_modules_that_return_no_tensor_are_refused(net, images):
    with pytest.raises(ArgumentError, match="output of 'pair' must be a tensor, got tuple"):
        layer_outputs(net, ["pair"])(images)


def test_a_layer_that_is_constant_is_named_and_the_others_go_on(images):
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Flatten(), nn.Linear(144, 3).double(), nn.Linear(3, 2).double())
    options = {"deform": diffeomorphism(0.2, 2), "bootstrap": 20}
    plain = layer_stability(net, images, ["0"], **options)
    nn.init.zeros_(net[1].weight)
    with pytest.warns(ConstantLayerWarning, match=r"undefined \(0 / 0\): '1', '2'\.$"):
        result = layer_stability(net, images, ["1", "0", "2"], **options)
    assert list(result["0"].estimate) == list(plain["0"].estimate)
    for name in ("1", "2"):
        for part in (result[name].estimate, result[name].low, result[name].high):
            assert all(math.isnan(float(x)) for x in part[:3])
        assert float(result[name].estimate.denominator) == 0


def test_two_names_of_one_module_are_refused():
    shared = nn.Identity()
    net = nn.Sequential(shared, shared)
    with pytest.raises(ArgumentError, match="layers must be different modules, got '0' and '1'"):
        layer_outputs(net, ["0", "1"])
    assert list(layer_outputs(net, ["1"])(torch.zeros(2, 4))) == ["1#1", "1#2"]


def test_layers_of_a_callable_may_be_one_buffer(images):
    buffer = torch.empty(9 * 3, 144, dtype=torch.float64)

    def layers(x):
        return {"buffer": torch.mul(x.flatten(1), 2, out=buffer[: len(x)])}

    options = {"deform": diffeomorphism(0.2, 2), "bootstrap": 0}
    found = layer_stability(nn.Flatten(), images, layers, **options)["buffer"]
    expected = measure_stability(nn.Flatten(), images, **options)
    assert float(found.estimate.relative) == pytest.approx(float(expected.estimate.relative), rel=1e-12)


def test_layers_that_come_and_go_are_refused(images):
    def layers(x):
        return {"a": x} if len(x) != 3 else {"b": x}

    with pytest.raises(
        ArgumentError, match=r"layers must run as often on every batch, got another run of 'b'"
    ):
        layer_stability(nn.Flatten(), images, layers, deform=diffeomorphism(0.2, 2), batch_size=8)


def test_a_layer_of_another_length_is_refused(images):
    def layers(x):
        return {"a": x if len(x) < 12 else x[:6]}

    with pytest.raises(
        ArgumentError, match="output of 'a' must have 27 entries along axis 0 for 27 images, got shape"
    ):
        layer_stability(nn.Flatten(), images, layers, deform=diffeomorphism(0.2, 2))


def test_convention_windows_of_an_image_lie_one_after_another(images):
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            with torch.random.fork_rng():
                self.encoder = nn.TransformerEncoderLayer(12, 2, 16, batch_first=True, dtype=torch.float64)

        def forward(self, x):
            return self.encoder(x.reshape(len(x) * 3, 4, 12)).reshape(len(x), -1)

    found = layer_stability(Windows(), images, ["encoder", ""], deform=diffeomorphism(0.2, 2), batch_size=4)
    assert [float(x) for x in found["encoder"].estimate] == pytest.approx(
        [float(x) for x in found[""].estimate], rel=1e-9
    )
