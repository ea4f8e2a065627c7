"""Scikit-learn estimators on the exact kernels: the predictors of the lazy limit.

Which loss leads where: gradient flow on the mean square error, from a predictor that is zero at the start,
ends in ridgeless regression with the tangent kernel, which is `NTKRegressor` with ridge 0. On a hinge-type
loss with margin 1 it stops near the predictor of least norm with all margins >= 1, the hard-margin support
vector machine, which is `NTKClassifier` at large C; the two differ by the stopping rule and by the intercept,
which scikit-learn's machine has, unpenalised, and the network has not.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.kernels.infinite_width import ntk, random_feature_kernel

_Array = NDArray[np.float64]

_ROWS_AT_ONCE = 1024
"""Points predicted together; bounds the memory to this many rows of the kernel."""


class Conditioning(NamedTuple):
    """How the linear system of a kernel regression was solved.

    Attributes:
        solver: "cholesky", or "eigh" for the pseudo-inverse when the matrix is singular to rounding.
        rank: Number of eigenvalues kept; n for Cholesky.
        reciprocal_condition: 1 / condition number in the 1-norm, as LAPACK estimates it (Cholesky), or
            smallest kept over largest eigenvalue (eigh).
        residual: Largest |(K + ridge) a - y|; for ridge 0 the largest error on a training point.
    """

    solver: str
    rank: int
    reciprocal_condition: float
    residual: float


class _KernelEstimator(BaseEstimator):
    """What both estimators share: the kernel that their parameters name, and prediction in blocks."""

    kernel: str
    depth: int
    activation: str
    beta: float

    def _gram(self, x: _Array, y: _Array | None = None) -> _Array:
        if self.kernel == "ntk":
            kernel = ntk
        elif self.kernel == "random_feature":
            kernel = random_feature_kernel
        else:
            raise ArgumentError("kernel", "be 'ntk' or 'random_feature'", repr(self.kernel))
        points = None if y is None else torch.tensor(y)
        gram = kernel(torch.tensor(x), points, depth=self.depth, activation=self.activation, beta=self.beta)
        return gram.numpy()

    def _by_blocks(self, X: object, function: Callable[[_Array], NDArray[Any]]) -> NDArray[Any]:
        """Apply a function of the kernel against the training points to a few points at a time."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        starts = range(0, len(x), _ROWS_AT_ONCE)
        return np.concatenate(
            [function(self._gram(x[start : start + _ROWS_AT_ONCE], self.X_fit_)) for start in starts]
        )


class NTKRegressor(RegressorMixin, _KernelEstimator):
    """Kernel ridge regression with an exact kernel; no intercept, like the network.

    f(x) = sum_i a_i K(x, x_i) with (K + ridge I) a = y. Solved by Cholesky; when K + ridge I is singular to
    rounding (reciprocal condition below n times machine epsilon), by the pseudo-inverse of its
    eigenvalues above n times machine epsilon of the largest, which is the least-norm least-squares solution.

    Args:
        kernel: "ntk", or "random_feature" (only the last layer trained).
        depth: Number of hidden layers.
        activation: "relu" or "softplus".
        beta: Steepness of the softplus.
        ridge: Added to the diagonal of K, >= 0; 0 interpolates. A loss
            1/(2n) sum (y - f)^2 + (ridge/2n) |f|^2 has this solution.

    Attributes:
        dual_coef_: a, shape (n,) or (n, outputs).
        X_fit_: Training points, shape (n, d).
        conditioning_: `Conditioning` of the solve.
    """

    def __init__(
        self,
        *,
        kernel: str = "ntk",
        depth: int = 1,
        activation: str = "relu",
        beta: float = 5.0,
        ridge: float = 0.0,
    ) -> None:
        self.kernel = kernel
        self.depth = depth
        self.activation = activation
        self.beta = beta
        self.ridge = ridge

    def fit(self, X: object, y: object) -> "NTKRegressor":
        """Solve for the dual coefficients.

        Args:
            X: Points, shape (n, d).
            y: Targets, shape (n,) or (n, outputs); -1/+1 labels or one-hot rows for classes.

        Raises:
            ArgumentError: The ridge is negative or not finite, the kernel's name is unknown, or its
                parameters are out of range.
        """
        if not 0 <= self.ridge < float("inf"):
            raise ArgumentError("ridge", "be finite and >= 0", self.ridge)
        x, targets = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self.X_fit_ = x
        gram = self._gram(x)
        np.einsum("ii->i", gram)[:] += self.ridge
        self.dual_coef_, self.conditioning_ = _solve(gram, np.asarray(targets, dtype=np.float64))
        return self

    def predict(self, X: object) -> _Array:
        """Return f at the points X of shape (m, d), shape (m,) or (m, outputs)."""
        return self._by_blocks(X, lambda gram: gram @ self.dual_coef_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class NTKClassifier(ClassifierMixin, _KernelEstimator):
    """Support vector machine (scikit-learn's SVC) with an exact kernel; hard margin by default.

    Several classes are told apart one against one; `decision_function` then has one column per class.

    Args:
        kernel: "ntk", or "random_feature".
        depth: Number of hidden layers.
        activation: "relu" or "softplus".
        beta: Steepness of the softplus.
        C: Bound on the dual coefficients, > 0. The default stands for a hard margin.
        tol: Tolerance of the solver on the optimality (KKT) conditions.
        max_iter: Bound on the solver's steps, for points that cannot be separated at a hard margin
            (scikit-learn's ConvergenceWarning tells); -1 for none.

    Attributes:
        classes_: The labels, sorted.
        n_iter_: Steps of the solver for each pair of classes.
        svc_: The fitted SVC with its dual coefficients and support.
        X_fit_: Training points, shape (n, d).
    """

    def __init__(
        self,
        *,
        kernel: str = "ntk",
        depth: int = 1,
        activation: str = "relu",
        beta: float = 5.0,
        C: float = 1e10,
        tol: float = 1e-3,
        max_iter: int = 10_000_000,
    ) -> None:
        self.kernel = kernel
        self.depth = depth
        self.activation = activation
        self.beta = beta
        self.C = C
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: object, y: object) -> "NTKClassifier":
        """Fit the machine.

        Args:
            X: Points, shape (n, d).
            y: Labels of any kind, shape (n,), at least two classes.

        Raises:
            ArgumentError: The kernel's name is unknown or its parameters are out of range.
        """
        x, labels = validate_data(self, X, y, dtype=np.float64)
        svc = SVC(kernel="precomputed", C=self.C, tol=self.tol, max_iter=self.max_iter)
        self.svc_ = svc.fit(self._gram(x), labels)
        self.classes_: NDArray[Any] = svc.classes_
        self.n_iter_: NDArray[np.int32] = svc.n_iter_
        self.X_fit_ = x
        return self

    def decision_function(self, X: object) -> _Array:
        """Return f at X: shape (m,) for two classes (positive: the second), else (m, classes)."""
        return self._by_blocks(X, lambda gram: self.svc_.decision_function(gram))

    def predict(self, X: object) -> NDArray[Any]:
        """Return the label of each point, shape (m,)."""
        return self._by_blocks(X, lambda gram: self.svc_.predict(gram))


