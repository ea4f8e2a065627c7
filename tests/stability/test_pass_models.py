"""One pass over models as people write them: parts of outputs, modules that run twice, modes, number types."""

import contextlib
import math

import pytest
import torch
from torch import nn

from diffstab.errors import ArgumentError, UnsteadyPredictorWarning
from diffstab.stability import LayerPass, diffeomorphism
from tests.references.passes import COUNT, by_formula, floats, images, linear, measured, small_net


class Outputs(nn.Module):
    """Returns a pair and has a layer that does."""

    def __init__(self):
        super().__init__()
        self.pool, self.net = nn.MaxPool2d(1, return_indices=True), small_net()

    def forward(self, x):
        return {"logits": self.net(self.pool(x)[0]), "other": x.sum()}


def test_parts_of_outputs_are_picked():
    x = images()
    pick = {"": lambda out: out["logits"], "pool": lambda out: out[0]}
    sums = measured(Outputs(), x, (20,), layers=["", "pool"], output=pick).sums()
    assert floats(sums[0, ""].stability()) == pytest.approx(by_formula(small_net(), x), rel=1e-10)
    assert floats(sums[0, "pool"].stability()) == pytest.approx(by_formula(nn.Flatten(), x), rel=1e-10)
    with pytest.raises(ArgumentError, match=r"output of the model must be a tensor, got dict.*output=lambda"):
        measured(Outputs(), x, (COUNT,))
    with pytest.raises(ArgumentError, match=r"output of 'pool' must be a tensor, got tuple.*output={'pool':"):
        measured(Outputs(), x, (COUNT,), layers=["pool"], output=pick[""])


class Twice(nn.Module):
    """A layer that runs twice, or as often as it is told."""

    def __init__(self):
        super().__init__()
        self.same, self.times, self.unused = nn.Tanh(), lambda x: 2, nn.Tanh()

    def forward(self, x):
        for _ in range(self.times(x)):
            x = self.same(x)
        return x.flatten(1)


def test_runs_of_a_module_are_told_apart():
    net, x = Twice(), images()
    sums = measured(net, x, (16,), layers=["same"]).sums()
    assert list(sums) == [(0, "same#1"), (0, "same#2")]
    for times in (1, 2):
        net.times = lambda x, times=times: times
        assert floats(sums[0, f"same#{times}"].stability()) == pytest.approx(by_formula(net, x), rel=1e-10)


def test_a_module_that_runs_more_or_less_often_later_is_refused():
    for later in (1, 3):
        net = Twice()
        net.times = lambda x, later=later: 2 if len(x) != 3 * 7 else later
        with pytest.raises(
            ArgumentError, match=r"layers must run as often on every batch, got (no|another) run"
        ):
            measured(net, images(), (80, 7), layers=["same"])
    with pytest.raises(ArgumentError, match="layers must be modules that the model runs, got 'unused'"):
        measured(Twice(), images(), (80,), layers=["unused"])


def test_unknown_layers_and_layers_of_a_callable_are_refused():
    for net, known in ((small_net(), "'', '0'"), (lambda x: x, r"\(none: the model is no module\)")):
        with pytest.raises(ArgumentError, match=f"layers must be among the modules {known}.*, got 'conv'"):
            LayerPass(net, layers=["conv"], deformations=[diffeomorphism()])


def test_a_diverged_layer_is_named_with_its_images():
    net = small_net()

    class Logarithm(nn.Module):
        def forward(self, x):
            return x.flatten(1).log()

    x = images()
    x[70] = -1.0
    with pytest.raises(
        ArgumentError, match=r"output of '1' must be finite, got NaN.* for 1 images \(numbers 70\)"
    ):
        measured(nn.Sequential(nn.Identity(), Logarithm()), x + 0.5, (80, 10), layers=["0", "1"])
    x[70] = math.nan
    with pytest.raises(
        ArgumentError, match=r"images must be finite, got NaN or infinity for 1 .*numbers 70\)"
    ):
        measured(net, x, (65,))


class Guarded(nn.Module):
    """BatchNorm, dropout and a counter in train mode; breaks at the third forward if told."""

    def __init__(self, breaks=False):
        super().__init__()
        with torch.random.fork_rng():
            self.net = nn.Sequential(
                nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 2)
            ).double()
        self.register_buffer("calls", torch.zeros(1))
        self.breaks = breaks

    def forward(self, x):
        self.calls += 1
        torch.rand(1)
        if self.breaks and self.calls > 2:
            raise RuntimeError("broken")
        return self.net(x)


@pytest.mark.parametrize("breaks", [False, True])
def test_nothing_stays_behind(breaks):
    net = Guarded(breaks)
    net.net[0].eval()
    net.net[3].weight.requires_grad_(False)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    rng = torch.get_rng_state()
    outcome = pytest.raises(RuntimeError, match="broken") if breaks else contextlib.nullcontext()
    with outcome:
        measured(net, images(), (8,), layers=["net.0", "net.3", ""])
    assert torch.equal(torch.get_rng_state(), rng)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert [p.requires_grad for p in net.parameters()] == [True, True, False, True]
    assert all(p.grad is None for p in net.parameters())


def test_layers_that_cannot_be_trusted_are_told():
    x = images()
    mixed = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(144, track_running_stats=False).double())
    with pytest.warns(UnsteadyPredictorWarning, match="layer '1' changes with the other images of the batch"):
        measured(mixed, x, (16,), layers=["0", "1"])
    random = nn.Sequential(nn.Flatten(), linear(1, 1))
    generator = torch.Generator().manual_seed(0)
    random[1].forward = lambda v: v + torch.rand(v.shape, generator=generator)
    with pytest.warns(UnsteadyPredictorWarning, match="the predictor changes between two calls"):
        measured(random, x, (16,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_lifted(dtype):
    net, x = small_net(torch.float32), images(torch.float32)
    exact = floats(measured(net, x, (16,)).sums()[0, ""].stability()[:3])
    half = measured(small_net(torch.float32).to(dtype), x, (16,), layers=["0", ""]).sums()
    # sums of 4 * 100 squares in half precision would lose all but two or three digits
    rounding = 40 * torch.finfo(dtype).eps
    assert floats(half[0, ""].stability()[:3]) == pytest.approx(exact, rel=rounding)
    with torch.autocast("cpu", dtype=dtype):
        mixed = measured(net, x, (16,)).sums()[0, ""]
    assert floats(mixed.stability()[:3]) == pytest.approx(exact, rel=rounding)


def test_a_double_net_takes_single_images_and_the_other_way_round():
    x = images(torch.float32)
    found = measured(small_net(), x, (16,)).sums()[0, ""].stability()
    assert floats(found) == pytest.approx(by_formula(small_net(), x.double()), rel=1e-10)
    single = measured(small_net(torch.float32), x.double(), (16,)).sums()[0, ""].stability()
    assert floats(single) == pytest.approx(floats(found), rel=1e-4)


def test_what_a_module_gets_is_a_layer_too():
    net, x = small_net(), images()
    sums = measured(net, x, (16,), layers=["4:input", "3", "4"]).sums()
    torch.testing.assert_close(sums[0, "4:input"].per_image, sums[0, "3"].per_image)
    assert not torch.equal(sums[0, "4:input"].per_image, sums[0, "4"].per_image)
