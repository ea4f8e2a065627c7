"""Neurons of a minimal-norm problem: those to begin with, and the maxima of the certificate that price new ones."""

import numpy as np
from scipy.spatial import KDTree

from diffstab.sphere.arrangement import maxima_on_circle, maxima_on_line, maxima_on_sphere
from diffstab.sphere.ascent import maxima_by_ascent
from diffstab.sphere.certificate import Floats, Maxima, certificate
from diffstab.sphere.problem import MinNormProblem

ENUMERATED_DIMENSIONS = 3
"""Up to this dimension all local maxima of the certificate are enumerated."""
SPANNING = 2
"""First neurons, random ones, per point that stay in all rounds, so that the targets remain in reach."""
SEPARATIONS, NEIGHBOURS = 8, 3
"""Lines that fewer of those are expected to separate count as close; and how many neighbours of each are looked at."""


class Search:
    """Local maxima of the certificate, enumerated or searched from seeded starts.

    Args:
        problem: The problem.
        n_starts: Random starts of a search.
        generator: Draws them.
    """

    def __init__(self, problem: MinNormProblem, *, n_starts: int, generator: np.random.RandomState) -> None:
        self.problem = problem
        self.n_starts = n_starts
        self.generator = generator
        self.dimension = problem.points.shape[1]
        self.enumerates = self.dimension <= ENUMERATED_DIMENSIONS

    def __call__(self, dual: Floats, near: Floats, *, times: int = 1) -> Maxima:
        """Maxima with |g| > 1; a search starts at random and from neurons (k, r) nearby."""
        function = certificate(self.problem.lines, dual)
        if self.dimension == 1:
            return maxima_on_line(function, floor=1.0)
        if self.dimension == 2:
            return maxima_on_circle(function, floor=1.0)
        if self.dimension == 3:
            return maxima_on_sphere(function, floor=1.0)
        starts = np.concatenate([self.directions(times * self.n_starts), near])
        return maxima_by_ascent(function, starts, floor=1.0)

    def directions(self, count: int) -> Floats:
        """Uniform unit vectors (count, r)."""
        drawn = self.generator.standard_normal((count, self.dimension))
        unit: Floats = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return unit


def first_neurons(problem: MinNormProblem, search: Search) -> tuple[Floats, int]:
    """Draw neurons to begin with.

    Random directions, the points and their antipodes; and between two close points the neuron that only one of them
    activates, without which the features of a cluster of points span no more than a linear function does.

    Args:
        problem: The problem.
        search: Draws the random directions.

    Returns:
        The neurons (k, r), and how many of them, from the first, keep all targets in reach.
    """
    drawn = search.directions(4 * len(problem.points) + 20 * search.dimension)
    # A random direction separates two lines with a probability of their distance over pi.
    between = _between(problem.lines.directions, close=SEPARATIONS * np.pi / (SPANNING * len(problem.points)))
    points = problem.points / problem.lines.norm[:, None]
    spanning = np.concatenate([between, drawn])
    return np.concatenate([spanning, points, -points]), len(between) + SPANNING * len(points)


def _between(directions: Floats, *, close: float) -> Floats:
    """Unit vectors normal to the bisectors of close lines, on both sides, (k, r)."""
    both = np.concatenate([directions, -directions])
    count = min(NEIGHBOURS + 1, len(both))
    distance, others = KDTree(both).query(directions, k=count)
    first, slot = np.nonzero((distance > 0) & (distance < close))
    this, other = directions[first], both[others[first, slot]]
    normal, middle = this - other, (this + other) / 2
    # Twice: rounding of the lengths tilts the difference by far more than the lines are apart.
    for _ in range(2):
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        normal -= (normal * middle).sum(axis=1, keepdims=True) * middle
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    sides: Floats = np.concatenate([normal, -normal])
    return sides
