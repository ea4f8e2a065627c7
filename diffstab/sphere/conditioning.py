"""Rows of a minimal-norm problem made nearly orthonormal, so that close points and mixed lengths cost no accuracy."""

import numpy as np
from scipy.linalg import qr, solve_triangular

from diffstab.sphere.certificate import Floats

LEAST_SHIFT = 1e-15
"""Shift, relative to the size of Phi_0, that keeps L regular where mu does not."""


class RowConditioning:
    """Phi' = L^-1 Phi and y' = L^-1 y, with Phi_0 Phi_0^T + mu I = L L^T for the first columns Phi_0.

    Two close points have features that nearly agree, and duals that are large and nearly cancel. In the new rows
    their difference is a row of its own, and the duals a' = L^T a are of the size of the others. The loss
    mu |a|^2 of a penalised problem becomes a' . M a' with M = mu L^-1 L^-T.

    Args:
        features: (m, k) first columns.
        ridge: mu >= 0.
    """

    def __init__(self, features: Floats, *, ridge: float) -> None:
        count = len(features)
        shift = max(np.sqrt(ridge), LEAST_SHIFT * float(np.linalg.norm(features)))
        columns = np.concatenate([features.T, shift * np.eye(count)])
        self._triangle = qr(columns, mode="r", check_finite=False)[0][:count]
        inverse = self.rows(np.eye(count))
        self.ridge: Floats = ridge * inverse @ inverse.T

    def rows(self, values: Floats) -> Floats:
        """Columns Phi (m, k), or targets y (m,), in the new rows."""
        new: Floats = solve_triangular(self._triangle, values, trans="T", check_finite=False)
        return new

    def new_dual(self, dual: Floats) -> Floats:
        """A dual a (m,) of the old rows for the new ones."""
        new: Floats = self._triangle @ dual
        return new

    def old_dual(self, dual: Floats) -> Floats:
        """A dual (m,) of the new rows for the old ones."""
        old: Floats = solve_triangular(self._triangle, dual, check_finite=False)
        return old
