"""The feature predictor on the sphere by training: one hidden layer of ReLU neurons, and the descent that moves it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.nets import CentredOutput, Loss
from diffstab.solvers.solver import Solver
from diffstab.solvers.sphere_rules import RULES, Problem, State, advance, initial_neurons, start
from diffstab.solvers.status import Status
from diffstab.solvers.stopping import ConvergenceRule
from diffstab.sparsity import activation_atoms, number_carrying
from diffstab.streams import stream

STEPS_BETWEEN_CHECKS = 100
MARKS_PER_DECADE = 5
"""Entries of the history per factor 10 of steps."""

_KEPT = ("last_weights", "last_neurons", "objective", "ceiling", "loss", "slope", "size", "momentum")
"""What of a descent is kept between calls, beside the net and the number of steps."""


@dataclass(frozen=True)
class SphereTraining:
    """How to train one hidden layer of ReLU neurons on the sphere.

    Args:
        rule: "projected_gd", "path_norm", "weight_decay", "conic" or "alpha_trick"; see `sphere_rules`.
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
        if self.width < 1:
            raise ArgumentError("width", "be at least 1", self.width)
        if not 0 <= self.penalty < math.inf:
            raise ArgumentError("penalty", "be finite and at least 0", self.penalty)
        if not 0 < self.alpha <= 1:
            raise ArgumentError("alpha", "lie in (0, 1]", self.alpha)
        _ = self.stop

    @property
    def stop(self) -> ConvergenceRule:
        """The stop rule."""
        return ConvergenceRule(self.max_steps, tolerance=self.tolerance, objective_bound=self.objective_bound)

    def net(self, dimension: int, like: Tensor | None = None) -> ReluNeurons:
        """Return the net as it is before its training.

        Args:
            dimension: d of the points.
            like: A tensor of its floating type and device; by default it is float64, on the CPU.
        """
        like = torch.empty(0, dtype=torch.float64) if like is None else like
        generator = stream(self.seed, "neurons")
        drawn = initial_neurons(self, dimension, generator=generator, dtype=like.dtype)
        return ReluNeurons(*(part.to(like.device) for part in drawn))


class ReluNeurons(nn.Module):
    """f(x) = 1/H sum_h w_h relu(v_h . x).

    Args:
        weights: (H,) w.
        neurons: (d, H) v.
    """

    def __init__(self, weights: Tensor, neurons: Tensor) -> None:
        super().__init__()
        self.weights, self.neurons = nn.Parameter(weights), nn.Parameter(neurons)

    def forward(self, points: Tensor) -> Tensor:
        """Return f at points (m, d), by blocks, shape (m, 1)."""
        atoms, weights = self.atoms()
        parts = [(block @ atoms.T).clamp_(min=0) @ weights for block in torch.split(points, 1024)]
        return torch.cat(parts)[:, None]

    def atoms(self) -> tuple[Tensor, Tensor]:
        """Return unit directions (H, d) and signed masses (H,) of the neurons; a vanished neuron keeps mass 0."""
        weights, neurons = self.weights.detach(), self.neurons.detach()
        length = neurons.norm(dim=0)
        safe = torch.where(length > 0, length, 1)
        return (neurons / safe).T.contiguous(), weights * length / len(length)


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
        """Return objective, mass 1/H sum |w_h||v_h|, number of atoms that hold 99% of it, and the step size."""
        atoms, weights = self.net.atoms()
        masses, kept = weights.abs(), self.state[self._first]
        alive, carrying = masses > 0, 0
        if alive.any():
            groups = activation_atoms(atoms[alive], x.to(atoms), masses=masses[alive].double())
            carrying = number_carrying(groups.masses)
        numbers = {"train_objective": kept["objective"], "mass": masses.sum(), "n_atoms": carrying}
        return {name: float(value) for name, value in {**numbers, "step_size": kept["size"]}.items()}

    @torch.no_grad()
    def advance(self, x: Tensor, y: Tensor, steps: int) -> Status:
        """Try a number of steps; refused ones count."""
        if x.ndim != 2 or y.ndim != 1:
            received = f"{tuple(x.shape)} and {tuple(y.shape)}"
            raise ArgumentError("points and values", "have shapes (n, d) and (n,)", received)
        problem = Problem(x, y, self.settings.rule, self.settings.penalty, self.settings.plain)
        state = self._state(problem)
        state = advance(problem, state, min(steps, self.settings.max_steps - state.steps))
        group = self.param_groups[0]
        self.net.weights.copy_(state.weights)
        self.net.neurons.copy_(state.neurons)
        self.state[self._first] = {name: getattr(state, name) for name in _KEPT}
        group["steps"] = state.steps
        if steps:
            group["seen"].append([state.steps, float(state.objective)])
        loss, reason = float(state.loss), self.settings.stop.reason(group["seen"])
        return Status(state.steps, loss, error=2 * loss, margin_share=math.nan, reason=reason)

    def _state(self, problem: Problem) -> State:
        """Return where the descent stands: its beginning, or what the net and the last call left."""
        weights, neurons = (parameter.detach().clone() for parameter in self.net.parameters())
        kept = self.state.get(self._first)
        if not kept:
            return start(problem, weights, neurons)
        return State(weights, neurons, steps=self.param_groups[0]["steps"], **kept)


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
        stop_reason: "objective", "converged" or "max_steps".
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
    solver = SphereDescent(CentredOutput(net, xi=0.0), Loss("regression"), settings)
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
