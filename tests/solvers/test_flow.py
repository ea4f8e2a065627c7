import copy
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN, CentredOutput, make_loss
from diffstab.solvers.flow import GradientFlow, NetFlow
from diffstab.solvers.integrator import FlowSettings
from diffstab.solvers.stopping import StopRule
from tests.references.training import autograd_euler

LONG = StopRule(margin_share=None, loss_bound=1e-300)


def problem(generator, *, alpha=1.0, loss="soft_hinge", hidden=(30,), activation="softplus", n=12, d=20):
    net = FCN(d, hidden, activation=activation, generator=generator, dtype=torch.float64)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = torch.sign(torch.randn(n, generator=generator, dtype=torch.float64))
    return CentredOutput(net, alpha=alpha), make_loss(loss, alpha=alpha), x, y


def run_for(model, loss, x, y, time, decay=0.0, **settings):
    """Run the flow up to a time, by steps no longer than what is left."""
    flow = GradientFlow(model, loss, FlowSettings(stop=LONG, **settings), decay=decay)
    while flow.param_groups[0]["time"] < time * (1 - 1e-12):
        group = flow.param_groups[0]
        group["step_size"] = min(group["step_size"], time - group["time"])
        flow.step(x=x, y=y)
    return flow


@pytest.mark.parametrize("hidden", [(30,), (15, 12)], ids=["shallow", "deep"])
@pytest.mark.parametrize("loss", ["soft_hinge", "mse", "quadratic_hinge"])
def test_the_flow_is_the_limit_of_small_euler_steps(loss, hidden, generator):
    model, loss, x, y = problem(generator, loss=loss, hidden=hidden)
    time = 3.0
    slow = [copy.deepcopy(model) for _ in range(2)]
    for reference, steps in zip(slow, (1000, 2000)):
        autograd_euler(reference, loss, x, y, time=time, steps=steps)
    run_for(model, loss, x, y, time, weight_tolerance=1e-6, output_tolerance=1e-6)
    probe = torch.randn(50, x.shape[1], generator=generator, dtype=torch.float64)
    coarse, fine = (reference(probe).detach() for reference in slow)
    limit = 2 * fine - coarse  # Richardson: the error of Euler is linear in the step
    assert (fine - model(probe)).norm() < 1.5 * (coarse - fine).norm() + 1e-5 * fine.norm()
    assert (limit - model(probe)).norm() < 0.1 * (coarse - fine).norm() + 1e-5 * fine.norm()


def test_the_feature_regime_is_the_limit_of_small_euler_steps(generator):
    model, loss, x, y = problem(generator, alpha=1e-6)
    slow = [copy.deepcopy(model) for _ in range(2)]
    time = 277.0  # nine tenths of the way to the margins: the weights have grown by orders of magnitude
    for reference, steps in zip(slow, (4000, 8000)):
        autograd_euler(reference, loss, x, y, time=time, steps=steps)
    run_for(model, loss, x, y, time, weight_tolerance=1e-5, output_tolerance=1e-3)
    probe = torch.randn(50, x.shape[1], generator=generator, dtype=torch.float64)
    coarse, fine = (reference(probe).detach() for reference in slow)
    assert fine.abs().max() > 0.5
    assert (2 * fine - coarse - model(probe)).norm() < 0.1 * (coarse - fine).norm() + 1e-4 * fine.norm()


def test_the_lazy_limit_of_the_square_loss_is_exponential(generator):
    model, loss, x, y = problem(generator, loss="mse", alpha=1e6, hidden=(200,))
    kernel = model.net.tangent(x).kernel()
    time = 4.0
    # dF/dt = -alpha K (F - y) / n from F = 0: the kernel does not move.
    decay = torch.linalg.matrix_exp(-kernel * time / len(y))
    run_for(model, loss, x, y, time / 1e6, weight_tolerance=1e-8, output_tolerance=1e-8)
    torch.testing.assert_close(model(x).detach(), y - decay @ y, rtol=0, atol=1e-4)


def test_the_first_layer_keeps_what_lies_outside_the_span_of_the_data(generator):
    model, loss, x, y = problem(generator, alpha=1e-3)
    GradientFlow(model, loss).run(x, y)
    moved = (model.net.weights[0] - model.initial.weights[0]).detach()
    outside = moved - moved @ torch.linalg.pinv(x) @ x
    assert moved.norm() > 1
    assert outside.norm() < 1e-10 * moved.norm()


