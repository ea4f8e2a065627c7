"""Atoms: groups of neurons that act as one.

Neurons of one activation pattern on the training set act there like the single neuron sum_h w_h theta_h, whatever
the signs of w_h; so the sign of w does not separate atoms, and opposite masses within an atom add up rather than
cancel. A trained net of sparse features has few atoms that carry mass, at most one per training point for the
minimal-norm solution; at initialisation nearly every neuron is an atom of its own.

Source: Petrini, Cagnetta, Vanden-Eijnden, Wyart, NeurIPS 2022 (arXiv 2206.12314).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.sparsity.angles import unit_directions
from diffstab.sparsity.validation import checked_masses, checked_matrix

NEGLIGIBLE_MASS = 1e-6
"""A neuron of at most this fraction of the largest mass counts as dead."""

_BLOCK_ENTRIES = 2**22  # neurons x points held at once: 32 MB of float64


class Atoms(NamedTuple):
    """A partition of H neurons into A atoms, the heaviest first.

    Count those that carry mass with `number_carrying(atoms.masses)`, their effective number with
    `participation_ratio(atoms.masses)`.

    Attributes:
        labels: Atom of each neuron, 0 ... A - 1, int64, shape (H,).
        masses: Sum of the masses in each atom, falling, float64, shape (A,).
    """

    labels: Tensor
    masses: Tensor


def activation_atoms(
    theta: Tensor, x: Tensor, *, masses: Tensor | None = None, relative_tolerance: float = 0.0
) -> Atoms:
    """Group the neurons that have the same signs of theta_h . x_i on all points, exactly.

    A sign is -1, 0 or 1, with 0 for |theta_h . x_i| <= tolerance |theta_h| |x_i|. The default 0 is right for
    neurons in general position; a tolerance joins neurons that rounding leaves on either side of a kink that they
    sit on, and separates these from the ones well off it.

    Args:
        theta: Weights into the layer, shape (H, d).
        x: Training points as the layer sees them, shape (n, d).
        masses: Masses of the neurons, shape (H,); 1 each if None.
        relative_tolerance: |cos| of the angle between neuron and point that counts as zero, in [0, 1).

    Returns:
        The atoms, on the CPU.

    Raises:
        ArgumentError: If the shapes do not fit, an entry is not a finite float or the tolerance is out of range.
    """
    if not 0 <= relative_tolerance < 1:
        raise ArgumentError("relative_tolerance", "lie in [0, 1)", relative_tolerance)
    incoming, points = _layer(theta, x)
    packed = []
    for block in _blocks(incoming, points):
        zero = relative_tolerance * incoming.norm(dim=1)[:, None] * block.norm(dim=1)
        activity = incoming @ block.T
        signs = torch.cat([activity > zero, activity < -zero], dim=1)
        packed.append(np.packbits(signs.cpu().numpy(), axis=1))
    _, labels = np.unique(np.concatenate(packed, axis=1), axis=0, return_inverse=True)
    return _heaviest_first(torch.from_numpy(labels.reshape(-1)), _masses(masses, len(incoming)))


def direction_atoms(theta: Tensor, *, angle_deg: float = 5.0, masses: Tensor | None = None) -> Atoms:
    """Group neurons by direction: each atom has a leader, and its other neurons lie within an angle of it.

    The heaviest neuron that is not yet in an atom leads the next one and takes all free neurons within the angle;
    of equal masses the first leads. The order makes it deterministic and keeps chains of neighbours from merging,
    but a cloud wider than the angle is cut in several atoms, and two members can be up to twice the angle apart.
    Compare the angle with `uniform_nearest_angle_deg`: it should be well below. A zero neuron is an atom by itself.
    Memory: H^2 bytes.

    Args:
        theta: Weights into the layer, shape (H, d).
        angle_deg: In [1e-5, 90) degrees; the cosine does not resolve smaller ones.
        masses: Masses of the neurons, shape (H,); 1 each if None.

    Returns:
        The atoms, on the CPU.

    Raises:
        ArgumentError: If the shapes do not fit, an entry is not a finite float or the angle is out of range.
    """
    if not 1e-5 <= angle_deg < 90:
        raise ArgumentError("angle_deg", "lie in [1e-5, 90)", angle_deg)
    unit, weight = unit_directions(theta), _masses(masses, len(theta))
    order = weight.argsort(descending=True, stable=True)
    ordered = unit[order.to(unit.device)]
    threshold = float(np.cos(np.deg2rad(angle_deg)))
    near = np.concatenate(
        [(ordered @ rows.T >= threshold).T.cpu().numpy() for rows in _blocks(ordered, ordered)]
    )
    np.fill_diagonal(near, val=True)
    labels = np.full(len(near), -1)
    for leader in range(len(near)):
        if labels[leader] < 0:
            labels[near[leader] & (labels < 0)] = leader
    _, labels = np.unique(labels, return_inverse=True)
    return _heaviest_first(torch.from_numpy(labels)[order.argsort()], weight)


def dead_share(
    theta: Tensor, x: Tensor, *, masses: Tensor | None = None, relative_threshold: float = NEGLIGIBLE_MASS
) -> float:
    """Return the share of neurons that do nothing on the training set.

    A neuron is dead if theta_h . x_i <= 0 on every point (a ReLU is off; a softplus small), or if its mass is
    negligible.

    Args:
        theta: Weights into the layer, shape (H, d).
        x: Training points as the layer sees them, shape (n, d).
        masses: Masses, shape (H,); None asks for the preactivations alone.
        relative_threshold: A mass of at most this fraction of the largest is negligible, in [0, 1).

    Raises:
        ArgumentError: If the shapes do not fit, an entry is not a finite float or the threshold is out of range.
    """
    return float(dead_neurons(theta, x, masses=masses, relative_threshold=relative_threshold).double().mean())


def dead_neurons(
    theta: Tensor, x: Tensor, *, masses: Tensor | None = None, relative_threshold: float = NEGLIGIBLE_MASS
) -> Tensor:
    """Return which neurons are dead in the sense of `dead_share`, with its arguments: bool, shape (H,)."""
    if not 0 <= relative_threshold < 1:
        raise ArgumentError("relative_threshold", "lie in [0, 1)", relative_threshold)
    incoming, points = _layer(theta, x)
    active = torch.zeros(len(incoming), dtype=torch.bool, device=incoming.device)
    for block in _blocks(incoming, points):
        active |= (incoming @ block.T > 0).any(dim=1)
    if masses is not None:
        weight = checked_masses(masses, count=len(incoming)).to(active.device)
        active &= weight > relative_threshold * weight.max()
    return ~active


def _layer(theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    incoming = checked_matrix("theta", theta)
    return incoming, checked_matrix("x", x, columns=incoming.shape[1])


def _masses(masses: Tensor | None, count: int) -> Tensor:
    if masses is None:
        return torch.ones(count, dtype=torch.float64)
    return checked_masses(masses, count=count).cpu()


def _blocks(theta: Tensor, points: Tensor) -> Iterator[Tensor]:
    yield from torch.split(points, max(1, _BLOCK_ENTRIES // len(theta)))


def _heaviest_first(labels: Tensor, masses: Tensor) -> Atoms:
    totals = torch.zeros(int(labels.max()) + 1, dtype=torch.float64).index_add_(0, labels, masses)
    order = totals.argsort(descending=True, stable=True)
    return Atoms(order.argsort()[labels], totals[order])
