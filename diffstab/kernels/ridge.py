"""Scikit-learn estimators on the exact kernels: the predictors of the lazy limit.

Which loss leads where: gradient flow on the mean square error, from a predictor that is zero at the start,
ends in ridgeless regression with the tangent kernel, which is `NTKRegressor` with ridge 0. On a hinge-type
loss with margin 1 it stops near the predictor of least norm with all margins >= 1, the hard-margin support
vector machine, which is `NTKClassifier` at large C; the two differ by the stopping rule and by the intercept,
which scikit-learn's machine has, unpenalised, and the network has not.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from diffstab.diffeo.precision import in_double
from diffstab.errors import ArgumentError
from diffstab.kernels.arrays import as_array
from diffstab.kernels.infinite_width import ntk, random_feature_kernel

_Array = NDArray[np.float64]

_ROWS_AT_ONCE = 1024
"""Points predicted together; bounds the memory to this many rows of the kernel."""

_NOTABLE_RESIDUAL = 1e-6
"""Largest residual, over the largest target, from which a solution is told of."""

_HARD_MARGIN = 1e10
"""The bound C that stands for a hard margin."""

_ORDINARY = (2.0**-100, 2.0**100)
"""Sizes of inputs between which products of two of them are far from the ends of float64."""


class Conditioning(NamedTuple):
    """How the linear system of a kernel regression was solved.

    Attributes:
        solver: "cholesky", or "eigh" for the pseudo-inverse when the matrix is singular to rounding.
        rank: Number of eigenvalues kept; n for Cholesky.
        reciprocal_condition: 1 / condition number in the 1-norm, as LAPACK estimates it (Cholesky), or
            smallest kept over largest eigenvalue (eigh).
        residual: Largest |(K + ridge / weight) a - y| over points of positive weight, of the very solution returned;
            for ridge 0 the largest error on a training point.
    """

    solver: str
    rank: int
    reciprocal_condition: float
    residual: float


class _KernelEstimator(BaseEstimator):
    """What both estimators share: the kernel that their parameters name, and prediction in blocks."""

    def __init__(self, *, kernel: str, depth: int, activation: str, beta: float) -> None:
        self.kernel = kernel
        self.depth = depth
        self.activation = activation
        self.beta = beta

    def _gram(self, x: _Array, y: _Array | None = None) -> _Array:
        if self.kernel == "ntk":
            kernel = ntk
        elif self.kernel == "random_feature":
            kernel = random_feature_kernel
        else:
            raise ArgumentError("kernel", "be 'ntk' or 'random_feature'", repr(self.kernel))
        points = None if y is None else torch.tensor(y)
        gram = kernel(torch.tensor(x), points, depth=self.depth, activation=self.activation, beta=self.beta)
        if not bool(gram.isfinite().all()):
            way_out = "Scale the inputs, to entries of order 1 say."
            raise ArgumentError("X", "have finite kernel values", "infinite ones", way_out)
        return gram.numpy()

    def _gram_with_training(self, x: _Array) -> _Array:
        return self._gram(x, self.X_fit_)

    def _by_blocks(self, X: object, function: Callable[[_Array], NDArray[Any]]) -> NDArray[Any]:
        """Apply a function of the kernel against the training points to a few points at a time."""
        check_is_fitted(self)
        x = validate_data(self, as_array(X), dtype=np.float64, reset=False)
        starts = range(0, len(x), _ROWS_AT_ONCE)
        return np.concatenate(
            [function(self._gram_with_training(x[start : start + _ROWS_AT_ONCE])) for start in starts]
        )


class NTKRegressor(RegressorMixin, _KernelEstimator):
    """Kernel ridge regression with an exact kernel; no intercept, like the network.

    f(x) = sum_i a_i K(x, x_i) with (K + ridge I) a = y. Solved by Cholesky; when K + ridge I is singular to
    rounding (reciprocal condition below n times machine epsilon), by the pseudo-inverse of its
    eigenvalues above n times machine epsilon of the largest, which is the least-norm least-squares solution.

    Points, targets and weights may be tensors of any device; what comes back is NumPy (`as_predictor` gives tensors).

    Args:
        ridge: Added to the diagonal of K, >= 0; 0 interpolates. A loss
            1/(2n) sum (y - f)^2 + (ridge/2n) |f|^2 has this solution.
        kernel: "ntk", or "random_feature" (only the last layer trained).
        depth: Number of hidden layers.
        activation: "relu" or "softplus".
        beta: Steepness of the softplus.

    Attributes:
        dual_coef_: a, shape (n,) or (n, outputs).
        X_fit_: Training points over `scale_`, shape (n, d).
        scale_: 1 for ordinary inputs. The relu kernel is homogeneous: inputs so small or large that it would leave the
            range of float64 are divided by this power of two, and a is that of the scaled points.
        conditioning_: `Conditioning` of the solve.
    """

    def __init__(
        self,
        *,
        ridge: float = 0.0,
        kernel: str = "ntk",
        depth: int = 1,
        activation: str = "relu",
        beta: float = 5.0,
    ) -> None:
        super().__init__(kernel=kernel, depth=depth, activation=activation, beta=beta)
        self.ridge = ridge

    def fit(self, X: object, y: object, sample_weight: object = None) -> "NTKRegressor":
        """Solve for the dual coefficients.

        Args:
            X: Points, shape (n, d).
            y: Targets, shape (n,) or (n, outputs); -1/+1 labels or one-hot rows for classes.
            sample_weight: Weight w_i >= 0 of each squared error, shape (n,): the minimised sum is
                sum w_i (y_i - f(x_i))^2 + ridge |f|^2. Points of weight 0 are left out. With ridge 0 the other weights
                count only where no f meets all targets. None is 1 for each.

        Raises:
            ArgumentError: The ridge is negative or not finite, the kernel's name is unknown, its parameters are out
                of range, its values overflow, or all weights are zero.

        Warns:
            scipy.linalg.LinAlgWarning: The solution misses the equations by more than 1e-6 of the largest target: for
                ridge 0 it does not interpolate.
        """
        if not 0 <= self.ridge < float("inf"):
            raise ArgumentError("ridge", "be finite and >= 0", self.ridge)
        x, targets = validate_data(
            self, as_array(X), as_array(y), dtype=np.float64, multi_output=True, y_numeric=True
        )
        weights = _weights(sample_weight, x)
        self.scale_ = self._unit(x)
        self.X_fit_ = x / self.scale_ if self.scale_ != 1 else x
        system = _System(self._gram(self.X_fit_), np.asarray(targets, dtype=np.float64), weights)
        # Beyond 1e300 the ridge is all that counts.
        ridge = min(self.ridge / self.scale_ / self.scale_, 1e300)
        self.dual_coef_, self.conditioning_ = _solution(system, ridge=ridge)
        self._tell_of_residual(system)
        return self

    def _unit(self, x: _Array) -> float:
        """The power of two that inputs are divided by."""
        largest = float(np.abs(x).max())
        if self.activation != "relu" or largest == 0 or _ORDINARY[0] <= largest <= _ORDINARY[1]:
            return 1.0
        # Subnormal numbers have no power of two whose reciprocal is finite.
        return float(2.0 ** max(np.floor(np.log2(largest)), -1020.0))

    def _tell_of_residual(self, system: "_System") -> None:
        """Warn if the solution that is returned misses the system it was solved for."""
        size = float(np.abs(system.targets).max())
        if self.conditioning_.residual <= _NOTABLE_RESIDUAL * size:
            return
        text = f"the equations are met only to {self.conditioning_.residual / size:.1e} of the largest target"
        if self.ridge == 0:
            text += ", so that it does not interpolate: equal points with different targets, a point at the origin, or "
            text += "targets that the kernel cannot follow. Leave such points out, or set a ridge"
        warnings.warn(f"NTKRegressor: {text}.", scipy.linalg.LinAlgWarning, stacklevel=3)

    def predict(self, X: object) -> _Array:
        """Return f at the points X of shape (m, d), shape (m,) or (m, outputs)."""
        return self._by_blocks(X, lambda gram: gram @ self.dual_coef_)

    def _gram_with_training(self, x: _Array) -> _Array:
        return self._gram(x / self.scale_ if self.scale_ != 1 else x, self.X_fit_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class NTKClassifier(ClassifierMixin, _KernelEstimator):
    """Support vector machine (scikit-learn's SVC) with an exact kernel; hard margin by default.

    Several classes are told apart one against one; `decision_function` then has one column per class. Points, labels
    and weights may be tensors of any device; what comes back is NumPy (`as_predictor` gives tensors).

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
        C: float = _HARD_MARGIN,
        tol: float = 1e-3,
        max_iter: int = 10_000_000,
    ) -> None:
        super().__init__(kernel=kernel, depth=depth, activation=activation, beta=beta)
        self.C = C
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: object, y: object, sample_weight: object = None) -> "NTKClassifier":
        """Fit the machine.

        Args:
            X: Points, shape (n, d).
            y: Labels of any kind, shape (n,), at least two classes.
            sample_weight: Factor of C for each point, shape (n,), as scikit-learn's SVC takes it.

        Raises:
            ArgumentError: The kernel's name is unknown, its parameters are out of range or its values overflow.

        Warns:
            sklearn.exceptions.ConvergenceWarning: `max_iter` was reached, or a hard margin was asked for (C of 1e10 or
                more) and coefficients reached C: the margin is soft then.
        """
        x, labels = validate_data(self, as_array(X), as_array(y), dtype=np.float64)
        weights = as_array(sample_weight)
        svc = SVC(kernel="precomputed", C=self.C, tol=self.tol, max_iter=self.max_iter)
        self.svc_ = svc.fit(self._gram(x), labels, sample_weight=weights)
        self._tell_of_bound(weights)
        self.classes_: NDArray[Any] = svc.classes_
        self.n_iter_: NDArray[np.int32] = svc.n_iter_
        self.X_fit_ = x
        return self

    def _tell_of_bound(self, weights: object) -> None:
        """Warn if coefficients of a hard margin are held back by C."""
        bound = self.C if weights is None else self.C * np.asarray(weights)[self.svc_.support_]
        if self.C >= _HARD_MARGIN and bool((np.abs(self.svc_.dual_coef_) >= 0.999 * bound).any()):
            text = f"NTKClassifier: coefficients reach C = {self.C:g}, so that the margin is not hard. "
            text += "The classes cannot be separated, or the inputs are too small: scale them to entries of order 1."
            warnings.warn(text, ConvergenceWarning, stacklevel=3)

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
        (n,) or (n, outputs), on the device of the input (the CPU where that has no float64).

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
        # In float64 first: NumPy knows no bfloat16, and the device of these is where the answer can lie.
        points = in_double(images.detach().flatten(1))
        return torch.from_numpy(evaluate(points)).to(points.device)

    return predictor


