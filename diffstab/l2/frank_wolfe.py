r"""Minima over the covariances: Frank-Wolfe on the cone of pairs, fully corrective.

A hidden layer's pair (K, K^s - b^2 1 1^T) is a conic combination of generators (z z^T, s(z) s(z)^T), z = u^T Z^s with
|u| = 1. Each round asks the linear oracle for generators that lower the loss, adds them, and minimises over the
combination.

Depth 2: the loss is convex in the pair and the outputs. Masses and outputs solve a group lasso, and the dual gives a
lower bound of the minimum over nets of every width: the gap is certified wherever the oracle is exact. Elsewhere the
bound is an estimate. The dual point is kept, not its value: it is priced by every generator ever met, so that no loss
that was reached lies below it, and by a stronger search before the loop may stop.
Deeper: the loss is convex in one layer's pair only. All layers are minimised together by descent after each
addition, and the gap is of first order: what the best shift of a layer's mass to one generator would gain.

Source: Jacot et al. 2022 (arXiv 2205.15809), Propositions 3 and 5 and section 3.3, which proposes Frank-Wolfe without
carrying it out; the oracle, corrective step and dual are derived here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.l2.covariances import CovariancePair, covariances_of
from diffstab.l2.descent import DescentSettings, PaddedNets, descend
from diffstab.l2.group_lasso import DualPoint, corrected, dual_point, priced_by, primal_value
from diffstab.l2.kinks import stationarity
from diffstab.l2.network import draw_weights, forward, hidden_widths, weight_loss
from diffstab.l2.oracle import Generators, best_generators
from diffstab.l2.problem import L2Problem
from diffstab.l2.prune import prune

_ABSENT = 1e-10
_STRONGER = 4
"""Factor on starts and centres of the search that confirms a heuristic bound."""
_ROUNDING = 1e3
"""Share of the loss of the zero net, in units of eps, by which rounding can put a loss below its bound."""


@dataclass(frozen=True)
class FrankWolfeSettings:
    """How the cone of pairs is searched.

    Args:
        rounds: At most so many calls of the oracle.
        tolerance: Relative gap to reach.
        starts: Random starts of the oracle where not all faces are tried.
        added: Generators added per round at most.
        polish_steps: Steps of Adam after each addition, depth 3 and above.
        restarts: Starts, depth 3 and above; the best is kept.

    Raises:
        ArgumentError: If a value is out of range.
    """

    rounds: int = 200
    tolerance: float = 1e-4
    starts: int = 200
    added: int = 8
    polish_steps: int = 3000
    restarts: int = 3

    def __post_init__(self) -> None:
        for name in ("rounds", "starts", "added", "polish_steps", "restarts"):
            if getattr(self, name) < 1:
                raise ArgumentError(name, "be at least 1", getattr(self, name))
        if not 0 < self.tolerance < 1:
            raise ArgumentError("tolerance", "lie in (0, 1)", self.tolerance)


class FrankWolfeMinimum(NamedTuple):
    """A minimum over the covariances.

    Attributes:
        pairs: (K_l, K_l^s) of the hidden layers.
        outputs: Z_L, shape (n_L, N).
        weights: W_1 ... W_L of a net with these pairs: one neuron per generator.
        widths: Generators kept in each hidden layer, an upper bound of its rank.
        loss: C + lambda sum_l Tr[K_l (K_{l-1}^s)^+].
        bound: Depth 2: a lower bound of the loss at every width where the oracle is exact, else an estimate of one.
            Deeper: loss minus the first-order gain.
        gap: (loss - bound) / loss, at least 0, of the very net that is returned.
        gap_kind: "duality" (depth 2) or "first_order".
        oracle: "exact" where all faces were tried, so that the gap is certified, or "heuristic": a search from many
            starts, which can miss the best generator.
        rounds: Rounds of the search.
        converged: Whether the gap reached the tolerance.
        history: Triples (round, loss, bound).
    """

    pairs: list[CovariancePair]
    outputs: Tensor
    weights: list[Tensor]
    widths: tuple[int, ...]
    loss: float
    bound: float
    gap: float
    gap_kind: str
    oracle: str
    rounds: int
    converged: bool
    history: list[tuple[int, float, float]]


def minimise_covariances(
    problem: L2Problem, *, generator: torch.Generator, settings: FrankWolfeSettings | None = None
) -> FrankWolfeMinimum:
    """Minimise the regularised loss over the cone of covariance pairs: over nets of every width.

    Args:
        problem: Of relu or linear activation, penalty > 0, depth >= 2 and float64; sizes N of tens.
        generator: CPU generator of the oracle's starts.
        settings: How to search; None means the defaults.

    Returns:
        The minimum with its gap; the best of all starts for depth 3 and above.

    Raises:
        ArgumentError: If the problem is not of that kind.
        DegenerateError: If rounding puts the loss below its own lower bound.
    """
    settings = settings or FrankWolfeSettings()
    _check(problem)
    if problem.depth == 2:
        return _minimise_shallow(problem, generator, settings)
    found = [_minimise_deep(problem, generator, settings) for _ in range(settings.restarts)]
    return min(found, key=lambda minimum: minimum.loss)


def _check(problem: L2Problem) -> None:
    if not problem.is_homogeneous:
        raise ArgumentError("activation", "be relu or linear for covariances", repr(problem.activation))
    if problem.penalty == 0:
        raise ArgumentError("penalty", "be positive to minimise", 0)
    if problem.depth < 2:
        raise ArgumentError("depth", "be at least 2: without hidden layers there are no pairs", problem.depth)
    if problem.inputs.dtype != torch.float64:
        raise ArgumentError("inputs", "be float64", problem.inputs.dtype)
    if not problem.extended_inputs.any():
        raise ArgumentError("inputs", "not all be zero without a bias", "zeros")


def _minimise_shallow(
    problem: L2Problem, generator: torch.Generator, settings: FrankWolfeSettings
) -> FrankWolfeMinimum:
    below = problem.extended_inputs
    directions = seen = below.new_zeros(0, len(below))
    outgoing = below.new_zeros(problem.outputs, int(problem.bias > 0))
    outgoing = corrected(problem, problem.activate(directions @ below), outgoing)
    history: list[tuple[int, float, float]] = []
    # The zero of the dual: no loss is negative.
    point = dual_point(problem, below.new_zeros(problem.outputs, problem.points), 0.0)
    for rounds in range(1, settings.rounds + 1):
        activations = problem.activate(directions @ below)
        slopes = problem.cost_gradient(outgoing @ problem.extended(activations))
        found = _search(problem, slopes, directions, generator, settings)
        loss = float(primal_value(problem, activations, outgoing))
        seen = torch.cat([seen, found.directions])
        point = _best_point(
            problem, point, dual_point(problem, slopes, float(found.values[0])), seen, found.exact
        )
        # Half of the tolerance is left to the search for fewer generators.
        if (closed := _is_closed(loss, point, settings)) and not found.exact:
            found = _search(problem, point.slopes, seen, generator, settings, stronger=True)
            seen = torch.cat([seen, found.directions])
            point = priced_by(problem, point, found.directions)
            closed = _is_closed(loss, point, settings)
        history.append((rounds, loss, point.value))
        if closed or rounds == settings.rounds:
            break
        directions, outgoing = _with(problem, directions, outgoing, found)
    limit = point.value / (1 - settings.tolerance) if closed else loss * (1 + settings.tolerance)
    directions, outgoing = _sparsest(problem, directions, outgoing, limit)
    if not found.exact:
        point = priced_by(problem, point, directions)
    weights = _as_weights(directions, outgoing)
    return _minimum(problem, weights, point.value, "duality", found.exact, history, settings.tolerance)


def _search(
    problem: L2Problem,
    slopes: Tensor,
    known: Tensor,
    generator: torch.Generator,
    settings: FrankWolfeSettings,
    *,
    stronger: bool = False,
) -> Generators:
    """Return the best generators of the first hidden layer; the stronger search starts and looks around more."""
    factor = _STRONGER if stronger else 1
    return best_generators(
        problem, slopes, problem.extended_inputs, starts=factor * settings.starts, generator=generator,
        known=known, count=factor * settings.added,
    )  # fmt: skip


def _best_point(
    problem: L2Problem, kept: DualPoint, fresh: DualPoint, seen: Tensor, exact: bool
) -> DualPoint:
    """Return the better of the dual point kept so far and a new one, both priced by all generators met so far."""
    points = [kept, fresh]
    if not exact:
        points = [priced_by(problem, point, seen) for point in points]
    return max(points, key=lambda point: point.value)


def _is_closed(loss: float, point: DualPoint, settings: FrankWolfeSettings) -> bool:
    return loss - point.value <= settings.tolerance / 2 * loss


def _with(
    problem: L2Problem, directions: Tensor, outgoing: Tensor, found: Generators
) -> tuple[Tensor, Tensor]:
    """Return directions and out-weights after the corrective step with new generators; absent ones go."""
    count = len(directions)
    fresh = outgoing.new_zeros(len(outgoing), len(found.directions))
    directions = torch.cat([directions, found.directions])
    outgoing = torch.cat([outgoing[:, :count], fresh, outgoing[:, count:]], dim=1)
    return _correct(problem, directions, outgoing)


def _correct(problem: L2Problem, directions: Tensor, outgoing: Tensor) -> tuple[Tensor, Tensor]:
    below, count = problem.extended_inputs, len(directions)
    outgoing = corrected(problem, problem.activate(directions @ below), outgoing)
    masses = outgoing[:, :count].norm(dim=0)
    kept = (masses > _ABSENT * masses.max()).nonzero()[:, 0] if count else masses.long()
    bias = torch.arange(count, outgoing.shape[1], device=kept.device)
    return directions[kept], outgoing[:, torch.cat([kept, bias])]


def _sparsest(
    problem: L2Problem, directions: Tensor, outgoing: Tensor, limit: float
) -> tuple[Tensor, Tensor]:
    """Return a combination of fewer generators, neighbours merged, whose loss stays below a limit."""
    for angle_deg, dead in itertools.product((20.0, 10.0, 5.0, 2.0, 1.0, 0.1), (0.03, 0.003, 1e-4)):
        if len(directions) < 2:
            break
        merged = prune(problem, _as_weights(directions, outgoing), angle_deg=angle_deg, dead=dead).weights
        sizes = merged[0].norm(dim=1)
        trial = merged[0][sizes > 0] / sizes[sizes > 0, None]
        start = torch.cat(
            [merged[1][:, : len(sizes)][:, sizes > 0] * sizes[sizes > 0], merged[1][:, len(sizes) :]], 1
        )
        trial, start = _correct(problem, trial, start)
        activations = problem.activate(trial @ problem.extended_inputs)
        if float(primal_value(problem, activations, start)) <= limit:
            return trial, start
    return directions, outgoing


def _as_weights(directions: Tensor, outgoing: Tensor) -> list[Tensor]:
    """Return balanced weights W_1, W_2; a net without neurons gets a dead one."""
    count = len(directions)
    if count == 0:
        dead = directions.new_zeros(1, directions.shape[1])
        return [dead, torch.cat([outgoing.new_zeros(len(outgoing), 1), outgoing], dim=1)]
    scales = outgoing[:, :count].norm(dim=0).sqrt()
    return [directions * scales[:, None], torch.cat([outgoing[:, :count] / scales, outgoing[:, count:]], 1)]


def _minimise_deep(
    problem: L2Problem, generator: torch.Generator, settings: FrankWolfeSettings
) -> FrankWolfeMinimum:
    weights = _polished(problem, draw_weights(problem, 2, generator=generator), settings)
    history: list[tuple[int, float, float]] = []
    for rounds in range(1, settings.rounds + 1):
        loss = float(weight_loss(problem, weights))
        additions, gain, exact = _deep_oracle(problem, weights, generator, settings)
        if gain <= settings.tolerance * loss and not exact:
            stronger = replace(settings, starts=_STRONGER * settings.starts)
            additions, gain, exact = _deep_oracle(problem, weights, generator, stronger)
        history.append((rounds, loss, loss - gain))
        if gain <= settings.tolerance * loss or rounds == settings.rounds:
            break
        trial = _polished(problem, _grown(problem, weights, additions), settings)
        if float(weight_loss(problem, trial)) >= loss * (1 - settings.tolerance):
            break
        weights = trial
    return _minimum(problem, weights, loss - gain, "first_order", exact, history, settings.tolerance)


def _polished(problem: L2Problem, weights: Sequence[Tensor], settings: FrankWolfeSettings) -> list[Tensor]:
    """Return the weights after descent in all layers, without dead and aligned neurons."""
    nets = PaddedNets(problem, [weights])
    descent = DescentSettings(adam_steps=settings.polish_steps, finish_steps=200)
    trained = nets.net(descend(nets, descent).points, 0)
    before = float(weight_loss(problem, trained))
    pruned = prune(problem, trained, angle_deg=1.0, dead=1e-6).weights
    return (
        pruned if float(weight_loss(problem, pruned)) <= before * (1 + settings.tolerance / 10) else trained
    )


class _Addition(NamedTuple):
    """New neurons of a hidden layer: directions (k, n + [b > 0]) and unit out-weights (n_{l+1}, k)."""

    directions: Tensor
    outgoing: Tensor


def _deep_oracle(
    problem: L2Problem, weights: Sequence[Tensor], generator: torch.Generator, settings: FrankWolfeSettings
) -> tuple[list[_Addition], float, bool]:
    """Return what to add to each hidden layer, the first-order gain, and whether every oracle was exact."""
    representations = forward(problem, weights)
    backs, gain, exact = stationarity(problem, weights).backs, 0.0, True
    additions: list[_Addition] = []
    for layer in range(problem.depth - 2, -1, -1):
        below = representations[layer - 1] if layer else None
        base = problem.extended_inputs if below is None else problem.extended(problem.activate(below))
        known = weights[layer]
        back = backs[layer + 1]
        found = best_generators(
            problem, back, base, starts=settings.starts, generator=generator, known=known, count=2
        )
        width = len(weights[layer])
        masses = weights[layer].norm(dim=1) * weights[layer + 1][:, :width].norm(dim=0)
        gain += max(0.0, float(found.values[0]) - 2 * problem.penalty) * float(masses.sum())
        useful = found.directions[found.values > 2 * problem.penalty]
        effect = -back @ problem.activate(useful @ base).T
        additions.append(_Addition(useful, effect / effect.norm(dim=0).clamp_min(1e-300)))
        exact &= found.exact
    return additions[::-1], gain, exact


def _grown(problem: L2Problem, weights: Sequence[Tensor], additions: Sequence[_Addition]) -> list[Tensor]:
    """Return the net with the new neurons, each with a hundredth of the layer's mean mass."""
    grown = [weight.clone() for weight in weights]
    for layer, addition in enumerate(additions):
        width, fresh = len(weights[layer]), len(addition.directions)
        masses = weights[layer].norm(dim=1) * weights[layer + 1][:, :width].norm(dim=0)
        scale = float(0.01 * masses.mean().clamp_min(1e-6)) ** 0.5
        # The layer below may have grown: a new neuron does not see its new neurons yet.
        inner = grown[layer].shape[1] - addition.directions.shape[1]
        seen = weights[layer].shape[1] - int(problem.bias > 0)
        row = scale * addition.directions
        wide = torch.cat([row[:, :seen], row.new_zeros(fresh, inner), row[:, seen:]], dim=1)
        grown[layer] = torch.cat([grown[layer], wide])
        above = grown[layer + 1]
        column = scale * addition.outgoing
        grown[layer + 1] = torch.cat([above[:, :width], column, above[:, width:]], dim=1)
    return grown


