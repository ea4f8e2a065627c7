"""Leaky ResNets against autograd, and against Hamilton's equations solved by scipy."""

import math

import pytest
import torch
from scipy.integrate import solve_ivp

from diffstab.errors import ArgumentError
from diffstab.l2 import DescentSettings, L2Problem, LeakyNets
from diffstab.l2.descent import descend

LEAK, BIAS, PENALTY = 1.5, 0.5, 0.01


def problem(activation="softplus", bias=BIAS, **changes):
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 6, generator=draws, dtype=torch.float64)
    targets = torch.randn(2, 6, generator=draws, dtype=torch.float64)
    options = {"penalty": PENALTY, "bias": bias, "activation": activation}
    return L2Problem(inputs, targets, **{**options, **changes})


def nets(layers=8, effective_depth=LEAK, **changes):
    leaky = LeakyNets(problem(**changes), layers=layers, width=4, effective_depth=effective_depth)
    return leaky.draw(generator=torch.Generator().manual_seed(1))


def plain_loss(flat, leaky):
    """The loss as the definition writes it, one layer after another, for autograd."""
    data, step = leaky.problem, 1 / leaky.layers
    first, middle, last = (part[0] for part in leaky.parts(flat))
    place = first @ data.inputs
    for weight in middle / math.sqrt(step):
        ones = [data.bias * torch.ones(1, data.points, dtype=place.dtype)] * (data.bias > 0)
        extended = torch.cat([data.activate(place), *ones])
        place = place + step * (weight @ extended - leaky.effective_depth * place)
    squares = first.square().sum() + last.square().sum() + middle.square().sum()
    return data.cost_of(last @ place) + data.penalty * squares


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("bias", [0.0, BIAS])
def test_loss_and_gradient_are_those_of_autograd(activation, bias):
    leaky = nets(activation=activation, bias=bias)
    flat = leaky.flat.clone().requires_grad_()
    loss = plain_loss(flat, leaky)
    (gradient,) = torch.autograd.grad(loss, flat)
    _, mine, its_gradient = leaky.evaluate(leaky.flat)
    assert mine.item() == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(its_gradient, gradient)


def test_momenta_are_the_costs_gradient_in_the_representations():
    leaky = nets()
    motion, step = leaky.motion(), 1 / leaky.layers
    place = motion.positions[5].clone().requires_grad_()
    _, middle, last = (part[0] for part in leaky.parts(leaky.flat))
    moved = place
    for weight in middle[5:] / math.sqrt(step):
        moved = moved + step * (weight @ leaky.problem.extended(leaky.problem.activate(moved)) - LEAK * moved)
    (gradient,) = torch.autograd.grad(leaky.problem.cost_of(last @ moved), place)
    torch.testing.assert_close(motion.momenta[5], -gradient / (2 * PENALTY))


def trained(layers, start=None):
    leaky = nets(layers) if start is None else start.refined(layers)
    steps = 1500 if start is None else 0
    settings = DescentSettings(adam_steps=steps, finish_steps=3000, tolerance=1e-9, stall=1e-13)
    leaky.flat = descend(leaky, settings).points
    return leaky


def test_at_a_minimum_the_weights_follow_the_momenta_and_the_drift_falls_as_one_over_the_layers():
    leaky, drifts = trained(8), []
    for layers in (16, 32, 64):
        leaky = trained(layers, leaky)
        motion = leaky.motion()
        assert motion.stationarity < 1e-5
        weight = leaky.parts(leaky.flat)[1][0] * math.sqrt(layers)
        extended = leaky.problem.extended(leaky.problem.activate(motion.positions[:-1]))
        torch.testing.assert_close(weight, motion.momenta[1:] @ extended.mT, atol=1e-4, rtol=1e-3)
        drifts.append(motion.drift * float(motion.hamiltonian.mean().abs()))
    assert drifts[0] / drifts[1] == pytest.approx(2, rel=0.15)
    assert drifts[1] / drifts[2] == pytest.approx(2, rel=0.1)


def test_many_layers_follow_hamiltons_equations():
    leaky = trained(64, trained(8))
    data = leaky.problem

    def energy(place, momentum):
        pushed = momentum @ data.extended(data.activate(place)).mT
        return pushed.square().sum() / 2 - LEAK * (momentum * place).sum()

    def flow(_, state):
        place, momentum = (part.requires_grad_() for part in torch.tensor(state).view(2, 4, 6).unbind())
        by_place, by_momentum = torch.autograd.grad(energy(place, momentum), (place, momentum))
        return torch.cat([by_momentum.flatten(), -by_place.flatten()]).numpy()

    motion = leaky.motion()
    start = torch.cat([motion.positions[0].flatten(), motion.momenta[0].flatten()]).numpy()
    found = solve_ivp(flow, (0, 1), start, method="DOP853", rtol=1e-10, atol=1e-10)
    assert found.success
    ends = torch.tensor(found.y[:, -1]).view(2, 4, 6)
    before, after = (float(energy(*torch.tensor(found.y[:, end]).view(2, 4, 6))) for end in (0, -1))
    assert after == pytest.approx(before, rel=1e-7)
    assert (ends[0] - motion.positions[-1]).norm() < 0.1 * motion.positions[-1].norm()


def test_a_refined_net_is_nearly_the_same_function():
    leaky = trained(16)
    inputs = leaky.problem.inputs
    before, finer = leaky.outputs(leaky.flat, inputs), leaky.refined(64)
    after = finer.outputs(finer.flat, inputs)
    assert (after - before).norm() < 0.1 * before.norm()
    assert finer.flat.square().sum() == pytest.approx(leaky.flat.square().sum())


def test_bad_numbers_are_refused():
    with pytest.raises(ArgumentError, match="effective_depth"):
        LeakyNets(problem(), layers=2, width=4, effective_depth=3.0)
    with pytest.raises(ArgumentError, match="at least 1"):
        LeakyNets(problem(), layers=0, width=4, effective_depth=0.0)
    with pytest.raises(ArgumentError, match="penalty"):
        nets(penalty=0.0).motion()
