"""The restricted problem of column generation: the minimal norm on the neurons at hand."""

import numpy as np
from scipy.optimize import linprog

from diffstab.sphere.basis_pursuit import BasisPursuit, basis_pursuit
from diffstab.sphere.certificate import Floats
from diffstab.sphere.conditioning import RowConditioning
from diffstab.sphere.problem import MinNormProblem

SHARE_OF_RESIDUAL = 1e-3
"""Residual asked for, over the largest target, as a share of the relative tolerance ..."""
LEAST_RESIDUAL = 1e-12
"""... and below which no less is asked for; what is left is priced by the dual."""
SIMPLEX_ROWS = 256
"""Points up to which the simplex method is fast enough to take over where the interior-point method stalls."""
FEASIBILITY = 1e-10
"""Tolerance of the simplex method, primal and dual, the finest that it takes."""


def features(problem: MinNormProblem, neurons: Floats) -> Floats:
    """Phi (m, k): relu of neurons (k, r) at the points."""
    phi: Floats = problem.points @ neurons.T
    return np.maximum(phi, 0, out=phi)


class Restricted:
    """Solves a problem on given neurons, in rows that are nearly orthonormal.

    Args:
        problem: The problem.
        neurons: (k, r) the first neurons.
    """

    def __init__(self, problem: MinNormProblem, neurons: Floats) -> None:
        self.problem = problem
        self.conditioning = RowConditioning(features(problem, neurons), ridge=problem.ridge)
        self._targets = self.conditioning.rows(problem.targets)

    def columns(self, neurons: Floats) -> Floats:
        """Columns (m, k) of neurons (k, r): their features in the new rows."""
        return self.conditioning.rows(features(self.problem, neurons))

    def __call__(self, columns: Floats, *, tolerance: float, dual: Floats) -> BasisPursuit:
        """Weights of columns (m, k) and dual of the problem's rows, to a relative tolerance, from a dual nearby."""
        rows = self.conditioning
        found = basis_pursuit(
            columns,
            self._targets,
            ridge=rows.ridge,
            tolerance=tolerance,
            residual_tolerance=max(SHARE_OF_RESIDUAL * tolerance, LEAST_RESIDUAL),
            dual=rows.new_dual(dual),
        )
        return found._replace(dual=rows.old_dual(found.dual))

    def price(self, columns: Floats, weights: Floats, dual: Floats) -> tuple[Floats, float]:
        """Values of g at the neurons of columns (m, k), and the objective, what is missed priced by the dual (m,)."""
        new = self.conditioning.new_dual(dual)
        loss = self.conditioning.ridge @ new
        missing = self._targets - columns @ weights - loss
        return columns.T @ new, float(np.abs(weights).sum() + new @ missing + new @ loss / 2)

    def by_simplex(self, columns: Floats) -> BasisPursuit | None:
        """Weights of at most m of the columns (m, k) and their dual, at a vertex; None without one, or no time.

        A vertex stands where an interior-point method stalls: weights that only the last digits of the targets
        ask for.
        """
        size = float(np.abs(self._targets).max())
        if self.problem.ridge or len(columns) > SIMPLEX_ROWS:
            return None
        found = linprog(
            np.ones(2 * columns.shape[1]),
            A_eq=np.concatenate([columns, -columns], axis=1),
            b_eq=self._targets / size,
            method="highs-ds",
            options={"primal_feasibility_tolerance": FEASIBILITY, "dual_feasibility_tolerance": FEASIBILITY},
        )
        if found.status != 0:
            return None
        weights = size * (found.x[: columns.shape[1]] - found.x[columns.shape[1] :])
        misfit = float(np.abs(self._targets - columns @ weights).max()) / size
        dual = self.conditioning.old_dual(found.eqlin.marginals)
        return BasisPursuit(weights, dual, int(found.nit), 0.0, misfit, True)
