r"""Graphs of non-negative matrices, and the factor V >= 0, V^T V = B, of a matrix whose graph has no triangle.

Each row of V has its support in a clique of the graph of B, so in a single vertex or an edge where there is no
triangle: B is a sum over edges of [[p_ij, B_ij], [B_ij, p_ji]] with p_ij p_ji = B_ij^2, and of what is left of the
diagonal. It exists if and only if the comparison matrix M = 2 diag(B) - B is positive semi-definite.

Source: Drew, Johnson, Loewy, "Completely positive matrices associated with M-matrices", Linear and Multilinear
Algebra 37 (1994); the construction is derived here.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from diffstab.errors import ArgumentError

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
_HALVINGS = 200


def adjacency(matrix: Matrix) -> Mask:
    """Return which off-diagonal entries of a symmetric matrix (N, N) are positive."""
    adjacent: Mask = matrix > 0
    np.fill_diagonal(adjacent, val=False)
    return adjacent


def components(adjacent: Mask) -> list[NDArray[np.intp]]:
    """Return the vertices of each connected component."""
    count, labels = connected_components(csr_array(adjacent), directed=False)
    return [np.flatnonzero(labels == label) for label in range(count)]


def has_triangle(adjacent: Mask) -> bool:
    """Return whether three vertices are pairwise adjacent."""
    wide = adjacent.astype(np.float64)
    return bool(((wide @ wide)[adjacent] > 0).any())


def edges_apart(adjacent: Mask) -> int:
    """Return the size of a set of edges of which no two lie in one clique, found greedily: each needs a row of V."""
    closed = adjacent | np.eye(len(adjacent), dtype=bool)
    wide = adjacent.astype(np.float64)
    first, second = np.nonzero(np.triu(adjacent))
    order = np.argsort((wide @ wide)[first, second], kind="stable")
    first, second, count = first[order], second[order], 0
    while len(first):
        ends = closed[first[0]] & closed[second[0]]
        apart = ~(ends[first] & ends[second])
        first, second, count = first[apart], second[apart], count + 1
    return count


def edge_factor(block: Matrix, *, tolerance: float) -> Matrix:
    r"""Return V >= 0, shape (k, n), with V^T V = B and the least number of rows.

    k is the number of edges if the graph has a cycle, else the rank of B, n - 1 or n. With d the positive least
    eigenvector of M, p_ij = B_ij d_j / d_i leaves every diagonal entry non-negative; p is chosen so outside a
    spanning tree and one edge more, leaves of the rest take all that is left of their diagonal, and around the
    last cycle one number is searched that leaves nothing.

    Args:
        block: B, shape (n, n): non-negative, unit diagonal, its graph connected and without triangles.
        tolerance: Least eigenvalue of M that counts as zero.

    Raises:
        ArgumentError: If M has an eigenvalue below -tolerance: B is not completely positive.
    """
    values, vectors = np.linalg.eigh(2 * np.diag(np.diag(block)) - block)
    if values[0] < -tolerance:
        condition = "be completely positive (a comparison matrix without negative eigenvalues)"
        raise ArgumentError("matrix", condition, f"an eigenvalue {values[0]:.2g} at unit diagonal")
    scale = np.maximum(np.abs(vectors[:, 0]), np.finfo(float).tiny)
    tree, extra, root = _spanning(adjacency(block), int(scale.argmax()))
    parts = np.where(tree, 0, adjacency(block) * block * scale / scale[:, None])
    left = np.diag(block) - parts.sum(axis=1)
    _peel(block, tree, root, left=left, parts=parts)
    if extra:
        _close(block, tree, root, scale=scale, left=left, parts=parts)
        left[root] = 0.0
    return _rows(parts, root, left[root] if values[0] > tolerance or len(block) == 1 else 0.0)


def _spanning(adjacent: Mask, root: int) -> tuple[Mask, bool, int]:
    """Return the edges of a spanning tree and one more if there is one, whether so, and a vertex on its cycle."""
    order, parents = breadth_first_order(csr_array(adjacent), root, directed=False)
    tree = np.zeros_like(adjacent)
    child = order[1:]
    tree[child, parents[child]] = tree[parents[child], child] = True
    others: NDArray[Any] = np.argwhere(adjacent & ~tree)
    if not len(others):
        return tree, False, root
    first, second = others[0]
    tree[first, second] = tree[second, first] = True
    return tree, True, int(first)


def _peel(block: Matrix, tree: Mask, root: int, *, left: Matrix, parts: Matrix) -> None:
    """Take leaves off the tree, except the root; each gives its edge all that is left of its diagonal."""
    degrees = tree.sum(axis=1)
    leaves = [int(vertex) for vertex in np.flatnonzero(degrees == 1) if vertex != root]
    while leaves:
        leaf = leaves.pop()
        other = int(tree[leaf].argmax())
        parts[leaf, other] = left[leaf]
        parts[other, leaf] = block[leaf, other] ** 2 / left[leaf]
        left[other] -= parts[other, leaf]
        tree[leaf, other] = tree[other, leaf] = False
        degrees[other] -= 1
        if degrees[other] == 1 and other != root:
            leaves.append(other)


def _close(block: Matrix, cycle: Mask, root: int, *, scale: Matrix, left: Matrix, parts: Matrix) -> None:
    """Share what is left of the diagonals among the edges of the cycle that remains."""
    path: list[Any] = [root, int(cycle[root].argmax())]
    while path[-1] != root:
        ahead = np.flatnonzero(cycle[path[-1]])
        path.append(int(ahead[ahead != path[-2]][0]))
    ends = list(pairwise(path))
    entries = [float(block[end]) for end in ends]
    diagonals = [float(left[start]) for start, _ in ends]
    low, high = 0.0, entries[0] * scale[path[1]] / scale[root]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _excess(middle, entries, diagonals)[0] > 0:
            low = middle
        else:
            high = middle
    for (start, end), entry, part in zip(ends, entries, _excess(high, entries, diagonals)[1], strict=True):
        parts[start, end], parts[end, start] = part, entry**2 / part


def _excess(first: float, entries: list[float], diagonals: list[float]) -> tuple[float, list[float]]:
    """Return what the parts around a cycle take too much of the first diagonal, and the parts, from the first part."""
    parts = [first]
    for entry, diagonal in zip(entries, diagonals[1:], strict=False):
        rest = diagonal - entry**2 / parts[-1] if parts[-1] > 0 else -1.0
        if rest <= 0:
            return np.inf, parts
        parts.append(rest)
    return first + entries[-1] ** 2 / parts[-1] - diagonals[0], parts


def _rows(parts: Matrix, root: int, leftover: float) -> Matrix:
    first, second = np.nonzero(np.triu(parts))
    rows = np.zeros((len(first) + (leftover > 0), len(parts)))
    index = np.arange(len(first))
    rows[index, first] = np.sqrt(parts[first, second])
    rows[index, second] = np.sqrt(parts[second, first])
    if leftover > 0:
        rows[-1, root] = np.sqrt(leftover)
    return rows
