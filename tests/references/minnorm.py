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


def extrema(points, dual):
    """Unit vectors among which |sum_i a_i relu(theta . x_i)| has its maximum on the sphere, in d = 2 and 3.

    On a cell of the arrangement g = A . theta, and |g| is largest at A / |A| or -A / |A|, on an edge along the part of
    A in the edge's plane, or at a vertex. All are listed for every cell and edge, those outside of it too.
    """
    # In extended precision: close points cross at an angle in which rounding of theta is large.
    points, dual = points.astype(np.longdouble), dual.astype(np.longdouble)
    unit = _unit_rows(points)
    if points.shape[1] == 2:
        vertices = np.stack([-unit[:, 1], unit[:, 0]], axis=1)
        vertices = np.concatenate([vertices, -vertices])
        order = np.argsort(np.arctan2(vertices[:, 1], vertices[:, 0]))
        around = vertices[order]
        middles = around + np.roll(around, -1, axis=0)
        slopes = _slopes(points, dual, middles)
        return _unit_rows(vertices, np.eye(2), -np.eye(2), slopes, -slopes)
    found = []
    for normal in unit:
        vertices = np.cross(normal, unit)
        vertices = _unit_rows(vertices, -vertices, np.cross(normal, np.eye(3)))
        first, second = _plane(normal)
        vertices = vertices[np.argsort(np.arctan2(vertices @ second, vertices @ first))]
        middles = _unit_rows(vertices + np.roll(vertices, -1, axis=0))
        # The two sides of an edge, at three distances: near enough for a thin cell, far enough for rounding.
        for step in (0.0, 1e-4, 1e-8, 1e-11):
            for side in (1, -1):
                slopes = _slopes(points, dual, middles + side * step * normal)
                along = slopes - np.outer(slopes @ normal, normal)
                found += [slopes, -slopes, along, -along]
        found.append(vertices)
    return _unit_rows(*found)


def _slopes(points, dual, neurons):
    return ((neurons @ points.T > 0) * dual) @ points


def _plane(normal):
    first = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    first /= np.sqrt(first @ first)
    return first, np.cross(normal, first)


def _unit_rows(*parts):
    rows = np.concatenate(parts)
    length = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    return rows[length[:, 0] > 0] / length[length[:, 0] > 0]


def certificate_values(points, dual, neurons):
    """g in extended precision where the machine has it."""
    wide = np.longdouble
    return np.maximum(neurons.astype(wide) @ points.T.astype(wide), 0) @ dual.astype(wide)


def bounds(points, targets, *, rounds=25, width=1e-5):
    """Lower and upper bound of the minimal norm: a linear program that grows by the maxima of its dual, by HiGHS.

    Returns:
        The bounds; the upper one is infinite where HiGHS finds no solution.
    """
    scale = np.linalg.norm(points, axis=1)
    points, targets = points / scale[:, None], targets / scale
    points, first = np.unique(points, axis=0, return_index=True)
    targets = targets[first]
    size = np.abs(targets).max()
    neurons = np.concatenate([points, -points, extrema(points, targets).astype(float)])
    lower, upper = 0.0, np.inf
    for _ in range(rounds):
        phi = relu_features(points, neurons)
        options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
        result = linprog(
            np.ones(2 * len(neurons)), A_eq=np.hstack([phi, -phi]), b_eq=targets / size, options=options
        )
        if result.status != 0:
            return lower, upper
        dual = result.eqlin.marginals
        candidates = extrema(points, dual)
        height = np.abs(certificate_values(points, dual, candidates)).astype(float)
        upper, lower = size * result.fun, max(lower, float(dual @ targets) / height.max())
        if upper - lower <= width * upper:
            return lower, upper
        tall = np.argsort(-height)[: 4 * len(points)]
        neurons = np.concatenate([neurons, candidates[tall[height[tall] > 1]].astype(float)])
    return lower, upper
