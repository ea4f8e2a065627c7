"""The data of a minimal-norm problem, brought to a form without redundant rows, or refused."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lstsq, qr

from diffstab.errors import DegenerateError
from diffstab.sphere.certificate import Floats, Integers, Lines, group_by_line

Extended = NDArray[np.longdouble]
SAME_TARGET = 1e-9
"""Difference, relative to the largest target, below which targets count as equal."""


class MinNormProblem(NamedTuple):
    """Minimise |gamma| + |y - Phi gamma|^2 / (2 ridge), or |gamma| with Phi gamma = y where ridge = 0.

    Attributes:
        points: (m, r) points in coordinates of their span.
        targets: (m,) y.
        ridge: n times the penalty.
        rows: (m,) the row of the caller's data that each stands for.
        scale: (m,) the row's dual variable in the caller's data over the one here.
        basis: (r, d) orthonormal basis of the span.
        lines: The points grouped by line.
        displacement: (m,) by how much each point was moved: to its line, and into the span.
        given_points: (n, d) the caller's points.
        given_targets: (n,) the caller's targets.
    """

    points: Floats
    targets: Floats
    ridge: float
    rows: Integers
    scale: Floats
    basis: Floats
    lines: Lines
    displacement: Floats
    given_points: Floats
    given_targets: Floats

    def exact_features(self, atoms: Floats) -> Extended:
        """Phi (m, k) of atoms (k, d) at the caller's points, in extended precision."""
        inner = self.given_points[self.rows].astype(np.longdouble) @ atoms.T.astype(np.longdouble)
        phi: Extended = np.maximum(inner, 0) * self.scale[:, None].astype(np.longdouble)
        return phi

    @property
    def exact_targets(self) -> Extended:
        """The targets (m,), in extended precision."""
        return self.given_targets[self.rows].astype(np.longdouble) * self.scale.astype(np.longdouble)


def prepare(points: Floats, targets: Floats, *, penalty: float) -> MinNormProblem:
    """Drop what is redundant in the data.

    The predictor is positively homogeneous: f(0) = 0, and with penalty 0 points on one ray are one equation. Its
    odd part is linear, since relu(u) - relu(-u) = u, which links the targets of antipodal points.

    Args:
        points: (n, d) training points, of any norm.
        targets: (n,) targets.
        penalty: lambda >= 0; 0 interpolates.

    Returns:
        The problem.

    Raises:
        DegenerateError: If penalty is 0 and no combination of neurons meets the targets.
    """
    norm = np.linalg.norm(points, axis=1)
    rows = np.nonzero(norm > 0)[0]
    scale = np.ones(len(rows))
    if penalty == 0:
        _refuse_origin(targets, norm)
        rows = _one_per_ray(points, targets, rows)
        rows = _without_implied_antipodes(points, targets, rows)
        scale = 1 / norm[rows]
    kept = points[rows] * scale[:, None]
    basis = _span(kept)
    kept = kept @ basis.T
    lines = group_by_line(kept)
    on_lines = (lines.side * lines.norm)[:, None] * lines.directions[lines.line] @ basis
    displacement = np.linalg.norm(points[rows] * scale[:, None] - on_lines, axis=1)
    ridge = penalty * len(points)
    return MinNormProblem(
        kept, targets[rows] * scale, ridge, rows, scale, basis, lines, displacement, points, targets
    )


def _refuse_origin(targets: Floats, norm: Floats) -> None:
    wrong = np.nonzero((norm == 0) & (targets != 0))[0]
    if len(wrong):
        raise DegenerateError(
            f"point {wrong[0]} is the origin, where every predictor without bias vanishes, but its target is "
            f"{targets[wrong[0]]:g}. Drop the point, or set a positive penalty."
        )


def _one_per_ray(points: Floats, targets: Floats, rows: Integers) -> Integers:
    """First point of each ray; refuses points of one ray whose targets are not proportional to their lengths."""
    if not len(rows):
        return rows
    lines = group_by_line(points[rows])
    ray = 2 * lines.line + (lines.side > 0)
    _, first, group = np.unique(ray, return_index=True, return_inverse=True)
    slope = targets[rows] / lines.norm
    apart = np.abs(slope - slope[first][group.ravel()]) > SAME_TARGET * np.abs(slope).max()
    if apart.any():
        second = int(np.nonzero(apart)[0][0])
        raise DegenerateError(
            f"points {rows[first[group.ravel()[second]]]} and {rows[second]} coincide (or lie on one ray) but their "
            "targets contradict each other: nothing interpolates them. Average the targets, or set a positive penalty."
        )
    return np.sort(rows[first])


def _without_implied_antipodes(points: Floats, targets: Floats, rows: Integers) -> Integers:
    """Rows without the antipodes that the others imply; refuses an odd part that no linear function has."""
    lines = group_by_line(points[rows])
    slope = targets[rows] / lines.norm
    back = np.nonzero(lines.side < 0)[0]
    front = {int(line): index for index, line in enumerate(lines.line) if lines.side[index] > 0}
    paired = np.array([index for index in back if int(lines.line[index]) in front], dtype=np.int64)
    if not len(paired):
        return rows
    directions = lines.directions[lines.line[paired]]
    odd = slope[[front[int(line)] for line in lines.line[paired]]] - slope[paired]
    misfit = np.abs(directions @ lstsq(directions, odd)[0] - odd)
    if misfit.max() > SAME_TARGET * np.abs(slope).max():
        worst = paired[misfit.argmax()]
        raise DegenerateError(
            f"the targets at point {rows[worst]} and at its antipode contradict the other antipodal pairs: the odd "
            "part of a predictor without bias is linear. Append a constant coordinate to the points (a bias), or "
            "set a positive penalty."
        )
    _, triangle, order = qr(directions.T, mode="economic", pivoting=True)
    size = np.abs(np.diag(triangle))
    implied = paired[order[int((size > 1e-10 * size[0]).sum()) :]]
    return np.delete(rows, implied)


def _span(points: Floats) -> Floats:
    """Orthonormal basis (r, d) of the span of points; all of the space, unrotated, where they span it."""
    if not len(points):
        return np.eye(points.shape[1])[:0]
    _, size, basis = np.linalg.svd(points, full_matrices=False)
    rank = int((size > max(points.shape) * np.finfo(np.float64).eps * size[0]).sum())
    return np.eye(points.shape[1]) if rank == points.shape[1] else basis[:rank]
