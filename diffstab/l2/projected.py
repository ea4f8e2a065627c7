r"""Minima over the representations: gradient descent on Z_1 ... Z_L, projected onto the row space constraints.

The exact loss explodes beside the constraints and its gradient has no continuous limit where the rank of a layer
changes. So descent runs on the Tikhonov form, Tr[Z_l^T Z_l (K_{l-1}^s + e I)^{-1}] for |Z_l (Z_{l-1}^s)^+|^2, which is
smooth and needs no constraint, with steps scaled as in Adam and with e falling to almost 0; then the representations
are projected, and projected gradient steps that lower the exact loss finish.

Source: Jacot et al. 2022 (arXiv 2205.15809), section 3.3, which names the projection and the Tikhonov term and carries
neither out; Kingma and Ba, "Adam", 2015, for the scaling of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.l2.descent import Descended, NetStart, draw_runs
from diffstab.l2.forces import constrained_forces, forces
from diffstab.l2.inverse import EXACT, Inverse
from diffstab.l2.kinks import stationarity
from diffstab.l2.network import Widths, forward, hidden_widths, squared_norm
from diffstab.l2.problem import L2Problem
from diffstab.l2.representations import project, representation_loss, weights_of

_FIRST, _SECOND = 0.9, 0.999
_HALVINGS = 40


@dataclass(frozen=True)
class ProjectedSettings:
    """How representations are descended on.

    Args:
        steps: On the Tikhonov form.
        learning_rate: Of these steps at the start, > 0; it falls to zero along half a cosine.
        tikhonov_start: e at the start, > 0.
        tikhonov_end: e at the end, > 0, no larger.
        projected_steps: At most so many steps on the exact loss after them.
        stationary: A minimum counts as converged at this generalised stationarity of its weights.
        gain: Factor on the standard deviation of the weights whose representations are the start.

    Raises:
        ArgumentError: If a value is out of range.
    """

    steps: int = 10_000
    learning_rate: float = 0.1
    tikhonov_start: float = 1e-2
    tikhonov_end: float = 1e-4
    projected_steps: int = 200
    stationary: float = 1e-2
    gain: float = 1.0

    def __post_init__(self) -> None:
        for name in ("steps", "projected_steps"):
            if getattr(self, name) < 0:
                raise ArgumentError(name, "be at least 0", getattr(self, name))
        for name in ("learning_rate", "tikhonov_start", "tikhonov_end", "gain"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ArgumentError(name, "be positive and finite", value)
        if self.tikhonov_end > self.tikhonov_start:
            raise ArgumentError("tikhonov_end", f"be at most {self.tikhonov_start}", self.tikhonov_end)
        if not 0 < self.stationary < 1:
            raise ArgumentError("stationary", "lie in (0, 1)", self.stationary)


def train_representations(
    problem: L2Problem, hidden: Widths, *, restarts: int, seed: int, settings: ProjectedSettings | None = None
) -> list[Descended]:
    """Minimise the first reformulation at several widths from several starts each; starts of a width go together.

    Args:
        problem: The problem, of penalty > 0, with N of tens: each step inverts N x N matrices.
        hidden: Widths: a number for all hidden layers, or one for each.
        restarts: Starts per width; the same as those of `train_widths`.
        seed: Any integer.
        settings: How to descend; None means the defaults.

    Returns:
        One minimum per width and start, in that order, as the weights of least norm that make its representations.

    Raises:
        ArgumentError: If a width or number is out of range, or the penalty is 0.
    """
    if problem.penalty == 0:
        raise ArgumentError("penalty", "be positive to minimise", 0)
    settings = settings or ProjectedSettings()
    runs = draw_runs(problem, hidden, restarts=restarts, seed=seed, gain=settings.gain)
    results = []
    for first in range(0, len(runs), restarts):
        results += _descended_together(problem, runs[first : first + restarts], settings)
    return results


def _descended_together(
    problem: L2Problem, runs: Sequence[NetStart], settings: ProjectedSettings
) -> list[Descended]:
    start = [torch.stack(layer) for layer in zip(*(run.weights for run in runs), strict=True)]
    smooth, history = _on_tikhonov(problem, forward(problem, start), settings)
    begin = _feasible(problem, smooth, Inverse(tikhonov=settings.tikhonov_end))
    exact, steps = _on_exact(problem, begin, settings.projected_steps)
    weights = weights_of(problem, exact)
    losses = representation_loss(problem, exact)
    history.append((settings.steps + steps, losses))
    found = []
    for place, run in enumerate(runs):
        net = [layer[place] for layer in weights]
        distance = stationarity(problem, net).relative
        found.append(
            Descended(
                hidden=hidden_widths(net),
                restart=run.restart,
                weights=net,
                loss=float(losses[place]),
                cost=float(problem.cost_of(exact[-1])[place]),
                squared_norm=float(squared_norm(net)),
                stationarity=distance,
                steps=settings.steps + steps,
                converged=distance <= settings.stationary,
                history=[(step, float(values[place])) for step, values in history],
            )
        )
    return found


def _on_tikhonov(
    problem: L2Problem, start: Sequence[Tensor], settings: ProjectedSettings
) -> tuple[list[Tensor], list[tuple[int, Tensor]]]:
    """Return representations after descent on the Tikhonov form, and its losses at log-spaced steps."""
    representations = [z.clone() for z in start]
    first = [torch.zeros_like(z) for z in start]
    second = [torch.zeros_like(z) for z in start]
    ratio = settings.tikhonov_end / settings.tikhonov_start
    history = []
    for step in range(settings.steps):
        share = step / settings.steps
        inverse = Inverse(tikhonov=settings.tikhonov_start * ratio**share)
        if step & (step - 1) == 0:
            history.append((step, representation_loss(problem, representations, inverse=inverse)))
        rate = settings.learning_rate * math.cos(math.pi / 2 * share) ** 2
        found = forces(problem, representations, inverse=inverse)
        for z, mean, spread, force in zip(representations, first, second, found, strict=True):
            gradient = force.attraction + force.repulsion
            mean.lerp_(gradient, 1 - _FIRST)
            spread.mul_(_SECOND).addcmul_(gradient, gradient, value=1 - _SECOND)
            scale = (spread / (1 - _SECOND ** (step + 1))).sqrt_().add_(torch.finfo(z.dtype).eps)
            z.addcdiv_(mean, scale, value=-rate / (1 - _FIRST ** (step + 1)))
    return representations, history


def _feasible(problem: L2Problem, smooth: Sequence[Tensor], inverse: Inverse) -> list[Tensor]:
    """Return representations within the constraints: projected, or those of the Tikhonov weights where that is lower.

    Where a layer has almost lost a rank, the exact inverse makes the projected loss huge and the other stays near.
    """
    candidates = [project(problem, smooth), forward(problem, weights_of(problem, smooth, inverse=inverse))]
    first, second = (representation_loss(problem, found) for found in candidates)
    lower = (first <= second)[:, None, None]
    return [torch.where(lower, one, other) for one, other in zip(*candidates, strict=True)]


def _on_exact(problem: L2Problem, start: Sequence[Tensor], steps: int) -> tuple[list[Tensor], int]:
    """Return representations after projected gradient steps that lower the exact loss of each net, and their number."""
    representations = list(start)
    losses = representation_loss(problem, representations)
    lengths = torch.full_like(losses, 1e-3)
    for step in range(steps):
        found = constrained_forces(problem, representations, kink=0, inverse=EXACT)
        gradients = [force.attraction + force.repulsion for force in found]
        lower = torch.zeros_like(losses, dtype=torch.bool)
        for _ in range(_HALVINGS):
            moved = [z - lengths[:, None, None] * g for z, g in zip(representations, gradients, strict=True)]
            trial = project(problem, moved)
            reached = representation_loss(problem, trial)
            better = ~lower & (reached < losses)
            chosen = better[:, None, None]
            representations = [
                torch.where(chosen, new, z) for new, z in zip(trial, representations, strict=True)
            ]
            losses = torch.where(better, reached, losses)
            lower |= better
            if lower.all():
                break
            lengths = torch.where(lower, lengths, lengths / 2)
        if not lower.any():
            return representations, step
        lengths = torch.where(lower, 2 * lengths, lengths)
    return representations, steps
