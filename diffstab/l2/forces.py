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
from diffstab.l2.kinks import KINK, gated
from diffstab.l2.problem import L2Problem
from diffstab.l2.representations import factors

AT_REST = 1e-3
"""Stationarity (see `diffstab.l2.kinks`) up to which a net is near enough to a minimum to judge its forces."""


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
        """|attraction + repulsion| / (|attraction| + |repulsion|), shape (...): 0 where they cancel, at most 1."""
        total = _size(self.attraction + self.repulsion)
        sizes = _size(self.attraction) + _size(self.repulsion)
        return torch.where(sizes > 0, total / torch.where(sizes > 0, sizes, 1), torch.zeros_like(sizes))


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


def constrained_forces(
    problem: L2Problem,
    representations: Sequence[Tensor],
    *,
    inverse: Inverse = EXACT,
    kink: float = KINK,
) -> list[Forces]:
    r"""Return the forces along the row space constraints, with the slopes at kinks that cancel them best.

    Two things keep the parts of `forces` from cancelling at a minimum, and both are taken into account here.
    Where Z_l^s has less than full column rank, Z_{l+1} must follow when Z_l moves, by W_{l+1} dZ_l^s outside the row
    space of Z_l^s, and passes its own repulsion on: with P_l the projector onto that row space,

        repulsion_l = s'(Z_l) * W_{l+1}^T (repulsion_{l+1} (1 - P_l) - attraction_{l+1}).

    And at z = 0 the slope of relu is any number in [0, 1]: minima lie on such kinks, and the slopes are chosen there,
    from the last layer down, that leave the least sum. Both parts are projected onto the row space of Z_{l-1}^s,
    along which Z_l may move. The imbalance of each layer is its cancellation number.

    Args:
        problem: The problem.
        representations: Z_1 ... Z_L within the row space constraints: of one net, each (n_l, N); of many with kink = 0.
        inverse: Tolerance, or Tikhonov term.
        kink: |z| below this share of a neuron's largest counts as 0.

    Raises:
        ArgumentError: If the shapes do not fit the problem.
    """
    below = factors(problem, representations)
    projectors = [inverse.row_space(factor) for factor in below]
    inverses = [inverse.of_gram(factor.mT @ factor) for factor in below]
    pulls = [
        2 * problem.penalty * z @ inverted for z, inverted in zip(representations, inverses, strict=True)
    ]
    push = problem.cost_gradient(representations[-1])
    found = [Forces(pulls[-1], push @ projectors[-1])]
    for layer in range(problem.depth - 2, -1, -1):
        z, above = representations[layer], projectors[layer + 1]
        weight = representations[layer + 1] @ inverses[layer + 1] @ below[layer + 1].mT
        weight = weight[..., : z.shape[-2]]
        passed = weight.mT @ (push - push @ above - pulls[layer + 1])
        push, _ = gated(problem, z, passed, basis=projectors[layer], target=pulls[layer], kink=kink)
        found.append(Forces(pulls[layer], push @ projectors[layer]))
    return found[::-1]


def _size(matrix: Tensor) -> Tensor:
    return matrix.square().sum((-2, -1)).sqrt()
