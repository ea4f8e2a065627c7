"""Nets trained together: as if alone, at stationary points, and without what must not matter."""

import dataclasses
import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2 import L2Problem
from diffstab.l2.descent import (
    DescentSettings,
    PaddedNets,
    draw_runs,
    representation_cost,
    train_widths,
)
from diffstab.l2.network import forward, weight_gradient, weight_loss

SHORT = DescentSettings(adam_steps=300, finish_steps=50)


def problem_of(generator, depth=3, bias=0.5, points=10):
    inputs = torch.randn(4, points, generator=generator, dtype=torch.float64)
    targets = torch.randn(2, points, generator=generator, dtype=torch.float64)
    return L2Problem(inputs, targets, penalty=1e-2, depth=depth, bias=bias)


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_padded_nets_have_the_losses_and_gradients_of_each(bias, generator):
    problem = problem_of(generator, bias=bias)
    runs = draw_runs(problem, [2, (5, 3)], restarts=2, seed=0, gain=1.0)
    nets = PaddedNets(problem, [run.weights for run in runs])
    cost, loss, gradient = nets.evaluate(nets.flat)
    for place, run in enumerate(runs):
        alone = weight_gradient(problem, run.weights)
        assert float(cost[place]) == pytest.approx(float(alone[0]))
        assert float(loss[place]) == pytest.approx(float(alone[1]))
        for padded, one in zip(nets.net(gradient, place), alone[2], strict=True):
            torch.testing.assert_close(padded, one)
        for again, weight in zip(nets.net(nets.flat, place), run.weights, strict=True):
            assert torch.equal(again, weight)
        # Gradients of padding are zero: dead neurons stay dead.
        assert float(gradient[place].norm()) == pytest.approx(
            math.sqrt(sum(float(one.square().sum()) for one in alone[2]))
        )


