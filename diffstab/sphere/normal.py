"""The normal equations of an interior-point step, by conjugate gradients behind a factor in single precision.

The Cholesky factor of the normal matrix costs most of a step. In single precision it costs half, and a few
conjugate-gradient steps with the operator in double precision take its rounding out. Where they do not, late in a
badly scaled problem, the factor is made again in double precision.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
SHIFTS = {
    np.dtype(np.float32): (1e-7, 1e-6),
    np.dtype(np.float64): (1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10),
}
"""Shifts of the normal matrix that are tried, relative to its mean eigenvalue."""
SINGLE_STEPS = 12
"""Conjugate-gradient steps after which the factor in single precision gives way to the one in double precision ..."""
DOUBLE_STEPS = 6
"""... and steps after which that one has done what it can."""


class NormalEquations:
    """Solves (Phi D Phi^T + M) x = b.

    Args:
        features: (n, m) Phi.
        single: (n, m) Phi in single precision.
        stiffness: (m,) positive diagonal of D.
        ridge: (n, n) positive semi-definite M.

    Attributes:
        is_single: Whether the factor is still the one in single precision.
    """

    def __init__(self, features: Floats, single: Singles, stiffness: Floats, ridge: Floats) -> None:
        self.features, self.stiffness, self.ridge = features, stiffness, ridge
        self.is_single = True
        try:
            self._factor = self._factorise(single)
        except LinAlgError:
            self._refine()

    def solve(self, right: Floats, *, accuracy: float) -> tuple[Floats, Floats]:
        """Return x (n,) and Phi^T x (m,), to a residual of at most `accuracy` in each row, as the recursion tells it.

        Raises:
            LinAlgError: If the matrix is not positive definite even when shifted.
        """
        start = np.zeros(len(right)), np.zeros(self.features.shape[1]), right
        step, change, left = self._conjugate_gradients(*start, accuracy)
        if self.is_single and np.abs(left).max() > accuracy:
            self._refine()
            step, change, left = self._conjugate_gradients(step, change, left, accuracy)
        return step, change

    def _conjugate_gradients(
        self, step: Floats, change: Floats, left: Floats, accuracy: float
    ) -> tuple[Floats, Floats, Floats]:
        """From x, Phi^T x and what is left of the right side: the best of them on the way."""
        best, now_left = (step, change, left), float(np.abs(left).max())
        # A system without a solution is better served by one step than by none.
        least = now_left if step.any() else np.inf
        direction, size = np.zeros_like(step), np.inf
        for _ in range(SINGLE_STEPS if self.is_single else DOUBLE_STEPS):
            if now_left <= accuracy:
                break
            # Over its size, as single precision has few exponents.
            short = (left / now_left).astype(self._factor[0].dtype)
            solved = now_left * cho_solve(self._factor, short, check_finite=False).astype(np.float64)
            now = float(solved @ left)
            direction = solved + now / size * direction
            size = now
            along = self.features.T @ direction
            image = self.features @ (self.stiffness * along) + self.ridge @ direction
            curvature = float(direction @ image)
            if not curvature > 0:
                break
            length = now / curvature
            step, change, left = step + length * direction, change + length * along, left - length * image
            now_left = float(np.abs(left).max())
            if now_left < least:
                best, least = (step, change, left), now_left
        return best

    def _refine(self) -> None:
        self.is_single = False
        self._factor = self._factorise(self.features)

    def _factorise(self, features: Floats | Singles) -> tuple[Floats | Singles, bool]:
        """Cholesky factor of the matrix over its largest entries, in the features' precision, under the least shift."""
        largest = max(float(self.stiffness.max()), float(np.abs(self.ridge).max()))
        scaled = features * np.sqrt(self.stiffness / largest).astype(features.dtype)
        normal = scaled @ scaled.T + (self.ridge / largest).astype(features.dtype)
        mean = np.trace(normal) / len(normal)
        for shift in SHIFTS[features.dtype]:
            shifted = normal.copy()
            shifted[np.diag_indices_from(shifted)] += normal.dtype.type(shift) * mean
            try:
                factor: tuple[Floats | Singles, bool] = cho_factor(
                    shifted, lower=True, overwrite_a=True, check_finite=False
                )
            except LinAlgError:
                continue
            return factor
        raise LinAlgError("the normal matrix is not positive definite when shifted")
