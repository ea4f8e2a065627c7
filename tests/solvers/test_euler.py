import pytest
import torch
from torch import nn

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN, CentredOutput, make_loss
from diffstab.solvers.euler import EulerFlow, EulerSettings, relative_gradient_change
from diffstab.solvers.flow import GradientFlow
from diffstab.solvers.integrator import FlowSettings
from diffstab.solvers.stopping import StopRule


def problem(generator, alpha=1e-2):
    net = FCN(10, (20,), generator=generator, dtype=torch.float64)
    x = torch.randn(12, 10, generator=generator, dtype=torch.float64)
    y = torch.sign(torch.randn(12, generator=generator, dtype=torch.float64))
    return CentredOutput(net, alpha=alpha), make_loss("soft_hinge", alpha=alpha), x, y


def gradient(model, loss, x, y):
    return list(torch.autograd.grad(loss(model(x), y), list(model.net.parameters())))


def test_convention_acceptance_rule(generator):
    settings = EulerSettings()
    assert (settings.gradient_change, settings.output_change) == (1e-4, 0.1)
    model, loss, x, y = problem(generator)
    flow = EulerFlow(model, loss, EulerSettings(initial_step=1e4))
    before, outputs = gradient(model, loss, x, y), model(x).detach()
    status = flow.step(x=x, y=y)
    after = gradient(model, loss, x, y)
    moved = sum((b - a).square().sum() for a, b in zip(before, after))
    norms = [sum(g.square().sum() for g in part).sqrt() for part in (before, after)]
    assert moved / (norms[0] * norms[1]) <= 1e-4
    assert (model(x) - outputs).abs().max() <= 0.1
    # A refused step is tried again ten times shorter; the accepted one makes the next 1.1 times longer.
    assert status.rejected > 0
    assert status.time == pytest.approx(1e4 / 10**status.rejected)
    assert status.step_size == pytest.approx(1.1 * status.time)


def test_both_integrators_agree(generator):
    model, loss, x, y = problem(generator)
    twin = CentredOutput(FCN(10, (20,), generator=torch.Generator(), dtype=torch.float64), alpha=1e-2)
    twin.load_state_dict(model.state_dict())
    slow = EulerFlow(model, loss).run(x, y)
    fast = GradientFlow(twin, loss, FlowSettings(weight_tolerance=1e-4)).run(x, y)
    probe = torch.randn(100, 10, generator=generator, dtype=torch.float64)
    assert slow.reason == fast.reason == "margin"
    assert fast.steps < slow.steps / 5
    assert (model(probe) - twin(probe)).norm() < 0.03 * model(probe).norm()


def test_convolutions_and_classes_flow_too(generator):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 36, 3))
    x = torch.randn(9, 1, 8, 8, generator=generator)
    y = torch.arange(9) % 3
    stop = StopRule(margin_share=None, loss_bound=0.5)
    status = EulerFlow(CentredOutput(net), make_loss("cross_entropy"), EulerSettings(stop=stop)).run(x, y)
    assert status.reason == "loss"
    assert status.loss <= 0.5


def test_the_gradient_change_is_relative():
    old, new = [torch.tensor([3.0, 0.0])], [torch.tensor([3.0, 4.0])]
    assert relative_gradient_change(old, new) == pytest.approx(16 / (3 * 5))
    assert relative_gradient_change(old, old) == 0


def test_what_cannot_flow_is_refused(generator):
    model, loss, x, y = problem(generator)
    with pytest.raises(ArgumentError, match=r"loss\.alpha must equal the model's alpha 0\.01"):
        EulerFlow(model, make_loss("mse"))
    with pytest.raises(ArgumentError, match="gradient_change must be positive"):
        EulerSettings(gradient_change=0.0)
    with pytest.raises(ArgumentError, match="y must be finite"):
        EulerFlow(model, loss).run(x, y * float("inf"))
    with torch.no_grad():
        model.net.weights[0].fill_(float("nan"))
    with pytest.raises(DegenerateError, match="step size underflow"):
        EulerFlow(model, loss).step(x=x, y=y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_flow_that_comes_to_a_halt_at_a_kink_is_stalled(dtype):
    # One neuron of relu on one point: the gradient jumps where it dies, and no step over the jump is accepted.
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU()).to(dtype)
    with torch.no_grad():
        net[0].weight.fill_(1)
    x, y = torch.ones(2, 1, dtype=dtype), torch.tensor([0, 1])

    class TwoOutputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            out = self.net(x)
            return torch.cat([out, -out - 1], dim=1)

    model = CentredOutput(TwoOutputs())
    status = EulerFlow(model, make_loss("cross_entropy"), EulerSettings(stop=StopRule(max_steps=50_000))).run(
        x, y
    )
    assert status.reason == "stalled"


def test_autocast_around_the_reference_changes_nothing(generator):
    model, loss, x, y = problem(generator)
    expected = gradient(model, loss, x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, found = EulerFlow(model, loss)._evaluate(x, y)
    assert all(torch.equal(*pair) for pair in zip(expected, found))