@pytest.mark.parametrize("activation", ["softplus", "relu"])
def test_with_a_penalty_all_weights_decay(activation, generator):
    """Against Euler steps of autograd, on fewer points than dimensions: there is much outside their span."""
    model, loss, x, y = problem(generator, loss="mse", n=5, activation=activation)
    time, decay, slow = 3.0, 0.2, [copy.deepcopy(model) for _ in range(2)]
    for reference, steps in zip(slow, (1000, 2000)):
        weights = reference.net.weights

        def penalised(outputs, targets, weights=weights):
            return loss(outputs, targets) + decay / 2 * sum(weight.square().sum() for weight in weights)

        autograd_euler(reference, penalised, x, y, time=time, steps=steps)
    run_for(model, loss, x, y, time, decay=decay, weight_tolerance=1e-6, output_tolerance=1e-6)
    for reached, coarse, fine in zip(model.net.weights, *(one.net.weights for one in slow), strict=True):
        limit = 2 * fine - coarse
        assert (limit - reached).norm() < 0.2 * (coarse - fine).norm() + 1e-5 * fine.norm()


def test_the_flow_stops_at_the_crossing(generator):
    model, loss, x, y = problem(generator, alpha=1e-6)
    status = GradientFlow(model, loss, FlowSettings(stop=StopRule(margin_share=1.0))).run(x, y)
    assert status.reason == "margin"
    assert (y * model(x)).min().item() == pytest.approx(1, abs=FlowSettings().stop_output_change)
    assert status.output_change <= FlowSettings().stop_output_change


def test_single_precision_follows_double(generator):
    model, loss, x, y = problem(generator, alpha=1e-6)
    single = CentredOutput(copy.deepcopy(model.net).float(), alpha=1e-6)
    settings = FlowSettings(weight_tolerance=1e-4)
    GradientFlow(model, loss, settings).run(x, y)
    GradientFlow(single, loss, settings).run(x.float(), y.float())
    exact = model(x).detach()
    assert (single(x.float()).detach() - exact).norm() < 0.02 * exact.norm()


def test_a_saved_flow_goes_on_to_the_same_bits(generator):
    model, loss, x, y = problem(generator, alpha=1e-2)
    twin = copy.deepcopy(model)
    flow = GradientFlow(model, loss)
    for _ in range(4):
        flow.step(x=x, y=y, steps=5)
    first = GradientFlow(twin, loss)
    for _ in range(2):
        first.step(x=x, y=y, steps=5)
    second = GradientFlow(twin, loss)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(2):
        second.step(x=x, y=y, steps=5)
    assert all(torch.equal(a, b) for a, b in zip(model.net.weights, twin.net.weights))
    assert flow.param_groups[0]["time"] == second.param_groups[0]["time"]


def test_the_callers_data_are_left_alone(generator):
    model, loss, x, y = problem(generator)
    before = x.clone(), y.clone()
    calls = []
    GradientFlow(model, loss).step(lambda: calls.append(1), x=x, y=y)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    assert calls == [1]


def test_what_cannot_flow_is_refused(generator):
    model, loss, x, y = problem(generator)
    flow = GradientFlow(model, loss)
    with pytest.raises(ArgumentError, match="x must be finite"):
        flow.run(x * float("nan"), y)
    with pytest.raises(ArgumentError, match="same positive number of samples, got 12 and 3"):
        flow.run(x, y[:3])
    with pytest.raises(ArgumentError, match="decay must be finite and at least 0"):
        GradientFlow(model, loss, decay=-1.0)
    with pytest.raises(ArgumentError, match=r"loss.alpha must equal the model's alpha 1.0"):
        GradientFlow(model, make_loss("mse", alpha=2.0))
    with pytest.raises(ArgumentError, match=r"model\.net must be an FCN of one output.*Use EulerFlow"):
        GradientFlow(CentredOutput(FCN(20, (3,), out_features=2, generator=generator)), loss).run(x, y)
    with pytest.raises(ArgumentError, match="weight_tolerance must be positive"):
        FlowSettings(weight_tolerance=0.0)


