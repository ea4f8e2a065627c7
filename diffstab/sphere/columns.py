"""Column generation for minimal-norm problems: restricted problem, certificate, new neurons, until the gap closes."""

from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from diffstab.sphere.arrangement import maxima_on_circle, maxima_on_line, maxima_on_sphere
from diffstab.sphere.ascent import maxima_by_ascent
from diffstab.sphere.basic import Cloud, basic_solution, vertex
from diffstab.sphere.certificate import Floats, Maxima, certificate
from diffstab.sphere.problem import Problem
from diffstab.sphere.restricted import Restricted
from diffstab.sphere.verdict import Verdict, judge

ENUMERATED_DIMENSIONS = 3
"""Up to this dimension all local maxima of the certificate are enumerated."""
LOOSEST = 1e-2
"""Relative tolerance of the first restricted problem; a rough, central dual is the better guide there."""
SHARE_OF_GAP = 0.2
"""The next restricted problem is solved to this share of the present gap ..."""
SHARE_OF_TOLERANCE = 0.1
"""... but not below this share of the gap asked for."""
MAX_FAILURES = 5
"""Times that the atoms may miss a gap that the restricted problem promised; each time it is solved ten times finer."""
KEPT_SLACK = 10.0
"""Columns stay while |g| > 1 - this times the largest violation ..."""
LEAST_VIOLATION = 1e-3
"""... which counts for at least this."""
SPANNING = 2
"""First neurons, random ones, per point that stay in all rounds, so that the targets remain in reach."""
CLOSE, NEIGHBOURS = 1e-2, 3
"""Distance below which two lines count as close, and how many neighbours of each are looked at."""
NEW_PER_POINT = 2
"""New columns of one round, at most, over the number of points: those with the largest violation."""
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
    """A fit, judged.

    Attributes:
        verdict: The atoms in the caller's coordinates, and their gap.
        rounds: History.
    """

    verdict: Verdict
    rounds: list[Round]


class _Bound(NamedTuple):
    """The best dual so far, the largest |g| that was found for it, and the bound that it proves when scaled."""

    dual: Floats
    largest: float
    value: float


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
    """Solve a problem to a relative gap, judged on the very atoms that are returned.

    Args:
        problem: Problem with non-zero targets.
        search: Finds the maxima of the certificate.
        tol: Relative gap to reach.
        max_rounds: Rounds after which the best fit so far is returned.

    Returns:
        The fit, whose gap tells what was reached, and the rounds.
    """
    bound, maxima = _unpenalised_bound(problem, search)
    rounds: list[Round] = []
    if problem.ridge and maxima.largest <= 1:
        nothing = Cloud(np.empty((0, problem.basis.shape[1])), np.empty(0))
        return Solution(judge(problem, nothing, bound.dual, maxima.largest), rounds)
    (neurons, spanning), dual, tolerance = _first_neurons(problem, search), None, LOOSEST
    phi = features(problem, neurons)
    solver = Restricted(problem, phi)
    best: Verdict | None = None
    failures, stalled = 0, False
    while True:
        phi = features(problem, neurons)
        restricted = solver.by_simplex(phi) if stalled else None
        restricted = restricted or solver(phi, tolerance=tolerance, dual=dual)
        stalled = stalled or not restricted.converged
        dual = restricted.dual
        used = np.abs(restricted.weights) > 1e-3 * np.abs(restricted.weights).max()
        maxima = search(dual, neurons[used])
        bound = _better(problem, bound, dual, maxima.largest)
        value = _lagrangian(problem, phi, restricted.weights, dual)
        gap = (value - bound.value) / value
        rounds.append(Round(len(neurons), restricted.iterations, value, bound.value, gap, maxima.largest))
        if gap <= tol and not search.enumerates:
            maxima = search(bound.dual, neurons[used], times=FRESH_STARTS)
            bound = _priced(problem, bound.dual, max(maxima.largest, bound.largest))
            gap = (value - bound.value) / value
        last = len(rounds) == max_rounds
        if gap <= tol or last:
            spare = max(bound.value / (1 - tol) - value, SHARE_OF_TOLERANCE * tol * value) / 2
            cloud = Cloud(neurons, restricted.weights)
            basic = basic_solution(solver, cloud, dual=dual, most=value + spare)
            verdict = judge(problem, basic, bound.dual, bound.largest)
            if not _reached(verdict, tol) and (other := vertex(solver, cloud, dual=dual)):
                verdict = min(verdict, judge(problem, other, bound.dual, bound.largest), key=lambda v: v.gap)
            best = verdict if best is None or verdict.gap < best.gap else best
            failures, stalled = failures + 1, True
            if _reached(best, tol) or last or failures == MAX_FAILURES:
                return Solution(best, rounds)
        violation = max(maxima.largest - 1, LEAST_VIOLATION)
        near = np.abs(phi.T @ dual) > 1 - KEPT_SLACK * violation
        near[:spanning] = True
        tallest = np.argsort(-np.abs(maxima.values))[: NEW_PER_POINT * len(problem.points)]
        neurons = np.concatenate([neurons[near], maxima.neurons[tallest]])
        tolerance = max(min(tolerance, SHARE_OF_GAP * gap), SHARE_OF_TOLERANCE * tol * 0.1**failures)


