r"""CP-rank: the least number k of non-negative vectors v with B = sum_k v v^T, and bounds for it.

The covariance K^s - b^2 1 1^T of relu activations is completely positive, so its CP-rank bounds the number of
neurons from below.

Source: Jacot et al. 2022 (arXiv 2205.15809), section 4.2; Drew, Johnson, Loewy 1994 for graphs without triangles;
Barioli and Berman 2003, and Shaked-Monderer, Bomze, Jarre, Schachinger 2013, for the upper bounds of the others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.l2.covariances import check_gram
from diffstab.l2.graphs import Matrix, adjacency, components, edge_factor, edges_apart, has_triangle

_LEAST_WIDEST = {4: 4, 5: 6}


class CPRankBounds(NamedTuple):
    """Bounds lower <= CP-rank <= upper of a completely positive matrix.

    Attributes:
        lower: Largest proven lower bound.
        upper: Least proven upper bound.
        exact: Whether they are the same.
        reason: What they follow from.
    """

    lower: int
    upper: int
    exact: bool
    reason: str


def bipartite_gram(vertices: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return B = Y^T Y, shape (N, N), of the edge-vertex incidence matrix Y of the complete bipartite graph, N even.

    B_ii = N/2, B_ij = 1 across and 0 within either half: CP-rank N^2/4, the number of edges, for N >= 4. With
    inputs X = I_N and targets B, a net of depth 2 without bias has representation cost 2 Tr B = N^2.

    Raises:
        ArgumentError: If the number of vertices is odd or below 2.
    """
    if vertices < 2 or vertices % 2:
        raise ArgumentError("vertices", "be even and at least 2", vertices)
    half = torch.arange(vertices) < vertices // 2
    across = (half[:, None] != half[None, :]).to(dtype)
    return across + vertices / 2 * torch.eye(vertices, dtype=dtype)


def gram_rank(gram: Tensor, *, tolerance: float) -> int:
    """Return the least rank of a matrix within tolerance |K|_F of a symmetric matrix K, shape (N, N)."""
    squares = torch.linalg.eigvalsh(gram.double()).square().sort().values
    return int((squares.cumsum(0) > tolerance**2 * squares.sum()).sum())


def cp_rank_bounds(matrix: Tensor, *, tolerance: float = 1e-8) -> CPRankBounds:
    """Bound the CP-rank of a matrix; exact for graphs without triangles, for ranks up to 2 and blocks up to 3.

    The graph has an edge where |B_ij| > tolerance sqrt(B_ii B_jj); smaller entries count as zero, and so does a
    vertex of B_ii <= tolerance max B. The CP-rank is the sum over connected components. Without a triangle it is
    the rank for a tree, and the number of edges otherwise. With triangles: at least the rank and the number of
    edges of which no two lie in one clique; at most rank (rank + 1) / 2 - 1 if the matrix is completely positive,
    which is checked for graphs without triangles only.

    Args:
        matrix: B, shape (N, N): symmetric, positive semi-definite, entries non-negative up to the tolerance.
        tolerance: Relative, in [0, 1).

    Raises:
        ArgumentError: If the matrix is not as above, or its graph has no triangle and it is not completely positive.
    """
    lower = upper = 0
    triangles = False
    for block, _ in _blocks(matrix, tolerance):
        least, most, has = _block_bounds(block, tolerance)
        lower, upper, triangles = lower + least, upper + most, triangles or has
    if not triangles:
        reason = "no triangles: rank of trees, edges of other components"
    elif lower == upper:
        reason = "bounds of every component meet"
    else:
        reason = "rank and edges apart; rank (rank + 1) / 2 - 1 above"
    return CPRankBounds(lower, upper, lower == upper, reason)


def triangle_free_factor(matrix: Tensor, *, tolerance: float = 1e-8) -> Tensor:
    """Return V >= 0, shape (CP-rank, N) float64, with V^T V = B up to the tolerance, of a graph without triangles.

    Raises:
        ArgumentError: As `cp_rank_bounds`, and if the graph has a triangle.
    """
    rows = []
    for block, place in _blocks(matrix, tolerance):
        if has_triangle(adjacency(block)):
            raise ArgumentError("matrix", "have a graph without triangles", "one with a triangle")
        part = edge_factor(block, tolerance=tolerance)
        wide = np.zeros((len(part), len(matrix)))
        wide[:, place] = part
        rows.append(wide)
    found = np.concatenate(rows) if rows else np.zeros((0, len(matrix)))
    return torch.from_numpy(found).to(matrix.device) * matrix.diagonal().double().clamp_min(0).sqrt()


def _blocks(matrix: Tensor, tolerance: float) -> list[tuple[Matrix, NDArray[np.intp]]]:
    """Return the connected blocks, scaled to unit diagonal, and their vertices."""
    if not 0 <= tolerance < 1:
        raise ArgumentError("tolerance", "lie in [0, 1)", tolerance)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or 0 in matrix.shape:
        raise ArgumentError("matrix", "be square and not empty", tuple(matrix.shape))
    check_gram("matrix", matrix, points=len(matrix))
    dense = matrix.detach().double().cpu().numpy()
    diagonal = np.diag(dense)
    alive = np.flatnonzero(diagonal > tolerance * max(diagonal.max(), 0.0))
    unit = dense[np.ix_(alive, alive)] / np.sqrt(np.outer(diagonal[alive], diagonal[alive]))
    if unit.size and unit.min() < -tolerance:
        condition = "have no negative entries to be completely positive"
        raise ArgumentError("matrix", condition, f"a correlation of {unit.min():.2g}")
    unit = np.where(unit > tolerance, unit, 0.0)
    return [(unit[np.ix_(part, part)], alive[part]) for part in components(adjacency(unit))]


def _block_bounds(block: Matrix, tolerance: float) -> tuple[int, int, bool]:
    """Return lower and upper bound of a connected block and whether it has a triangle."""
    adjacent = adjacency(block)
    if not has_triangle(adjacent):
        exact = len(edge_factor(block, tolerance=tolerance))
        return exact, exact, False
    rank, size = gram_rank(torch.from_numpy(block), tolerance=tolerance), len(block)
    if rank <= 2 or size <= 3:
        return rank, rank, True
    most = _LEAST_WIDEST.get(size, size * (size + 1) // 2 - 4)
    return max(rank, edges_apart(adjacent)), min(most, rank * (rank + 1) // 2 - 1), True
