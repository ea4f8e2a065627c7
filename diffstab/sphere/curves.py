"""Exponents of learning curves eps(n) = A n^-beta: predicted by theory, and fitted to measured errors."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from diffstab.errors import ArgumentError

_Array = NDArray[np.float64]

DECAYS = {"ntk": 1, "random_features": 3}
"""What the exponent of a kernel's eigenvalues has beyond d - 1: lambda_k ~ k^-((d - 1) + this)."""

_NEURON_DECAY = 3
"""Square of the coefficients of a ReLU neuron: phi_k^2 ~ k^-((d - 1) + 3)."""

LEAST_SIZES = 4
"""Sizes that the range rule leaves."""

ROUNDING_FLOOR = (1e3 * np.finfo(np.float64).eps) ** 2
"""Mean square error, relative to the target's square, below which an error is rounding: (10^3 epsilon)^2."""


def predicted_exponent(dimension: int, smoothness: float, *, regime: str, kernel: str = "ntk") -> float:
    """Exponent beta of the test error n^-beta on the sphere S^(d-1).

    Lazy, a kernel of eigenvalues lambda_k ~ k^-a:  beta = min(2 a, 2 nu) / (d - 1),  with a = (d - 1) + 1 for the
    tangent kernel (a kink |theta| at angle 0) and (d - 1) + 3 for random features (|theta|^3).
    Feature, ReLU neurons:  beta = min((d - 1) + 3, 2 nu) / (d - 1).

    Both follow from one sum over the modes above k_c ~ n^(1/(d-1)): the predictor f = sum_j g_j kappa(x . x_j) has
    coefficients of n terms of random sign there, E[g_kl^2] ~ 1/n, so that its error is
    (1/n) sum_(k > k_c) N_k lambda_k^2 ~ n^(-2 a / (d - 1)) (phi_k in place of lambda_k for neurons), and that of the
    target's own modes is sum_(k > k_c) N_k c_k ~ n^(-2 nu / (d - 1)).

    Args:
        dimension: d, at least 2.
        smoothness: nu of the target, positive; infinity for a constant.
        regime: "lazy" or "feature".
        kernel: Of the lazy regime: "ntk" or "random_features".

    Returns:
        beta.

    Raises:
        ArgumentError: A value is out of range, or a name is unknown.

    Source:
        Petrini et al. 2022 (arXiv 2206.12314), regression on the sphere.
    """
    if dimension < 2:
        raise ArgumentError("dimension", "be at least 2", dimension)
    if not smoothness > 0:
        raise ArgumentError("smoothness", "be positive", smoothness)
    circle = dimension - 1
    if regime == "feature":
        saturation = circle + _NEURON_DECAY
    elif regime == "lazy" and kernel in DECAYS:
        saturation = 2 * (circle + DECAYS[kernel])
    elif regime == "lazy":
        raise ArgumentError("kernel", f"be one of {', '.join(DECAYS)}", repr(kernel))
    else:
        raise ArgumentError("regime", "be lazy or feature", repr(regime))
    return min(saturation, 2 * smoothness) / circle


class ExponentFit(NamedTuple):
    """A fitted exponent with its interval and how it was found.

    Attributes:
        exponent: beta on the sizes used.
        low: Lower limit of the interval; NaN where no residual is left to tell.
        high: Upper limit.
        amplitude: A of A n^-beta, for the geometric mean of the error over seeds.
        sizes: The sizes used, ascending.
        curvature_p: p-value of a quadratic term in log n on the sizes used; NaN with fewer than three.
        exponent_of_all: beta on all sizes above the floor.
        low_of_all: Its lower limit.
        high_of_all: Its upper limit.
        exponent_of_means: beta of the arithmetic means over seeds, on the sizes used.
        at_floor: Errors left out because they are at or below the floor.
    """

    exponent: float
    low: float
    high: float
    amplitude: float
    sizes: tuple[int, ...]
    curvature_p: float
    exponent_of_all: float
    low_of_all: float
    high_of_all: float
    exponent_of_means: float
    at_floor: int