def _reached(verdict: Verdict, tol: float) -> bool:
    return verdict.met and verdict.gap <= tol


def _first_neurons(problem: Problem, search: Search) -> tuple[Floats, int]:
    """Neurons to begin with, and how many of them, from the first, stay so that all targets remain in reach.

    Random directions, the points and their antipodes; and between two close points the neuron that only one of them
    activates, without which the features of a cluster of points span no more than a linear function does.
    """
    drawn = search.directions(4 * len(problem.points) + 20 * search.dimension)
    between = _between(problem.lines.directions)
    points = problem.points / problem.lines.norm[:, None]
    spanning = np.concatenate([between, drawn])
    return np.concatenate([spanning, points, -points]), len(between) + SPANNING * len(points)


def _between(directions: Floats) -> Floats:
    """Unit vectors normal to the bisectors of close lines, on both sides, (k, r)."""
    both = np.concatenate([directions, -directions])
    count = min(NEIGHBOURS + 1, len(both))
    distance, others = KDTree(both).query(directions, k=count)
    first, slot = np.nonzero((distance > 0) & (distance < CLOSE))
    this, other = directions[first], both[others[first, slot]]
    normal, middle = this - other, (this + other) / 2
    # Twice: rounding of the lengths tilts the difference by far more than the lines are apart.
    for _ in range(2):
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        normal -= (normal * middle).sum(axis=1, keepdims=True) * middle
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    sides: Floats = np.concatenate([normal, -normal])
    return sides


def _unpenalised_bound(problem: Problem, search: Search) -> tuple[_Bound, Maxima]:
    """The bound at the dual that the loss alone asks for (the direction of the targets), and its maxima."""
    dual = problem.targets / (problem.ridge or 1.0)
    maxima = search(dual, np.empty((0, search.dimension)))
    return _priced(problem, dual, maxima.largest), maxima


def _better(problem: Problem, bound: _Bound, dual: Floats, largest: float) -> _Bound:
    """The better of a bound and of what another dual proves, its largest |g| being known."""
    other = _priced(problem, dual, largest)
    return other if other.value > bound.value else bound


def _priced(problem: Problem, dual: Floats, largest: float) -> _Bound:
    """The bound that the best feasible multiple of a dual proves."""
    scale = 1 / max(largest, 1.0)
    gain, curvature = float(problem.targets @ dual), problem.ridge * float(dual @ dual)
    if curvature > 0:
        scale = min(scale, gain / curvature)
    return _Bound(dual, largest, scale * gain - scale**2 * curvature / 2)


def _lagrangian(problem: Problem, phi: Floats, weights: Floats, dual: Floats) -> float:
    """Objective of weights that miss the targets a little, what they miss being priced by the dual."""
    missing = problem.targets - phi @ weights - problem.ridge * dual
    loss = problem.ridge * float(dual @ dual) / 2
    return float(np.abs(weights).sum()) + float(dual @ missing) + loss