def as_predictor(estimator: NTKRegressor | NTKClassifier) -> Callable[[Tensor], Tensor]:
    """A fitted estimator as a function of image tensors, to measure the stability of an exact lazy predictor.

    Args:
        estimator: A fitted regressor (its `predict` is used) or classifier (its `decision_function`).

    Returns:
        Callable from floating-point (n, ...) tensors, flattened to (n, d), to float64 tensors of shape
        (n,) or (n, outputs), on the device of the input.

    Raises:
        ArgumentError: Neither of the two estimators.
        sklearn.exceptions.NotFittedError: Not fitted.
    """
    if isinstance(estimator, NTKRegressor):
        evaluate = estimator.predict
    elif isinstance(estimator, NTKClassifier):
        evaluate = estimator.decision_function
    else:
        raise ArgumentError("estimator", "be an NTKRegressor or NTKClassifier", type(estimator).__name__)
    check_is_fitted(estimator)

    def predictor(images: Tensor) -> Tensor:
        if not images.is_floating_point():
            raise ArgumentError(
                "images", "be a floating-point tensor", images.dtype, "Scale them as in training."
            )
        points = images.detach().flatten(1).cpu().numpy()
        return torch.from_numpy(evaluate(points)).to(images.device)

    return predictor


def _solve(gram: _Array, targets: _Array) -> tuple[_Array, Conditioning]:
    """Solve gram a = targets by Cholesky, or by the pseudo-inverse where that is not accurate."""
    threshold = len(gram) * np.finfo(np.float64).eps
    # The transpose of a symmetric C-ordered matrix is the same matrix in LAPACK's order, without a copy.
    factor, info = scipy.linalg.lapack.dpotrf(gram.T, lower=1, clean=0)
    norm = scipy.linalg.lapack.dlange("1", gram.T)
    reciprocal = scipy.linalg.lapack.dpocon(factor, norm, uplo="L")[0] if info == 0 else 0.0
    if reciprocal > threshold:
        dual = scipy.linalg.cho_solve((factor, True), targets)
        solver, rank = "cholesky", len(gram)
    else:
        solver, (dual, rank, reciprocal) = "eigh", _pseudo_solve(gram, targets, threshold)
    residual = float(np.abs(gram @ dual - targets).max())
    return dual, Conditioning(solver, rank, float(reciprocal), residual)


def _pseudo_solve(gram: _Array, targets: _Array, threshold: float) -> tuple[_Array, int, float]:
    """Least-norm least-squares solution, its rank, and smallest kept over largest eigenvalue."""
    values, vectors = scipy.linalg.eigh(gram)
    kept = values > threshold * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    if not kept.any():  # all points are zero: so is every predictor
        return np.zeros_like(targets), 0, 0.0
    return vectors @ ((vectors.T @ targets).T / values).T, int(kept.sum()), float(values[0] / values[-1])