def fit_exponent(
    n_train: ArrayLike, errors: ArrayLike, *, floor: float = ROUNDING_FLOOR, confidence: float = 0.95
) -> ExponentFit:
    """Fit beta of eps(n) = A n^-beta by a weighted regression of log error on log n, draw by draw.

    Every draw is a point, so that the scatter between draws makes the interval. Weights are inverse variances of
    log error, which a line log variance = a + b log n smooths over the sizes, as a variance of few draws is
    poor; with one draw per size all weights are equal. The interval is Student's on the weighted residuals.

    Range rule: from all sizes, drop the smallest while a quadratic term in log n is significant at 5 % and more than
    `LEAST_SIZES` sizes are left. The rule never sees a predicted value.

    The mean of log error is fitted, since the arithmetic mean of few draws is ruled by the worst of them (on the
    circle, by the largest gap between points); where the law of error / mean does not change with n the
    exponent is the same. `exponent_of_means` is that of the arithmetic mean, to compare.

    Args:
        n_train: Number of training points of each draw, shape (draws,).
        errors: Test error of each draw, not negative, shape (draws,).
        floor: Errors at or below it are left out and counted; by default that of rounding for a target of order 1.
        confidence: Coverage of the interval, in (0, 1).

    Returns:
        The fit.

    Raises:
        ArgumentError: Shapes differ, a value is out of range, or fewer than two sizes have an error above the floor.
    """
    sizes, values = np.asarray(n_train, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    _check(sizes, values, floor, confidence)
    kept = values > floor
    sizes, values = sizes[kept], values[kept]
    if len(np.unique(sizes)) < 2:
        way_out = "Add sizes, or lower the floor."
        raise ArgumentError(
            "errors", f"exceed {floor:.3g} at two sizes or more", len(np.unique(sizes)), way_out
        )
    weights = _weights(sizes, values)
    whole = _line(sizes, values, weights, confidence)
    first, p_value = _first_size(sizes, values, weights)
    used = sizes >= first
    line = _line(sizes[used], values[used], weights[used], confidence)
    means = _means(sizes[used], values[used])
    return ExponentFit(
        *line,
        sizes=tuple(int(size) for size in np.unique(sizes[used])),
        curvature_p=p_value,
        exponent_of_all=whole[0],
        low_of_all=whole[1],
        high_of_all=whole[2],
        exponent_of_means=_line(*means, _weights_at(sizes, weights, means[0]), confidence)[0],
        at_floor=int((~kept).sum()),
    )


def _check(sizes: _Array, values: _Array, floor: float, confidence: float) -> None:
    if sizes.ndim != 1 or sizes.shape != values.shape:
        shapes = f"shapes {sizes.shape} and {values.shape}"
        raise ArgumentError("n_train and errors", "be two vectors of one length", shapes)
    if not (np.isfinite(sizes).all() and (sizes >= 1).all()):
        raise ArgumentError("n_train", "be finite and at least 1", "another value")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ArgumentError("errors", "be finite and not negative", "another value")
    if not floor >= 0:
        raise ArgumentError("floor", "be at least 0", floor)
    if not 0 < confidence < 1:
        raise ArgumentError("confidence", "lie strictly between 0 and 1", confidence)


def _groups(sizes: _Array, values: _Array) -> list[tuple[float, _Array]]:
    return [(size, values[sizes == size]) for size in np.unique(sizes)]


def _weights(sizes: _Array, values: _Array) -> _Array:
    """Inverse variances of log error between draws, smoothed by a line in log n; all one where there are none."""
    found = [
        (size, np.log(group).var(ddof=1), len(group) - 1)
        for size, group in _groups(sizes, values)
        if len(group) > 1
    ]
    kept = np.array([row for row in found if row[1] > 0])
    if len(kept) < 2:
        return np.ones_like(sizes)
    # The log of a variance of m degrees of freedom has a variance near 2 / m, so the weights are m.
    design = np.stack([np.ones(len(kept)), np.log(kept[:, 0])], axis=1)
    root = np.sqrt(kept[:, 2])
    line = np.linalg.lstsq(design * root[:, None], np.log(kept[:, 1]) * root)[0]
    return np.asarray(np.exp(-(line[0] + line[1] * np.log(sizes))))


def _line(
    sizes: _Array, values: _Array, weights: _Array, confidence: float
) -> tuple[float, float, float, float]:
    """Exponent, its limits, and the amplitude of a weighted line through log n and log error."""
    solution, error, freedom = _regression(sizes, values, weights, degree=1)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error if freedom > 0 else np.nan
    exponent = -float(solution[1])
    return exponent, exponent - half, exponent + half, float(np.exp(solution[0]))


def _first_size(sizes: _Array, values: _Array, weights: _Array) -> tuple[float, float]:
    """The smallest size that the range rule keeps, and the p-value of curvature from it on."""
    ladder = np.unique(sizes)
    for index, first in enumerate(ladder):
        used = sizes >= first
        p_value = _curvature(sizes[used], values[used], weights[used])
        if not p_value < 0.05 or len(ladder) - index <= LEAST_SIZES:
            break
    return float(first), p_value


def _curvature(sizes: _Array, values: _Array, weights: _Array) -> float:
    """Two-sided p-value of the quadratic term in log n."""
    if len(np.unique(sizes)) < 3 or len(sizes) < 4:
        return np.nan
    solution, error, freedom = _regression(sizes, values, weights, degree=2)
    if not error > 0:
        return np.nan
    return float(2 * stats.t.sf(abs(solution[2]) / error, freedom))


def _regression(sizes: _Array, values: _Array, weights: _Array, *, degree: int) -> tuple[_Array, float, int]:
    """Coefficients of a polynomial in log n, standard error of the last one, and degrees of freedom."""
    root = np.sqrt(weights)
    design = np.stack([np.log(sizes) ** power for power in range(degree + 1)], axis=1) * root[:, None]
    target = np.log(values) * root
    solution = np.linalg.lstsq(design, target)[0]
    freedom = len(sizes) - degree - 1
    scatter = float(np.square(target - design @ solution).sum()) / freedom if freedom > 0 else np.nan
    return solution, float(np.sqrt(scatter * np.linalg.pinv(design.T @ design)[-1, -1])), freedom


def _means(sizes: _Array, values: _Array) -> tuple[_Array, _Array]:
    groups = _groups(sizes, values)
    return np.array([size for size, _ in groups]), np.array([group.mean() for _, group in groups])


def _weights_at(sizes: _Array, weights: _Array, wanted: _Array) -> _Array:
    """Weight of the mean of each size: that of a draw times their number."""
    return np.array([weights[sizes == size].sum() for size in wanted])
