import math

import pytest
import torch
from torch import nn

from diffstab.errors import ArgumentError, ConstantLayerWarning, UnsteadyPredictorWarning
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
    outputs = layer_outputs(net, ["dropout", "conv", ""])(probes.clean)
    assert list(outputs) == ["dropout", "conv", ""]
    # the in-place ReLU behind it does not reach what was recorded
    assert torch.equal(outputs["conv"], net.conv(probes.clean))
    assert bool((outputs["conv"] < 0).any())
    assert torch.equal(outputs["dropout"], net.conv(probes.clean).relu())
    assert torch.equal(outputs[""], net(probes.clean))


def test_convention_a_module_that_runs_twice_gives_both_outputs(net, probes):
    outputs = layer_outputs(net, ["relu", "head"])(probes.clean)
    assert list(outputs) == ["relu#1", "relu#2", "head#1", "head#2"]
    assert torch.equal(outputs["relu#1"], net.conv(probes.clean).relu())
    assert outputs["relu#2"].shape == (9, 2)


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


def test_a_layer_that_is_constant_is_named_and_the_others_go_on(probes):
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Flatten(), nn.Linear(144, 3).double(), nn.Linear(3, 2).double())
    plain = layer_stability(net, probes, ["0"])
    nn.init.zeros_(net[1].weight)
    with pytest.warns(ConstantLayerWarning, match=r"undefined \(0 / 0\): '1', '2'\.$"):
        result = layer_stability(net, probes, ["1", "0", "2"])
    assert list(result["0"]) == list(plain["0"])
    for name in ("1", "2"):
        assert all(math.isnan(float(x)) for x in result[name][:3])
        assert float(result[name].denominator) == 0


def test_two_names_of_one_module_are_refused():
    shared = nn.Identity()
    net = nn.Sequential(shared, shared)
    with pytest.raises(ArgumentError, match="names must be different modules, got '0' and '1'"):
        layer_outputs(net, ["0", "1"])
    assert list(layer_outputs(net, ["1"])(torch.zeros(2, 4))) == ["1#1", "1#2"]


class Tokens(nn.Module):
    """Rows of an image as tokens, in torch's default order: tokens first, images second."""

    def __init__(self, *, batch_first, windows=1):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.encoder = nn.TransformerEncoderLayer(12, 2, 16, batch_first=batch_first, dtype=torch.float64)
        self.batch_first, self.windows = batch_first, windows
        self.rows = nn.Identity()

    def forward(self, x):
        rows = self.rows(x.reshape(len(x) * self.windows, 12 // self.windows, 12))
        if self.windows > 1:
            return self.encoder(rows).reshape(len(x), -1)
        return self.encoder(rows if self.batch_first else rows.transpose(0, 1))


@pytest.mark.parametrize("batch_size", [1, 4, 12, 100])
def test_convention_images_may_lie_along_any_axis(probes, batch_size):
    # with a batch of 12 the axes of tokens and of images are equally long
    nets = [Tokens(batch_first=batch_first) for batch_first in (True, False)]
    wanted, found = (layer_stability(net, probes, ["encoder"], batch_size=batch_size) for net in nets)
    assert [float(x) for x in found["encoder"]] == pytest.approx(
        [float(x) for x in wanted["encoder"]], rel=1e-9
    )


def test_convention_windows_of_an_image_lie_one_after_another(probes):
    net = Tokens(batch_first=True, windows=3).eval()
    found = layer_stability(net, probes, ["encoder", ""], batch_size=4)
    assert [float(x) for x in found["encoder"]] == pytest.approx([float(x) for x in found[""]], rel=1e-9)


def test_outputs_that_mix_images_are_refused_by_name(probes):
    class Transposed(nn.Module):
        def __init__(self):
            super().__init__()
            self.windows, self.total = nn.Identity(), nn.Identity()

        def forward(self, x):
            self.windows(
                x.reshape(len(x), 12, 12).transpose(0, 1).reshape(-1, 12)
            )  # image after image no more
            self.total(x.flatten(1).sum(dim=0))
            return x.flatten(1)

    for name, shapes in (
        ("windows", r"\(60, 12\) for 5 images and \(24, 12\) for 2"),
        ("total", r"\(144,\) for"),
    ):
        with pytest.raises(
            ArgumentError, match=rf"output of '{name}' must have one axis that runs .*, got {shapes}"
        ):
            layer_stability(Transposed(), probes, [name])


def test_a_layer_that_looks_at_the_other_images_is_told(probes):
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(144, track_running_stats=False).double())
    with pytest.warns(UnsteadyPredictorWarning, match="layer '1' changes with the other images of the batch"):
        layer_stability(net, probes, ["0", "1"])


def test_layers_are_measured_as_by_the_formula_when_the_net_works_in_place(probes):
    clean = probes.clean.clone()
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten())
    found = layer_stability(net, probes, ["0", "1"])
    expected = stability(*[part.relu().flatten(-3) for part in probes[:3]])
    for name in ("0", "1"):
        assert [float(x) for x in found[name]] == pytest.approx([float(x) for x in expected], rel=1e-12)
    assert torch.equal(probes.clean, clean)


def test_layers_of_a_callable_may_be_one_buffer(probes):
    buffer = torch.empty(9, 144, dtype=torch.float64)

    def layers(x):
        return {"buffer": torch.mul(x.flatten(1), 2, out=buffer[: len(x)])}

    found = layer_stability(nn.Flatten(), probes, layers)["buffer"]
    assert float(found.relative) == pytest.approx(
        float(layer_stability(nn.Flatten(), probes, [""])[""].relative), rel=1e-12
    )


def test_layers_that_come_and_go_are_refused(probes):
    def layers(x):
        return {"a": x} if len(x) > 1 else {"b": x}

    with pytest.raises(ArgumentError, match=r"layers must be the same.* got \['b'\] instead of \['a'\]"):
        layer_stability(nn.Flatten(), probes, layers, batch_size=8)


def test_a_layer_of_another_length_is_refused(probes):
    def layers(x):
        return {"a": x if len(x) < 6 else x[:6]}

    with pytest.raises(
        ArgumentError, match="output of 'a' must have 9 entries along axis 0 for 9 images, got shape"
    ):
        layer_stability(nn.Flatten(), probes, layers)


def test_a_layer_that_overflows_is_named(probes):
    net = nn.Sequential(nn.Flatten(), nn.LayerNorm(144).double())
    nn.init.constant_(net[1].weight, math.inf)
    with pytest.raises(ArgumentError, match="output of '1' must be finite"):
        layer_stability(net, probes, ["1"])


def test_a_batch_size_of_zero_is_refused(net, probes):
    with pytest.raises(ArgumentError, match="batch_size must be >= 1, got 0"):
        layer_stability(net, probes, ["conv"], batch_size=0)
