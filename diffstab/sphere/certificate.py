"""The dual certificate g(theta) = sum_i a_i relu(theta . x_i) of a minimal-norm problem, and what its maxima are.

A dual vector a is feasible where |g| <= 1 on the whole sphere; neurons that enter the solution sit where
|g| = 1. Between the kinks theta . x_i = 0 the certificate is linear, g = A . theta, which everything here uses.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
SAME_DIRECTION = 1e-10
"""Distance at which two unit vectors count as one."""


class Lines(NamedTuple):
    """Points grouped by the line through the origin on which they lie.

    Attributes:
        directions: (m, d) one unit vector per line, no two parallel.
        line: (n,) index of each point's line.
        side: (n,) +1 or -1: on which side of the origin the point lies.
        norm: (n,) length of each point.
    """

    directions: Floats
    line: Integers
    side: Floats
    norm: Floats


class Certificate(NamedTuple):
    """g(theta) = sum_j slopes_j relu(theta . directions_j) + linear . theta, no two directions parallel.

    Attributes:
        directions: (m, d) unit vectors.
        slopes: (m,) jump of the slope at each kink.
        linear: (d,) linear part, which only antipodal points bring in.
    """

    directions: Floats
    slopes: Floats
    linear: Floats

    def __call__(self, neurons: Floats) -> Floats:
        """Values at neurons (k, d), shape (k,)."""
        values: Floats = np.maximum(neurons @ self.directions.T, 0) @ self.slopes + neurons @ self.linear
        return values


class Maxima(NamedTuple):
    """Local maxima of |g| on the unit sphere.

    Attributes:
        neurons: (k, d) unit vectors.
        values: (k,) g there, signed.
        largest: Largest |g| on the sphere; a lower bound of it when found by ascent.
    """

    neurons: Floats
    values: Floats
    largest: float


def group_by_line(points: Floats) -> Lines:
    """Group points (n, d), none of them zero, by their line through the origin."""
    norm = np.linalg.norm(points, axis=1)
    unit = points / norm[:, None]
    count = len(unit)
    pairs = KDTree(np.concatenate([unit, -unit])).query_pairs(SAME_DIRECTION, output_type="ndarray") % count
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, line = connected_components(graph, directed=False)
    _, first = np.unique(line, return_index=True)
    directions = unit[first]
    side = np.where((unit * directions[line]).sum(1) > 0, 1.0, -1.0)
    return Lines(directions, line.astype(np.int64), side, norm)


def certificate(lines: Lines, dual: Floats) -> Certificate:
    """Certificate of a dual (n,) over points grouped by line; relu(-u) = relu(u) - u turns sides into slopes."""
    mass = dual * lines.norm
    count = len(lines.directions)
    slopes: Floats = np.bincount(lines.line, mass, minlength=count).astype(np.float64)
    opposite = np.bincount(lines.line, np.where(lines.side < 0, mass, 0.0), minlength=count)
    return Certificate(lines.directions, slopes, -opposite @ lines.directions)