def contradicted(generator, *, dtype=torch.float64, loss="mse", alpha=1.0, activation="softplus"):
    """A problem whose loss has a minimum above zero: the same input twice, with both labels."""
    model, loss, x, y = problem(generator, alpha=alpha, loss=loss, activation=activation)
    x[1], y[0], y[1] = x[0], 1, -1
    return CentredOutput(model.net.to(dtype), alpha=alpha), loss, x.to(dtype), y.to(dtype)


@pytest.mark.parametrize("activation", ["softplus", "relu"])
@pytest.mark.parametrize("loss", ["mse", "quadratic_hinge"])
@pytest.mark.parametrize(
    ("alpha", "dtype"),
    [(1e-3, torch.float64), (1.0, torch.float64), (1e4, torch.float64), (1.0, torch.float32)],
)
def test_a_flow_at_its_minimum_is_stalled(alpha, dtype, loss, activation, generator):
    model, loss, x, y = contradicted(generator, alpha=alpha, dtype=dtype, loss=loss, activation=activation)
    status = GradientFlow(model, loss).run(x, y)
    assert status.reason == "stalled"
    assert status.done
    assert status.steps < 2000
    # Two of twelve points miss their labels by 1: a mean of 1/12, the rest is fitted.
    assert status.loss == pytest.approx(1 / 12, rel=1e-3)


def test_a_flow_without_a_gradient_is_stalled_at_once(generator):
    model, loss, x, y = problem(generator, activation="relu")
    with torch.no_grad():
        for weight in model.net.weights:
            weight.zero_()
    status = GradientFlow(model, loss).run(x, y)
    assert (status.reason, status.steps) == ("stalled", 1)


def test_a_stop_rule_that_is_met_goes_before_a_stall(generator):
    model, loss, x, y = contradicted(generator)
    settings = FlowSettings(stop=StopRule(margin_share=None, loss_bound=1 / 11))
    assert GradientFlow(model, loss, settings).run(x, y).reason == "loss"


def test_a_net_that_is_not_finite_is_an_error(generator):
    model, loss, x, y = problem(generator)
    with torch.no_grad():
        model.net.weights[0].fill_(float("nan"))
    with pytest.raises(DegenerateError, match="step size underflow"):
        GradientFlow(model, loss).step(x=x, y=y)


