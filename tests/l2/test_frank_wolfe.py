"""Minima over the covariances: certified, equal to those of other solvers, and never above other forms."""

import dataclasses

import pytest
import torch

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.l2 import L2Problem
from diffstab.l2.covariances import covariance_loss
from diffstab.l2.descent import DescentSettings, train_widths
from diffstab.l2.frank_wolfe import FrankWolfeSettings, minimise_covariances
from diffstab.l2.group_lasso import corrected, dual_value, primal_value
from diffstab.l2.network import weight_loss
from diffstab.l2.oracle import best_generators
from diffstab.sphere import MinNormReLU, uniform_points


def problem_of(generator, *, features=3, points=8, outputs=2, classes=0, **options):
    inputs = torch.randn(features, points, generator=generator, dtype=torch.float64)
    targets = torch.randn(outputs, points, generator=generator, dtype=torch.float64)
    if classes and options["cost"] == "cross_entropy":
        targets = torch.randint(classes, (points,), generator=generator)
        options["classes"] = classes
    return L2Problem(inputs, targets, penalty=1e-2, **options)


@pytest.mark.parametrize("features", [1, 2, 3])
def test_exact_oracle_is_not_beaten_by_a_dense_search(features, generator):
    problem = problem_of(generator, features=features)
    slopes = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    found = best_generators(problem, slopes, problem.inputs, starts=1, generator=generator)
    assert found.exact
    drawn = torch.randn(200_000, features, generator=generator, dtype=torch.float64)
    drawn /= drawn.norm(dim=1, keepdim=True)
    values = (torch.relu(drawn @ problem.inputs) @ slopes.T).norm(dim=1)
    assert float(found.values[0]) >= float(values.max()) * (1 - 1e-12)
    assert float(found.values[0]) <= float(values.max()) * 1.02
    torch.testing.assert_close(found.directions.norm(dim=1), torch.ones(len(found.directions)).double())


def test_many_starts_find_what_all_faces_give(generator, monkeypatch):
    problem = problem_of(generator, features=4, points=10)
    misses = 0
    for _ in range(5):
        slopes = torch.randn(2, 10, generator=generator, dtype=torch.float64)
        exact = best_generators(problem, slopes, problem.inputs, starts=1, generator=generator)
        with monkeypatch.context() as patch:
            patch.setattr("diffstab.l2.oracle._MOST_FACES", 0)
            searched = best_generators(problem, slopes, problem.inputs, starts=200, generator=generator)
        assert exact.exact
        assert not searched.exact
        assert float(searched.values[0]) <= float(exact.values[0]) * (1 + 1e-12)
        misses += float(searched.values[0]) < float(exact.values[0]) * (1 - 1e-6)
    assert misses <= 1


def test_columns_in_special_position_make_no_exact_claim(generator):
    inputs = torch.tensor([[1.0, 0, 1, 1], [0, 1, 1, -1], [0, 0, 0, 1]]).double()
    problem = L2Problem(inputs, torch.ones(1, 4).double())
    slopes = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    assert not best_generators(problem, slopes, inputs, starts=20, generator=generator).exact


def test_linear_oracle_is_the_operator_norm(generator):
    problem = problem_of(generator, activation="linear", features=5)
    slopes = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    found = best_generators(problem, slopes, problem.inputs, starts=1, generator=generator)
    expected = float(torch.linalg.matrix_norm(slopes @ problem.inputs.T, 2))
    assert float(found.values[0]) == pytest.approx(expected, rel=1e-12)
    assert found.exact


def test_corrective_step_meets_the_conditions_of_the_group_lasso(generator):
    problem = problem_of(generator, bias=0.5)
    activations = torch.randn(6, 8, generator=generator, dtype=torch.float64).abs()
    weights = corrected(problem, activations, torch.zeros(2, 7).double())
    slopes = problem.cost_gradient(weights @ problem.extended(activations))
    pulls = slopes @ activations.T
    for column, pull in zip(weights[:, :6].T, pulls.T, strict=True):
        if column.norm() > 0:
            torch.testing.assert_close(pull, -2 * problem.penalty * column / column.norm(), rtol=0, atol=1e-7)
        else:
            assert pull.norm() <= 2 * problem.penalty
    bias = problem.bias * slopes.sum(1)
    torch.testing.assert_close(bias, -2 * problem.penalty * weights[:, 6], rtol=0, atol=1e-7)


