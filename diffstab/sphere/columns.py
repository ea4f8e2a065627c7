"""Column generation for minimal-norm problems: restricted problem, certificate, new neurons, until the gap closes."""

from typing import NamedTuple

import numpy as np

from diffstab.sphere.basic import Cloud, basic_solution, vertex
from diffstab.sphere.certificate import Floats
from diffstab.sphere.problem import MinNormProblem
from diffstab.sphere.restricted import Restricted
from diffstab.sphere.search import Search, first_neurons
from diffstab.sphere.support import merge_close
from diffstab.sphere.verdict import Verdict, judge

LOOSEST = 1e-2
"""Relative tolerance of the first restricted problem; a rough, central dual is the better guide there."""
SHARE_OF_GAP = 0.2
"""The next restricted problem is solved to this share of the present gap ..."""
SHARE_OF_TOLERANCE = 0.1
"""... but not below this share of the gap asked for."""
MAX_FAILURES = 5
"""Times that the atoms may miss a gap that the restricted problem promised; each time it is solved ten times finer."""
PATIENCE = 25
"""Rounds without a gap that is a tenth smaller, after which the fit is as good as rounding allows."""
KEPT_SLACK, IDLE_SLACK = 2.5, 10.0
"""Columns stay while |g| > 1 - this times the largest violation; more of them after a round without headway ..."""
LEAST_VIOLATION = 1e-4
"""... which counts for at least this."""
NEW_PER_POINT = 4
"""New columns of one round, at most, over the number of points: those with the largest violation."""
SHARE_OF_MERGING = 0.2
"""Columns of one cell become one where that costs no more than this share of the gap, relative to their norm."""
FRESH_STARTS = 4
"""Times as many starts before a searched certificate is believed."""


