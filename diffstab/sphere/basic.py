"""From a cloud of weighted neurons to a basic solution: at most n atoms that meet the targets to rounding.

An interior-point method ends with all columns in use and a residual. Here the residual is taken out and the cloud is
reduced to independent columns, with features of the caller's own points, in extended precision where the
machine has it: a certificate judges an objective whose residual is rounding.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, lstsq, qr, solve_triangular
from scipy.linalg.lapack import dormqr

from diffstab.sphere.certificate import Floats
from diffstab.sphere.problem import MinNormProblem
from diffstab.sphere.restricted import Restricted
from diffstab.sphere.support import independent_support, merge_cells

Extended = NDArray[np.longdouble]
EXACT_NEURONS = 4
"""Neurons per point from which a cloud is shrunk in double precision: the extended one takes time and memory."""
SPARE_NEURONS = 2.5
"""Neurons per point down to which a cloud is concentrated before it is reduced to independent ones."""
SIMPLEX_NEURONS = 6
"""Heaviest neurons per point from which the simplex method chooses."""
CORRECTIONS = 6
"""Steps, at most, that take out a residual."""
SHARE_OF_SLACK = 0.1
"""A restricted problem on the heavier neurons is solved to this share of the slack that is left ..."""
FINEST = 1e-10
"""... but no finer, relative to the objective."""


class Cloud(NamedTuple):
    """Weighted neurons.

    Attributes:
        neurons: (k, r) or (k, d) unit vectors.
        weights: (k,) weights.
    """

    neurons: Floats
    weights: Floats

    def heaviest(self, count: int) -> "Cloud":
        """The neurons of the largest weights, in their old order."""
        kept = np.sort(np.argsort(-np.abs(self.weights), kind="stable")[:count])
        return Cloud(self.neurons[kept], self.weights[kept])

    def used(self) -> "Cloud":
        """The neurons of non-zero weight."""
        kept = self.weights != 0
        return Cloud(self.neurons[kept], self.weights[kept])


def basic_solution(solver: Restricted, cloud: Cloud, *, dual: Floats, most: float, least: float) -> Cloud:
    """Reduce a cloud that about solves a problem to at most m atoms, and take out its residual.

    Args:
        solver: The restricted problem.
        cloud: Neurons (k, r) in the problem's coordinates.
        dual: (m,) dual that came with them.
        least: Cost of the cloud.
        most: Cost up to which the reduction may go for the sake of fewer neurons.

    Returns:
        The atoms (k, d), unit vectors in the caller's coordinates, and their weights, none of them zero.
    """
    cost = _Cost(solver, dual)
    atoms = _in_callers_coordinates(solver.problem, cloud)
    # Neurons of one cell are alike: they share a weight, and the heaviest would miss all of them.
    atoms = _merged(solver.problem, atoms)
    atoms = _concentrated(solver, cost, atoms, most=most, least=least)
    atoms = _corrected(cost, atoms)[0].used()
    phi = solver.problem.exact_features(atoms.neurons).astype(np.float64)
    atoms = Cloud(atoms.neurons, independent_support(cost.rows(phi), atoms.weights)).used()
    return _corrected(cost, atoms, exact=True)[0].used()


def vertex(solver: Restricted, cloud: Cloud, *, dual: Floats) -> Cloud | None:
    """The vertex of the problem on the heaviest neurons of a cloud, by the simplex method; None where it finds none.

    Args:
        solver: The restricted problem.
        cloud: Neurons (k, r) in the problem's coordinates.
        dual: (m,) dual that came with them.

    Returns:
        The atoms (k, d) and weights, as `basic_solution` has them.
    """
    heavy = cloud.heaviest(SIMPLEX_NEURONS * len(solver.problem.points))
    found = solver.by_simplex(solver.columns(heavy.neurons))
    if found is None:
        return None
    atoms = _in_callers_coordinates(solver.problem, Cloud(heavy.neurons, found.weights))
    return _corrected(_Cost(solver, dual), atoms, exact=True)[0].used()


def _in_callers_coordinates(problem: MinNormProblem, cloud: Cloud) -> Cloud:
    """The neurons in use, as atoms (k, d)."""
    used = cloud.used()
    atoms = used.neurons @ problem.basis
    return Cloud(atoms / np.linalg.norm(atoms, axis=1, keepdims=True), used.weights)


def _merged(problem: MinNormProblem, cloud: Cloud) -> Cloud:
    """The atoms in use, those that are active on the same points merged to one."""
    used = cloud.used()
    return Cloud(*merge_cells(problem.given_points[problem.rows], used.neurons, used.weights))


class _Cost:
    """The objective of a cloud; what an interpolant misses is priced by the dual, always to its disadvantage."""

    def __init__(self, solver: Restricted, dual: Floats) -> None:
        self.problem = problem = solver.problem
        self.rows = solver.conditioning.rows
        self.dual = dual
        self.price = np.abs(dual).astype(np.longdouble)
        self.goal: Extended = problem.exact_targets - problem.ridge * dual.astype(np.longdouble)

    def __call__(self, weights: Floats, residual: Extended) -> float:
        """Cost of weights (k,) whose outputs miss the goal by a residual (m,)."""
        norm = float(np.abs(weights).sum())
        if self.problem.ridge == 0:
            return norm + self.missed(weights, residual)
        loss = residual + self.problem.ridge * self.dual
        return norm + float(loss @ loss) / (2 * self.problem.ridge)

    def missed(self, _: Floats, residual: Extended) -> float:
        """Cost of a residual (m,) of an interpolant."""
        return float(self.price @ np.abs(residual))


def _concentrated(solver: Restricted, cost: _Cost, cloud: Cloud, *, most: float, least: float) -> Cloud:
    """Keep the heavier half of the neurons, again and again, as long as they do as well.

    A central solution spreads over many neurons. Few are needed, and the fewer are left the less there is to do
    for the reduction to independent ones. `least` is what the cloud costs.
    """
    rows = len(cost.goal)
    fewest, count = int(SPARE_NEURONS * rows), len(cloud.weights)
    while count > fewest:
        count = max(count // 2, fewest)
        half = cloud.heaviest(count)
        quick = count > EXACT_NEURONS * rows
        again, reached = _quickly_corrected(solver, cost, half) if quick else _corrected(cost, half)
        if reached > most:
            columns = solver.columns(half.neurons @ solver.problem.basis.T)
            tolerance = max(SHARE_OF_SLACK * (most / least - 1), FINEST)
            found = solver(columns, tolerance=tolerance, dual=cost.dual)
            again, reached = (
                Cloud(half.neurons, found.weights),
                solver.price(columns, found.weights, found.dual)[1],
            )
            if not quick:
                again, reached = _corrected(cost, again)
            if reached > most:
                return cloud
        cloud, least = again, reached
    return cloud


def _quickly_corrected(solver: Restricted, cost: _Cost, cloud: Cloud) -> tuple[Cloud, float]:
    """As `_corrected`, in double precision and by normal equations: good enough for a cloud that is yet to shrink."""
    columns = solver.columns(cloud.neurons @ solver.problem.basis.T)
    scaled = columns * cloud.weights
    goal = cost.rows(cost.goal.astype(np.float64))
    try:
        factor = cho_factor(scaled @ scaled.T, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return cloud, np.inf
    weights = cloud.weights
    for _ in range(2):
        step = cho_solve(factor, goal - columns @ weights, check_finite=False)
        weights = weights + cloud.weights * (scaled.T @ step)
    return Cloud(cloud.neurons, weights), solver.price(columns, weights, cost.dual)[1]


def _corrected(cost: _Cost, cloud: Cloud, *, exact: bool = False) -> tuple[Cloud, float]:
    """The cloud without its residual, and its cost (or what it misses, where it is to be exact).

    The weights change in proportion to their size as far as that goes.

    Each step is a least-squares solve by orthogonal factors, its residual in extended precision. Of all steps the one
    of least cost is kept: where the goal is out of reach, or only at great length, that is the cloud as it was. An
    interpolant that is to be exact takes the one of least residual instead.
    """
    features = cost.problem.exact_features(cloud.neurons)
    judge = cost.missed if exact and cost.problem.ridge == 0 else cost
    weights = cloud.weights
    residual = cost.goal - features @ weights
    best, least = weights, judge(weights, residual)
    sizes = np.abs(weights) if len(weights) > len(features) else np.ones(len(weights))
    solve = _LeastChange(cost.rows(features.astype(np.float64)), sizes)
    for _ in range(CORRECTIONS):
        weights = weights + solve(cost.rows(residual.astype(np.float64)))
        residual = cost.goal - features @ weights
        now = judge(weights, residual)
        if not now < least:
            break
        best, least = weights, now
    return Cloud(cloud.neurons, best), least


class _LeastChange:
    """Solves Phi (D z) = r for the z of least length, or of least residual, D = diag(sizes)."""

    def __init__(self, features: Floats, sizes: Floats) -> None:
        self.sizes = sizes
        self.scaled = features * sizes
        self.wide = self.scaled.shape[0] <= self.scaled.shape[1]
        matrix = self.scaled.T if self.wide else self.scaled
        (self.reflectors, self.factors), triangle = qr(matrix, mode="raw", check_finite=False)
        self.triangle = triangle[: matrix.shape[1]]
        diagonal = np.abs(np.diag(self.triangle))
        self.regular = diagonal.min(initial=np.inf) > 4 * np.finfo(np.float64).eps * diagonal.max(initial=0.0)

    def __call__(self, residual: Floats) -> Floats:
        """The change D z (k,) of the weights for a residual r (m,)."""
        count = len(self.triangle)
        if not self.regular:
            try:
                step: Floats = lstsq(self.scaled, residual, check_finite=False)[0]
            except LinAlgError:
                step = np.zeros(len(self.sizes))
        elif self.wide:
            short = solve_triangular(self.triangle, residual, trans="T", check_finite=False)
            step = self._orthogonal(np.concatenate([short, np.zeros(len(self.sizes) - count)]), "N")
        else:
            turned = self._orthogonal(residual, "T")[:count]
            step = solve_triangular(self.triangle, turned, check_finite=False)
        return self.sizes * step

    def _orthogonal(self, vector: Floats, transposed: str) -> Floats:
        """Q v or Q^T v, from its reflections."""
        column, work = vector[:, None], 64 * len(vector)  # for the blocked form of the routine
        turned, _, _ = dormqr("L", transposed, self.reflectors, self.factors, column, work)
        found: Floats = turned[:, 0]
        return found
