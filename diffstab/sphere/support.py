"""From an optimal cloud of neurons to an atomic solution: the same predictions on the data, no larger norm."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr
from scipy.linalg.lapack import dormqr

from diffstab.sphere.certificate import Floats, Integers

Truths = NDArray[np.bool_]
NEURONS_AT_ONCE = 4096
MOVES_AT_ONCE = 32
"""Weights that vanish between two updates of all null vectors, which are products of matrices then."""


def merge_cells(points: Floats, neurons: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Merge neurons of equal sign that are active on the same points.

    On the data relu is linear over such a group, so that sum_j w_j theta_j acts as all of them do, and its length
    is at most sum_j |w_j|.

    Args:
        points: (n, d) training points.
        neurons: (k, d) unit vectors.
        weights: (k,) non-zero weights.

    Returns:
        The merged neurons and weights.
    """
    first, group = _cells(points, neurons, weights > 0)
    moment = np.zeros((len(first), neurons.shape[1]))
    np.add.at(moment, group, np.abs(weights)[:, None] * neurons)
    length = np.linalg.norm(moment, axis=1)
    kept = length > 0
    return moment[kept] / length[kept, None], (np.sign(weights[first]) * length)[kept]


def merge_close(points: Floats, neurons: Floats, weights: Floats, *, apart: float) -> tuple[Truths, Floats]:
    """Replace the neurons of one cell and sign by their mean as far as 1 - cos to it is small.

    Args:
        points: (n, d) training points.
        neurons: (k, d) unit vectors.
        weights: (k,) non-zero weights.
        apart: Largest 1 - cos of the angle to the mean of a neuron that is replaced.

    Returns:
        Whether each neuron stays as it is (k,), and the means (l, d) of the others, unit vectors.
    """
    first, group = _cells(points, neurons, weights > 0)
    mean = np.zeros((len(first), neurons.shape[1]))
    np.add.at(mean, group, np.abs(weights)[:, None] * neurons)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    stays = ((neurons - mean[group]) ** 2).sum(axis=1) > 2 * apart
    stays |= np.bincount(group)[group] == 1
    return stays, mean[np.unique(group[~stays])]


def _cells(points: Floats, neurons: Floats, positive: Truths) -> tuple[Integers, Integers]:
    """First neuron of each cell and sign, and the group (k,) that each neuron belongs to."""
    blocks = range(0, len(neurons), NEURONS_AT_ONCE)
    pattern = [np.packbits(neurons[i : i + NEURONS_AT_ONCE] @ points.T > 0, axis=1) for i in blocks]
    empty = np.empty((0, -(-len(points) // 8)), dtype=np.uint8)
    labels = np.concatenate([np.concatenate([empty, *pattern]), positive[:, None].astype(np.uint8)], axis=1)
    _, first, group = np.unique(labels, axis=0, return_index=True, return_inverse=True)
    return first, group.ravel()


def independent_support(features: Floats, weights: Floats) -> Floats:
    """Weights with at most n non-zero entries, the same Phi w and no larger |w|_1 (Caratheodory).

    While the columns in use outnumber the rows, the weights move along a null vector of the columns, in the
    direction that does not raise |w|_1, until one of them vanishes.

    Args:
        features: (n, k) columns Phi.
        weights: (k,) weights.

    Returns:
        The new weights (k,).
    """
    weights = weights.copy()
    used = np.nonzero(weights)[0]
    rows = len(features)
    if len(used) <= rows:
        return weights
    null = qr(features[:, used].T, check_finite=False)[0][:, rows:]
    part = weights[used]
    alive = np.ones(len(used), dtype=bool)
    while null.shape[1]:
        dead = _vanish(null[:, -MOVES_AT_ONCE:], part, alive)
        null = _without_rows(null, dead)
    weights[used] = part
    return weights


def _vanish(moves: Floats, weights: Floats, alive: Truths) -> Integers:
    """Let one weight per move vanish, in place, and return which; each move leaves alone what has vanished."""
    dead = []
    while moves.shape[1]:
        move = moves[:, -1] * alive
        if move @ np.sign(weights) > 0:
            move = -move
        shrinking = np.nonzero(alive & (move * weights < 0))[0]
        ratios = -weights[shrinking] / move[shrinking]
        last = shrinking[ratios.argmin()]
        weights += ratios.min() * move
        weights[last], alive[last] = 0.0, False
        dead.append(last)
        moves = _without_row(moves, last)
    return np.array(dead)


def _without_rows(null: Floats, rows: Integers) -> Floats:
    """Orthonormal null vectors that vanish in some rows: reflections gather these in as many columns, all at once."""
    (reflectors, factors), _ = qr(null[rows].T, mode="raw", check_finite=False)
    work = 64 * len(null)  # for the blocked form of the routine
    turned, _, _ = dormqr("R", "N", reflectors[:, : len(rows)], factors, null, work, overwrite_c=1)
    left: Floats = turned[:, len(rows) :]
    return left


def _without_row(null: Floats, row: int) -> Floats:
    """Orthonormal null vectors that vanish in a row: a Householder reflection gathers the row in one column."""
    vector = null[row].copy()
    vector[0] += np.copysign(np.linalg.norm(vector), vector[0])
    norm = vector @ vector
    if norm > 0:
        null = null - np.outer(null @ vector, 2 * vector / norm)
    return null[:, 1:]
