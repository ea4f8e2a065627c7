"""The feature predictor on the sphere by training: one hidden layer of ReLU neurons, and what moves it."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.nets import CentredOutput, Loss
from diffstab.solvers.flow import GradientFlow
from diffstab.solvers.solver import Solver
from diffstab.solvers.sphere_net import FLOWS, ReluNeurons, SphereTraining
from diffstab.solvers.sphere_rules import Problem, State, advance, start
from diffstab.solvers.status import Status

STEPS_BETWEEN_CHECKS = 100
MARKS_PER_DECADE = 5
"""Entries of the history per factor 10 of steps."""

_KEPT = ("last_weights", "last_neurons", "objective", "ceiling", "loss", "slope", "size", "momentum")
"""What of a descent is kept between calls, beside the net and the number of steps."""


class SphereDescent(Solver):
    """Descent of `ReluNeurons` by one rule, with a step size that adapts itself; see `sphere_rules`.

    Args:
        model: Predictor with `ReluNeurons` inside, alpha = 1 and xi = 0.
        loss: Regression.
        settings: Rule, penalty and stop rule.
    """

    def __init__(self, model: CentredOutput, loss: Loss, settings: SphereTraining) -> None:
        super().__init__(model, loss, {"steps": 0})
        self.settings, self.net = settings, cast("ReluNeurons", model.net)
        self.param_groups[0]["seen"] = []

    def measures(self, x: Tensor) -> dict[str, float]:
        """Return objective, mass, number of atoms (see `ReluNeurons.measures`) and the step size."""
        kept = self.state[self._first]
        moved = {"train_objective": float(kept["objective"]), "step_size": float(kept["size"])}
        return {**self.net.measures(x), **moved}

    @torch.no_grad()
    def advance(self, x: Tensor, y: Tensor, steps: int) -> Status:
        """Try a number of steps; refused ones count."""
        _check_points(x, y)
        problem = Problem(x, y, self.settings.rule, self.settings.penalty, self.settings.plain)
        state = self._state(problem)
        state = advance(problem, state, min(steps, self.settings.max_steps - state.steps))
        group = self.param_groups[0]
        for here, reached in zip(self.net.parts(), (state.weights, state.neurons)):
            here.copy_(reached)
        self.state[self._first] = {name: getattr(state, name) for name in _KEPT}
        group["steps"] = state.steps
        if steps:
            group["seen"].append([state.steps, float(state.objective)])
        loss, reason = float(state.loss), self.settings.stop.reason(group["seen"])
        return Status(state.steps, loss, error=2 * loss, margin_share=math.nan, reason=reason)

    def _state(self, problem: Problem) -> State:
        """Return where the descent stands: its beginning, or what the net and the last call left."""
        weights, neurons = (part.clone(memory_format=torch.contiguous_format) for part in self.net.parts())
        kept = self.state.get(self._first)
        if not kept:
            return start(problem, weights, neurons)
        return State(weights, neurons, steps=self.param_groups[0]["steps"], **kept)


class SphereFlow(GradientFlow):
    """Gradient flow of `ReluNeurons`, without a penalty ("alpha_trick") or with one ("decay_flow").

    Args:
        model: Predictor with `ReluNeurons` inside, alpha = 1 and xi = 0.
        loss: Regression.
        training: Rule, penalty and stop rule.
    """

    def __init__(self, model: CentredOutput, loss: Loss, training: SphereTraining) -> None:
        self.training, self.net = training, cast("ReluNeurons", model.net)
        super().__init__(model, loss, training.flow, decay=training.flow_penalty / training.width)
        self.param_groups[0]["seen"] = []

    def measures(self, x: Tensor) -> dict[str, float]:
        """Return objective, mass, number of atoms (see `ReluNeurons.measures`) and the step size."""
        group = self.param_groups[0]
        return {
            **self.net.measures(x),
            "train_objective": group["objective"],
            "step_size": group["step_size"],
        }

    @torch.no_grad()
    def advance(self, x: Tensor, y: Tensor, steps: int) -> Status:
        """Advance by up to a number of accepted steps."""
        _check_points(x, y)
        status, group = super().advance(x, y, steps), self.param_groups[0]
        squares = sum(float(weight.square().sum()) for weight in self.net.weights)
        group["objective"] = status.loss + self.decay / 2 * squares
        if not self.decay or status.done:
            return status
        if steps:
            group["seen"].append([status.steps, group["objective"]])
        return status._replace(reason=self.training.stop.reason(group["seen"]))


def sphere_solver(model: CentredOutput, loss: Loss, settings: SphereTraining) -> Solver:
    """Return what moves `ReluNeurons` by the rule of the settings."""
    solver = SphereFlow if settings.rule in FLOWS else SphereDescent
    return solver(model, loss, settings)


def _check_points(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or y.ndim != 1:
        received = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ArgumentError("points and values", "have shapes (n, d) and (n,)", received)


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
        net: The trained net.
        atoms: (H, d) unit directions of its neurons.
        weights: (H,) their signed masses.
        objective: Loss and penalty at the end.
        loss: Loss at the end.
        steps: Steps tried.
        stop_reason: "objective", "converged" or "max_steps"; of a flow also "loss" and "stalled".
        history: At log-spaced steps; the last entry is the end.
    """

    net: ReluNeurons
    atoms: Tensor
    weights: Tensor
    objective: float
    loss: float
    steps: int
    stop_reason: str
    history: list[Moment]

    @torch.no_grad()
    def predict(self, points: Tensor) -> Tensor:
        """Return f at points (m, d), shape (m,)."""
        return self.net.forward(points).squeeze(1)


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
    if not points.is_floating_point() or values.dtype != points.dtype:
        raise ArgumentError("points and values", "have one floating type", f"{points.dtype}, {values.dtype}")
    net = settings.net(points.shape[-1], like=points)
    solver = sphere_solver(CentredOutput(net, xi=0.0), Loss("regression"), settings)
    history: list[Moment] = []

    def note(status: Status) -> None:
        due = history[-1].step * 10 ** (1 / MARKS_PER_DECADE) if history else 0
        if status.done or status.steps >= due:
            found = solver.measures(points)
            numbers = found["train_objective"], status.loss, found["mass"], int(found["n_atoms"])
            history.append(Moment(status.steps, *numbers))

    note(solver.step(x=points, y=values, steps=0))
    status = solver.run(points, values, chunk=STEPS_BETWEEN_CHECKS, on_step=note)
    return SphereOutcome(
        net, *net.atoms(), history[-1].objective, status.loss, status.steps, status.reason, history
    )
