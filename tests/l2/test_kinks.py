"""Generalised gradients: minima on kinks are stationary, other points are not."""

import dataclasses
import math

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2 import L2Problem
from diffstab.l2.descent import DescentSettings, train_widths
from diffstab.l2.kinks import gated, stationarity
from diffstab.l2.network import draw_weights, weight_gradient, weight_loss


def problem_of(generator, depth=2, bias=0.0):
    inputs = torch.randn(4, 12, generator=generator, dtype=torch.float64)
    targets = torch.randn(2, 12, generator=generator, dtype=torch.float64)
    return L2Problem(inputs, targets, penalty=1e-2, depth=depth, bias=bias)


@pytest.mark.parametrize("depth", [2, 3])
def test_trained_nets_lie_on_kinks_and_are_stationary_there(depth, generator):
    problem = problem_of(generator, depth=depth)
    settings = DescentSettings(adam_steps=6000, finish_steps=300)
    run = min(train_widths(problem, [6], restarts=3, seed=0, settings=settings), key=lambda run: run.loss)
    plain, found = stationarity(problem, run.weights, kink=0), stationarity(problem, run.weights)
    assert found.kinks > 3
    assert plain.relative > 0.1
    assert found.relative < 0.01
    assert run.stationarity == found.relative
    # No small random move lowers the loss by more than its square could.
    least = float(weight_loss(problem, run.weights))
    for _ in range(200):
        moved = [w + 1e-5 * torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in run.weights]
        assert float(weight_loss(problem, moved)) > least - 1e-6 * least


def test_without_kinks_it_is_the_size_of_the_gradient(generator):
    problem = problem_of(generator, depth=3, bias=0.5)
    weights = draw_weights(problem, 5, generator=generator)
    gradients = weight_gradient(problem, weights)[2]
    total = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    pulls = [2 * problem.penalty * weight for weight in weights]
    rest = [gradient - pull for gradient, pull in zip(gradients, pulls, strict=True)]
    scale = sum(math.sqrt(sum(float(part.square().sum()) for part in parts)) for parts in (rest, pulls))
    assert stationarity(problem, weights).relative == pytest.approx(total / scale, rel=1e-9)


def test_gates_are_the_best_of_a_grid(generator):
    problem = problem_of(generator)
    z = torch.tensor([[0.0, 0.0, 1.0, -1.0]], dtype=torch.float64)
    push = torch.randn(1, 4, generator=generator, dtype=torch.float64)
    basis = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    target = torch.randn(1, 3, generator=generator, dtype=torch.float64)
    back, count = gated(problem, z, push, basis=basis, target=target)
    assert count == 2
    assert back[0, 2:].tolist() == [float(push[0, 2]), 0.0]
    grid = torch.linspace(0, 1, 101).double()
    gates = torch.cartesian_prod(grid, grid)
    trials = torch.cat([gates, torch.tensor([[1.0, 0.0]]).double().expand(len(gates), 2)], dim=1)
    sizes = ((trials * push) @ basis + target).norm(dim=1)
    assert float((back @ basis + target).norm()) <= float(sizes.min()) + 1e-12
    assert float((back @ basis + target).norm()) >= float(sizes.min()) - 0.02 * float(push.abs().max())


def test_the_zero_net_is_stationary(generator):
    problem = problem_of(generator)
    zero = [torch.zeros_like(w) for w in draw_weights(problem, 3, generator=generator)]
    assert stationarity(problem, zero).relative == 0


def test_other_activations_have_no_kinks(generator):
    problem = dataclasses.replace(problem_of(generator), activation="softplus")
    weights = draw_weights(problem, 3, generator=generator)
    assert stationarity(problem, weights, kink=0.5).kinks == 0


def test_several_nets_and_a_share_out_of_range_are_refused(generator):
    problem = problem_of(generator)
    with pytest.raises(ArgumentError, match="weights must be those of one net"):
        stationarity(problem, draw_weights(problem, 3, generator=generator, nets=2))
    with pytest.raises(ArgumentError, match=r"kink must lie in \[0, 1\)"):
        stationarity(problem, draw_weights(problem, 3, generator=generator), kink=1.0)