@pytest.mark.parametrize("alpha", [1.0, 1e4])
def test_autocast_around_a_flow_changes_nothing(alpha, generator):
    model, loss, x, y = problem(generator, alpha=alpha)
    twin = copy.deepcopy(model)
    plain = GradientFlow(model, loss).run(x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wrapped = GradientFlow(twin, loss).run(x, y)
    assert wrapped == plain
    assert all(torch.equal(*pair) for pair in zip(model.net.weights, twin.net.weights))


def test_a_relu_flow_is_the_limit_of_small_euler_steps(generator):
    model, loss, x, y = problem(generator, activation="relu")
    reference, time = copy.deepcopy(model), 3.0
    autograd_euler(reference, loss, x, y, time=time, steps=5000)
    run_for(model, loss, x, y, time)
    probe = torch.randn(50, x.shape[1], generator=generator, dtype=torch.float64)
    expected = reference(probe).detach()
    assert (model(probe).detach() - expected).norm() < 0.02 * expected.norm()
    weights = torch.cat([(a - b).flatten() for a, b in zip(model.net.weights, reference.net.weights)])
    travel = torch.cat([(a - b).flatten() for a, b in zip(reference.net.weights, model.initial.weights)])
    assert weights.norm() < 0.02 * travel.norm()


@pytest.mark.parametrize("alpha", [1e-8, 1e-6, 1e-3])
def test_small_outputs_in_single_precision_are_no_stall(alpha, generator):
    # At the start F changes by less than the rounding of the labels, and its slopes of both signs nearly cancel.
    model, loss, x, y = problem(generator, alpha=alpha, n=200, hidden=(100,), d=50)
    single = CentredOutput(model.net.float(), alpha=alpha)
    status = GradientFlow(single, loss).step(x=x.float(), y=y.float(), steps=30)
    assert (status.reason, status.steps) == ("", 30)


def half_way(generator, *, dtype=torch.float64, loss="soft_hinge", share=0.6, tolerance=5e-4, **options):
    """A flow on labels that a net can learn: some points have far more margin than they need, others lack it."""
    model, loss, x, _ = problem(generator, alpha=1e-6, loss=loss, n=80, d=6, hidden=(50,), **options)
    model, x, y = CentredOutput(model.net.to(dtype), alpha=1e-6), x.to(dtype), torch.sign(x[:, 0]).to(dtype)
    flow = GradientFlow(
        model, loss, FlowSettings(weight_tolerance=tolerance, stop=StopRule(margin_share=share))
    )
    assert flow.run(x, y).reason == "margin"
    return flow, x, y


@pytest.mark.parametrize("activation", ["softplus", "relu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_a_step_leaves_out_is_below_rounding(dtype, activation, generator):
    done, x, y = half_way(generator, dtype=dtype, activation=activation)
    with torch.no_grad():
        flow = NetFlow(done.model, done.loss, x, y)
        whole = flow.at(flow.state)
        part, kept = flow.within(whole, 0.01)
        rate, left_out = part.rate(kept).double(), (part.rate(kept) - flow.rate(whole)).norm()
    assert 0 < len(kept.outputs) < 0.9 * len(y)
    exact = CentredOutput(done.model.net.double(), alpha=1e-6)
    exact.initial = done.model.initial.double()
    gradient = torch.autograd.grad(done.loss(exact(x.double()), y.double()), list(exact.net.parameters()))
    first, last = gradient
    expected = -torch.cat([(first @ flow.basis.double()).flatten(), last.flatten()])
    assert left_out < 100 * torch.finfo(dtype).eps * expected.norm()
    # In double precision autograd's softplus is off by exp(-20), in single precision F has its own rounding.
    assert (rate - expected).norm() < max(1e-8, 1e4 * torch.finfo(dtype).eps) * expected.norm()


def test_a_point_that_was_left_out_and_moves_is_taken_back(generator):
    flow, x, y = half_way(generator, loss="quadratic_hinge")
    model = copy.deepcopy(flow.model)
    twin = GradientFlow(model, flow.loss, FlowSettings())
    twin.load_state_dict(copy.deepcopy(flow.state_dict()))
    with torch.no_grad():
        net = NetFlow(model, flow.loss, x, y)
        assert net.within(net.at(net.state), 1e-10)[0] is not net
    for one, rate in ((flow, math.inf), (twin, 1e-12)):
        # Far longer than the last step, so that points without a slope move.
        one.settings = FlowSettings(weight_tolerance=10, output_tolerance=10)
        one.param_groups[0].update(output_rate=rate, step_size=30.0, largest_step=math.inf)
    assert flow.step(x=x, y=y) == twin.step(x=x, y=y)
    assert all(map(torch.equal, flow.model.net.weights, model.net.weights))


@pytest.mark.parametrize("activation", ["softplus", "relu"])
def test_the_default_tolerance_follows_a_far_smaller_one(activation, generator):
    ends = []
    for tolerance in (5e-4, 5e-5):
        options = {"dtype": torch.float32, "activation": activation, "share": 0.95, "tolerance": tolerance}
        flow, x, _ = half_way(generator.manual_seed(0), **options)
        probe = torch.randn(200, x.shape[1], generator=generator)
        ends.append((flow.param_groups[0]["time"], flow.model(probe).detach()))
    (time, outputs), (exact_time, exact) = ends
    assert time == pytest.approx(exact_time, rel=0.03)
    assert (outputs - exact).norm() < 0.03 * exact.norm()


class Operations(TorchDispatchMode):
    """The names of what torch does, views and bookkeeping too."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def test_a_later_step_brings_no_constants_to_the_device(generator):
    flow, x, y = half_way(generator, dtype=torch.float32)
    flow.settings = FlowSettings()
    with Operations() as few:
        flow.step(x=x, y=y, steps=2)
    with Operations() as many:
        flow.step(x=x, y=y, steps=12)
    # A constant of the host appears as lift_fresh, a number that is taken from the device as _local_scalar_dense.
    for name, most in (("lift_fresh", 0), ("_local_scalar_dense", 20), ("nonzero", 30)):
        assert many.names.count(name) - few.names.count(name) <= most
    assert many.names.count("mm") > few.names.count("mm")
