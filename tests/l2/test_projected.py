"""Minima over the representations agree with those of the other forms."""

import dataclasses

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.l2 import L2Problem
from diffstab.l2.descent import DescentSettings, train_widths
from diffstab.l2.frank_wolfe import FrankWolfeSettings, minimise_covariances
from diffstab.l2.network import forward
from diffstab.l2.projected import ProjectedSettings, train_representations
from diffstab.l2.representations import constraint_violation, representation_loss

# A tenth of the percent that is asked for.
COARSE = FrankWolfeSettings(tolerance=1e-3, polish_steps=1500, restarts=2, starts=60)
SHORT = ProjectedSettings(steps=4000, projected_steps=50)


def problem_of(generator, depth, bias):
    inputs = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    targets = torch.randn(2, 8, generator=generator, dtype=torch.float64)
    return L2Problem(inputs, targets, penalty=1e-2, depth=depth, bias=bias)


@pytest.mark.parametrize(("depth", "bias"), [(2, 0.0), (2, 0.5), (3, 0.5)])
def test_the_three_optimisers_reach_the_same_minimum_within_a_percent(depth, bias, generator):
    problem = problem_of(generator, depth, bias)
    settings = DescentSettings(adam_steps=5000, finish_steps=200)
    losses = {
        # Few starts of the deeper net end at the least loss: about one in ten.
        "weights": min(r.loss for r in train_widths(problem, [16], restarts=16, seed=0, settings=settings)),
        "representations": min(
            r.loss for r in train_representations(problem, [16], restarts=4, seed=0, settings=SHORT)
        ),
        "covariances": minimise_covariances(problem, generator=generator, settings=COARSE).loss,
    }
    assert max(losses.values()) <= 1.01 * min(losses.values()), losses


def test_results_meet_the_constraints_and_are_what_they_say(generator):
    problem = problem_of(generator, 3, 0.5)
    runs = train_representations(problem, [2, (5, 4)], restarts=2, seed=0, settings=SHORT)
    assert [(run.hidden, run.restart) for run in runs] == [((2, 2), 0), ((2, 2), 1), ((5, 4), 0), ((5, 4), 1)]
    for run in runs:
        representations = forward(problem, run.weights)
        assert float(constraint_violation(problem, representations).max()) < 1e-6
        assert run.loss == pytest.approx(float(representation_loss(problem, representations)), rel=1e-6)
        assert run.loss == pytest.approx(run.cost + problem.penalty * run.squared_norm, rel=1e-6)


def test_exact_steps_lower_the_loss(generator):
    problem = problem_of(generator, 2, 0.0)
    losses = []
    for steps in (0, 100):
        settings = ProjectedSettings(steps=500, projected_steps=steps)
        runs = train_representations(problem, [8], restarts=4, seed=0, settings=settings)
        losses.append(torch.tensor([run.loss for run in runs]))
    # Some starts are at a minimum to rounding already.
    assert (losses[1] <= losses[0] * (1 + 1e-12)).all()
    assert (losses[1] < losses[0] * (1 - 1e-6)).any()


def test_options_out_of_range_are_refused(generator):
    problem = problem_of(generator, 2, 0.0)
    with pytest.raises(ArgumentError, match="penalty must be positive to minimise"):
        train_representations(dataclasses.replace(problem, penalty=0.0), [2], restarts=1, seed=0)
    cases = {
        "steps must be at least 0": {"steps": -1},
        "learning_rate must be positive": {"learning_rate": 0.0},
        "tikhonov_end must be at most 0.01": {"tikhonov_end": 1.0},
        r"stationary must lie in \(0, 1\)": {"stationary": 1.0},
    }
    for message, options in cases.items():
        with pytest.raises(ArgumentError, match=message):
            ProjectedSettings(**options)
