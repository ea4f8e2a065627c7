r"""Forces along the training of one net: its states, and the numbers and arrays of each.

The forces are those of the first reformulation at the representations Z(W). Weights in training are not the ones of
least norm for their representations: the part W~ of each W_l outside the column space of Z_{l-1}^s changes no
representation and decays by the penalty alone. Its share |W~|^2 / |W|^2 is recorded beside the forces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from diffstab.l2.descent import DescentSettings, PaddedNets, descend
from diffstab.l2.forces import AT_REST, Forces, constrained_forces
from diffstab.l2.geometry import class_separation
from diffstab.l2.inverse import Inverse
from diffstab.l2.kinks import stationarity
from diffstab.l2.network import forward, squared_norm, weight_loss
from diffstab.l2.problem import L2Problem
from diffstab.l2.representations import project, weights_of
from diffstab.sparsity import direction_atoms, nearest_angles_deg

if TYPE_CHECKING:
    from diffstab.experiments.forces import ForcesExperiment

DEAD = 1e-6
"""A neuron is dead below this share of the largest product |s(z_j)| |V_j| of its layer, as in `diffstab.l2.prune`."""
_ADAM_ROUNDS, _FIRST_FINISH = 6, 100
_POLISH_ROUNDS, _POLISH_RATES, _POLISH_FINISH, _NEAR = 12, (0.2, 0.03), 100, 0.02


class NetState(NamedTuple):
    """A net in training: after how many steps, in which stage, its weights.

    The stages are "start", "gd", "adam", "finish" and "polish".
    """

    step: int
    stage: str
    weights: list[Tensor]


def states(problem: L2Problem, weights: Sequence[Tensor], experiment: ForcesExperiment) -> Iterator[NetState]:
    """Train a net and yield it at the start, after ever longer stretches, and at the end.

    Adam starts afresh with half the rate at each of six states; the finish forgets its curvature at each. A net that
    is not at rest then goes on: kinks of relu stop the finish early, and where it stops is decided by rounding.
    """
    state = NetState(0, "start", list(weights))
    yield state
    ended = ""
    for stage, settings in _stretches(experiment):
        if stage == ended:
            continue
        found = _descended(problem, state, stage, settings)
        taken = found.step - state.step
        if taken < settings.adam_steps + settings.finish_steps:
            ended = stage
        if taken:
            state = found
            yield state
    yield from _polished(problem, state, experiment.descent)


def _descended(problem: L2Problem, state: NetState, stage: str, settings: DescentSettings) -> NetState:
    """Return a net after a stretch of training."""
    nets = PaddedNets(problem, [state.weights])
    found = descend(nets, settings)
    return NetState(state.step + settings.adam_steps + int(found.steps[0]), stage, nets.net(found.points, 0))


def _polished(problem: L2Problem, state: NetState, final: DescentSettings) -> Iterator[NetState]:
    """Go on with Adam at small rates and short finishes until the net is at rest.

    Not for a net that is far from it, or where a stage is left out: that training was meant to be short.
    """
    if not (final.adam_steps and final.finish_steps):
        return
    adam_steps = -(-final.adam_steps // _ADAM_ROUNDS)
    for _ in range(_POLISH_ROUNDS):
        if not AT_REST / 2 < stationarity(problem, state.weights).relative <= _NEAR:
            return
        for factor in _POLISH_RATES:
            rate, finish = factor * final.learning_rate, min(_POLISH_FINISH, final.finish_steps)
            settings = replace(final, adam_steps=adam_steps, learning_rate=rate, finish_steps=finish)
            state = _descended(problem, state, "polish", settings)
        yield state


def _stretches(experiment: ForcesExperiment) -> Iterator[tuple[str, DescentSettings]]:
    """Yield the stage and the settings of each stretch of training."""
    final = experiment.descent
    marks = sorted({*_doublings(1, experiment.gd_steps), *experiment.snapshots} - {0})
    for start, end in zip([0, *marks], marks, strict=False):
        # Descent that stalls on the way is not at its end yet.
        yield "gd", replace(final, adam_steps=0, finish="gd", finish_steps=end - start, stall=0.0)
    if final.adam_steps:
        rounds = min(_ADAM_ROUNDS, final.adam_steps)
        for index in range(rounds):
            steps = final.adam_steps // rounds + (index < final.adam_steps % rounds)
            rate = final.learning_rate / 2**index
            yield "adam", replace(final, adam_steps=steps, learning_rate=rate, finish_steps=0)
    marks = _doublings(_FIRST_FINISH, final.finish_steps)
    for start, end in zip([0, *marks], marks, strict=False):
        yield "finish", replace(final, adam_steps=0, finish_steps=end - start)


def _doublings(first: int, last: int) -> list[int]:
    """Return first, 2 first, 4 first ... below last, and last; nothing for last = 0."""
    marks = []
    while first < last:
        marks.append(first)
        first *= 2
    return [*marks, last] if last else []


class Layers(NamedTuple):
    """Representations within the row space constraints and their forces.

    Attributes:
        representations: Z_1 ... Z_L, projected at the tolerance of the inverse.
        forces: Attraction and repulsion at each, with the slopes at kinks that cancel best.
        fixed: The same with slope 0 at kinks.
    """

    representations: list[Tensor]
    forces: list[Forces]
    fixed: list[Forces]


def layers_of(problem: L2Problem, weights: Sequence[Tensor], *, inverse: Inverse) -> Layers:
    """Return the layers of a net with their forces."""
    representations = project(problem, forward(problem, weights), inverse=inverse)
    found = constrained_forces(problem, representations, inverse=inverse)
    fixed = constrained_forces(problem, representations, inverse=inverse, kink=0.0)
    return Layers(representations, found, fixed)


def net_numbers(
    problem: L2Problem, weights: Sequence[Tensor], layers: Layers, *, inverse: Inverse
) -> dict[str, float]:
    """Return what is measured of the whole net.

    `residual_share` is |W~|^2 / |W|^2, the part of the norm that makes no representation; `moved_share` how far the
    projection onto the row spaces moved a representation, relative to it, at most.
    """
    norm = float(squared_norm(weights))
    least = weights_of(problem, layers.representations, inverse=Inverse(inverse.tolerance))
    moved = [
        float((z - projected).norm() / z.norm().clamp_min(torch.finfo(z.dtype).tiny))
        for z, projected in zip(forward(problem, weights), layers.representations, strict=True)
    ]
    return {
        "loss": float(weight_loss(problem, weights)),
        "squared_norm": norm,
        "residual_share": max(0.0, 1 - float(squared_norm(least)) / norm),
        "moved_share": max(moved),
    }


def layer_numbers(
    problem: L2Problem,
    weights: Sequence[Tensor],
    layers: Layers,
    *,
    experiment: ForcesExperiment,
    labels: Tensor | None,
) -> list[dict[str, float]]:
    """Return what is measured of each layer 1 ... L; no ranks and rays of the last, which has no neurons to lose."""
    rows: list[dict[str, float]] = []
    parts = zip(layers.representations, layers.forces, layers.fixed, strict=True)
    for index, (z, found, fixed) in enumerate(parts):
        row = {
            "attraction": float(found.attraction.norm()),
            "repulsion": float(found.repulsion.norm()),
            "imbalance": float(found.imbalance),
            "fixed_imbalance": float(fixed.imbalance),
            "separation": float("nan") if labels is None else class_separation(z, labels),
        }
        if index < problem.depth - 1:
            row |= _neuron_numbers(problem, z, weights[index + 1], experiment=experiment)
        rows.append(row)
    return rows


def _neuron_numbers(
    problem: L2Problem, z: Tensor, above: Tensor, *, experiment: ForcesExperiment
) -> dict[str, float]:
    """Return rank, dead neurons and rays of a hidden layer, given the weights above it."""
    effect = problem.activate(z).norm(dim=1) * above[:, : len(z)].norm(dim=0)
    lives = effect > DEAD * effect.max()
    alive, sizes = z[lives], torch.linalg.svdvals(z)
    groups, aligned = len(alive), float("nan")
    if len(alive) > 1:
        angle = experiment.aligned_deg
        groups = len(direction_atoms(alive, angle_deg=angle, masses=effect[lives]).masses)
        aligned = float((nearest_angles_deg(alive) <= angle).double().mean())
    return {
        "rank": float((sizes > experiment.tolerance * sizes[0]).sum()),
        "dead_share": 1 - len(alive) / len(z),
        "groups": float(groups),
        "aligned_share": aligned,
    }
