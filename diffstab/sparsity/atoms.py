"""Atoms: groups of neurons that act as one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CARRIED_SHARE = 0.99


class Atoms(NamedTuple):
    """A partition of neurons: the label (H,) of each, the mass (A,) of each atom, largest first."""

    labels: Tensor
    masses: Tensor

    def count(self, share: float = CARRIED_SHARE) -> int:
        """Return the least number of atoms that hold `share` of the mass."""
        reached = self.masses.cumsum(0)
        return int((reached < share * reached[-1]).sum()) + 1


def activation_atoms(theta: Tensor, x: Tensor, masses: Tensor) -> Atoms:
    """Group neurons by their activation pattern sign(theta_h . x_i) on the points x (n, d), and sign of no weight.

    Args:
        theta: Weights (H, d).
        x: Points (n, d).
        masses: Masses (H,).
    """
    bits = np.packbits((theta @ x.T > 0).cpu().numpy(), axis=1)
    _, labels = np.unique(bits, axis=0, return_inverse=True)
    return _sorted_atoms(torch.from_numpy(labels.reshape(-1)), masses.cpu())


def _sorted_atoms(labels: Tensor, masses: Tensor) -> Atoms:
    totals = torch.zeros(int(labels.max()) + 1, dtype=masses.dtype).index_add_(0, labels, masses)
    order = totals.argsort(descending=True)
    return Atoms(order.argsort()[labels], totals[order])
