"""The exact predictor of the feature regime: the interpolant, or penalised fit, of minimal total variation.

Minimise the total variation |gamma| of a signed measure of unit neurons subject to
f(x_i) = integral relu(theta . x_i) dgamma(theta) = y_i: Petrini et al., NeurIPS 2022 (arXiv 2206.12314), section 3.
"""

import warnings
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.kernels.arrays import as_array
from diffstab.sphere.basic import Cloud
from diffstab.sphere.columns import Solution, generate_columns
from diffstab.sphere.problem import MinNormProblem, prepare
from diffstab.sphere.search import ENUMERATED_DIMENSIONS, Search
from diffstab.sphere.verdict import judge

Floats = NDArray[np.float64]
POINTS_AT_ONCE = 4096
THREADED_POINTS = 2048
"""Points from which the linear algebra takes the threads that it is given."""
NOTABLE_RESIDUAL, UNUSABLE_RESIDUAL = 1e-6, 1e-3
"""Largest training error, over the largest target, from which an interpolant is told of, and refused."""


class MinNormReLU(RegressorMixin, BaseEstimator):
    r"""Minimal-norm fit by infinitely many relu neurons, solved to a gap that is judged on what is returned.

    f(x) = sum_j weights_j relu(atoms_j . x) with |atoms_j| = 1 minimises

        sum_j |weights_j|                    subject to f(x_i) = y_i     (penalty 0), or
        1/(2n) sum_i (y_i - f(x_i))^2 + penalty sum_j |weights_j|        (penalty > 0)

    over all numbers and places of neurons on the sphere. There is no bias: append a constant coordinate for one.
    The linear program over neurons is solved by column generation: an interior-point method for the neurons at
    hand, then new ones where the dual certificate g(theta) = sum_i a_i relu(theta . x_i) exceeds 1 in size.
    A dual with |g| <= 1 everywhere is feasible, and no interpolant has a norm below its value sum_i a_i y_i (with a
    penalty: penalty (a . y - n penalty |a|^2 / 2)). `gap_` is computed once, from `atoms_`, `weights_` and `dual_` as
    they are returned; a fit stops by it alone, and it is never negative. |g| of `dual_` stays below 1 by a margin
    for rounding, about n eps sum_i |a_i| |x_i|, which limits the gap that close points allow. An interpolant meets
    its targets to rounding, or a warning tells; its residual r counts as 2 sum_i |a_i r_i| against it.

    In up to 3 dimensions (of the span of the points) all maxima of |g| are enumerated, and the gap is proven. In more
    they are searched by ascent from many starts: a direction that is missed makes the gap too small, so that it is
    an estimate. A fit keeps to one thread of linear algebra.

    Args:
        penalty: Weight of the total variation, >= 0; 0 interpolates.
        tol: Relative gap to reach.
        max_rounds: Rounds of column generation; a `ConvergenceWarning` tells when they are used up.
        n_starts: Random starts of each search for neurons in 4 dimensions and more; None is 8 n, 1024 to 4096.
        random_state: Seed of the initial neurons and of the starts.

    Attributes:
        atoms_: (n_atoms, d) unit directions of the neurons.
        weights_: (n_atoms,) their weights; n_atoms <= n.
        dual_: (n,) feasible dual a; where the certificate is "heuristic", feasible as far as searched.
        objective_: The minimised objective.
        residual_: Largest |y_i - f(x_i)|.
        gap_: (objective - dual value + 2 sum_i |a_i r_i|) / objective, the last term with penalty 0 only; 0 where the
            objective is 0. The objective is at most 1 / (1 - gap_) of the minimum.
        certificate_: "exact", or "heuristic" where the largest |g| was searched, not enumerated.
        history_: One `Round` per round.
    """

    def __init__(
        self,
        *,
        penalty: float = 0.0,
        tol: float = 1e-4,
        max_rounds: int = 100,
        n_starts: int | None = None,
        random_state: int | None = 0,
    ) -> None:
        self.penalty = penalty
        self.tol = tol
        self.max_rounds = max_rounds
        self.n_starts = n_starts
        self.random_state = random_state

    def fit(self, X: object, y: object) -> Self:
        """Solve for training points X (n, d) and targets y (n,): arrays, lists, frames, or tensors of any device.

        Raises:
            ArgumentError: If an option is out of range.
            DegenerateError: If penalty is 0 and nothing interpolates the targets: equal points with different targets,
                antipodal ones whose differences no linear function has, or points too close for rounding.

        Warns:
            ConvergenceWarning: If the gap stays above tol, or an interpolant meets its targets to 1e-6 only.
        """
        self._check_options()
        points, targets = validate_data(self, as_array(X), as_array(y), dtype=np.float64, y_numeric=True)
        targets = targets.astype(np.float64)
        problem = prepare(points, targets, penalty=self.penalty)
        verdict, self.history_ = self._solve(problem)
        self.atoms_, self.weights_, self.dual_ = verdict.atoms, verdict.weights, verdict.dual
        self.objective_, self.gap_, self.residual_ = verdict.objective, verdict.gap, verdict.residual
        self.certificate_ = _certificate_name(problem)
        if self.penalty == 0:
            largest = max(float(np.abs(targets).max()), np.finfo(np.float64).tiny)
            self._check_residual(self.residual_ / largest, met=verdict.met)
        if self.gap_ > self.tol:
            text = f"MinNormReLU stopped at a relative gap of {self.gap_:.1e} > tol = {self.tol:g}."
            warnings.warn(f"{text} Raise max_rounds or tol.", ConvergenceWarning, stacklevel=2)
        return self

    def predict(self, X: object) -> Floats:
        """F at points X (m, d), shape (m,)."""
        check_is_fitted(self)
        points = validate_data(self, as_array(X), dtype=np.float64, reset=False)
        return relu_sum(points, self.atoms_, self.weights_)

    @staticmethod
    def _check_residual(relative: float, *, met: bool) -> None:
        """Refuse, or tell, an interpolant that misses its targets: points may be too close for their targets."""
        text = f"the targets are met only to {relative:.1e} of the largest"
        if relative > UNUSABLE_RESIDUAL:
            way_out = "points lie too close to each other for targets so different; set a positive penalty"
            raise DegenerateError(f"{text}: {way_out}.")
        if relative > NOTABLE_RESIDUAL or not met:
            text = f"{text}, and the norm may lie below that of every interpolant"
            warnings.warn(f"MinNormReLU: {text}. Set a positive penalty.", ConvergenceWarning, stacklevel=3)

    def _check_options(self) -> None:
        if not (np.isfinite(self.penalty) and self.penalty >= 0):
            raise ArgumentError("penalty", "be >= 0", self.penalty)
        if not 0 < self.tol < 1:
            raise ArgumentError("tol", "lie in (0, 1)", self.tol)
        if self.max_rounds < 1:
            raise ArgumentError("max_rounds", "be >= 1", self.max_rounds)
        if self.n_starts is not None and self.n_starts < 1:
            raise ArgumentError("n_starts", "be >= 1", self.n_starts)

    def _solve(self, problem: MinNormProblem) -> Solution:
        if not np.any(problem.targets):
            nothing = Cloud(np.empty((0, problem.basis.shape[1])), np.empty(0))
            return Solution(judge(problem, nothing, np.zeros(len(problem.targets)), 0.0), [])
        n_starts = self.n_starts or int(np.clip(8 * len(problem.targets), 1024, 4096))
        search = Search(problem, n_starts=n_starts, generator=check_random_state(self.random_state))
        # Small factorisations lose on more threads, whose pools (of numpy and of scipy) wait for each other.
        threads = 1 if len(problem.targets) < THREADED_POINTS else None
        with threadpool_limits(threads, user_api="blas"):
            return generate_columns(problem, search, tol=self.tol, max_rounds=self.max_rounds)


def relu_sum(points: Floats, atoms: Floats, weights: Floats) -> Floats:
    """sum_j weights_j relu(atoms_j . x) at points (m, d), by blocks, shape (m,)."""
    blocks = range(0, len(points), POINTS_AT_ONCE)
    parts = [np.maximum(points[i : i + POINTS_AT_ONCE] @ atoms.T, 0) @ weights for i in blocks]
    return np.concatenate(parts)


def _certificate_name(problem: MinNormProblem) -> Literal["exact", "heuristic"]:
    return "exact" if problem.points.shape[1] <= ENUMERATED_DIMENSIONS else "heuristic"
