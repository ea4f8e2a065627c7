import copy
import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.nets import CentredOutput, make_loss
from diffstab.solvers.sphere import sphere_solver, train_sphere
from diffstab.solvers.sphere_net import FLOWS, ReluNeurons, SphereTraining
from diffstab.solvers.sphere_rules import RULES, Problem, _move, _slope, evaluate, start
from diffstab.sphere import MinNormReLU, uniform_points

ALL = (*RULES, *FLOWS)
PENALISED = (*RULES, "decay_flow")


@pytest.fixture
def circle(generator):
    points = uniform_points(10, 2, generator=generator)
    return points, torch.ones(10, dtype=torch.float64)


def wave(points):
    return points[:, 0].square() - 0.5 * points[:, 0] * points[:, 1]


@pytest.mark.parametrize("rule", RULES)
def test_slope_is_that_of_the_loss(circle, rule, generator):
    points, values = circle
    problem = Problem(points, values, rule, 0.0)
    weights = torch.randn(30, dtype=torch.float64, generator=generator).requires_grad_()
    neurons = torch.randn(2, 30, dtype=torch.float64, generator=generator).requires_grad_()
    loss = (values - (points @ neurons).relu() @ weights / 30).square().mean() / 2
    by_weights, by_neurons = torch.autograd.grad(loss, (weights, neurons))
    with torch.no_grad():
        slope = _slope(problem, evaluate(problem, weights, neurons))
    torch.testing.assert_close(-30 * by_neurons, weights.detach() * slope)
    torch.testing.assert_close(-30 * by_weights, (neurons.detach() * slope).sum(0))


@pytest.mark.parametrize("rule", PENALISED)
def test_rules_approach_the_exact_objective_from_above_and_its_predictor(circle, rule):
    points, values = circle
    exact = MinNormReLU(penalty=1e-2, tol=1e-7).fit(points.numpy(), values.numpy())
    outcome = train_sphere(points, values, SphereTraining(rule=rule, width=200, penalty=1e-2, max_steps=8000))
    assert exact.objective_ * (1 - 1e-7) <= outcome.objective <= exact.objective_ * 1.005
    angle = torch.linspace(0, 2 * math.pi, 200, dtype=torch.float64)
    test = torch.stack([angle.cos(), angle.sin()], 1)
    apart = outcome.predict(test) - torch.from_numpy(exact.predict(test.numpy()))
    # The loss alone bounds the misfit on the data; between them the predictors agree to the part that is left.
    assert apart.square().mean().sqrt() < 0.05
    assert outcome.history[-1].n_atoms <= len(points)


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "dimension"), [("projected_gd", 3), ("weight_decay", 2), ("path_norm", 3)])
def test_long_training_comes_within_one_per_cent(generator, rule, dimension):
    points = uniform_points(24, dimension, generator=generator)
    values = wave(points)
    exact = MinNormReLU(penalty=1e-3, tol=1e-6).fit(points.numpy(), values.numpy())
    settings = SphereTraining(rule=rule, width=2000, penalty=1e-3, max_steps=20_000, tolerance=1e-5)
    outcome = train_sphere(points, values, settings)
    assert exact.objective_ * (1 - 1e-6) <= outcome.objective <= exact.objective_ * 1.01


@pytest.mark.parametrize("rule", ALL)
def test_objective_in_the_outcome_is_that_of_its_neurons(circle, rule):
    points, values = circle
    settings = SphereTraining(rule=rule, width=50, penalty=1e-3, max_steps=300)
    outcome = train_sphere(points, values, settings)
    loss = (outcome.predict(points) - values).square().mean() / 2
    assert outcome.loss == pytest.approx(float(loss), rel=1e-9)
    mass = float(outcome.weights.abs().sum())
    assert outcome.history[-1].mass == pytest.approx(mass)
    if rule in ("projected_gd", "path_norm", "conic"):
        assert outcome.objective == pytest.approx(float(loss) + 1e-3 * mass, rel=1e-9)
    elif rule in ("weight_decay", "decay_flow"):
        # w^2 + v^2 >= 2 |w||v|: the decay costs at least the path norm.
        assert outcome.objective >= float(loss) + 1e-3 * mass - 1e-12
    torch.testing.assert_close(outcome.atoms.norm(dim=1), torch.ones(50, dtype=torch.float64))


