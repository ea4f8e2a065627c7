"""Statistics of L2-regularised nets that need no runs: identities, examples of the source, small minimisations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from diffstab.report.intervals import Estimate, exact
from diffstab.report.numbers import number_text
from diffstab.report.statistics.registry import Measurement, statistic
from diffstab.streams import stream

SEED, TRIALS = 100, 20
ROUNDING = 1e-8
"""Relative difference up to which identities hold in float64."""


def _draws(claim: str) -> torch.Generator:
    return stream(SEED, "trials of a claim", claim)


def _problem(generator: torch.Generator, *, depth: int = 3, points: int = 6, bias: float = 0.5) -> L2Problem:
    inputs = torch.randn(5, points, generator=generator, dtype=torch.float64)
    targets = torch.randn(3, points, generator=generator, dtype=torch.float64)
    return L2Problem(inputs, targets, penalty=0.03, depth=depth, bias=bias)


def _identity(
    detail: str, *, sample: str = f"{TRIALS} trials", subject: str = "the largest relative difference"
) -> Callable[[Callable[[], Sequence[float]]], Callable[[], Sequence[float]]]:
    """Register a function that returns relative differences as a statistic: the largest of them."""

    def register(differences: Callable[[], Sequence[float]]) -> Callable[[], Sequence[float]]:
        def largest(records: pd.DataFrame, claim: Claim) -> Measurement:
            found = differences()
            return Measurement({"": exact(float(np.max(found)), len(found))}, sample=sample, detail=detail)

        statistic(differences.__name__, subject)(largest)
        return differences

    return register


@_identity("depths 2 to 4")
def losses_equal() -> Sequence[float]:
    """Whether the three losses are one at the weights of least norm, and lower than at other weights."""
    generator, differences = _draws("losses equal"), []
    for trial in range(TRIALS):
        problem = _problem(generator, depth=2 + trial % 3, bias=0.5 * (trial % 2))
        weights = draw_weights(problem, 4, generator=generator)
        z = forward(problem, weights)
        loss = float(representation_loss(problem, z))
        others = [
            float(weight_loss(problem, weights_of(problem, z))),
            float(covariance_loss(problem, covariances_of(problem, z), z[-1])),
            min(loss, float(weight_loss(problem, weights))),
        ]
        differences.append(max(abs(other / loss - 1) for other in others))
    return differences


@_identity(
    "loss midway over the mean of both ends, less 1",
    sample=f"{2 * TRIALS} trials",
    subject="the largest relative excess of the loss midway over the mean of both ends",
)
def partially_convex() -> Sequence[float]:
    """Whether the loss in covariances is convex in the pair of one layer."""
    generator, excesses = _draws("partially convex"), []
    for _ in range(TRIALS):
        problem = _problem(generator, points=4)
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


@_identity("outputs and norm from width 4 to 9")
def dead_neurons() -> Sequence[float]:
    """Whether a net can be widened without a change of its function and norm."""
    generator, differences = _draws("dead neurons"), []
    for _ in range(TRIALS):
        problem = _problem(generator)
        weights = draw_weights(problem, 4, generator=generator)
        wide = widen(problem, weights, 9)
        outputs = [forward(problem, net)[-1] for net in (weights, wide)]
        norms = [float(squared_norm(net)) for net in (weights, wide)]
        change = float((outputs[0] - outputs[1]).abs().max() / outputs[0].abs().max())
        differences.append(max(change, abs(norms[1] / norms[0] - 1)))
    return differences


@_identity("outputs; six neurons become three")
def aligned_neurons() -> Sequence[float]:
    """Whether neurons in proportion to each other can be replaced by one without a change of the function."""
    generator, differences, widths = _draws("aligned neurons"), [], []
    for _ in range(TRIALS):
        problem = _problem(generator, depth=2)
        first, second = draw_weights(problem, 3, generator=generator)
        scales = torch.rand(3, 1, generator=generator, dtype=torch.float64) + 0.5
        inner, bias = second[:, :3], second[:, 3:]
        doubled = [torch.cat([first, scales * first]), torch.cat([inner, inner, bias], dim=1)]
        pruned = prune(problem, doubled, angle_deg=0.01)
        size = float(forward(problem, doubled)[-1].abs().max())
        differences.append(pruned.max_change / size)
        widths.append(pruned.widths[0])
    # Too many neurons left count as a difference too.
    return [*differences, max(widths) / 3 - 1]


@_identity("forces on two neurons from their proportion", sample=f"{2 * TRIALS} trials")
def proportional_forces() -> Sequence[float]:
    """Whether neurons in proportion have forces in the same proportion."""
    generator, differences = _draws("proportional forces"), []
    for _ in range(TRIALS):
        problem = _problem(generator, bias=0.0)
        first, second, third = draw_weights(problem, 4, generator=generator)
        scale = float(torch.rand((), generator=generator) + 0.5)
        weights = [torch.cat([first, scale * first[:1]]), torch.cat([second, second[:, :1]], dim=1), third]
        z = forward(problem, weights)
        for force in forces(problem, z)[0][:2]:
            change = (force[-1] - scale * force[0]).abs().max() / force[0].abs().max().clamp_min(1e-300)
            differences.append(float(change))
    return differences


@statistic("losses_explode", "the exponent with which the loss grows as the distance to the constraint falls")
def losses_explode(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Whether the loss in representations diverges where the row space constraint is about to break."""
    generator = _draws("losses explode")
    problem = _problem(generator, depth=2, points=4, bias=0.0)
    start = torch.rand(4, 4, generator=generator, dtype=torch.float64) + 0.1
    steps = np.array([1e-1, 1e-2, 1e-3])
    # One neuron tends to a copy of another: its direction leaves the row space, which the outputs still need.
    penalties = []
    for step in steps:
        hidden = torch.cat([start[:3], start[:1] + step * (start[3:] - start[:1])])
        penalties.append(float(representation_loss(problem, [hidden, problem.targets])))
    slope = -float(np.polyfit(np.log(steps[1:]), np.log(penalties[1:]), 1)[0])
    detail = "the distance falls from 0.01 to 0.001"
    return Measurement({"": exact(slope)}, {"": 2.0}, sample="1 path", detail=detail)


