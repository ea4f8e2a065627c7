"""Column generation for minimal-norm problems: restricted problem, certificate, new neurons, until the gap closes."""

from typing import NamedTuple

import numpy as np

from diffstab.sphere.arrangement import maxima_on_circle, maxima_on_line, maxima_on_sphere
from diffstab.sphere.ascent import maxima_by_ascent
from diffstab.sphere.basis_pursuit import BasisPursuit, basis_pursuit
from diffstab.sphere.certificate import Floats, Maxima, certificate
from diffstab.sphere.problem import Problem
from diffstab.sphere.support import independent_support, merge_cells

ENUMERATED_DIMENSIONS = 3
"""Up to this dimension all local maxima of the certificate are enumerated."""
LOOSEST = 1e-2
"""Relative tolerance of the first restricted problem; a rough, central dual is the better guide there."""
SHARE_OF_GAP = 0.2
"""The next restricted problem is solved to this share of the present gap ..."""
SHARE_OF_TOLERANCE = 0.1
"""... but not below this share of the gap asked for."""
FINEST = 1e-9
"""Relative tolerance of the last restricted problem ..."""
LEAST_RESIDUAL = 1e-8
"""... and of the residual, over the largest target, in all."""
KEPT_SLACK = 10.0
"""Columns stay while |g| > 1 - this times the largest violation ..."""
LEAST_VIOLATION = 1e-3
"""... which counts for at least this."""
NEW_PER_POINT = 2
"""New columns of one round, at most, over the number of points: those with the largest violation."""
SPARE_NEURONS = 2.5
"""Neurons per point down to which the last solution is concentrated before it is reduced."""
FRESH_STARTS = 4
"""Times as many starts before a searched certificate is believed."""


class Round(NamedTuple):
    """One round of column generation.

    Attributes:
        columns: Neurons in the restricted problem.
        iterations: Interior-point iterations.
        objective: Objective of the restricted problem, about.
        dual_value: Certified lower bound of the full problem.
        gap: (objective - dual_value) / objective.
        largest: Largest |g| found.
    """

    columns: int
    iterations: int
    objective: float
    dual_value: float
    gap: float
    largest: float


class Solution(NamedTuple):
    """Atoms of a solution in the problem's coordinates.

    Attributes:
        neurons: (k, r) unit vectors.
        weights: (k,) weights.
        dual: (m,) dual, feasible by the certificate.
        dual_value: Lower bound of the objective that it proves.
        rounds: History.
    """

    neurons: Floats
    weights: Floats
    dual: Floats
    dual_value: float
    rounds: list[Round]


class _Bound(NamedTuple):
    """The best feasible dual so far."""

    dual: Floats
    value: float


def objective(problem: Problem, neurons: Floats, weights: Floats) -> float:
    """|w|_1 + |y - Phi w|^2 / (2 ridge); |w|_1 where ridge = 0."""
    total = float(np.abs(weights).sum())
    if problem.ridge == 0:
        return total
    residual = problem.targets - features(problem, neurons) @ weights
    return total + float(residual @ residual) / (2 * problem.ridge)


def features(problem: Problem, neurons: Floats) -> Floats:
    """Phi (m, k): relu of neurons (k, r) at the points."""
    phi: Floats = np.maximum(problem.points @ neurons.T, 0)
    return phi


class Search:
    """Local maxima of the certificate, enumerated or searched from seeded starts.

    Args:
        problem: The problem.
        n_starts: Random starts of a search.
        generator: Draws them.
    """

    def __init__(self, problem: Problem, *, n_starts: int, generator: np.random.RandomState) -> None:
        self.problem = problem
        self.n_starts = n_starts
        self.generator = generator
        self.dimension = problem.points.shape[1]
        self.enumerates = self.dimension <= ENUMERATED_DIMENSIONS

    def __call__(self, dual: Floats, near: Floats, *, times: int = 1) -> Maxima:
        """Maxima with |g| > 1; a search starts at random and from neurons (k, r) nearby."""
        function = certificate(self.problem.lines, dual)
        if self.dimension == 1:
            return maxima_on_line(function, floor=1.0)
        if self.dimension == 2:
            return maxima_on_circle(function, floor=1.0)
        if self.dimension == 3:
            return maxima_on_sphere(function, floor=1.0)
        starts = np.concatenate([self.directions(times * self.n_starts), near])
        return maxima_by_ascent(function, starts, floor=1.0)

    def directions(self, count: int) -> Floats:
        """Uniform unit vectors (count, r)."""
        drawn = self.generator.standard_normal((count, self.dimension))
        unit: Floats = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return unit