@pytest.mark.parametrize("rule", PENALISED)
def test_objective_falls_along_the_history(circle, rule):
    settings = SphereTraining(rule=rule, width=100, penalty=1e-3, max_steps=2000)
    outcome = train_sphere(*circle, settings)
    objectives = [entry.objective for entry in outcome.history]
    assert objectives[-1] < 0.1 * objectives[0]
    steps = [entry.step for entry in outcome.history]
    assert steps == sorted(steps)
    assert steps[0] == 0
    assert steps[-1] == outcome.steps


@pytest.mark.parametrize(("rule", "penalty"), [("alpha_trick", 0.0), ("decay_flow", 0.3)])
def test_flows_are_those_of_alpha_times_a_net_of_weights_of_order_one(generator, rule, penalty):
    """Against many small steps of plain descent on 1/(2 n alpha) sum (y - alpha f)^2; the penalty has alpha = 1."""
    width, points = 20, uniform_points(6, 2, generator=generator)
    values, alpha = 1 + wave(points), 0.5 if rule == "alpha_trick" else 1.0
    settings = SphereTraining(
        rule, width=width, alpha=alpha, penalty=penalty, objective_bound=0.05, weight_tolerance=1e-5
    )
    solver = sphere_solver(CentredOutput(settings.net(2), xi=0.0), make_loss("regression"), settings)
    w, v = (part.clone() / alpha**0.5 for part in settings.net(2).parts())
    status = solver.step(x=points, y=values, steps=400)
    count = 20_000
    pace = status.time / count / width  # the net's output has a factor 1/H, and so have its gradients
    for _ in range(count):
        hidden = (points @ v).relu()
        slope = -(values - alpha * hidden @ w / width) / len(points)
        by_w = hidden.T @ slope + penalty * w
        by_v = points.T @ (slope[:, None] * (hidden > 0)) * w + penalty * v
        w, v = w - pace * by_w, v - pace * by_v
    reached = solver.model(points).detach()
    torch.testing.assert_close(reached, alpha * (points @ v).relu() @ w / width, atol=1e-3, rtol=0)
    assert (reached - settings.net(2)(points).detach().squeeze(1)).abs().max() > 0.05


@pytest.mark.parametrize("alpha", [1e-2, 1e-6])
def test_alpha_trick_fits_with_few_atoms(circle, alpha):
    points, values = circle
    settings = SphereTraining(rule="alpha_trick", width=200, alpha=alpha, max_steps=2000)
    outcome = train_sphere(points, values, settings)
    assert outcome.loss < 1e-4
    assert outcome.history[0].n_atoms > len(points)
    assert outcome.history[-1].n_atoms <= (len(points) if alpha == 1e-6 else 200)


def test_alpha_of_1e_minus_50_stays_within_range(circle):
    points, values = circle
    settings = SphereTraining(rule="alpha_trick", width=100, alpha=1e-50, max_steps=2000)
    outcome = train_sphere(points, values, settings)
    assert outcome.history[0].mass == pytest.approx(1e-50)
    assert all(math.isfinite(entry.loss) for entry in outcome.history)
    # The plateau is left (its loss is that of f = 0, 1/2) and the neurons gather in few directions.
    assert outcome.loss < 0.25
    assert outcome.history[-1].n_atoms <= len(points)