class Round(NamedTuple):
    """One round of column generation.

    Attributes:
        columns: Neurons in the restricted problem.
        iterations: Iterations of the restricted problem's method.
        objective: Objective of the restricted problem, about.
        dual_value: Lower bound of the full problem, the best so far.
        gap: (objective - dual_value) / objective, the restricted problem's: it guides, and the atoms are judged anew.
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


def generate_columns(problem: MinNormProblem, search: Search, *, tol: float, max_rounds: int) -> Solution:
    """Solve a problem to a relative gap, judged on the very atoms that are returned.

    Args:
        problem: Problem with non-zero targets.
        search: Finds the maxima of the certificate.
        tol: Relative gap to reach.
        max_rounds: Rounds after which the best fit so far is returned.

    Returns:
        The fit, whose gap tells what was reached, and the rounds.
    """
    bound = _first_bound(problem, search)
    if problem.ridge and bound.largest <= 1:
        nothing = Cloud(np.empty((0, problem.basis.shape[1])), np.empty(0))
        return Solution(judge(problem, nothing, bound.dual, bound.largest), [])
    generation = _Generation(problem, search, bound, tol)
    while True:
        generation.next_round()
        last = len(generation.rounds) == max_rounds or generation.idle == PATIENCE
        if generation.gap <= tol or last:
            best = generation.judge_atoms()
            if _reached(best, tol) or last or generation.failures == MAX_FAILURES:
                return Solution(best, generation.rounds)
        generation.renew_neurons()


class _Generation:
    """The state of a column generation.

    Args:
        problem: The problem.
        search: Finds the maxima of the certificate.
        bound: A first lower bound.
        tol: Relative gap to reach.
    """

    def __init__(self, problem: MinNormProblem, search: Search, bound: _Bound, tol: float) -> None:
        self.problem, self.search, self.bound, self.tol = problem, search, bound, tol
        self.neurons, self.spanning = first_neurons(problem, search)
        self.solver = Restricted(problem, self.neurons)
        self.columns = self.solver.columns(self.neurons)
        self.tolerance, self.gap, self.least = LOOSEST, np.inf, np.inf
        self.dual: Floats = np.zeros(len(problem.targets))
        self.best: Verdict | None = None
        self.rounds: list[Round] = []
        self.failures, self.idle, self.stalled = 0, 0, False

    def next_round(self) -> None:
        """Solve the restricted problem, and find where its dual is not feasible."""
        found = self.solver.by_simplex(self.columns) if self.stalled else None
        found = found or self.solver(self.columns, tolerance=self.tolerance, dual=self.dual)
        self.stalled = self.stalled or not found.converged
        self.dual, self.weights = found.dual, found.weights
        used = self.neurons[np.abs(found.weights) > 1e-3 * np.abs(found.weights).max()]
        self.maxima = self.search(found.dual, used)
        self.bound = _better(self.problem, self.bound, found.dual, self.maxima.largest)
        self.slopes, self.value = self.solver.price(self.columns, found.weights, found.dual)
        gap = self._relative_gap()
        self.rounds.append(
            Round(len(self.neurons), found.iterations, self.value, self.bound.value, gap, self.maxima.largest)
        )
        if gap <= self.tol and not self.search.enumerates:
            self.maxima = self.search(self.bound.dual, used, times=FRESH_STARTS)
            self.bound = _priced(self.problem, self.bound.dual, max(self.maxima.largest, self.bound.largest))
            gap = self._relative_gap()
        self.idle = 0 if gap < 0.9 * self.least else self.idle + 1
        self.least, self.gap = min(gap, self.least), gap

    def _relative_gap(self) -> float:
        return (self.value - self.bound.value) / max(abs(self.value), np.finfo(np.float64).tiny)

    def judge_atoms(self) -> Verdict:
        """Reduce the neurons to atoms and judge them; a failure makes the next rounds finer."""
        target = self.bound.value / (1 - self.tol)
        spare = max(target - self.value, SHARE_OF_TOLERANCE * self.tol * self.value) / 2
        cloud = Cloud(self.neurons, self.weights)
        atoms = basic_solution(self.solver, cloud, dual=self.dual, least=self.value, most=self.value + spare)
        verdicts = [self._judge(atoms)]
        if not _reached(verdicts[0], self.tol):
            other = vertex(self.solver, cloud, dual=self.dual)
            verdicts += [] if other is None else [self._judge(other)]
        verdicts += [] if self.best is None else [self.best]
        self.best = min(verdicts, key=lambda verdict: verdict.gap)
        self.failures, self.stalled = self.failures + 1, True
        return self.best

    def _judge(self, atoms: Cloud) -> Verdict:
        return judge(self.problem, atoms, self.bound.dual, self.bound.largest)

    def renew_neurons(self) -> None:
        """Drop neurons far from the maxima of the certificate, add those where it is not feasible."""
        violation = max(self.maxima.largest - 1, LEAST_VIOLATION)
        slack = IDLE_SLACK if self.idle else KEPT_SLACK
        near = (np.abs(self.slopes) > 1 - slack * violation) & (self.weights != 0)
        near[: self.spanning] = False
        tallest = np.argsort(-np.abs(self.maxima.values))[: NEW_PER_POINT * len(self.problem.points)]
        # Rounds find the maximum of one cell again and again, at places that differ less and less.
        stays, merged = merge_close(
            self.problem.points, self.neurons[near], self.weights[near], apart=SHARE_OF_MERGING * self.gap
        )
        kept = np.concatenate([np.arange(self.spanning), np.nonzero(near)[0][stays]])
        fresh = np.concatenate([merged, self.maxima.neurons[tallest]])
        self.neurons = np.concatenate([self.neurons[kept], fresh])
        self.columns = np.concatenate([self.columns[:, kept], self.solver.columns(fresh)], axis=1)
        finest = SHARE_OF_TOLERANCE * self.tol * 0.1**self.failures
        self.tolerance = max(min(self.tolerance, SHARE_OF_GAP * self.gap), finest)


def _reached(verdict: Verdict, tol: float) -> bool:
    return verdict.met and verdict.gap <= tol


def _first_bound(problem: MinNormProblem, search: Search) -> _Bound:
    """The bound at the dual that the loss alone asks for, which is optimal where it is feasible; 0 without a loss."""
    if not problem.ridge:
        return _Bound(np.zeros(len(problem.targets)), 0.0, 0.0)
    dual = problem.targets / problem.ridge
    return _priced(problem, dual, search(dual, np.empty((0, search.dimension))).largest)


def _better(problem: MinNormProblem, bound: _Bound, dual: Floats, largest: float) -> _Bound:
    """The better of a bound and of what another dual proves, its largest |g| being known."""
    other = _priced(problem, dual, largest)
    return other if other.value > bound.value else bound


def _priced(problem: MinNormProblem, dual: Floats, largest: float) -> _Bound:
    """The bound that the best feasible multiple of a dual proves."""
    scale = 1 / max(largest, 1.0)
    gain, curvature = float(problem.targets @ dual), problem.ridge * float(dual @ dual)
    if curvature > 0:
        scale = min(scale, gain / curvature)
    return _Bound(dual, largest, scale * gain - scale**2 * curvature / 2)
