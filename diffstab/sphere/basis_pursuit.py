"""Basis pursuit on a finite set of neurons: a primal-dual interior-point method for dense linear programs.

The restricted problems of `MinNormReLU` have few rows (points) and dense columns (neurons), for which the
simplex method pays for sparsity that is not there. One interior-point iteration costs a symmetric product and a
Cholesky factorisation of the size of the points, whatever the number of neurons, and its dual iterates stay
central, which makes column generation need few rounds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError

from diffstab.errors import ArgumentError
from diffstab.sphere.normal import NormalEquations, Singles

Floats = NDArray[np.float64]
STEP_TO_BOUNDARY = 0.995
MAX_ITERATIONS = 50
FEASIBILITY_FIRST = 0.1
"""The complementarity is not driven below this times the residual, both relative."""
START, PREDICTOR = 1e-3, 1e-2
"""Residuals, over the largest target, to which the starting weights and the predictor are solved."""
SHARE_LEFT = 0.1
"""A step leaves this share of the residual that is asked for, or of a tenth of the present one."""


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


class _Problem(NamedTuple):
    """A restricted problem: columns (also in single precision), targets, M, largest target, residual asked for."""

    features: Floats
    single: Singles
    targets: Floats
    ridge: Floats
    size: float
    residual_tolerance: float


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
    problem = _Problem(features, features.astype(np.float32), targets, matrix, size, residual_tolerance)
    state = _start(problem, dual)
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
            state = _iterate(problem, residual, state, lag=misfit)
        except LinAlgError:
            return BasisPursuit(weights, state.dual, iteration, gap, misfit, converged)
        iteration += 1


def _start(problem: _Problem, dual: Floats | None) -> _State:
    """A strictly feasible dual, and the weights of least square that meet the targets, all lifted off zero."""
    features, targets = problem.features, problem.targets
    dual = np.zeros(len(targets)) if dual is None else dual
    correlation = features.T @ dual
    scale = min(1.0, 0.9 / max(float(np.abs(correlation).max()), 0.9))
    slack_plus, slack_minus = 1 - scale * correlation, 1 + scale * correlation
    flat = NormalEquations(features, problem.single, np.ones(features.shape[1]), np.zeros_like(problem.ridge))
    weights = flat.solve(targets, accuracy=START * float(np.abs(targets).max()))[1]
    lift = float(np.abs(weights).mean())
    return _State(
        np.maximum(weights, 0) + lift, np.maximum(-weights, 0) + lift, slack_plus, slack_minus, scale * dual
    )


def _iterate(problem: _Problem, residual: Floats, state: _State, *, lag: float) -> _State:
    """One predictor-corrector step; the complementarity must not run ahead of the residual, called lag here.

    Else weights that the targets still need vanish, and the residual never does.
    """
    plus, minus, slack_plus, slack_minus, dual = state
    features = problem.features
    stiffness = plus / slack_plus + minus / slack_minus
    normal = NormalEquations(features, problem.single, stiffness, problem.ridge)

    def newton(
        right: Floats, towards_plus: Floats, towards_minus: Floats, accuracy: float
    ) -> tuple[Floats, Floats, Floats, Floats]:
        step, change = normal.solve(right, accuracy=accuracy)
        return (
            step,
            change,
            (towards_plus + plus * change) / slack_plus,
            (towards_minus - minus * change) / slack_minus,
        )

    # The weights cancel from the predictor's right side.
    right = problem.targets - problem.ridge @ dual
    _, change, move_plus, move_minus = newton(
        right, -plus * slack_plus, -minus * slack_minus, PREDICTOR * problem.size
    )
    primal, slack = _step_lengths(state, change, move_plus, move_minus, reach=1.0)
    predicted = float((plus + primal * move_plus) @ (slack_plus - slack * change))
    predicted += float((minus + primal * move_minus) @ (slack_minus + slack * change))
    mean = state.complementarity / (2 * len(plus))
    behind = FEASIBILITY_FIRST * lag * float(plus.sum() + minus.sum()) / (2 * len(plus))
    centre = max(mean * (predicted / state.complementarity) ** 3, min(behind, mean))
    towards_plus = centre - plus * slack_plus + move_plus * change
    towards_minus = centre - minus * slack_minus - move_minus * change
    right = residual - features @ (towards_plus / slack_plus - towards_minus / slack_minus)
    accuracy = SHARE_LEFT * max(problem.residual_tolerance, SHARE_LEFT * lag) * problem.size
    step, change, move_plus, move_minus = newton(right, towards_plus, towards_minus, accuracy)
    primal, slack = _step_lengths(state, change, move_plus, move_minus, reach=STEP_TO_BOUNDARY)
    return _State(
        plus + primal * move_plus,
        minus + primal * move_minus,
        slack_plus - slack * change,
        slack_minus + slack * change,
        dual + slack * step,
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
