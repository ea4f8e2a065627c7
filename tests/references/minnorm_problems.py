"""Random minimal-norm problems that ask for care: clusters, duplicates, antipodes, thin spans, mixed lengths."""

from typing import NamedTuple

import numpy as np

KINDS = ("uniform", "clusters", "duplicates", "antipodes", "near", "span", "lengths", "lattice")
SEPARATIONS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
TOLERANCES = (1e-2, 1e-4, 1e-4, 1e-6, 1e-9)


class Case(NamedTuple):
    kind: str
    points: np.ndarray
    targets: np.ndarray
    penalty: float
    tol: float


def problem(seed):
    """A problem drawn from a seed."""
    rng = np.random.default_rng([20, seed])
    kind = KINDS[seed % len(KINDS)]
    dimension, count = int(rng.choice([2, 3])), int(rng.integers(8, 33))
    separation = float(rng.choice(SEPARATIONS))
    points = _points(kind, rng, count, dimension, separation)
    target = str(rng.choice(["constant", "smooth", "rough", "random"]))
    targets = _targets(target, kind, rng, points)
    penalty = float(rng.choice([0.0, 0.0, 0.0, 1e-8, 1e-5, 1e-3, 1e-1]))
    return Case(f"{kind} {target}", points, targets, penalty, float(rng.choice(TOLERANCES)))


def _unit(rng, count, dimension):
    points = rng.standard_normal((count, dimension))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _points(kind, rng, count, dimension, separation):
    points = _unit(rng, count, dimension)
    if kind == "clusters":
        centres = _unit(rng, max(2, count // 8), dimension)
        points = centres[rng.integers(len(centres), size=count)] + separation * points
        return points / np.linalg.norm(points, axis=1, keepdims=True)
    half = count // 2
    if kind == "duplicates":
        points[half:] = points[rng.integers(half, size=count - half)]
    if kind == "antipodes":
        points[half:] = -points[rng.integers(half, size=count - half)]
    if kind == "near":
        points[half:] = points[: count - half] + separation * _unit(rng, count - half, dimension)
    if kind == "span":
        points = points @ np.linalg.qr(rng.standard_normal((dimension + 2, dimension)))[0].T
    if kind == "lengths":
        points *= 10.0 ** rng.uniform(-4, 4, size=(count, 1))
    if kind == "lattice":
        points = rng.integers(-2, 3, size=(count, dimension)).astype(float)
        points = points[points.any(axis=1)]
    return points


def _targets(target, kind, rng, points):
    """Targets of homogeneous functions, which duplicates and antipodes may share; random ones else."""
    length = np.linalg.norm(points, axis=1)
    unit = points / length[:, None]
    if target == "constant":
        return length
    if target == "random" and kind not in ("duplicates", "antipodes", "lattice"):
        return length * rng.standard_normal(len(points))
    if target == "rough":
        neurons = _unit(rng, 40, points.shape[1])
        return np.maximum(points @ neurons.T, 0) @ rng.standard_normal(40)
    return length * (unit[:, 0] ** 2 + np.cos(3 * unit[:, 1]) * unit[:, 0] ** 2)