def test_nets_trained_together_end_where_each_would_alone(generator):
    problem = problem_of(generator)
    together = train_widths(problem, [1, 4, 7], restarts=2, seed=3, settings=SHORT)
    assert [(run.hidden, run.restart) for run in together] == [
        ((width, width), restart) for width in (1, 4, 7) for restart in (0, 1)
    ]
    alone = train_widths(problem, [4], restarts=2, seed=3, settings=SHORT)
    for one, other in zip(alone, together[2:4], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
    for run in together:
        assert run.loss == pytest.approx(float(weight_loss(problem, run.weights)), rel=1e-12)
        assert run.loss == pytest.approx(run.cost + problem.penalty * run.squared_norm, rel=1e-12)


def test_the_same_seed_gives_the_same_nets_to_the_bit(generator):
    problem = problem_of(generator)
    runs = [train_widths(problem, [3], restarts=1, seed=5, settings=SHORT)[0] for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(runs[0].weights, runs[1].weights, strict=True))
    other = train_widths(problem, [3], restarts=1, seed=6, settings=SHORT)[0]
    assert not torch.equal(other.weights[0], runs[0].weights[0])


@pytest.mark.parametrize("finish", ["lbfgs", "gd"])
def test_either_finish_lowers_the_loss_that_adam_leaves(finish, generator):
    problem = problem_of(generator, depth=2)
    losses = []
    for steps in (0, 200):
        settings = DescentSettings(adam_steps=50, finish=finish, finish_steps=steps)
        losses.append(train_widths(problem, [4], restarts=1, seed=0, settings=settings)[0].loss)
    assert losses[1] < 0.99 * losses[0]


def test_a_smooth_problem_is_solved_to_the_asked_stationarity(generator):
    problem = dataclasses.replace(problem_of(generator, depth=2), activation="softplus")
    settings = DescentSettings(adam_steps=200, finish_steps=3000, tolerance=1e-7, stationary=1e-6)
    run = train_widths(problem, [3], restarts=1, seed=0, settings=settings)[0]
    assert run.stationarity <= 1e-6
    assert run.converged
    assert run.steps < 3200


def test_depth_one_is_ridge_regression(generator):
    problem = problem_of(generator, depth=1, bias=0.5)
    settings = DescentSettings(adam_steps=0, finish_steps=500, tolerance=1e-10)
    run = train_widths(problem, [1], restarts=1, seed=0, settings=settings)[0]
    inputs = problem.extended_inputs
    # (1/N) sum |y - W x|^2 / 2 + lambda |W|^2.
    gram = inputs @ inputs.T / problem.points + 2 * problem.penalty * torch.eye(len(inputs)).double()
    expected = problem.targets @ inputs.T / problem.points @ torch.linalg.inv(gram)
    torch.testing.assert_close(run.weights[0], expected, rtol=0, atol=1e-8)
    assert run.hidden == ()


def test_a_large_penalty_leaves_the_zero_net(generator):
    problem = dataclasses.replace(problem_of(generator, depth=2), penalty=50.0, bias=0.0)
    settings = DescentSettings(adam_steps=1000, learning_rate=0.05, finish_steps=200)
    run = train_widths(problem, [3], restarts=1, seed=0, settings=settings)[0]
    zero = float(problem.cost_of(torch.zeros_like(problem.targets)))
    assert run.loss == pytest.approx(zero, rel=1e-6)


def test_representation_cost_of_a_linear_map_is_its_schatten_norm(generator):
    # With linear activation and X = I: R = L |Y|_{2/L}^{2/L}, here the nuclear norm twice.
    targets = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    problem = L2Problem(torch.eye(4).double(), targets, activation="linear", penalty=0.0)
    settings = DescentSettings(adam_steps=1500, finish_steps=300)
    run = representation_cost(problem, [5], restarts=1, seed=0, settings=settings)[0]
    assert run.loss == pytest.approx(2 * float(torch.linalg.svdvals(targets).sum()), rel=1e-5)
    torch.testing.assert_close(forward(problem, run.weights)[-1], targets, rtol=0, atol=1e-4)


def test_what_a_width_cannot_represent_costs_infinity(generator):
    targets = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    problem = L2Problem(torch.eye(4).double(), targets, activation="linear")
    run = representation_cost(problem, [1], restarts=1, seed=0, settings=SHORT)[0]
    assert run.loss == math.inf
    assert run.cost > 1e-3
    assert not run.converged


def test_options_out_of_range_are_refused(generator):
    problem = problem_of(generator)
    free = dataclasses.replace(problem, penalty=0.0)
    labels = L2Problem(problem.inputs, torch.zeros(10).long(), cost="cross_entropy", classes=2)
    zeros = dataclasses.replace(problem, targets=torch.zeros_like(problem.targets))
    cases = {
        "penalty must be positive to train, got 0. The representation cost": lambda: train_widths(
            free, [2], restarts=1, seed=0
        ),
        "restarts must be at least 1": lambda: train_widths(problem, [2], restarts=0, seed=0),
        "seed must be an integer": lambda: train_widths(problem, [2], restarts=1, seed=0.5),
        "hidden must name at least one width": lambda: train_widths(problem, [], restarts=1, seed=0),
        "widths must be 2 numbers of at least 1": lambda: train_widths(problem, [0], restarts=1, seed=0),
        "finish must be lbfgs or gd": lambda: DescentSettings(finish="sgd"),
        "adam_steps must be at least 0": lambda: DescentSettings(adam_steps=-1),
        "learning_rate must be positive": lambda: DescentSettings(learning_rate=0.0),
        r"stall must lie in \[0, 1\)": lambda: DescentSettings(stall=1.0),
        "cost must be mse": lambda: representation_cost(labels, [2], restarts=1, seed=0),
        "targets must not all be zero": lambda: representation_cost(zeros, [2], restarts=1, seed=0),
    }
    for message, call in cases.items():
        with pytest.raises(ArgumentError, match=message):
            call()
