r"""Rank_s of a pair of covariances: the least number of z with K = sum z z^T, K^s - b^2 1 1^T = sum s(z) s(z)^T.

It is the least width of a hidden layer that has these covariances, and at most N (N + 1). Lower bounds are proven
up to the tolerance; an upper bound is a factor that was found, with its residual.

Source: Jacot et al. 2022 (arXiv 2205.15809), section 4.1: Proposition 8 and Lemma 10.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.optimize import nnls
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.l2.completely_positive import cp_rank_bounds, gram_rank, triangle_free_factor
from diffstab.l2.covariances import CovariancePair, covariance_pair
from diffstab.l2.factorisation import LARGEST_SYSTEM, Goal, check_pair, draw_factors, fit, goal_of
from diffstab.l2.graphs import adjacency, has_triangle
from diffstab.l2.problem import L2Problem


class RankBounds(NamedTuple):
    """Bounds lower <= Rank_s <= upper of a pair.

    Attributes:
        lower: The largest lower bound.
        upper: Rows of the smallest factor found; N (N + 1) where none was.
        lower_from: "rank of K", "rank of K^s", "CP-rank of K^s" or "both signs at a point".
        representations: The factor Z, shape (upper, N) float64; None where none was found.
        residual: Its relative residual; infinite where none was found.
    """

    lower: int
    upper: int
    lower_from: str
    representations: Tensor | None
    residual: float


def rank_bounds(
    problem: L2Problem,
    pair: CovariancePair,
    *,
    generator: torch.Generator,
    representations: Tensor | None = None,
    restarts: int = 16,
    tolerance: float = 1e-6,
) -> RankBounds:
    r"""Bound the rank of a pair (K, K^s) of one layer.

    Below: the ranks of K and of K^s - b^2 1 1^T, the CP-rank of the latter with entries within the tolerance taken as
    zero, and 2 where 0 < K^s_ii - b^2 < K_ii at a point: its z_i have both signs. Above: the representations given,
    reduced by `reduce_rows`; the factor of a graph without triangles where K = K^s - b^2 1 1^T; then a search by
    bisection for widths whose best fit from several starts is within the tolerance. Without representations widths
    are doubled from the lower bound until one fits; on the border of the cone few starts do. The search takes
    k N^2 (N + 1) numbers per start and is left out above 2^25 of them, k = 500 at N = 40 or k = 30 at N = 100.
    With a linear activation the rank is that of K.

    Args:
        problem: The problem, of a positively homogeneous activation.
        pair: (K, K^s) of one layer, the bias included.
        generator: Source of the starts, on any device.
        representations: A Z, shape (n, N), that has this pair: the upper bound is no larger than n. The covariances
            are then computed from it anew, in float64 and without the bias.
        restarts: Starts per width; 0 leaves the search out.
        tolerance: Relative residual of both matrices together that counts as zero, and the tolerance of ranks.

    Raises:
        ArgumentError: If the pair is no pair of covariances, the representations do not have it, or a number is out
            of range.
    """
    if restarts < 0:
        raise ArgumentError("restarts", "be at least 0", restarts)
    if representations is None:
        goal = goal_of(problem, pair, tolerance=tolerance)
    else:
        _check_factor(problem, pair, representations, tolerance)
        goal = _goal_of_rows(problem, representations.detach().double().cpu())
    factor = _known_factor(goal, tolerance)
    if factor is None and representations is not None:
        factor = reduce_rows(problem, representations, tolerance=tolerance) / math.sqrt(goal.scale)
    lower, lower_from = _lower(goal, tolerance, enough=math.inf if factor is None else len(factor))
    factor = _search(goal, factor, lower, restarts=restarts, generator=generator, tolerance=tolerance)
    if factor is None:
        most = problem.points * (problem.points + 1)
        return RankBounds(lower, most, lower_from, None, float("inf"))
    upper = len(factor)  # a factor within the tolerance may have less than the rank of the pair itself
    return RankBounds(
        min(lower, upper), upper, lower_from, factor * math.sqrt(goal.scale), goal.residual(factor)
    )


def reduce_rows(problem: L2Problem, representations: Tensor, *, tolerance: float = 1e-6) -> Tensor:
    r"""Return fewer rows Z, shape (k, N) float64, with the covariances of representations (n, N) up to the tolerance.

    Zero rows go, aligned rows become one of the root of their summed squares, and of more rows than their pairs
    (z z^T, s(z) s(z)^T) are independent, non-negative least squares keeps an independent set: at most N (N + 1).

    Raises:
        ArgumentError: If the activation is not homogeneous or the shape does not fit.
    """
    if not problem.is_homogeneous:
        raise ArgumentError("activation", "be relu or linear for a rank", repr(problem.activation))
    if representations.ndim != 2 or representations.shape[1] != problem.points:
        received = tuple(representations.shape)
        raise ArgumentError("representations", f"be a matrix of {problem.points} columns", received)
    rows = representations.detach().double().cpu()
    rows = rows[rows.norm(dim=1) > 0]
    if not len(rows):
        return rows
    goal = _goal_of_rows(problem, rows)
    rows = rows / math.sqrt(goal.scale)
    for chord in (tolerance**0.5, tolerance, 0.0):
        merged = merge_rows(rows, chord=chord)
        if goal.residual(merged) <= tolerance:
            rows = merged
            break
    spanned = _independent(problem, rows)
    return (spanned if goal.residual(spanned) <= tolerance else rows) * math.sqrt(goal.scale)


def merge_rows(rows: Tensor, *, chord: float) -> Tensor:
    """Return one row for each group of rows (k, N) whose directions lie within a distance of its largest row."""
    size = rows.norm(dim=1)
    unit, free, merged = rows / size[:, None], torch.ones_like(size, dtype=torch.bool), []
    for leader in size.argsort(descending=True, stable=True):
        if free[leader]:
            group = free & ((unit - unit[leader]).norm(dim=1) <= chord)
            group[leader] = True
            direction = size[group] @ rows[group]
            merged.append(direction * (size[group].norm() / direction.norm()))
            free &= ~group
    return torch.stack(merged)


def _goal_of_rows(problem: L2Problem, rows: Tensor) -> Goal:
    """Return the goal of the pair of rows, without the bias, in which small rows would be lost."""
    gram, activated = rows.mT @ rows, problem.activate(rows)
    scale = float(gram.norm()) or 1.0
    return Goal(problem, gram / scale, activated.mT @ activated / scale, scale)


def _independent(problem: L2Problem, rows: Tensor) -> Tensor:
    """Return rows whose pairs are independent, with the same sums; the rows themselves where all must be."""
    coordinates = [_row_space_coordinates(part) for part in (rows, problem.activate(rows))]
    pairs = sum(part.shape[1] * (part.shape[1] + 1) // 2 for part in coordinates)
    if len(rows) <= max(part.shape[1] for part in coordinates) or len(rows) * pairs > LARGEST_SYSTEM:
        return rows
    atoms = torch.cat([_half_products(part) for part in coordinates], dim=1)
    sizes = atoms.norm(dim=1)
    shares, _ = nnls((atoms / sizes[:, None]).T.numpy(), atoms.sum(0).numpy())
    shares = torch.from_numpy(shares) / sizes
    kept: Tensor = rows[shares > 0] * shares[shares > 0].sqrt()[:, None]
    return kept


def _row_space_coordinates(rows: Tensor) -> Tensor:
    """Return coordinates (k, r) of rows (k, N) in an orthonormal basis of the space that they span."""
    left, values, _ = torch.linalg.svd(rows, full_matrices=False)
    kept = values > max(rows.shape) * torch.finfo(rows.dtype).eps * values[0]
    coordinates: Tensor = left[:, kept] * values[kept]
    return coordinates


def _half_products(rows: Tensor) -> Tensor:
    """Return the products y y^T of each row (k, r) as vectors (k, r (r + 1) / 2) of the same inner products."""
    first, second = torch.triu_indices(rows.shape[1], rows.shape[1])
    return rows[:, first] * rows[:, second] * torch.where(first == second, 1.0, 2.0**0.5)


def _lower(goal: Goal, tolerance: float, *, enough: float) -> tuple[int, str]:
    """Return the largest lower bound and its name; the slow CP-rank only if the others are not enough."""
    bounds = [(gram_rank(goal.preactivations, tolerance=tolerance), "rank of K")]
    if goal.problem.activation == "linear":
        return bounds[0]
    whole, positive = goal.preactivations.diagonal(), goal.activations.diagonal()
    both = torch.minimum(positive, whole - positive) > tolerance * min(goal.sizes)
    bounds.append((gram_rank(goal.activations, tolerance=tolerance), "rank of K^s"))
    bounds.append((2 * int(both.any()), "both signs at a point"))
    if max(bound for bound, _ in bounds) < enough:
        bounds.append((cp_rank_bounds(goal.activations, tolerance=tolerance).lower, "CP-rank of K^s"))
    return max(bounds, key=lambda bound: bound[0])


def _known_factor(goal: Goal, tolerance: float) -> Tensor | None:
    """Return the factor that has a closed form, if any: linear, zero, or non-negative without triangles."""
    if goal.problem.activation == "linear" or not goal.preactivations.any():
        rank = gram_rank(goal.preactivations, tolerance=tolerance)
        values, basis = torch.linalg.eigh(goal.preactivations)
        root: Tensor = (basis * values.clamp_min(0).sqrt()).mT
        return root[len(values) - rank :]
    same = (goal.preactivations - goal.activations).norm() <= tolerance * goal.sizes[0]
    scale = goal.activations.diagonal().sqrt()
    edges = goal.activations > tolerance * scale[:, None] * scale
    if not same or has_triangle(adjacency(edges.double().numpy())):
        return None
    factor = triangle_free_factor(goal.activations, tolerance=tolerance)
    return factor if goal.residual(factor) <= tolerance else None


def _check_factor(
    problem: L2Problem, pair: CovariancePair, representations: Tensor, tolerance: float
) -> None:
    """Raise ArgumentError unless representations (n, N) have a pair of covariances, bias included."""
    check_pair(problem, pair, tolerance=tolerance)
    if representations.ndim != 2 or representations.shape[1] != problem.points:
        received = tuple(representations.shape)
        raise ArgumentError("representations", f"be a matrix of {problem.points} columns", received)
    made = covariance_pair(problem, representations.detach().double().cpu())
    for one, other in zip(made, pair, strict=True):
        residual = float((one - other.detach().double().cpu()).norm() / (float(other.norm()) or 1.0))
        if not residual <= tolerance:
            raise ArgumentError("representations", "have the covariances given", f"a residual {residual:.2g}")


def _search(
    goal: Goal,
    factor: Tensor | None,
    lower: int,
    *,
    restarts: int,
    generator: torch.Generator,
    tolerance: float,
) -> Tensor | None:
    """Return the smallest factor found between the lower bound and the rows of a factor, or N (N + 1)."""
    points = goal.problem.points
    most = points * (points + 1)
    failed, width = lower - 1, max(lower, 1)
    while restarts and (factor is None or failed + 1 < len(factor)) and width <= most:
        if most * width * points > LARGEST_SYSTEM:
            break
        starts = _starts(goal, factor, width, restarts, generator=generator)
        fitted, residual = fit(goal, starts, tolerance=tolerance)
        if residual <= tolerance:
            factor = fitted
        else:
            failed = width
        width = 2 * width if factor is None else (failed + len(factor)) // 2
    return factor


def _starts(
    goal: Goal, factor: Tensor | None, width: int, count: int, *, generator: torch.Generator
) -> Tensor:
    """Return starts (count, width, N); of a known factor every second one is a random choice of its rows."""
    starts = draw_factors(goal, width, count, generator=generator)
    if factor is not None:
        for start in starts[::2]:
            order = torch.randperm(len(factor), generator=generator, device=generator.device)
            start.copy_(factor[order[:width].to(factor.device)])
    return starts
