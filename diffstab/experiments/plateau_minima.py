"""Minima of the runs of one place of a plateau, by each optimiser, and the columns of their records."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.experiments.l2_points import ProblemPoints, prediction_error
from diffstab.l2.continuation import train_shrinking
from diffstab.l2.covariances import covariance_pair
from diffstab.l2.descent import Descended, representation_cost, train_widths
from diffstab.l2.frank_wolfe import minimise_covariances
from diffstab.l2.network import apply, forward, hidden_widths, squared_norm
from diffstab.l2.problem import L2Problem
from diffstab.l2.projected import train_representations
from diffstab.l2.prune import prune
from diffstab.l2.rank import rank_bounds
from diffstab.streams import stream

if TYPE_CHECKING:
    from diffstab.experiments.plateau import PlateauExperiment
    from diffstab.experiments.unit import Cell

OPTIMISERS = ("weights", "shrinking", "representations", "covariances")
WEIGHTS_IN_RECORD = 2000
"""Nets of at most so many weights are kept in their records."""
RANKED_POINTS = 16
"""On at most so many points the rank of the covariances is bounded: it takes long on more."""
RANK_TOLERANCE = 1e-4
"""Relative size of what is zero in a covariance: minima are reached to a tolerance of their own."""
RANK_STARTS = 4
"""Starts per width in the search for a smaller factor."""


class NetMinimum(NamedTuple):
    """A minimum, whichever form of the loss it was found in.

    Attributes:
        weights: W_1 ... W_L, of least norm for the representations.
        loss: What was minimised; with interpolation the squared norm, infinite where the targets were not met.
        is_best: Whether no other start of its width ended lower: only then is the rank bounded, which takes longest.
        history: Pairs (step, loss).
        columns: What the record says of the optimiser.
    """

    weights: list[Tensor]
    loss: float
    is_best: bool
    history: Sequence[tuple[int, float]]
    columns: dict[str, Any]


def run_columns(
    experiment: PlateauExperiment, cell: Cell, points: ProblemPoints, problem: L2Problem, found: NetMinimum
) -> dict[str, Any]:
    """Return what a record says about one run: its minimum, measured."""
    is_known = experiment.depth == 2 and experiment.bias == 0 and experiment.activation == "relu"
    return {
        "dataset": points.name,
        # The covariances find their width; the other runs are given it.
        "width": cell["width"] or max(hidden_widths(found.weights)),
        **minimum_columns(problem, found),
        **error_columns(problem, points, found.weights),
        **pruned_columns(experiment, problem, points, found),
        # What theory says about the plateau of these points, where it says it.
        **({"known_width": points.plateau_width, "known_cost": points.plateau_cost} if is_known else {}),
    }


def find_minima(experiment: PlateauExperiment, problem: L2Problem, cells: Sequence[Cell]) -> list[NetMinimum]:
    """Return the minimum of each cell, of one place."""
    optimiser, seed = cells[0]["optimiser"], cells[0]["seed"]
    widths = sorted({cell["width"] for cell in cells})
    restarts = 1 + max(cell["restart"] for cell in cells)
    if optimiser == "weights":
        train = representation_cost if experiment.interpolation else train_widths
        trained = train(problem, widths, restarts=restarts, seed=seed, settings=experiment.descent)
    elif optimiser == "shrinking":
        descent, starts = experiment.descent, experiment.restarts
        trained = train_shrinking(problem, experiment.widths, restarts=starts, seed=seed, settings=descent)
    elif optimiser == "representations":
        settings = experiment.projected
        trained = train_representations(problem, widths, restarts=restarts, seed=seed, settings=settings)
    elif optimiser == "covariances":
        return [_minimum_in_covariances(experiment, problem, seed) for _ in cells]
    else:
        raise ArgumentError("optimisers", f"be among {', '.join(OPTIMISERS)}", repr(optimiser))
    by_run = {(run.hidden[0], run.restart): run for run in trained}
    least = {width: min(run.loss for run in trained if run.hidden[0] == width) for width in widths}
    return [_found(by_run[cell["width"], cell["restart"]], least[cell["width"]]) for cell in cells]


def _found(run: Descended, least: float) -> NetMinimum:
    # The least norm at given outputs has no stationarity of its own.
    stationarity = None if math.isnan(run.stationarity) else run.stationarity
    columns = {"stationarity": stationarity, "converged": run.converged, "steps": run.steps}
    return NetMinimum(run.weights, run.loss, run.loss <= least, run.history, columns)


def _minimum_in_covariances(experiment: PlateauExperiment, problem: L2Problem, seed: int) -> NetMinimum:
    generator = stream(seed, "covariances")
    found = minimise_covariances(problem, generator=generator, settings=experiment.frank_wolfe)
    columns = {name: getattr(found, name) for name in ("bound", "gap", "gap_kind", "oracle", "converged")}
    history = [(rounds, loss) for rounds, loss, _ in found.history]
    columns |= {"stationarity": None, "steps": found.rounds}
    return NetMinimum(found.weights, found.loss, True, history, columns)


def minimum_columns(problem: L2Problem, found: NetMinimum) -> dict[str, Any]:
    """Return loss, cost, norm and what the optimiser says; the net itself where it is small."""
    cost = float(problem.cost_of(apply(problem, found.weights, problem.inputs)))
    norm = float(squared_norm(found.weights))
    columns = {
        "loss": found.loss,
        "cost": cost,
        "squared_norm": norm,
        "representation_cost": norm,
        "hidden_widths": list(hidden_widths(found.weights)),
        "input_dimension": problem.inputs.shape[0],
        "history_steps": [float(step) for step, _ in found.history],
        "history_loss": [loss for _, loss in found.history],
        **found.columns,
    }
    flat = torch.cat([weight.flatten() for weight in found.weights])
    if len(flat) <= WEIGHTS_IN_RECORD:
        columns["weights"] = flat.double().tolist()
    return columns


def error_columns(problem: L2Problem, points: ProblemPoints, weights: Sequence[Tensor]) -> dict[str, Any]:
    """Return the errors on training and test points; the test error is None without a test split."""
    outputs = apply(problem, weights, points.inputs)
    columns = {
        "error_kind": "mean_square" if points.labels is None else "misclassified",
        "train_error": prediction_error(outputs, points.targets, points.labels),
        "test_error": None,
    }
    if points.test_inputs is not None and points.test_targets is not None:
        outputs = apply(problem, weights, points.test_inputs)
        columns["test_error"] = prediction_error(outputs, points.test_targets, points.test_labels)
    return columns


def pruned_columns(
    experiment: PlateauExperiment, problem: L2Problem, points: ProblemPoints, found: NetMinimum
) -> dict[str, Any]:
    """Return how many groups of aligned neurons each layer has, the loss of the net of one neuron each, and its rank.

    Nothing for an activation that is not homogeneous: its neurons do not merge.
    """
    if not problem.is_homogeneous:
        return {}
    pruned = prune(problem, found.weights, angle_deg=experiment.prune_angle_deg)
    cost = float(problem.cost_of(apply(problem, pruned.weights, points.inputs)))
    loss = cost + problem.penalty * pruned.norm_after
    if experiment.interpolation:
        # What misses the targets has no finite cost, pruned or not.
        loss = pruned.norm_after if math.isfinite(found.loss) else math.inf
    return {
        "n_groups": [len(groups) for groups in pruned.groups],
        "pruned_widths": list(pruned.widths),
        "pruned_loss": loss,
        "pruned_cost": cost,
        "pruned_change": pruned.max_change,
        **(rank_columns(problem, pruned.weights) if found.is_best else {}),
    }


def rank_columns(problem: L2Problem, weights: Sequence[Tensor]) -> dict[str, list[int]]:
    """Return bounds on the rank of the covariances of each hidden layer; nothing for many points."""
    if problem.points > RANKED_POINTS:
        return {}
    # The rank knows no bias, and without it nothing small is lost in b^2 1 1^T.
    unbiased = dataclasses.replace(problem, bias=0.0)
    bounds = []
    for z in forward(problem, weights)[:-1]:
        generator, pair = stream(0, "starts of a rank"), covariance_pair(unbiased, z.double())
        try:
            options: dict[str, Any] = {
                "restarts": RANK_STARTS,
                "tolerance": RANK_TOLERANCE,
                "generator": generator,
            }
            bounds.append(rank_bounds(unbiased, pair, representations=z, **options))
        except ArgumentError:
            # On the rim of the cone rounding can put a pair outside: a trained net is recorded without bounds then.
            return {}
    return {"rank_lower": [found.lower for found in bounds], "rank_upper": [found.upper for found in bounds]}