@pytest.mark.parametrize("bias", [0.0, 0.7])
@pytest.mark.parametrize("cost", ["mse", "cross_entropy"])
def test_the_dual_never_exceeds_the_primal(cost, bias, generator):
    problem = problem_of(generator, bias=bias, cost=cost, classes=2)
    below = problem.extended_inputs
    for _ in range(10):
        directions = torch.randn(5, len(below), generator=generator, dtype=torch.float64)
        directions /= directions.norm(dim=1, keepdim=True)
        activations = torch.relu(directions @ below)
        weights = torch.randn(2, 5 + int(bias > 0), generator=generator, dtype=torch.float64)
        slopes = problem.cost_gradient(weights @ problem.extended(activations))
        largest = best_generators(problem, slopes, below, starts=50, generator=generator).values[0]
        assert dual_value(problem, slopes, largest) <= primal_value(problem, activations, weights)


def test_one_output_on_the_sphere_is_the_exact_minimum_norm_predictor(generator):
    # An independent solver by column generation: (1/2N) sum (y - f)^2 + penalty |gamma|, with penalty = 2 lambda.
    points = uniform_points(9, 3, generator=generator)
    values = torch.randn(9, generator=generator, dtype=torch.float64)
    problem = L2Problem(points.T.contiguous(), values[None], penalty=5e-3)
    found = minimise_covariances(problem, generator=generator)
    exact = MinNormReLU(penalty=1e-2, tol=1e-6).fit(points.numpy(), values.numpy())
    assert found.gap_kind == "duality"
    assert found.oracle == "exact"
    assert found.bound <= exact.objective_ * (1 + 1e-6)
    assert found.loss == pytest.approx(exact.objective_, rel=3e-4)


@pytest.mark.parametrize("bias", [0.0, 0.7])
@pytest.mark.parametrize("cost", ["mse", "cross_entropy"])
def test_shallow_minimum_is_certified_and_below_that_of_every_trained_net(cost, bias, generator):
    problem = problem_of(generator, bias=bias, cost=cost, classes=3)
    found = minimise_covariances(problem, generator=generator, settings=FrankWolfeSettings(tolerance=1e-3))
    assert found.oracle == "exact"
    assert 0 <= found.gap <= 1e-3
    assert found.converged
    assert found.loss == pytest.approx(float(weight_loss(problem, found.weights)), rel=1e-12)
    assert float(covariance_loss(problem, found.pairs, found.outputs)) <= found.loss * (1 + 1e-9)
    settings = DescentSettings(adam_steps=5000, finish_steps=200)
    trained = min(run.loss for run in train_widths(problem, [16], restarts=3, seed=0, settings=settings))
    assert found.bound <= trained
    assert trained == pytest.approx(found.loss, rel=1e-2)


def test_deep_minimum_is_within_a_percent_of_trained_nets(generator):
    problem = problem_of(generator, depth=3, points=6)
    settings = FrankWolfeSettings(polish_steps=2000, restarts=2, starts=60)
    found = minimise_covariances(problem, generator=generator, settings=settings)
    trained = train_widths(problem, [12], restarts=4, seed=0, settings=DescentSettings(adam_steps=5000))
    assert found.gap_kind == "first_order"
    assert found.loss == pytest.approx(min(run.loss for run in trained), rel=1e-2)
    assert max(found.widths) <= problem.points * (problem.points + 1)


