"""Rules of descent on one hidden layer of ReLU neurons in the mean-field scaling: the feature regime, by training.

f(x) = 1/H sum_h w_h relu(v_h . x), full batch, loss 1/(2n) sum_i (y_i - f(x_i))^2 plus a penalty. Four rules move
(w, v); one driver gives all of them a step size that adapts itself, so that the objective never rises above its own
running mean. With
g_h = 1/n sum_i r_i relu(v_h . x_i), G_h = 1/n sum_i r_i 1[v_h . x_i > 0] x_i and r = y - f, H times minus the
gradient of the loss is g in w and w_h G_h in v_h. A step of size s:

- "projected_gd", penalty (lambda/H) sum |w|, |v_h| = 1: w <- soft(w + s g, s lambda), v <- v + s p G, normalised,
  with p = w in the plain, published descent. That is stiff once few neurons carry the mass, w_h ~ H / n_A; else
  p = sign(w) / max(mean |w|, 1), which gives directions the scale of masses whatever their spread;
- "path_norm", penalty (lambda/H) sum |w_h||v_h|: w <- soft(w + s g, s lambda |v|), v <- v + s w G, then shortened
  by s lambda |w|;
- "weight_decay", penalty (lambda/2H) sum (w_h^2 + |v_h|^2), whose minimum is that of the path norm, as
  |w||v| <= (w^2 + |v|^2)/2 with equality after rescaling: w <- (w + s g)/(1 + s lambda), v likewise;
- "conic", penalty (lambda/H) sum |w|, |v_h| = 1, in the metric of measures (Chizat 2021, arXiv 1907.10300):
  w <- w exp(s (sign(w) g - lambda)), v <- v + s sign(w) G, normalised.

Source: Petrini et al. 2022 (arXiv 2206.12314), regression on the sphere, for the losses.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError

RULES = ("projected_gd", "path_norm", "weight_decay", "conic")
ACCELERATED = ("projected_gd", "path_norm", "weight_decay")
"""Rules that take Nesterov's momentum, restarted where the objective would rise."""
GROWTH, CUT = 1.01, 0.5
MEMORY = 0.97
"""Of the running mean. Where neurons sit on a kink no step lowers the objective, and without slack none is taken."""


class Problem(NamedTuple):
    """What is minimised, and by which rule.

    Attributes:
        points: (n, d) training points.
        values: (n,) targets.
        rule: One of `RULES`.
        penalty: lambda.
        plain: Whether to leave out momentum and, in "projected_gd", the balanced metric: the published descent.
    """

    points: Tensor
    values: Tensor
    rule: str
    penalty: float
    plain: bool = False


class State(NamedTuple):
    """Where a descent stands.

    Attributes:
        weights: (H,) w.
        neurons: (d, H) v.
        last_weights: (H,) w before the last extrapolation.
        last_neurons: (d, H) v likewise.
        objective: () loss and penalty here.
        ceiling: () running mean of the objective, which a step may not exceed.
        loss: () loss here.
        slope: (d, H) G here.
        size: () step size s.
        momentum: () Nesterov's t; 1 at a restart.
        steps: Steps tried so far.
    """

    weights: Tensor
    neurons: Tensor
    last_weights: Tensor
    last_neurons: Tensor
    objective: Tensor
    ceiling: Tensor
    loss: Tensor
    slope: Tensor
    size: Tensor
    momentum: Tensor
    steps: int


def start(problem: Problem, weights: Tensor, neurons: Tensor) -> State:
    """Return a descent that begins at w (H,) and v (d, H)."""
    there, one = evaluate(problem, weights, neurons), torch.ones_like(weights[0])
    return State(
        weights=weights,
        neurons=neurons,
        last_weights=weights,
        last_neurons=neurons,
        objective=there.objective,
        ceiling=there.objective,
        loss=there.loss,
        slope=_slope(problem, there),
        size=one,
        momentum=one,
        steps=0,
    )


class _There(NamedTuple):
    """Objective and loss at a point, with the residuals (n,) and hidden outputs (n, H) they came from."""

    objective: Tensor
    loss: Tensor
    residuals: Tensor
    hidden: Tensor


