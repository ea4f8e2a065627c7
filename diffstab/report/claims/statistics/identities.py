"""Statistics of L2-regularised nets that need no runs: identities, examples of the source, small minimisations."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffstab.l2.completely_positive import bipartite_gram, cp_rank_bounds
from diffstab.l2.covariances import CovariancePair, covariance_loss, covariances_of
from diffstab.l2.descent import DescentSettings, representation_cost
from diffstab.l2.forces import forces
from diffstab.l2.frank_wolfe import minimise_covariances
from diffstab.l2.kinks import stationarity
from diffstab.l2.network import draw_weights, forward, squared_norm, weight_loss, widen
from diffstab.l2.problem import L2Problem
from diffstab.l2.prune import prune
from diffstab.l2.representations import representation_loss, weights_of
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.statistics.registry import Measurement, statistic
from diffstab.report.intervals import Estimate, exact
from diffstab.report.words import number_text
from diffstab.streams import stream

SEED, TRIALS = 100, 20
ROUNDING = 1e-8
"""Relative difference up to which identities hold in float64."""
_DIFFERENCE = "the largest relative difference"
_Trial = Callable[[int, torch.Generator], float | list[float]]


def _draws(claim: str) -> torch.Generator:
    return stream(SEED, "trials of a claim", claim)


def _problem(generator: torch.Generator, *, depth: int = 3, points: int = 6, bias: float = 0.5) -> L2Problem:
    inputs = torch.randn(5, points, generator=generator, dtype=torch.float64)
    targets = torch.randn(3, points, generator=generator, dtype=torch.float64)
    return L2Problem(inputs, targets, penalty=0.03, depth=depth, bias=bias)


def _trials(detail: str, *, subject: str = _DIFFERENCE) -> Callable[[_Trial], _Trial]:
    """Register what one trial with random numbers finds, relative differences, as a statistic: the largest of all."""

    def register(trial: _Trial) -> _Trial:
        def largest(records: pd.DataFrame, claim: Claim) -> Measurement:
            generator = _draws(largest.__name__.replace("_", " "))
            found = np.concatenate([np.ravel(trial(number, generator)) for number in range(TRIALS)])
            one = exact(float(found.max()), len(found))
            return Measurement({"": one}, sample=f"{len(found)} trials", detail=detail)

        largest.__name__ = trial.__name__
        statistic(subject)(largest)
        return trial

    return register


@_trials("depths 2 to 4")
def losses_equal(number: int, generator: torch.Generator) -> float:
    """Whether the three losses are one at the weights of least norm, and lower than at other weights."""
    problem = _problem(generator, depth=2 + number % 3, bias=0.5 * (number % 2))
    weights = draw_weights(problem, 4, generator=generator)
    z = forward(problem, weights)
    loss = float(representation_loss(problem, z))
    others = [
        float(weight_loss(problem, weights_of(problem, z))),
        float(covariance_loss(problem, covariances_of(problem, z), z[-1])),
        min(loss, float(weight_loss(problem, weights))),
    ]
    return max(abs(other / loss - 1) for other in others)


@_trials(
    "loss midway over the mean of both ends, less 1",
    subject="the largest relative excess of the loss midway over the mean of both ends",
)
def partially_convex(number: int, generator: torch.Generator) -> list[float]:
    """Whether the loss in covariances is convex in the pair of one layer."""
    problem, excesses = _problem(generator, points=4), []
    runs = [forward(problem, draw_weights(problem, 9, generator=generator)) for _ in range(2)]
    pairs, others = (covariances_of(problem, run) for run in runs)
    for layer, (one, other) in enumerate(zip(pairs, others, strict=True)):
        between = CovariancePair(*((first + last) / 2 for first, last in zip(one, other, strict=True)))
        ends = [
            float(covariance_loss(problem, [*pairs[:layer], pair, *pairs[layer + 1 :]], runs[0][-1]))
            for pair in (one, between, other)
        ]
        excesses.append(2 * ends[1] / (ends[0] + ends[2]) - 1)
    return excesses


@_trials("outputs and norm from width 4 to 9")
def dead_neurons(number: int, generator: torch.Generator) -> float:
    """Whether a net can be widened without a change of its function and norm."""
    problem = _problem(generator)
    weights = draw_weights(problem, 4, generator=generator)
    wide = widen(problem, weights, 9)
    one, other = (forward(problem, net)[-1] for net in (weights, wide))
    norms = float(squared_norm(wide)) / float(squared_norm(weights))
    return max(float((one - other).abs().max() / one.abs().max()), abs(norms - 1))


@_trials("outputs; six neurons become three")
def aligned_neurons(number: int, generator: torch.Generator) -> float:
    """Whether neurons in proportion to each other can be replaced by one without a change of the function."""
    problem = _problem(generator, depth=2)
    first, second = draw_weights(problem, 3, generator=generator)
    scales = torch.rand(3, 1, generator=generator, dtype=torch.float64) + 0.5
    inner, bias = second[:, :3], second[:, 3:]
    doubled = [torch.cat([first, scales * first]), torch.cat([inner, inner, bias], dim=1)]
    pruned = prune(problem, doubled, angle_deg=0.01)
    # Too many neurons left count as a difference too.
    return max(pruned.max_change / float(forward(problem, doubled)[-1].abs().max()), pruned.widths[0] / 3 - 1)


@_trials("forces on two neurons from their proportion")
def proportional_forces(number: int, generator: torch.Generator) -> list[float]:
    """Whether neurons in proportion have forces in the same proportion."""
    problem = _problem(generator, bias=0.0)
    first, second, third = draw_weights(problem, 4, generator=generator)
    scale = float(torch.rand((), generator=generator) + 0.5)
    weights = [torch.cat([first, scale * first[:1]]), torch.cat([second, second[:, :1]], dim=1), third]
    found = forces(problem, forward(problem, weights))[0][:2]
    sizes = [force[0].abs().max().clamp_min(1e-300) for force in found]
    changes = [(force[-1] - scale * force[0]).abs().max() for force in found]
    return [float(change / size) for change, size in zip(changes, sizes, strict=True)]


@statistic("the exponent with which the loss grows as the distance to the constraint falls")
def losses_explode(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Whether the loss in representations diverges where the row space constraint is about to break."""
    generator = _draws("losses explode")
    problem = _problem(generator, depth=2, points=4, bias=0.0)
    start = torch.rand(4, 4, generator=generator, dtype=torch.float64) + 0.1
    # One neuron tends to a copy of another: its direction leaves the row space, which the outputs still need.
    steps, penalties = (1e-2, 1e-3), []
    for step in steps:
        hidden = torch.cat([start[:3], start[:1] + step * (start[3:] - start[:1])])
        penalties.append(float(representation_loss(problem, [hidden, problem.targets])))
    slope = -float(np.polyfit(np.log(steps), np.log(penalties), 1)[0])
    detail = "the distance falls from 0.01 to 0.001"
    return Measurement({"": exact(slope)}, {"": 2.0}, sample="1 path", detail=detail)