def _minimum(
    problem: L2Problem,
    weights: list[Tensor],
    bound: float,
    gap_kind: str,
    exact: bool,
    history: list[tuple[int, float, float]],
    tolerance: float,
) -> FrankWolfeMinimum:
    representations = forward(problem, weights)
    loss = float(weight_loss(problem, weights))
    bound = _checked_bound(problem, loss, bound)
    gap = (loss - bound) / loss if loss > 0 else 0.0
    return FrankWolfeMinimum(
        pairs=covariances_of(problem, representations),
        outputs=representations[-1],
        weights=weights,
        widths=hidden_widths(weights),
        loss=loss,
        bound=bound,
        gap=gap,
        gap_kind=gap_kind,
        oracle="exact" if exact else "heuristic",
        rounds=len(history),
        converged=gap <= tolerance,
        history=history,
    )


def _checked_bound(problem: L2Problem, loss: float, bound: float) -> float:
    """Return a lower bound, at most the loss; raise DegenerateError where the loss contradicts it."""
    zero_net = float(problem.cost_of(problem.inputs.new_zeros(problem.outputs, problem.points)))
    if bound - loss > _ROUNDING * torch.finfo(problem.inputs.dtype).eps * zero_net:
        raise DegenerateError(
            f"The loss {loss:.12g} lies below its own lower bound {bound:.12g}: the search for generators failed on "
            "these points. Nearly dependent points do that; move or merge them."
        )
    return min(bound, loss)
