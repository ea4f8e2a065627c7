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
_SQUARINGS = 60
_HALVINGS = 120


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
    eigenvector of M, p_ij = B_ij d_j / d_i leaves a slack >= 0 on every diagonal entry. On a spanning tree and one
    edge more, leaves pass their slack on, and around the last cycle one number is searched that leaves none.
    Nothing is subtracted on the way, so entries of very different size keep their digits.

    Args:
        block: B, shape (n, n): non-negative, unit diagonal, its graph connected and without triangles.
        tolerance: Slack at unit diagonal that counts as zero.

    Raises:
        ArgumentError: If M has an eigenvalue below -tolerance: B is not completely positive.
    """
    links = np.where(adjacency(block), block, 0.0)
    scale = _perron(links)
    parts = links * scale / scale[:, None]
    slack = 1 - parts.sum(axis=1)
    if slack.min() < -tolerance:
        condition = "be completely positive (a comparison matrix without negative eigenvalues)"
        raise ArgumentError("matrix", condition, f"an eigenvalue {slack.min():.2g} at unit diagonal")
    slack = np.maximum(slack, 0.0)
    tree, has_cycle, root = _spanning(adjacency(block), int(scale.argmax()))
    _peel(tree, root, slack=slack, parts=parts)
    if has_cycle:
        _close(tree, root, slack=slack, parts=parts)
    return _rows(parts, root, slack[root] if not has_cycle and slack[root] > tolerance else 0.0)


def _perron(links: Matrix) -> Matrix:
    """Return the positive eigenvector of a non-negative irreducible matrix, every entry to its own precision."""
    power = links + np.eye(len(links))
    for _ in range(_SQUARINGS):
        power = power @ power
        power /= power.max()
    vector: Matrix = np.maximum(power.sum(axis=1), np.finfo(float).tiny)
    return vector


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


def _peel(tree: Mask, root: int, *, slack: Matrix, parts: Matrix) -> None:
    """Take leaves off the tree, except the root; each gives its edge its slack, which eases the other end."""
    degrees = tree.sum(axis=1)
    leaves = [int(vertex) for vertex in np.flatnonzero(degrees == 1) if vertex != root]
    while leaves:
        leaf = leaves.pop()
        other = int(tree[leaf].argmax())
        growth = slack[leaf] / parts[leaf, other]
        parts[leaf, other] *= 1 + growth
        parts[other, leaf] /= 1 + growth
        slack[other] += parts[other, leaf] * growth
        slack[leaf] = 0.0
        tree[leaf, other] = tree[other, leaf] = False
        degrees[other] -= 1
        if degrees[other] == 1 and other != root:
            leaves.append(other)


def _close(cycle: Mask, root: int, *, slack: Matrix, parts: Matrix) -> None:
    """Share the slack of the vertices of the cycle that remains among its edges."""
    path: list[Any] = [root, int(cycle[root].argmax())]
    while path[-1] != root:
        ahead = np.flatnonzero(cycle[path[-1]])
        path.append(int(ahead[ahead != path[-2]][0]))
    forward = [(float(parts[start, end]), float(parts[end, start])) for start, end in pairwise(path)]
    room = [float(slack[vertex]) for vertex in path[1:]]
    low, high = 0.0, (room[-1] + forward[-1][1]) / forward[0][0]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _around(middle, forward, room)[0] > 0:
            high = middle
        else:
            low = middle
    growths = _around(low, forward, room)[1]
    for (start, end), growth in zip(pairwise(path), growths, strict=True):
        parts[start, end] *= 1 + growth
        parts[end, start] /= 1 + growth
    slack[path[1:]] = 0.0


def _around(first: float, forward: list[tuple[float, float]], room: list[float]) -> tuple[float, list[float]]:
    """Return what edges around a cycle take too much of the first vertex, and by how much each grows, from the first.

    An edge that grows by u takes 1 + u times its part of the vertex behind it, and 1 / (1 + u) of the one ahead.
    """
    growths = [first]
    for (_, ahead), (behind, _), slack in zip(forward, forward[1:], room, strict=False):
        growths.append((slack + ahead * growths[-1] / (1 + growths[-1])) / behind)
    taken = forward[0][0] * first - forward[-1][1] * growths[-1] / (1 + growths[-1])
    return taken - room[-1], growths


def _rows(parts: Matrix, root: int, leftover: float) -> Matrix:
    first, second = np.nonzero(np.triu(parts))
    rows = np.zeros((len(first) + (leftover > 0), len(parts)))
    index = np.arange(len(first))
    rows[index, first] = np.sqrt(parts[first, second])
    rows[index, second] = np.sqrt(parts[second, first])
    if leftover > 0:
        rows[-1, root] = np.sqrt(leftover)
    return rows