@pytest.mark.parametrize("rule", ALL)
def test_steps_in_parts_and_from_a_state_are_those_of_one_run_to_the_bit(circle, rule):
    points, values = circle
    settings = SphereTraining(rule=rule, width=40, max_steps=400)

    def solver():
        return sphere_solver(CentredOutput(settings.net(2), xi=0.0), make_loss("regression"), settings)

    whole, first, second = solver(), solver(), solver()
    expected = whole.step(x=points, y=values, steps=400)
    first.step(x=points, y=values, steps=150)
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for resumed in (first, second):
        assert resumed.step(x=points, y=values, steps=250) == expected
        pairs = zip(resumed.model.parameters(), whole.model.parameters(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


def test_steps_are_those_of_a_plain_loop_of_projected_descent(circle):
    """The published update, written again: w <- soft(w + s g, s lambda), v <- v + s w G, normalised."""
    points, values = circle
    settings = SphereTraining(width=30, penalty=1e-3, max_steps=20, tolerance=0.0, plain=True)
    net = settings.net(2)
    w, v = (part.clone() for part in net.parts())
    outcome = train_sphere(points, values, settings)
    at = moved = w, v
    size, ceiling = 1.0, torch.inf
    for step in range(21):
        w, v = moved
        residuals = values - (points @ v).relu() @ w / 30
        objective = residuals.square().mean() / 2 + 1e-3 * w.abs().mean()
        if objective <= ceiling:
            at, size = (w, v), size * 1.01 if step else size
            ceiling = 0.97 * ceiling + 0.03 * objective if step else objective
        else:
            size /= 2
        w, v = at
        residuals = values - (points @ v).relu() @ w / 30
        slope = points.T @ (residuals[:, None] * (points @ v > 0)) / len(points)
        gained, turned = w + size * (v * slope).sum(0), v + size * w * slope
        moved = gained.sign() * (gained.abs() - size * 1e-3).clamp(min=0), turned / turned.norm(dim=0)
    for found, expected in zip(outcome.net.parts(), at, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_stop_rule(circle):
    points, values = circle
    reached = train_sphere(points, values, SphereTraining(width=50, penalty=1e-2, objective_bound=0.1))
    assert reached.stop_reason == "objective"
    assert reached.objective <= 0.1
    short = train_sphere(points, values, SphereTraining(width=50, max_steps=130, tolerance=0.0))
    assert (short.stop_reason, short.steps) == ("max_steps", 130)
    settled = train_sphere(points, values, SphereTraining(width=50, penalty=0.1, tolerance=1e-3))
    assert settled.stop_reason == "converged"
    for penalty, reason in ((0.0, "loss"), (1e-2, "objective")):
        flow = SphereTraining("decay_flow", width=50, penalty=penalty, objective_bound=0.1)
        reached = train_sphere(points, values, flow)
        assert reached.stop_reason == reason
        assert reached.objective <= 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "adam"}, "rule must be one of projected_gd"),
        ({"width": 0}, "width must be at least 1"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"penalty": -1.0}, "penalty must be finite and at least 0"),
        ({"tolerance": math.nan}, "tolerance must be finite"),
        ({"alpha": 0.0}, r"alpha must lie in \(0, 1\]"),
        ({"weight_tolerance": 0.0}, "weight_tolerance must be positive"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        SphereTraining(**options)


@pytest.mark.parametrize(
    ("points", "values", "message"),
    [
        (torch.ones(3), torch.ones(3), r"points and values must have shapes \(n, d\) and \(n,\)"),
        (torch.ones(3, 2), torch.ones(2), "hold the same positive number of samples, got 3 and 2"),
        (torch.ones(3, 2), torch.ones(3).double(), "must have one floating type"),
        (torch.ones(3, 2) * math.nan, torch.ones(3), "must be finite"),
    ],
)
def test_data_that_do_not_fit_are_refused(points, values, message):
    with pytest.raises(ArgumentError, match=message):
        train_sphere(points, values, SphereTraining(width=3))


def test_state_lies_where_the_points_do():
    # The meta device stands for an accelerator: a tensor left on the CPU fails in the first product with the others.
    problem = Problem(torch.ones(4, 3, device="meta"), torch.ones(4, device="meta"), "conic", 0.0)
    net = SphereTraining("conic", width=5).net(3, like=problem.points)
    *tensors, steps = start(problem, *net.parts())
    assert steps == 0
    assert {part.device.type for part in tensors} == {"meta"}
    assert {part.device.type for part in _move(problem, start(problem, *net.parts()))} == {"meta"}


@pytest.mark.parametrize("length", [0.0, 1e-310, 1e-200, 1.0, 1e200])
def test_atoms_have_directions_of_length_one_whatever_the_length_of_a_neuron(length):
    neurons = torch.tensor([[0.6], [0.8]], dtype=torch.float64) * length
    atoms, weights = ReluNeurons(torch.ones(1, dtype=torch.float64), neurons).atoms()
    expected = torch.tensor([[0.6, 0.8] if length else [1, 0]], dtype=torch.float64)
    torch.testing.assert_close(atoms, expected, rtol=1e-12, atol=0)
    assert float(weights) == pytest.approx(length, rel=1e-12, abs=0)
