import pytest
import torch

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN, CentredOutput, make_loss
from diffstab.solvers.euler import EulerFlow
from diffstab.solvers.flow import GradientFlow
from diffstab.solvers.optimise import OPTIMISERS, OptimiserSettings, fit_model, make_flow, make_optimiser
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
    outcome = fit_model(model, make_loss("soft_hinge"), x, y, settings=settings, on_progress=seen.append)
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
    assert fit_model(model, loss, x, y, settings=settings).reason == "max_steps"
    for weight, before, slope in zip(model.net.weights, start, gradient):
        torch.testing.assert_close(weight.detach(), before - 0.3 * slope)


def test_mini_batches_need_a_generator_and_repeat_with_it(generator):
    settings = OptimiserSettings("sgd", learning_rate=0.5, batch_size=4, stop=StopRule(max_steps=20))
    model, x, y = problem(generator)
    with pytest.raises(ArgumentError, match="generator must be given with a batch_size"):
        fit_model(model, make_loss("mse"), x, y, settings=settings)
    ends = []
    for _ in range(2):
        twin = CentredOutput(FCN(10, (20,), generator=torch.Generator().manual_seed(7)))
        fit_model(twin, make_loss("mse"), x, y, settings=settings, generator=torch.Generator().manual_seed(3))
        ends.append(twin.net.weights[0].detach())
    assert torch.equal(*ends)


def test_a_diverging_rate_is_told(generator):
    model, x, y = problem(generator)
    settings = OptimiserSettings("gd", learning_rate=1e6)
    with pytest.raises(DegenerateError, match=r"The loss became .* lower the learning rate"):
        fit_model(model, make_loss("mse"), x, y, settings=settings)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_cannot_be_trained_on_is_refused_whoever_trains(name, generator):
    model, x, y = problem(generator)
    settings, loss = OptimiserSettings(name), make_loss("soft_hinge")
    with pytest.raises(ArgumentError, match="x must be finite, got NaN or infinity"):
        fit_model(model, loss, x * float("nan"), y, settings=settings)
    with pytest.raises(ArgumentError, match="same positive number of samples, got 0 and 0"):
        fit_model(model, loss, x[:0], y[:0], settings=settings)
    with pytest.raises(
        ArgumentError, match=r"y must hold -1 and \+1 only with soft_hinge, got values from 0 to 1"
    ):
        fit_model(model, loss, x, (y + 1) / 2, settings=settings)


def test_the_fast_flow_is_used_where_it_can_be(generator):
    model, _, _ = problem(generator)
    assert isinstance(make_flow(model, make_loss("mse"), OptimiserSettings()), GradientFlow)
    assert isinstance(make_flow(model, make_loss("mse"), OptimiserSettings("euler")), EulerFlow)
    classes, _, _ = problem(generator, out_features=3)
    assert isinstance(make_flow(classes, make_loss("cross_entropy"), OptimiserSettings()), EulerFlow)


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


def test_flows_and_descents_are_told_apart(generator):
    model, _, _ = problem(generator)
    with pytest.raises(ArgumentError, match="optimiser must be gd, sgd or adam here"):
        make_optimiser(model, OptimiserSettings())
    with pytest.raises(ArgumentError, match="optimiser must be gradient_flow or euler here"):
        make_flow(model, make_loss("mse"), OptimiserSettings("adam"))
