import copy

import pytest
import torch

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN, CentredOutput, make_loss
from diffstab.solvers.euler import EulerFlow
from diffstab.solvers.flow import GradientFlow
from diffstab.solvers.optimise import OPTIMISERS, OptimiserSettings, make_optimiser, make_solver
from diffstab.solvers.stopping import StopRule

RATES = {"adam": 0.1, "gd": 3.0, "sgd": 3.0}


def problem(generator, out_features=1):
    net = FCN(10, (20,), out_features=out_features, generator=generator)
    x = torch.randn(12, 10, generator=generator)
    return CentredOutput(net), x, torch.sign(x[:, 0])


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_reaches_the_margins(name, generator):
    model, x, y = problem(generator)
    settings = OptimiserSettings(name, learning_rate=RATES.get(name, 1.0), stop=StopRule(margin_share=1.0))
    seen = []
    outcome = make_solver(model, make_loss("soft_hinge"), settings).run(x, y, on_step=seen.append)
    assert outcome.reason == "margin"
    assert (y * model(x)).min().item() >= 1 - 1e-6
    assert seen
    assert seen[0].steps <= outcome.steps


def test_gradient_descent_takes_the_plain_step(generator):
    model, x, y = problem(generator)
    loss = make_loss("mse")
    start = [weight.detach().clone() for weight in model.net.weights]
    gradient = torch.autograd.grad(loss(model(x), y), list(model.net.weights))
    settings = OptimiserSettings("gd", learning_rate=0.3, stop=StopRule(max_steps=1))
    assert make_solver(model, loss, settings).run(x, y).reason == "max_steps"
    for weight, before, slope in zip(model.net.weights, start, gradient):
        torch.testing.assert_close(weight.detach(), before - 0.3 * slope)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_in_parts_and_from_a_state_are_those_of_one_run_to_the_bit(name, generator):
    model, x, y = problem(generator)
    loss, settings = make_loss("soft_hinge"), OptimiserSettings(name, learning_rate=0.05, momentum=0.9)
    twins = [copy.deepcopy(model) for _ in range(2)]
    whole = make_solver(model, loss, settings)
    expected = whole.step(x=x, y=y, steps=20)
    parted = make_solver(twins[0], loss, settings)
    for _ in range(4):
        found = parted.step(x=x.clone(), y=y, steps=5)
    assert found == expected
    half = make_solver(twins[1], loss, settings)
    half.step(x=x, y=y, steps=10)
    resumed = make_solver(copy.deepcopy(twins[1]), loss, settings)
    resumed.load_state_dict(copy.deepcopy(half.state_dict()))
    assert resumed.step(x=x, y=y, steps=10) == expected
    for solver in (parted, resumed):
        pairs = zip(solver.model.net.parameters(), model.net.parameters())
        assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_weights_and_data_that_others_changed_are_seen(name, generator):
    model, x, y = problem(generator)
    loss, settings = make_loss("soft_hinge"), OptimiserSettings(name, learning_rate=0.05)
    solver = make_solver(model, loss, settings)
    solver.step(x=x, y=y, steps=3)
    with torch.no_grad():
        for weight in model.net.weights:
            weight.mul_(0.5)
    other = x.flip(0)
    twin = make_solver(copy.deepcopy(model), loss, settings)
    twin.load_state_dict(copy.deepcopy(solver.state_dict()))
    assert solver.step(x=other, y=y, steps=3) == twin.step(x=other, y=y, steps=3)


def test_f_0_is_computed_once(generator):
    model, x, y = problem(generator)
    calls = []
    model.initial.register_forward_hook(lambda *_: calls.append(1))
    for name in ("adam", "euler"):
        solver = make_solver(model, make_loss("soft_hinge"), OptimiserSettings(name, learning_rate=1e-3))
        calls.clear()
        for _ in range(3):
            solver.step(x=x, y=y, steps=5)
        # Once, and on few inputs twice to see that it hangs on nothing else.
        assert len(calls) <= 4


@pytest.mark.parametrize("layer", [torch.nn.BatchNorm1d(20), torch.nn.Dropout(0.5)], ids=["norm", "dropout"])
def test_f_0_that_hangs_on_more_than_the_image_is_not_kept(layer, generator):
    with torch.random.fork_rng():
        net = torch.nn.Sequential(torch.nn.Linear(10, 20), layer, torch.nn.Linear(20, 2))
        before = torch.get_rng_state()
        assert CentredOutput(net).fixed_start(torch.randn(12, 10, generator=generator)) is None
        assert torch.equal(torch.get_rng_state(), before)


def test_a_diverging_rate_is_told(generator):
    model, x, y = problem(generator)
    settings = OptimiserSettings("gd", learning_rate=1e6)
    with pytest.raises(DegenerateError, match=r"The loss became .* lower the learning rate"):
        make_solver(model, make_loss("mse"), settings).run(x, y)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_cannot_be_trained_on_is_refused_whoever_trains(name, generator):
    model, x, y = problem(generator)
    settings, loss = OptimiserSettings(name), make_loss("soft_hinge")
    with pytest.raises(ArgumentError, match="x must be finite, got NaN or infinity"):
        make_solver(model, loss, settings).run(x * float("nan"), y)
    with pytest.raises(ArgumentError, match="same positive number of samples, got 0 and 0"):
        make_solver(model, loss, settings).run(x[:0], y[:0])
    with pytest.raises(
        ArgumentError, match=r"y must hold -1 and \+1 only with soft_hinge, got values from 0 to 1"
    ):
        make_solver(model, loss, settings).run(x, (y + 1) / 2)


def test_the_fast_flow_is_used_where_it_can_be(generator):
    model, _, _ = problem(generator)
    assert isinstance(make_solver(model, make_loss("mse"), OptimiserSettings()), GradientFlow)
    assert isinstance(make_solver(model, make_loss("mse"), OptimiserSettings("euler")), EulerFlow)
    classes, _, _ = problem(generator, out_features=3)
    assert isinstance(make_solver(classes, make_loss("cross_entropy"), OptimiserSettings()), EulerFlow)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "lbfgs"}, "optimiser must be one of gradient_flow, euler, gd, adam, sgd, got 'lbfgs'"),
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite"),
        ({"weight_tolerance": -1.0}, "weight_tolerance must be positive"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\)"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        OptimiserSettings(**arguments)


def test_flows_are_no_torch_optimisers(generator):
    model, _, _ = problem(generator)
    with pytest.raises(ArgumentError, match="optimiser must be gd, sgd or adam here"):
        make_optimiser(model, OptimiserSettings())


def test_loss_and_model_agree_on_alpha(generator):
    model, _, _ = problem(generator)
    for name in OPTIMISERS:
        with pytest.raises(ArgumentError, match=r"loss\.alpha must equal the model's alpha"):
            make_solver(model, make_loss("mse", alpha=0.5), OptimiserSettings(name))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_regression_on_several_outputs(name, generator):
    model, x, _ = problem(generator, out_features=2)
    y = torch.stack([x[:, 0], x[:, 1] - x[:, 2]], dim=1)
    loss, rate = make_loss("regression"), 0.02 if name == "adam" else 0.3
    stop = StopRule(margin_share=None, loss_bound=0.01)
    status = make_solver(model, loss, OptimiserSettings(name, learning_rate=rate, stop=stop)).run(x, y)
    assert status.reason == "loss"
    assert status.error == pytest.approx(2 * status.loss)
    assert (model(x) - y).square().sum(1).mean().item() <= 0.02 * (1 + 1e-5)
