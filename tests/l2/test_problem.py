"""Costs, their gradients and conjugates, and what no problem can be made of."""

import dataclasses

import pytest
import torch
from torch.nn import functional

from diffstab.errors import ArgumentError
from diffstab.l2 import L2Problem

X, Y = torch.eye(3).double(), torch.arange(6.0).double().view(2, 3)
LABELS = torch.tensor([0, 2, 1])


def problem_of(cost):
    if cost == "mse":
        return L2Problem(X, Y)
    return L2Problem(X, LABELS, cost=cost, classes=3)


def test_convention_costs_are_means_over_points(generator):
    outputs = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    assert float(problem_of("mse").cost_of(outputs)) == pytest.approx(float((outputs - Y).square().sum() / 6))
    outputs = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    expected = functional.cross_entropy(outputs.T, LABELS)
    assert float(problem_of("cross_entropy").cost_of(outputs)) == pytest.approx(float(expected))


@pytest.mark.parametrize("cost", ["mse", "cross_entropy"])
def test_cost_gradient_is_autograds(cost, generator):
    problem = problem_of(cost)
    outputs = torch.randn(4, problem.outputs, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    problem.cost_of(outputs).sum().backward()
    torch.testing.assert_close(problem.cost_gradient(outputs.detach()), outputs.grad)
    both = problem.cost_and_gradient(outputs.detach())
    torch.testing.assert_close(both[0], problem.cost_of(outputs.detach()))
    torch.testing.assert_close(both[1], outputs.grad)


@pytest.mark.parametrize("cost", ["mse", "cross_entropy"])
def test_conjugate_meets_fenchel_young(cost, generator):
    problem = problem_of(cost)
    outputs = torch.randn(50, problem.outputs, 3, generator=generator, dtype=torch.float64)
    duals = problem.cost_gradient(outputs)
    # Equality at the gradient, an inequality anywhere else.
    matched = (outputs * duals).sum((-2, -1)) - problem.cost_of(outputs)
    torch.testing.assert_close(problem.cost_conjugate(duals), matched)
    crossed = (outputs * duals.roll(1, 0)).sum((-2, -1)) - problem.cost_of(outputs)
    assert (crossed <= problem.cost_conjugate(duals.roll(1, 0)) + 1e-12).all()


def test_conjugate_of_cross_entropy_is_infinite_outside_its_domain():
    problem = problem_of("cross_entropy")
    assert problem.cost_conjugate(torch.ones(3, 3).double()) == torch.inf


@pytest.mark.parametrize("activation", ["relu", "linear", "softplus"])
def test_slope_is_autograds(activation, generator):
    problem = dataclasses.replace(problem_of("mse"), activation=activation)
    z = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    problem.activate(z).sum().backward()
    expected = torch.ones_like(z) if activation == "linear" else z.grad
    torch.testing.assert_close(problem.slope(z.detach()), expected)
    back = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(problem.through_slope(back, z.detach()), back * expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cost": "hinge"}, "cost must be one of mse, cross_entropy, got 'hinge'"),
        ({"activation": "tanh"}, "activation must be one of relu, linear, softplus"),
        ({"penalty": -1.0}, "penalty must be finite and at least 0"),
        ({"penalty": float("nan")}, "penalty must be finite and at least 0"),
        ({"bias": -0.1}, "bias must be finite and at least 0"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"inputs": X[:, :0]}, "inputs must be a floating matrix .* not empty"),
        ({"inputs": torch.eye(3, dtype=torch.uint8)}, "inputs must be a floating matrix"),
        ({"inputs": X / 0}, "inputs must be finite"),
        ({"targets": Y[:, :2]}, r"targets must have shape \(outputs, 3\)"),
        ({"targets": Y.float()}, "targets must have shape .* type torch.float64"),
        ({"targets": Y * torch.nan}, "targets must be finite"),
        ({"classes": 3}, "classes must be None for mse"),
        (
            {"cost": "cross_entropy", "targets": LABELS},
            "classes must be at least 2 for cross_entropy, got None",
        ),
        ({"cost": "cross_entropy", "classes": 3}, "targets must be class indices"),
        (
            {"cost": "cross_entropy", "targets": LABELS, "classes": 2},
            "targets must lie in 0 to 1, got 0 to 2",
        ),
        (
            {"cost": "cross_entropy", "targets": LABELS - 1, "classes": 3},
            "targets must lie in 0 to 2, got -1 to 1",
        ),
    ],
)
def test_what_no_problem_can_be_made_of_is_refused(changes, message):
    with pytest.raises(ArgumentError, match=message):
        dataclasses.replace(problem_of("mse"), **changes)
