"""Basis pursuit on a finite set of neurons: a primal-dual interior-point method for dense linear programs.

The restricted problems of `MinNormReLU` have few rows (points) and dense columns (neurons), for which the
simplex method pays for sparsity that is not there. One interior-point iteration costs a symmetric product and a
Cholesky factorisation of the size of the points, whatever the number of neurons, and its dual iterates stay
central, which makes column generation need few rounds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from diffstab.errors import ArgumentError

Floats = NDArray[np.float64]
STEP_TO_BOUNDARY = 0.995
MAX_ITERATIONS = 50
FEASIBILITY_FIRST = 0.1
"""The complementarity is not driven below this times the residual, both relative."""
SHIFTS = (1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10)
"""Shifts of the normal matrix that are tried, relative to its mean eigenvalue."""
REFINEMENTS = 2


class BasisPursuit(NamedTuple):
    """Solution of a restricted problem.

    Attributes:
        weights: (M,) weights w of the columns.
        dual: (n,) dual a, with |Phi^T a| < 1 strictly.
        iterations: Interior-point iterations.
        complementarity: Duality gap over the objective, up to the residual.
        residual: Largest violation of Phi w + M a = y, over the largest |y|.
        converged: Whether both are below what was asked for.
    """

    weights: Floats
    dual: Floats
    iterations: int
    complementarity: float
    residual: float
    converged: bool


class _State(NamedTuple):
    """Weights w = plus - minus, and slacks 1 -+ Phi^T a, all positive, at a dual a."""

    plus: Floats
    minus: Floats
    slack_plus: Floats
    slack_minus: Floats
    dual: Floats

    @property
    def complementarity(self) -> float:
        return float(self.plus @ self.slack_plus + self.minus @ self.slack_minus)


def basis_pursuit(
    features: Floats,
    targets: Floats,
    *,
    ridge: float | Floats = 0.0,
    tolerance: float = 1e-6,
    residual_tolerance: float = 1e-9,
    dual: Floats | None = None,
) -> BasisPursuit:
    r"""Minimise |w|_1 + r . M^-1 r / 2 with r = y - Phi w, or |w|_1 subject to Phi w = y where M = 0.

    The dual is max a.y - a . M a / 2 with |Phi^T a| <= 1, and Phi w + M a = y at the optimum. Mehrotra's
    predictor-corrector method on w = p - q, p, q >= 0 (Nocedal and Wright, Numerical Optimization, ch. 14).

    Args:
        features: (n, M) columns Phi, of full row rank where M = 0.
        targets: (n,) targets y, not all zero.
        ridge: (n, n) positive semi-definite M, or the mu >= 0 of M = mu I.
        tolerance: Stop at this complementarity relative to the objective ...
        residual_tolerance: ... and this residual.
        dual: (n,) where to start from, scaled into the interior if it is not there; None is the origin.

    Returns:
        The solution, its dual strictly feasible. Not converged after `MAX_ITERATIONS`, or where the normal matrix
        is no longer positive, it is the last iterate.

    Raises:
        ArgumentError: If the targets are all zero.
    """
    size = float(np.abs(targets).max())
    if not size > 0:
        raise ArgumentError("targets", "not be all zero", size, "The zero function needs no neuron.")
    matrix = ridge * np.eye(len(targets)) if np.ndim(ridge) == 0 else np.asarray(ridge)
    state = _start(features, targets, dual)
    iteration = 0
    while True:
        weights = state.plus - state.minus
        residual = targets - features @ weights - matrix @ state.dual
        misfit = float(np.abs(residual).max()) / size
        gap = state.complementarity / float(state.plus.sum() + state.minus.sum())
        converged = gap <= tolerance and misfit <= residual_tolerance
        if converged or iteration == MAX_ITERATIONS:
            return BasisPursuit(weights, state.dual, iteration, gap, misfit, converged)
        try:
            state = _iterate(features, residual, matrix, state, lag=misfit)
        except LinAlgError:
            return BasisPursuit(weights, state.dual, iteration, gap, misfit, converged)
        iteration += 1


def _start(features: Floats, targets: Floats, dual: Floats | None) -> _State:
    """A strictly feasible dual, and the weights of least square that meet the targets, all lifted off zero."""
    dual = np.zeros(len(targets)) if dual is None else dual
    correlation = features.T @ dual
    scale = min(1.0, 0.9 / max(float(np.abs(correlation).max()), 0.9))
    slack_plus, slack_minus = 1 - scale * correlation, 1 + scale * correlation
    weights = features.T @ cho_solve(_factorise(features @ features.T), targets, check_finite=False)
    lift = float(np.abs(weights).mean())
    return _State(
        np.maximum(weights, 0) + lift, np.maximum(-weights, 0) + lift, slack_plus, slack_minus, scale * dual
    )


def _iterate(features: Floats, residual: Floats, ridge: Floats, state: _State, *, lag: float) -> _State:
    """One predictor-corrector step; the complementarity must not run ahead of the residual, called lag here.

    Else weights that the targets still need vanish, and the residual never does.
    """
    plus, minus, slack_plus, slack_minus, dual = state
    stiffness = plus / slack_plus + minus / slack_minus
    scaled = features * np.sqrt(stiffness)
    normal = scaled @ scaled.T + ridge
    factor = _factorise(normal)

    def newton(towards_plus: Floats, towards_minus: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        right = residual - features @ (towards_plus / slack_plus - towards_minus / slack_minus)
        step = cho_solve(factor, right, check_finite=False)
        # The normal matrix is ill-conditioned near the end, and shifted; refinement takes both out.
        for _ in range(REFINEMENTS):
            left = right - features @ (stiffness * (features.T @ step)) - ridge @ step
            step += cho_solve(factor, left, check_finite=False)
        change = features.T @ step
        return (
            step,
            change,
            (towards_plus + plus * change) / slack_plus,
            (towards_minus - minus * change) / slack_minus,
        )

    _, change, move_plus, move_minus = newton(-plus * slack_plus, -minus * slack_minus)
    primal, slack = _step_lengths(state, change, move_plus, move_minus, reach=1.0)
    predicted = float((plus + primal * move_plus) @ (slack_plus - slack * change))
    predicted += float((minus + primal * move_minus) @ (slack_minus + slack * change))
    mean = state.complementarity / (2 * len(plus))
    behind = FEASIBILITY_FIRST * lag * float(plus.sum() + minus.sum()) / (2 * len(plus))
    centre = max(mean * (predicted / state.complementarity) ** 3, min(behind, mean))
    step, change, move_plus, move_minus = newton(
        centre - plus * slack_plus + move_plus * change, centre - minus * slack_minus - move_minus * change
    )
    primal, slack = _step_lengths(state, change, move_plus, move_minus, reach=STEP_TO_BOUNDARY)
    return _State(
        plus + primal * move_plus,
        minus + primal * move_minus,
        slack_plus - slack * change,
        slack_minus + slack * change,
        dual + slack * step,
    )


def _factorise(normal: Floats) -> tuple[Floats, bool]:
    """Cholesky factor of a matrix that is positive definite up to rounding, under the least shift that it takes."""
    mean = float(np.trace(normal)) / len(normal)
    for shift in SHIFTS:
        shifted = normal.copy()
        shifted[np.diag_indices_from(shifted)] += shift * mean
        try:
            factor: tuple[Floats, bool] = cho_factor(
                shifted, lower=True, overwrite_a=True, check_finite=False
            )
        except LinAlgError:
            continue
        return factor
    raise LinAlgError(
        f"the normal matrix is not positive definite when shifted by {SHIFTS[-1]:g} of its trace"
    )


def _step_lengths(
    state: _State, change: Floats, move_plus: Floats, move_minus: Floats, *, reach: float
) -> tuple[float, float]:
    """Primal and dual step: at most 1 and at most that part of the way to the boundary."""
    primal = min(_to_boundary(state.plus, move_plus), _to_boundary(state.minus, move_minus))
    slack = min(_to_boundary(state.slack_plus, -change), _to_boundary(state.slack_minus, change))
    return min(1.0, reach * primal), min(1.0, reach * slack)


def _to_boundary(values: Floats, moves: Floats) -> float:
    """Largest step that keeps values + step * moves non-negative."""
    falling = moves < 0
    return float((values[falling] / -moves[falling]).min(initial=np.inf))
