"""The feature predictor on the sphere by training: settings, the run to its stop rule, and what it ended with."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.sparsity import activation_atoms, number_carrying
from diffstab.streams import stream
from diffstab.training.sphere.descent import RULES, Problem, State, advance, initial_state

STEPS_BETWEEN_CHECKS = 100
MARKS_PER_DECADE = 5
"""Entries of the history per factor 10 of steps."""


@dataclass(frozen=True)
class SphereTraining:
    """How to train one hidden layer of ReLU neurons on the sphere.

    Args:
        rule: "projected_gd", "path_norm", "weight_decay", "conic" or "alpha_trick"; see `descent`.
        width: Number of neurons H.
        penalty: lambda of the penalty; unused by "alpha_trick".
        alpha: Of "alpha_trick", in (0, 1]. Below about 1e-16 neurons gather to rounding before they fit, and the flow
            may end at a stationary point that misses some of the data.
        max_steps: Steps tried, at most.
        tolerance: Stop when the objective (the loss, for "alpha_trick") falls by less than this part over the last
            half of the steps; 0 for never.
        objective_bound: Stop at this objective; None for no bound.
        plain: Leave out momentum and, in "projected_gd", the balanced metric: the published update, whose step adapts.
        seed: Seed of the initial neurons.

    Raises:
        ArgumentError: If a value is out of range.
    """

    rule: str = "projected_gd"
    width: int = 1000
    penalty: float = 1e-4
    alpha: float = 1e-6
    max_steps: int = 20_000
    tolerance: float = 1e-4
    objective_bound: float | None = None
    plain: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ArgumentError("rule", f"be one of {', '.join(RULES)}", repr(self.rule))
        for name in ("width", "max_steps"):
            if getattr(self, name) < 1:
                raise ArgumentError(name, "be at least 1", getattr(self, name))
        for name in ("penalty", "tolerance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ArgumentError(name, "be finite and at least 0", getattr(self, name))
        if not 0 < self.alpha <= 1:
            raise ArgumentError("alpha", "lie in (0, 1]", self.alpha)

    def problem(self, points: Tensor, values: Tensor) -> Problem:
        """Return what is minimised on points (n, d) and values (n,)."""
        check_data(points, values)
        return Problem(points, values, self.rule, self.penalty, self.plain)

    def start(self, problem: Problem) -> State:
        """Return the seeded start of the descent."""
        generator = stream(self.seed, "neurons")
        return initial_state(problem, self.width, alpha=self.alpha, generator=generator)


class Moment(NamedTuple):
    """One entry of the history.

    Attributes:
        step: Steps tried.
        objective: Loss and penalty.
        loss: 1/(2n) sum (y - f)^2.
        mass: Total variation 1/H sum |w_h||v_h|.
        n_atoms: Activation patterns that hold 99% of the mass.
    """

    step: int
    objective: float
    loss: float
    mass: float
    n_atoms: int


class SphereOutcome(NamedTuple):
    """A trained predictor f(x) = sum_h weights_h relu(atoms_h . x).

    Attributes:
        atoms: (H, d) unit directions.
        weights: (H,) signed masses.
        objective: Loss and penalty at the end.
        loss: Loss at the end.
        steps: Steps tried.
        seconds: Wall time.
        stop_reason: "objective", "converged" or "max_steps".
        history: At log-spaced steps.
    """

    atoms: Tensor
    weights: Tensor
    objective: float
    loss: float
    steps: int
    seconds: float
    stop_reason: str
    history: list[Moment]

    def predict(self, points: Tensor) -> Tensor:
        """Return f at points (m, d), shape (m,)."""
        return relu_sum(points, self.atoms, self.weights)


def train_sphere(points: Tensor, values: Tensor, settings: SphereTraining) -> SphereOutcome:
    """Train to the stop rule.

    Args:
        points: (n, d) unit vectors, float64 (float32 is taken as it is).
        values: (n,) targets of the same type.
        settings: Rule, width, penalty and stop rule.

    Returns:
        The outcome.

    Raises:
        ArgumentError: If shapes or types do not fit, or an entry is not finite.
    """
    started = time.perf_counter()
    problem = settings.problem(points, values)
    state, reason = settings.start(problem), ""
    progress = SphereProgress(settings)
    history = [moment(problem, state)]
    while not reason:
        state = advance(problem, state, min(STEPS_BETWEEN_CHECKS, settings.max_steps - int(state.steps)))
        reason = progress.reason(state)
        if reason or int(state.steps) >= history[-1].step * 10 ** (1 / MARKS_PER_DECADE):
            history.append(moment(problem, state))
    atoms, weights = neurons_of(state)
    return SphereOutcome(
        atoms,
        weights,
        float(state.objective),
        float(state.loss),
        int(state.steps),
        time.perf_counter() - started,
        reason,
        history,
    )


class SphereProgress:
    """The stop rule: remembers the objective, so as to see when it no longer falls.

    Args:
        settings: Bounds.
    """

    def __init__(self, settings: SphereTraining) -> None:
        self.settings = settings
        self.seen: list[tuple[int, float]] = []

    def reason(self, state: State) -> str:
        """Return why to stop here: "objective", "converged", "max_steps", or "" to go on."""
        step, objective = int(state.steps), float(state.objective)
        self.seen.append((step, objective))
        bound = self.settings.objective_bound
        if bound is not None and objective <= bound:
            return "objective"
        if step >= self.settings.max_steps:
            return "max_steps"
        earlier = [value for at, value in self.seen if at <= step / 2]
        if (
            len(earlier) >= MARKS_PER_DECADE
            and earlier[-1] - objective < self.settings.tolerance * earlier[-1]
        ):
            return "converged"
        return ""


def neurons_of(state: State) -> tuple[Tensor, Tensor]:
    """Return unit directions (H, d) and signed masses (H,) of the neurons; a vanished neuron keeps mass 0."""
    length = state.neurons.norm(dim=0)
    safe = torch.where(length > 0, length, 1)
    return (state.neurons / safe).T.contiguous(), state.weights * length / len(length)


def moment(problem: Problem, state: State) -> Moment:
    """Return the entry of the history for a state."""
    atoms, weights = neurons_of(state)
    masses = weights.abs()
    carrying = 0
    if masses.any():
        alive = masses > 0
        groups = activation_atoms(atoms[alive], problem.points, masses=masses[alive].double())
        carrying = number_carrying(groups.masses)
    return Moment(int(state.steps), float(state.objective), float(state.loss), float(masses.sum()), carrying)


def relu_sum(points: Tensor, atoms: Tensor, weights: Tensor) -> Tensor:
    """Return sum_h weights_h relu(atoms_h . x) at points (m, d), by blocks, shape (m,)."""
    return torch.cat([(block @ atoms.T).clamp_(min=0) @ weights for block in torch.split(points, 1024)])


def check_data(points: Tensor, values: Tensor) -> None:
    """Refuse points and values that do not fit each other.

    Raises:
        ArgumentError: Wrong shape or type, no point, or an entry that is not finite.
    """
    if points.ndim != 2 or not len(points):
        raise ArgumentError("points", "have shape (n, d) with n >= 1", tuple(points.shape))
    if values.shape != points.shape[:1]:
        raise ArgumentError("values", f"have shape ({len(points)},)", tuple(values.shape))
    if not points.is_floating_point() or values.dtype != points.dtype:
        raise ArgumentError("points and values", "have one floating type", f"{points.dtype}, {values.dtype}")
    if not (points.isfinite().all() and values.isfinite().all()):
        raise ArgumentError("points and values", "be finite", "NaN or infinity")