def generate_columns(problem: Problem, search: Search, *, tol: float, max_rounds: int) -> Solution:
    """Solve a problem to a relative gap.

    Args:
        problem: Problem with non-zero targets.
        search: Finds the maxima of the certificate.
        tol: Relative gap to reach.
        max_rounds: Rounds after which the last solution is returned as it is.

    Returns:
        The solution; its objective and dual value tell the gap that was reached.
    """
    bound, maxima = _unpenalised_bound(problem, search)
    rounds: list[Round] = []
    if problem.ridge and maxima.largest <= 1:
        nothing = np.empty((0, search.dimension))
        return Solution(nothing, np.empty(0), bound.dual, bound.value, rounds)
    points = problem.points / problem.lines.norm[:, None]
    start = search.directions(4 * len(points) + 20 * search.dimension)
    neurons = np.concatenate([start, points, -points])
    dual, tolerance = None, LOOSEST
    for _ in range(max_rounds):
        phi = features(problem, neurons)
        restricted = basis_pursuit(
            phi,
            problem.targets,
            ridge=problem.ridge,
            tolerance=tolerance,
            residual_tolerance=max(tolerance / 10, LEAST_RESIDUAL),
            dual=dual,
        )
        dual = restricted.dual
        used = np.abs(restricted.weights) > 1e-3 * np.abs(restricted.weights).max()
        maxima = search(dual, neurons[used])
        bound = _better(problem, bound, dual, maxima.largest)
        value = _lagrangian(problem, phi, restricted.weights, dual)
        gap = (value - bound.value) / value
        rounds.append(Round(len(neurons), restricted.iterations, value, bound.value, gap, maxima.largest))
        if gap <= tol and not search.enumerates:
            maxima = search(bound.dual, neurons[used], times=FRESH_STARTS)
            bound = _Bound(bound.dual, -np.inf) if maxima.largest > 1 else bound
            bound = _better(problem, bound, bound.dual, maxima.largest)
            gap = (value - bound.value) / value
        if gap <= tol:
            break
        violation = max(maxima.largest - 1, LEAST_VIOLATION)
        near = np.abs(phi.T @ dual) > 1 - KEPT_SLACK * violation
        tallest = np.argsort(-np.abs(maxima.values))[: NEW_PER_POINT * len(problem.points)]
        neurons = np.concatenate([neurons[near], maxima.neurons[tallest]])
        tolerance = max(min(tolerance, SHARE_OF_GAP * gap), SHARE_OF_TOLERANCE * tol)
    return _atomic(problem, search, neurons, bound, rounds, tol)


def _unpenalised_bound(problem: Problem, search: Search) -> tuple[_Bound, Maxima]:
    """The bound at the dual that the loss alone asks for (the direction of the targets), and its maxima."""
    dual = problem.targets / (problem.ridge or 1.0)
    maxima = search(dual, np.empty((0, search.dimension)))
    return _better(problem, _Bound(dual, -np.inf), dual, maxima.largest), maxima


def _better(problem: Problem, bound: _Bound, dual: Floats, largest: float) -> _Bound:
    """The better of a bound and the best multiple of a dual that is feasible, its largest |g| being known."""
    scale = 1 / max(largest, 1.0)
    gain, curvature = float(problem.targets @ dual), problem.ridge * float(dual @ dual)
    if curvature > 0:
        scale = min(scale, gain / curvature)
    value = scale * gain - scale**2 * curvature / 2
    return _Bound(scale * dual, value) if value > bound.value else bound


def _lagrangian(problem: Problem, phi: Floats, weights: Floats, dual: Floats) -> float:
    """Objective of weights that miss the targets a little, what they miss being priced by the dual."""
    missing = problem.targets - phi @ weights - problem.ridge * dual
    loss = problem.ridge * float(dual @ dual) / 2
    return float(np.abs(weights).sum()) + float(dual @ missing) + loss


def _atomic(
    problem: Problem, search: Search, neurons: Floats, bound: _Bound, rounds: list[Round], tol: float
) -> Solution:
    """Solve on the last columns to the end, and reduce the solution to independent atoms."""
    last = _solve_to_the_end(problem, neurons, bound.dual)
    neurons, weights = merge_cells(problem.points, neurons, last.weights)
    maxima = search(last.dual, neurons, times=FRESH_STARTS)
    bound = _better(problem, bound, last.dual, maxima.largest)
    neurons, weights = _concentrate(problem, neurons, weights, last.dual, tol)
    weights = independent_support(features(problem, neurons), weights)
    kept = weights != 0
    return Solution(neurons[kept], weights[kept], bound.dual, bound.value, rounds)


def _concentrate(
    problem: Problem, neurons: Floats, weights: Floats, dual: Floats, tol: float
) -> tuple[Floats, Floats]:
    """Solve again and again on the heavier half of the neurons, as long as the objective stays.

    A central solution spreads over many neurons that do equally well. Few are needed, and the fewer are left the
    less there is to do for the reduction to independent ones.
    """
    most = objective(problem, neurons, weights) * (1 + SHARE_OF_TOLERANCE * tol)
    while len(weights) > SPARE_NEURONS * len(problem.points):
        heavy = np.argsort(-np.abs(weights))[: len(weights) // 2]
        again = _solve_to_the_end(problem, neurons[heavy], dual)
        if again.residual > LEAST_RESIDUAL or objective(problem, neurons[heavy], again.weights) > most:
            break
        neurons, weights, dual = neurons[heavy], again.weights, again.dual
    return neurons, weights


def _solve_to_the_end(problem: Problem, neurons: Floats, dual: Floats) -> BasisPursuit:
    return basis_pursuit(
        features(problem, neurons),
        problem.targets,
        ridge=problem.ridge,
        tolerance=FINEST,
        residual_tolerance=LEAST_RESIDUAL,
        dual=dual,
    )
