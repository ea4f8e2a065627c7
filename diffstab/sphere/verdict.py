"""The certified gap of atoms: one number, computed on the very arrays that a fit returns."""

from typing import NamedTuple

import numpy as np

from diffstab.sphere.basic import Cloud
from diffstab.sphere.certificate import Floats
from diffstab.sphere.problem import MinNormProblem

ROUNDINGS = 16
"""Roundings of one term of g, besides those of its sum of n terms."""


class Verdict(NamedTuple):
    """A fit in the caller's coordinates, and how far it is from the optimum at most.

    Attributes:
        atoms: (k, d) unit vectors.
        weights: (k,) weights.
        dual: (n,) feasible dual a.
        objective: The minimised objective of atoms and weights.
        gap: (objective - dual value + 2 sum_i |a_i r_i|) / objective, r the residual of an interpolant (0 for a
            penalised fit, whose objective holds it); 0 where the objective is 0.
        residual: Largest |y_i - f(x_i)|.
        met: Whether an interpolant meets the targets to rounding, so that the residual has no part in the gap.
    """

    atoms: Floats
    weights: Floats
    dual: Floats
    objective: float
    gap: float
    residual: float
    met: bool


def judge(problem: MinNormProblem, cloud: Cloud, dual: Floats, largest: float) -> Verdict:
    """Judge atoms by a dual.

    sum_j |w_j| >= sum_j w_j g(theta_j) = a . Phi w for a feasible a, so that the gap is not negative. Values of g at
    the atoms count towards its maximum, which keeps this true where the maximum was searched and missed.

    Args:
        problem: The problem.
        cloud: Atoms (k, d) in the caller's coordinates.
        dual: (m,) dual in the problem's coordinates, of any size.
        largest: Largest |g| of this dual that was found on the sphere.

    Returns:
        The verdict, whose dual is scaled to be feasible with a margin for rounding.
    """
    scaled = _feasible(problem, cloud, dual, largest)
    residual = problem.given_targets - _outputs(problem, cloud)
    norm = np.abs(cloud.weights.astype(np.longdouble)).sum()
    gain = (scaled * problem.given_targets.astype(np.longdouble)).sum()
    if problem.ridge == 0:
        objective, bound, missing = norm, gain, np.abs(scaled * residual).sum()
    else:
        count = len(residual)
        penalty = np.longdouble(problem.ridge) / count
        origin = problem.given_targets[~problem.given_points.any(axis=1)].astype(np.longdouble)
        objective = (residual**2).sum() / (2 * count) + penalty * norm
        bound = penalty * (gain - problem.ridge * (scaled**2).sum() / 2) + (origin**2).sum() / (2 * count)
        missing = np.longdouble(0)
    length = np.abs(scaled) @ np.linalg.norm(problem.given_points, axis=1)
    met = bool(missing <= ROUNDINGS * np.finfo(np.float64).eps * length * norm)
    gap = float((objective - bound + 2 * missing) / objective) if objective > 0 else 0.0
    largest_residual = float(np.abs(residual).max(initial=0.0))
    return Verdict(cloud.neurons, cloud.weights, scaled, float(objective), gap, largest_residual, met)


def _outputs(problem: MinNormProblem, cloud: Cloud) -> np.ndarray:
    """F at the caller's points, in extended precision."""
    inner = problem.given_points.astype(np.longdouble) @ cloud.neurons.T.astype(np.longdouble)
    return np.maximum(inner, 0) @ cloud.weights


def _feasible(problem: MinNormProblem, cloud: Cloud, dual: Floats, largest: float) -> Floats:
    """The best multiple of a dual that is feasible on the caller's points, in the caller's rows."""
    given = np.zeros(len(problem.given_targets))
    given[problem.rows] = dual * problem.scale
    inner = np.maximum(problem.given_points[problem.rows] @ cloud.neurons.T, 0)
    at_atoms = float(np.abs(given[problem.rows] @ inner).max(initial=0.0))
    # g is computed with the points as grouped by line and in their span; relu is 1-Lipschitz.
    norm = np.linalg.norm(problem.given_points[problem.rows], axis=1)
    count = len(problem.given_targets) + problem.given_points.shape[1] + ROUNDINGS
    off = problem.displacement / problem.scale + count * np.finfo(np.float64).eps * norm
    factor = 1 / (max(largest, at_atoms, 1.0) + float(np.abs(given[problem.rows]) @ off))
    if problem.ridge:
        gain, curvature = float(problem.targets @ dual), problem.ridge * float(dual @ dual)
        factor = min(factor, gain / curvature) if curvature > 0 else factor
    return given * factor
