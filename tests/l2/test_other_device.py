"""Public functions on L2-regularised nets, on tensors of a device other than the CPU."""

import pytest
import torch

from diffstab.l2 import (
    FrankWolfeSettings,
    Inverse,
    balance,
    class_separation,
    constrained_forces,
    constraint_violation,
    covariance_loss,
    covariances_of,
    draw_weights,
    factorise,
    forward,
    minimise_covariances,
    plateau_start,
    principal_planes,
    project,
    rank_bounds,
    reduce_rows,
    reduced_inputs,
    representation_cost,
    representation_loss,
    shrink,
    stationarity,
    train_representations,
    train_shrinking,
    train_widths,
    weight_loss,
    weights_of,
    widen,
)
from diffstab.l2.descent import DescentSettings
from diffstab.l2.projected import ProjectedSettings
from diffstab.l2.prune import prune
from tests.references.elsewhere import DEVICE
from tests.references.places import CPU, check_same


def _pair(p, call):
    problem = p.problem()
    z = forward(problem, p.weights(problem))
    return call(problem, z[0], covariances_of(problem, z)[0], p.generator())


def _of_net(call, **options):
    def case(p):
        problem = p.problem(**options)
        return call(problem, p.weights(problem))

    return case


QUICK = DescentSettings(adam_steps=5, finish_steps=5)

CASES = {
    "draw_weights": lambda p: draw_weights(p.problem(), 4, generator=p.generator())[0],
    "forward": _of_net(lambda problem, weights: forward(problem, weights)[-1]),
    "weight_loss": _of_net(weight_loss),
    "representation_loss": _of_net(
        lambda problem, weights: representation_loss(problem, forward(problem, weights))
    ),
    "covariance_loss": _of_net(
        lambda problem, weights: covariance_loss(
            problem, covariances_of(problem, z := forward(problem, weights)), z[-1]
        )
    ),
    "weights_of": _of_net(lambda problem, weights: weights_of(problem, forward(problem, weights))[0]),
    "constraint_violation": _of_net(
        lambda problem, weights: constraint_violation(problem, forward(problem, weights))
    ),
    "project": _of_net(lambda problem, weights: project(problem, forward(problem, weights))[0]),
    "constrained_forces": _of_net(
        lambda problem, weights: constrained_forces(problem, forward(problem, weights), inverse=Inverse())[0][
            0
        ]
    ),
    "stationarity": _of_net(
        lambda problem, weights: torch.tensor(float(stationarity(problem, weights).relative))
    ),
    "widen": _of_net(lambda problem, weights: widen(problem, weights, 8)[0]),
    "balance": _of_net(lambda problem, weights: balance(problem, weights)[0]),
    "shrink": _of_net(lambda problem, weights: shrink(problem, weights, 3)[0]),
    "prune": _of_net(lambda problem, weights: prune(problem, weights, angle_deg=20.0).weights[0]),
    "train_widths": lambda p: train_widths(p.problem(), [2, 3], restarts=2, seed=0, settings=QUICK)[
        0
    ].weights[0],
    "train_shrinking": lambda p: train_shrinking(p.problem(), [3, 2], restarts=2, seed=0, settings=QUICK)[
        0
    ].weights[0],
    "representation_cost": lambda p: representation_cost(
        p.problem(penalty=0.0), [7], restarts=1, seed=0, settings=QUICK
    )[0].weights[0],
    "train_representations": lambda p: train_representations(
        p.problem(), [3], restarts=2, seed=0, settings=ProjectedSettings(steps=5, projected_steps=3)
    )[0].weights[0],
    "minimise_covariances": lambda p: torch.tensor(
        minimise_covariances(p.problem(), generator=p.generator(), settings=FrankWolfeSettings(rounds=2)).loss
    ),
    "minimise_covariances searched": lambda p: torch.tensor(
        minimise_covariances(
            p.problem(bias=0.5, depth=3),
            generator=p.generator(),
            settings=FrankWolfeSettings(rounds=1, starts=9, polish_steps=5, restarts=1),
        ).loss
    ),
    "factorise": lambda p: _pair(
        p,
        lambda problem, z, pair, g: (
            factorise(problem, pair, 12, restarts=3, tolerance=1e-4, generator=g).abs().sum()
        ),
    ),
    "rank_bounds": lambda p: _pair(
        p,
        lambda problem, z, pair, g: torch.tensor(
            float(rank_bounds(problem, pair, representations=z, generator=g).upper)
        ),
    ),
    "reduce_rows": lambda p: _pair(p, lambda problem, z, pair, g: reduce_rows(problem, z)),
    "reduced_inputs": lambda p: reduced_inputs(p.normal(8, 5))[0],
    "principal_planes": lambda p: principal_planes(p.normal(4, 7))[0],
    "class_separation": lambda p: torch.tensor(
        class_separation(p.normal(4, 6), torch.tensor([0, 0, 0, 1, 1, 1]).to(p.device))
    ),
    "plateau_start": lambda p: torch.tensor(
        float(plateau_start([1, 2, 3], p.normal(3, 4).abs(), generator=p.generator()).width)
    ),
}


@pytest.mark.parametrize("generators", [CPU, DEVICE], ids=["drawn-here", "drawn-there"])
@pytest.mark.parametrize("name", CASES)
def test_a_function_gives_there_what_it_gives_here(name, generators):
    check_same(CASES[name], generators)
