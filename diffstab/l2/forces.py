r"""Attraction and repulsion: the two parts of the gradient of the first reformulation at each hidden layer.

The term of layer l, lambda |Z_l (Z_{l-1}^s)^+|^2, attracts Z_l to the origin; the term of layer l + 1,
lambda |Z_{l+1} (Z_l^s)^+|^2, repels it. With K_{l-1}^s the covariance below and W_{l+1} = Z_{l+1} (Z_l^s)^+:

    attraction_l = 2 lambda Z_l (K_{l-1}^s)^+,
    repulsion_l  = -2 lambda s'(Z_l) * (W_{l+1}^T Z_{l+1} (K_l^s)^+), without the row of the bias,

and in the last layer the cost takes the part of the repulsion: dC/dZ_L. Their sum vanishes at a stationary point.

Source: Jacot et al. 2022 (arXiv 2205.15809), section 3.1; the closed forms are derived here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.l2.inverse import EXACT, Inverse
from diffstab.l2.problem import L2Problem
from diffstab.l2.representations import factors


class Forces(NamedTuple):
    """The two gradients at one layer, each (..., n_l, N): descent moves Z_l along minus their sum.

    Attributes:
        attraction: Gradient of the layer's own term.
        repulsion: Gradient of the term of the next layer; of the cost in the last layer.
    """

    attraction: Tensor
    repulsion: Tensor

    @property
    def imbalance(self) -> Tensor:
        """|attraction + repulsion|_F / (|attraction|_F + |repulsion|_F), shape (...): 0 where they cancel, at most 1."""
        total = (self.attraction + self.repulsion).square().sum((-2, -1)).sqrt()
        sizes = sum(part.square().sum((-2, -1)).sqrt() for part in self)
        return torch.where(sizes > 0, total / torch.where(sizes > 0, sizes, 1), 0)


def forces(
    problem: L2Problem, representations: Sequence[Tensor], *, inverse: Inverse = EXACT
) -> list[Forces]:
    r"""Return the forces at the layers 1 ... L of representations Z_1 ... Z_L, each (..., n_l, N).

    Without a Tikhonov term the representations must satisfy the row space constraints (see `project`); the
    gradients are those along the constraint: the rank of each Z_l^s is held.

    Raises:
        ArgumentError: If the shapes do not fit the problem.
    """
    below = factors(problem, representations)
    inverses = [inverse.of_gram(factor.mT @ factor) for factor in below]
    pulls = [
        2 * problem.penalty * z @ inverted for z, inverted in zip(representations, inverses, strict=True)
    ]
    found = []
    for layer in range(problem.depth - 1):
        z = representations[layer]
        incoming = representations[layer + 1] @ inverses[layer + 1] @ below[layer + 1].mT
        push = -(incoming.mT @ pulls[layer + 1])[..., : z.shape[-2], :] * problem.slope(z)
        found.append(Forces(pulls[layer], push))
    return [*found, Forces(pulls[-1], problem.cost_gradient(representations[-1]))]
