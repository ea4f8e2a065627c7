"""Claims about L2-regularised nets that need no runs: identities, examples of the source, small minimisations."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
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
from diffstab.report.numbers import number_text
from diffstab.report.paper.claims_evidence import JACOT, UNDECIDED, Claim, Evidence, Finding
from diffstab.report.paper.claims_rules import always
from diffstab.streams import stream

SEED, TRIALS = 100, 20
ROUNDING = 1e-8
"""Relative difference up to which identities hold in float64."""
FITTED = 1e-3
"""Relative difference up to which a minimum found by descent is the one of theory."""


def _draws(claim: str) -> torch.Generator:
    return stream(SEED, "trials of a claim", claim)


def _problem(generator: torch.Generator, *, depth: int = 3, points: int = 6, bias: float = 0.5) -> L2Problem:
    inputs = torch.randn(5, points, generator=generator, dtype=torch.float64)
    targets = torch.randn(3, points, generator=generator, dtype=torch.float64)
    return L2Problem(inputs, targets, penalty=0.03, depth=depth, bias=bias)


def _largest(
    values: list[float], *, most: float, predicted: str = "0", detail: str = "", draws: str = ""
) -> Finding:
    """A finding about the largest of some relative differences."""
    worst = float(np.max(values))
    return Finding(
        always([worst <= most]) if np.isfinite(worst) else UNDECIDED,
        f"at most {number_text(worst)}",
        worst,
        predicted,
        draws or f"{len(values)} trials",
        detail,
    )


def losses_equal(evidence: Evidence) -> Finding:
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
    return _largest(differences, most=ROUNDING, detail="relative difference of the losses, depths 2 to 4")


def partially_convex(evidence: Evidence) -> Finding:
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
    return _largest(
        excesses, most=ROUNDING, predicted="≤ 0", detail="loss midway over the mean of both ends, less 1"
    )


def dead_neurons(evidence: Evidence) -> Finding:
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
    return _largest(
        differences, most=ROUNDING, detail="relative change of outputs and norm from width 4 to 9"
    )


def aligned_neurons(evidence: Evidence) -> Finding:
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
    detail = f"relative change of the outputs; six neurons become {max(widths)}"
    found = _largest(differences, most=ROUNDING, detail=detail)
    return found if max(widths) <= 3 else found._replace(verdict=always([False]))


def proportional_forces(evidence: Evidence) -> Finding:
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
    return _largest(
        differences,
        most=ROUNDING,
        detail="relative difference of the forces on two neurons from their proportion",
    )


def losses_explode(evidence: Evidence) -> Finding:
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
    return Finding(
        always([abs(slope / 2 - 1) <= 0.1]),
        number_text(slope),
        slope,
        "2",
        "1 path",
        "exponent with which the loss grows as the distance to the constraint falls from 0.01 to 0.001",
    )


def linear_interpolation(evidence: Evidence) -> Finding:
    """Whether hidden covariances of deep linear nets interpolate geometrically between inputs and outputs."""
    _, differences = _linear_minimum()
    return _largest(
        differences,
        most=FITTED,
        draws="2 hidden layers",
        detail="relative difference of K_l from X^T (M^T M)^(l/L) X in a net of depth 3",
    )


def schatten_norm(evidence: Evidence) -> Finding:
    """Whether the representation cost of a deep linear net is L sum s^(2/L) over the singular values."""
    cost, _ = _linear_minimum()
    return _largest(
        [abs(cost - 1)], most=FITTED, draws="1 map", detail="relative difference from 3 sum s^(2/3)"
    )


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


def tight_rank(evidence: Evidence) -> Finding:
    """Whether the matrix of the complete bipartite graph has CP-rank N^2 / 4."""
    found = {n: cp_rank_bounds(bipartite_gram(n)) for n in (4, 6, 8, 10)}
    return Finding(
        always([bounds.exact and bounds.lower == n * n // 4 for n, bounds in found.items()]),
        ", ".join(f"{bounds.lower}" for bounds in found.values()),
        float(found[4].lower),
        ", ".join(str(n * n // 4) for n in found),
        "N = 4, 6, 8, 10",
        found[4].reason,
    )


def local_minimum(evidence: Evidence) -> Finding:
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
    return Finding(
        always([max(gains) <= 1e-12, still < 1e-10, same < ROUNDING, gain > 1e-6, lowest < least - 1e-3]),
        f"{number_text(least)} and {number_text(lowest)}",
        least - lowest,
        "apart",
        f"{len(gains)} moves",
        f"loss at the local minimum, and least loss over covariances; largest gain of small moves of the weights "
        f"{number_text(max(gains))}; gain of a move from other weights of the same covariances {number_text(gain)}",
    )


def _example(share: float, penalty: float) -> tuple[L2Problem, list[Tensor]]:
    """Widths 1-2-1 on points 1 and -1 with targets 1: weights (a, b) in and out, a^2 + b^2 = 1 - 4 lambda."""
    problem = L2Problem(torch.tensor([[1.0, -1.0]]).double(), torch.ones(1, 2).double(), penalty=penalty)
    mass = 1 - 4 * penalty
    sides = torch.tensor([share * mass, (1 - share) * mass], dtype=torch.float64).sqrt()
    return problem, [sides[:, None], sides[None]]


_ROUNDING_RULE = (
    "Random nets. Holds if the largest relative difference is one of rounding (1e-8); does not otherwise."
)
_FITTED_RULE = (
    "Norm of a net that meets its targets, minimised. Holds if the relative difference is at most 0.1 %."
)
_LISTED: tuple[tuple[str, str, str, str, Callable[[Evidence], Finding]], ...] = (
    ("losses-equal", "Propositions 1 and 3",
     "At weights of least norm the losses of weights, representations and covariances are the same; others are higher.",
     _ROUNDING_RULE, losses_equal),
    ("linear-interpolation", "Section 3.1, item 2",
     "In deep linear nets the hidden covariances interpolate geometrically between those of inputs and outputs.",
     _FITTED_RULE, linear_interpolation),
    ("schatten", "Introduction",
     "In deep linear nets the penalty on weights is one on the singular values to the power 2 / L.",
     _FITTED_RULE, schatten_norm),
    ("forces-proportional", "Section 3.1",
     "Neurons of proportional activations have proportional attraction and repulsion.",
     _ROUNDING_RULE, proportional_forces),
    ("aligned-merge", "Section 3.1", "Aligned neurons can be replaced by a single one of the same function.",
     _ROUNDING_RULE, aligned_neurons),
    ("dead-neurons", "Proposition 6", "Dead neurons make a net wider without a change of its function and norm.",
     _ROUNDING_RULE, dead_neurons),
    ("partially-convex", "Proposition 5", "The loss in covariances is convex in each pair alone.",
     "Pairs of random nets and the pair midway. Holds if the loss midway is at most the mean of both ends, to rounding "
     "(1e-8), on every trial; does not otherwise.", partially_convex),
    ("constraint", "Appendix B.1",
     "The loss in representations explodes in the vicinity of points that break the constraint.",
     "One neuron tends to a copy of another that the outputs need. Holds if the loss grows as the distance to the "
     "power −2, within 10 %.", losses_explode),
    ("cp-rank", "Proposition 13", "The matrix of the complete bipartite graph on N vertices has CP-rank N²/4.",
     "Lower and upper bound by the graph. Holds if both are N²/4 for N = 4, 6, 8, 10.", tight_rank),
    ("local-minimum", "Proposition 19",
     "A local minimum in weights (widths 1-2-1) whose covariances are no local minimum of the second reformulation.",
     "Holds if no small move of the weights lowers the loss, a small move from other weights of the same covariances "
     "does, and the least loss over covariances is lower; does not otherwise.", local_minimum),
)  # fmt: skip

NET_CLAIMS: tuple[Claim, ...] = tuple(
    Claim(identifier, JACOT, place, statement, rule, check)
    for identifier, place, statement, rule, check in _LISTED
)
"""Claims that are computed on the spot, about nets."""