def evaluate(problem: Problem, weights: Tensor, neurons: Tensor) -> _There:
    """Evaluate the objective at w (H,) and v (d, H)."""
    hidden = (problem.points @ neurons).clamp_(min=0)
    width = len(weights)
    residuals = problem.values - hidden @ weights / width
    loss = residuals.square().mean() / 2
    return _There(loss + _penalty(problem, weights, neurons) / width, loss, residuals, hidden)


def _penalty(problem: Problem, weights: Tensor, neurons: Tensor) -> Tensor:
    """H times the penalty, a tensor of one entry."""
    if problem.rule in ("projected_gd", "conic"):
        return weights.abs().sum() * problem.penalty
    if problem.rule == "path_norm":
        return weights.abs() @ column_norms(neurons) * problem.penalty
    if problem.rule == "weight_decay":
        return (weights.square().sum() + neurons.square().sum()) * (problem.penalty / 2)
    raise ArgumentError("rule", f"be one of {', '.join(RULES)}", repr(problem.rule))


def _slope(problem: Problem, there: _There) -> Tensor:
    """G (d, H); overwrites the hidden outputs."""
    weighted = problem.points * (there.residuals / len(problem.values))[:, None]
    return weighted.T @ there.hidden.sign_()


def advance(problem: Problem, state: State, steps: int) -> State:
    """Try a number of steps; refused ones cut the step size or restart the momentum.

    Args:
        problem: What is minimised.
        state: Where the descent stands.
        steps: Steps to try.

    Returns:
        The state after them; its objective is not above the ceiling before.
    """
    for _ in range(steps):
        state = _step(problem, state)
    return state


def _step(problem: Problem, state: State) -> State:
    moved = _move(problem, state)
    momentum = (1 + (1 + 4 * state.momentum.square()).sqrt()) / 2
    reached = moved
    if problem.rule in ACCELERATED and not problem.plain:
        pull = (state.momentum - 1) / momentum
        reached = (
            moved[0] + pull * (moved[0] - state.last_weights),
            moved[1] + pull * (moved[1] - state.last_neurons),
        )
        if problem.rule == "projected_gd":
            reached = reached[0], reached[1] / column_norms(reached[1])
    there = evaluate(problem, *reached)
    steps = state.steps + 1
    if there.objective <= state.ceiling:
        slope, size = _slope(problem, there), state.size * GROWTH
        ceiling = MEMORY * state.ceiling + (1 - MEMORY) * there.objective
        return State(*reached, *moved, there.objective, ceiling, there.loss, slope, size, momentum, steps)
    if problem.rule in ACCELERATED and not problem.plain and state.momentum > 1:
        one = torch.ones_like(state.momentum)
        return state._replace(momentum=one, steps=steps)
    return state._replace(size=state.size * CUT, steps=steps)


def _move(problem: Problem, state: State) -> tuple[Tensor, Tensor]:
    """(w, v) after one step of the rule from the present point."""
    weights, neurons, slope, size = state.weights, state.neurons, state.slope, state.size
    shrink = size * problem.penalty
    gain = (neurons * slope).sum(dim=0)
    if problem.rule == "projected_gd":
        pace = weights if problem.plain else weights.sign() / weights.abs().mean().clamp(min=1)
        moved = neurons + size * pace * slope
        return _soft(weights + size * gain, shrink), moved / column_norms(moved)
    if problem.rule == "path_norm":
        moved = neurons + size * weights * slope
        length = column_norms(moved)
        shorter = _soft(length, shrink * weights.abs()) / length.clamp(min=torch.finfo(length.dtype).tiny)
        return _soft(weights + size * gain, shrink * column_norms(neurons)), moved * shorter
    if problem.rule == "weight_decay":
        return (weights + size * gain) / (1 + shrink), (neurons + size * weights * slope) / (1 + shrink)
    if problem.rule == "conic":
        rate = weights.sign() * gain - problem.penalty
        moved = neurons + size * weights.sign() * slope
        return weights * (size * rate).clamp(-1, 1).exp(), moved / column_norms(moved)
    raise ArgumentError("rule", f"be one of {', '.join(RULES)}", repr(problem.rule))


def column_norms(neurons: Tensor) -> Tensor:
    """Norms of the columns; several times faster than `Tensor.norm` over a short first axis."""
    return neurons.square().sum(dim=0).sqrt_()


def _soft(values: Tensor, threshold: Tensor) -> Tensor:
    """Soft threshold: towards 0 by the threshold, exactly 0 within it."""
    return values.sign() * (values.abs() - threshold).clamp_(min=0)