def test_a_large_penalty_leaves_no_generator(generator):
    problem = dataclasses.replace(problem_of(generator), penalty=100.0)
    found = minimise_covariances(problem, generator=generator)
    assert found.loss == pytest.approx(float(problem.cost_of(torch.zeros(2, 8).double())), rel=1e-12)
    assert found.gap == pytest.approx(0, abs=1e-12)


def test_one_point_has_a_closed_form(generator):
    # The best neuron lies along x: min over r of (y - r)^2 / 2 + 2 lambda r / |x|.
    problem = L2Problem(torch.tensor([[3.0], [4.0]]).double(), torch.tensor([[2.0]]).double(), penalty=0.1)
    found = minimise_covariances(problem, generator=generator)
    reached = 2 - 0.2 / 5
    assert found.loss == pytest.approx((2 - reached) ** 2 / 2 + 0.2 * reached / 5, rel=1e-4)
    assert found.widths == (1,)


def test_what_has_no_cone_is_refused(generator):
    problem = problem_of(generator)
    cases = {
        "activation must be relu or linear for covariances": {"activation": "softplus"},
        "penalty must be positive to minimise": {"penalty": 0.0},
        "depth must be at least 2": {"depth": 1},
        "inputs must be float64": {"inputs": problem.inputs.float(), "targets": problem.targets.float()},
        "inputs must not all be zero": {"inputs": torch.zeros_like(problem.inputs)},
    }
    for message, changes in cases.items():
        with pytest.raises(ArgumentError, match=message):
            minimise_covariances(dataclasses.replace(problem, **changes), generator=generator)
    for name in ("rounds", "starts", "added", "polish_steps", "restarts"):
        with pytest.raises(ArgumentError, match=f"{name} must be at least 1"):
            FrankWolfeSettings(**{name: 0})
    with pytest.raises(ArgumentError, match="tolerance must lie in"):
        FrankWolfeSettings(tolerance=0.0)


def losses_found(problem, minimum):
    """The loss of the minimum and those of nets trained from random weights."""
    settings = DescentSettings(adam_steps=200, finish_steps=50)
    trained = train_widths(problem, [12], restarts=2, seed=1, settings=settings)
    return [minimum.loss, *(run.loss for run in trained)]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_no_loss_lies_below_an_exact_bound(bias, seed):
    drawn = torch.Generator().manual_seed(seed)
    problem = problem_of(drawn, features=2, points=10, outputs=3, bias=bias)
    found = minimise_covariances(problem, generator=drawn, settings=FrankWolfeSettings(tolerance=1e-2))
    assert found.oracle == "exact"
    assert found.converged
    assert 0 <= found.gap <= 1e-2
    assert found.gap == pytest.approx((found.loss - found.bound) / found.loss, rel=1e-12)
    assert found.bound <= min(losses_found(problem, found))


@pytest.mark.parametrize("seed", range(3))
def test_a_search_that_misses_generators_never_puts_its_bound_above_its_loss(seed, monkeypatch):
    monkeypatch.setattr("diffstab.l2.oracle._MOST_FACES", 0)
    monkeypatch.setattr("diffstab.l2.oracle._NEAR", 0)
    drawn = torch.Generator().manual_seed(seed)
    problem = problem_of(drawn, features=6, points=12, outputs=3)
    settings = FrankWolfeSettings(rounds=25, starts=1, added=1, tolerance=1e-3)
    found = minimise_covariances(problem, generator=drawn, settings=settings)
    assert found.oracle == "heuristic"
    assert found.bound <= found.loss
    assert found.converged == (0 <= found.gap <= 1e-3)
    assert all(bound <= loss * (1 + 1e-12) for _, loss, bound in found.history)


def test_a_loss_below_its_own_certificate_is_an_error(generator, monkeypatch):
    def blind(*args, **options):
        found = best_generators(*args, **options)
        return found._replace(values=0.7 * found.values)

    monkeypatch.setattr("diffstab.l2.frank_wolfe.best_generators", blind)
    with pytest.raises(DegenerateError, match="below its own lower bound"):
        minimise_covariances(problem_of(generator), generator=generator)