@_identity("K_l from X^T (M^T M)^(l/L) X in a net of depth 3", sample="2 hidden layers")
def linear_interpolation() -> Sequence[float]:
    """Whether hidden covariances of deep linear nets interpolate geometrically between inputs and outputs."""
    return _linear_minimum()[1]


@_identity("from 3 sum s^(2/3)", sample="1 map")
def schatten_norm() -> Sequence[float]:
    """Whether the representation cost of a deep linear net is L sum s^(2/L) over the singular values."""
    return [abs(_linear_minimum()[0] - 1)]


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


@statistic("tight_rank", "the lower and upper bound of the CP-rank for each N")
def tight_rank(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Whether the matrix of the complete bipartite graph has CP-rank N^2 / 4."""
    found = {n: cp_rank_bounds(bipartite_gram(n)) for n in (4, 6, 8, 10)}
    return Measurement(
        {f"N = {n}": Estimate(one.lower, one.lower, one.upper, 1) for n, one in found.items()},
        {f"N = {n}": n * n / 4 for n in found},
        sample=f"N = {', '.join(map(str, found))}",
        detail=found[4].reason,
    )


@statistic("local_minimum", "the loss at the local minimum less the least one over covariances")
def local_minimum(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Whether the example of Proposition 19 is a local minimum in weights and none in covariances."""
    penalty = 0.1
    problem, weights = _example(0.5, penalty)
    generator, least = _draws("local minimum"), float(weight_loss(problem, weights))
    gains = []
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(100):
            moved = [w + size * torch.randn(w.shape, generator=generator, dtype=w.dtype) / 4 for w in weights]
            gains.append(least - float(weight_loss(problem, moved)))
    still = float(stationarity(problem, weights).relative)
    # The same covariances with all mass in one neuron: the free one lowers the loss.
    _, other = _example(1.0, penalty)
    step = torch.tensor(1e-2)
    escaped = [
        other[0] - torch.stack([0 * step, step])[:, None],
        other[1] + torch.stack([0 * step, step])[None],
    ]
    same = abs(float(weight_loss(problem, other)) / least - 1)
    gain = least - float(weight_loss(problem, escaped))
    lowest = minimise_covariances(problem, generator=_draws("least loss of a local minimum")).loss
    is_local = max(gains) <= 1e-12 and still < 1e-10 and same < ROUNDING and gain > 1e-6
    gap = least - lowest if is_local else -np.inf
    return Measurement(
        {"": exact(gap)},
        sample=f"{len(gains)} moves",
        detail=f"losses {number_text(least)} and {number_text(lowest)}; largest gain of small moves of the weights "
        f"{number_text(max(gains))}; gain of a move from other weights of the same covariances {number_text(gain)}",
    )


def _example(share: float, penalty: float) -> tuple[L2Problem, list[Tensor]]:
    """Widths 1-2-1 on points 1 and -1 with targets 1: weights (a, b) in and out, a^2 + b^2 = 1 - 4 lambda."""
    problem = L2Problem(torch.tensor([[1.0, -1.0]]).double(), torch.ones(1, 2).double(), penalty=penalty)
    mass = 1 - 4 * penalty
    sides = torch.tensor([share * mass, (1 - share) * mass], dtype=torch.float64).sqrt()
    return problem, [sides[:, None], sides[None]]