@statistic(_DIFFERENCE)
def linear_interpolation(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Whether hidden covariances of deep linear nets interpolate geometrically between inputs and outputs."""
    found, detail = _linear_minimum()[1], "K_l from X^T (M^T M)^(l/L) X in a net of depth 3"
    return Measurement({"": exact(max(found), len(found))}, sample="2 hidden layers", detail=detail)


@statistic(_DIFFERENCE)
def schatten_norm(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Whether the representation cost of a deep linear net is L sum s^(2/L) over the singular values."""
    one = exact(abs(_linear_minimum()[0] - 1))
    return Measurement({"": one}, sample="1 map", detail="from 3 sum s^(2/3)")


@cache
def _linear_minimum(depth: int = 3) -> tuple[float, list[float]]:
    """Cost over the one of theory, and relative differences of the hidden covariances, of a minimum found."""
    generator = _draws("linear minimum")
    inputs = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    mapping = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    problem = L2Problem(inputs, mapping @ inputs, activation="linear", depth=depth, penalty=0.0)
    settings = DescentSettings(adam_steps=2000, finish_steps=1000, tolerance=1e-10)
    run = representation_cost(problem, [4], restarts=1, seed=SEED, settings=settings)[0]
    _, values, basis = torch.linalg.svd(mapping, full_matrices=False)
    differences = []
    for layer, pair in enumerate(covariances_of(problem, forward(problem, run.weights)), start=1):
        expected = inputs.T @ (basis.T * values ** (2 * layer / depth)) @ basis @ inputs
        differences.append(float((pair.preactivations - expected).abs().max() / expected.abs().max()))
    return run.loss / (depth * float((values ** (2 / depth)).sum())), differences


@statistic("the lower and upper bound of the CP-rank for each N")
def tight_rank(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Whether the matrix of the complete bipartite graph has CP-rank N^2 / 4."""
    found = {n: cp_rank_bounds(bipartite_gram(n)) for n in (4, 6, 8, 10)}
    return Measurement(
        {f"N = {n}": Estimate(one.lower, one.lower, one.upper) for n, one in found.items()},
        {f"N = {n}": n * n / 4 for n in found},
        sample=f"N = {', '.join(map(str, found))}",
        detail=found[4].reason,
    )


@statistic("the loss at the local minimum less the least one over covariances")
def local_minimum(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Whether the example of Proposition 19 is a local minimum in weights and none in covariances."""
    problem, weights = _example(0.5)
    generator, least = _draws("local minimum"), float(weight_loss(problem, weights))
    gains = []
    for size in [size for size in (1e-1, 1e-2, 1e-3) for _ in range(100)]:
        moved = [w + size * torch.randn(w.shape, generator=generator, dtype=w.dtype) / 4 for w in weights]
        gains.append(least - float(weight_loss(problem, moved)))
    # The same covariances with all mass in one neuron: the free one lowers the loss.
    _, (first, second) = _example(1.0)
    step = torch.tensor([0, 1e-2], dtype=torch.float32)
    same = abs(float(weight_loss(problem, [first, second])) / least - 1)
    gain = least - float(weight_loss(problem, [first - step[:, None], second + step[None]]))
    is_still = float(stationarity(problem, weights).relative) < 1e-10
    is_local = max(gains) <= 1e-12 and is_still and same < ROUNDING and gain > 1e-6
    lowest = minimise_covariances(problem, generator=_draws("least loss of a local minimum")).loss
    return Measurement(
        {"": exact(least - lowest if is_local else -np.inf)},
        sample=f"{len(gains)} moves",
        detail=f"losses {number_text(least)} and {number_text(lowest)}; largest gain of small moves of the weights "
        f"{number_text(max(gains))}; gain of a move from other weights of the same covariances {number_text(gain)}",
    )


def _example(share: float, penalty: float = 0.1) -> tuple[L2Problem, list[Tensor]]:
    """Widths 1-2-1 on points 1 and -1 with targets 1: weights (a, b) in and out, a^2 + b^2 = 1 - 4 lambda."""
    problem = L2Problem(torch.tensor([[1.0, -1.0]]).double(), torch.ones(1, 2).double(), penalty=penalty)
    mass = 1 - 4 * penalty
    sides = torch.tensor([share * mass, (1 - share) * mass], dtype=torch.float64).sqrt()
    return problem, [sides[:, None], sides[None]]
