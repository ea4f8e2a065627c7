"""Slow references for minimal-norm predictors: linear programs over fixed neurons, by SciPy's simplex method."""

import numpy as np
from scipy.optimize import linprog, minimize


def relu_features(points, neurons):
    return np.maximum(points @ neurons.T, 0)


def circle_grid(count):
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def sphere_grid(count):
    """Fibonacci lattice on the 2-sphere."""
    index = np.arange(count) + 0.5
    height = 1 - 2 * index / count
    angle = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def least_norm_on(neurons, points, targets):
    """Least |w|_1 that interpolates with the given neurons: an upper bound of the free minimum."""
    phi = relu_features(points, neurons)
    result = linprog(np.ones(2 * len(neurons)), A_eq=np.hstack([phi, -phi]), b_eq=targets, method="highs")
    assert result.status == 0, result.message
    return result.fun


def penalised_on(neurons, points, targets, penalty):
    """Least 1/(2n) |y - Phi w|^2 + penalty |w|_1 with the given neurons, by a bounded quasi-Newton method."""
    phi = relu_features(points, neurons)
    phi = np.hstack([phi, -phi])

    def value_and_slope(weights):
        residual = phi @ weights - targets
        value = residual @ residual / (2 * len(targets)) + penalty * weights.sum()
        return value, phi.T @ residual / len(targets) + penalty

    start = np.full(phi.shape[1], 1e-3)
    options = {"maxiter": 20_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-12}
    bounds = [(0, None)] * phi.shape[1]
    return minimize(value_and_slope, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).fun


def largest_by_search(points, dual, count, generator):
    """Largest |sum_i a_i relu(theta . x_i)| over random directions: a lower bound of the true one."""
    best = 0.0
    for _ in range(-(-count // 100_000)):
        neurons = generator.standard_normal((100_000, points.shape[1]))
        neurons /= np.linalg.norm(neurons, axis=1, keepdims=True)
        best = max(best, np.abs(dual @ relu_features(points, neurons)).max())
    return best
