"""Slow references for CP-ranks: counting by hand, and non-negative factors by a general minimiser."""

import numpy as np
from scipy.optimize import minimize


def cp_rank_without_triangles(matrix, tolerance=1e-9):
    """Sum over components of the rank of a tree, or of the number of edges."""
    size, total = len(matrix), 0
    unseen = {i for i in range(size) if matrix[i, i] > 0}
    while unseen:
        part, front = set(), [unseen.pop()]
        while front:
            vertex = front.pop()
            part.add(vertex)
            for other in list(unseen):
                if matrix[vertex, other] > 0:
                    unseen.discard(other)
                    front.append(other)
        part = sorted(part)
        edges = sum(matrix[i, j] > 0 for i in part for j in part if i < j)
        tree = edges == len(part) - 1
        total += np.linalg.matrix_rank(matrix[np.ix_(part, part)], tol=tolerance) if tree else edges
    return total


def largest_set_of_edges_apart(adjacent):
    """Largest set of edges of which no two lie in one clique, by trying all sets."""
    size = len(adjacent)
    edges = [(i, j) for i in range(size) for j in range(i + 1, size) if adjacent[i, j]]

    def together(one, other):
        ends = {*one, *other}
        return all(adjacent[i, j] for i in ends for j in ends if i != j)

    best = 0
    for code in range(2 ** len(edges)):
        chosen = [edge for k, edge in enumerate(edges) if code >> k & 1]
        if len(chosen) > best and not any(together(a, b) for a in chosen for b in chosen if a != b):
            best = len(chosen)
    return best


def least_residual(matrix, width, starts, seed):
    """Least |V^T V - B| / |B| over V >= 0 of so many rows that a quasi-Newton method finds from several starts."""
    random, size, best = np.random.default_rng(seed), len(matrix), np.inf

    def value_and_slope(flat):
        factor = flat.reshape(width, size)
        residual = factor.T @ factor - matrix
        return (residual**2).sum(), (4 * factor @ residual).ravel()

    for _ in range(starts):
        start = random.random(width * size)
        found = minimize(
            value_and_slope,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, None)] * start.size,
            options={"maxiter": 3000, "maxfun": 6000, "ftol": 1e-16, "gtol": 1e-9},
        )
        best = min(best, found.fun**0.5 / np.linalg.norm(matrix))
    return best