class _System(NamedTuple):
    """Kernel matrix (n, n), targets (n,) or (n, outputs), and weights (n,), None for 1 each."""

    gram: _Array
    targets: _Array
    weights: _Array | None


def _weights(sample_weight: object, x: _Array) -> _Array | None:
    """Return checked weights, None where each is 1."""
    if sample_weight is None:
        return None
    weights = np.asarray(as_array(sample_weight), dtype=np.float64)
    if weights.shape != (len(x),):
        raise ArgumentError("sample_weight", f"have shape ({len(x)},)", weights.shape)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        received = "zeros only" if not weights.any() else "negative or infinite ones, or NaN"
        raise ArgumentError("sample_weight", "hold finite weights >= 0, one of them positive", received)
    return None if (weights == 1).all() else weights


def _solution(system: _System, *, ridge: float) -> tuple[_Array, Conditioning]:
    """Return the dual coefficients of weighted ridge regression: (K + ridge W^-1) a = y where w > 0, else 0."""
    gram, targets, weights = system
    if weights is None:
        return _solve(gram, targets, ridge=ridge)
    kept = weights > 0
    inner, y = gram[np.ix_(kept, kept)], targets[kept]
    found, report = _solve(inner, y, ridge=0.0) if ridge == 0 else (y, None)
    if report is None or report.solver != "cholesky":
        root = np.sqrt(weights[kept]).reshape(-1, *[1] * (y.ndim - 1))
        side = root.reshape(-1)
        scaled, report = _solve(side[:, None] * inner * side, root * y, ridge=ridge)
        found = root * scaled
        missed = inner @ found + ridge * scaled / root - y
        report = report._replace(residual=float(np.abs(missed).max()))
    dual = np.zeros_like(targets)
    dual[kept] = found
    return dual, report


def _solve(gram: _Array, targets: _Array, *, ridge: float) -> tuple[_Array, Conditioning]:
    """Solve (gram + ridge) a = targets by Cholesky, or by the pseudo-inverse where that is not accurate.

    The ridge stays on the diagonal of `gram`.
    """
    np.einsum("ii->i", gram)[:] += ridge
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
