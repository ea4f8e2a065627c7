r"""Generalised gradients at the kinks of relu: which slopes in [0, 1] make a stationary point stationary.

At z = 0 the slope of relu is any number in [0, 1]. Minima of L2-regularised nets sit on such kinks, so the gradient
that back-propagation gives does not vanish there, while 0 lies in Clarke's generalised gradient. Layer by layer, from
the last hidden one down, the slopes ("gates") of the kinks are chosen that make the gradient in the weights least.

Source: Clarke, "Optimization and Nonsmooth Analysis", 1983, chapter 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.l2.network import check_weights, forward
from diffstab.l2.problem import L2Problem

KINK = 1e-4
"""Share of a neuron's largest |z| below which a point counts as lying on its kink."""


class Stationarity(NamedTuple):
    """How far a net is from a stationary point.

    Attributes:
        relative: |gradient| / (|gradient of the cost| + 2 lambda |W|), over all layers, the least over the gates found.
        backs: dC/dZ_l for l = 1 ... L at those gates, each (n_l, N).
        kinks: Pairs of neuron and point on a kink, over all hidden layers.
    """

    relative: float
    backs: list[Tensor]
    kinks: int


def stationarity(problem: L2Problem, weights: Sequence[Tensor], *, kink: float = KINK) -> Stationarity:
    """Return the size of the least generalised gradient of the regularised loss at the weights of one net.

    Gates are chosen one layer after another, so the number is an upper bound of the distance to stationarity.

    Args:
        problem: The problem.
        weights: W_1 ... W_L.
        kink: A pre-activation counts as zero at this share of its neuron's largest; 0 leaves the gradient as it is.

    Raises:
        ArgumentError: If the weights do not fit or are several nets, or `kink` is not in [0, 1).
    """
    check_weights(problem, weights)
    if weights[0].ndim != 2:
        raise ArgumentError("weights", "be those of one net", f"leading shape {tuple(weights[0].shape[:-2])}")
    if not 0 <= kink < 1:
        raise ArgumentError("kink", "lie in [0, 1)", kink)
    representations = forward(problem, weights)
    back = problem.cost_gradient(representations[-1])
    backs, gradients, count = [back], [], 0
    for layer in range(problem.depth - 1, -1, -1):
        below = problem.extended_inputs
        if layer:
            below = problem.extended(problem.activate(representations[layer - 1]))
        gradients.append(back @ below.mT)
        if layer:
            z = representations[layer - 1]
            base = problem.extended_inputs
            if layer > 1:
                base = problem.extended(problem.activate(representations[layer - 2]))
            push = weights[layer][:, : len(z)].mT @ back
            target = 2 * problem.penalty * weights[layer - 1]
            back, found = gated(problem, z, push, basis=base.mT, target=target, kink=kink)
            count += found
            backs.append(back)
    total = sum(
        (gradient + 2 * problem.penalty * weight).square().sum()
        for gradient, weight in zip(gradients, reversed(weights), strict=True)
    )
    size = sum(gradient.square().sum() for gradient in gradients) ** 0.5
    size = size + 2 * problem.penalty * sum(weight.square().sum() for weight in weights) ** 0.5
    return Stationarity(float(total**0.5 / size) if size > 0 else 0.0, backs[::-1], count)


def gated(
    problem: L2Problem, z: Tensor, push: Tensor, *, basis: Tensor, target: Tensor, kink: float = KINK
) -> tuple[Tensor, int]:
    r"""Return g * push with slopes g that make every row of (g * push) B + T least, and the number of kinks.

    Args:
        problem: Gives s'; only relu has kinks.
        z: Pre-activations, shape (n, N).
        push: Gradient in the activations, shape (n, N).
        basis: B, shape (N, k).
        target: T, shape (n, k).
        kink: See `stationarity`.
    """
    back = problem.through_slope(push, z)
    if problem.activation != "relu" or kink == 0:
        return back, 0
    at = z.abs() <= kink * z.abs().amax(1, keepdim=True)
    back = back.clone()
    for row in at.any(1).nonzero()[:, 0].tolist():
        back[row] = _gated_row(back[row], push[row], at[row], basis=basis, target=target[row])
    return back, int(at.sum())


def _gated_row(back: Tensor, push: Tensor, at: Tensor, *, basis: Tensor, target: Tensor) -> Tensor:
    """Return one neuron's gated gradient: a least-squares problem with gates between 0 and 1."""
    from scipy.optimize import lsq_linear

    smooth = torch.where(at, 0, back)
    matrix = (push[at, None] * basis[at]).T.double().cpu().numpy()
    wanted = -(smooth @ basis + target).double().cpu().numpy()
    # The gates see the k columns of their span only: k numbers for each neuron below, of hundreds, would be too many.
    frame, triangle = np.linalg.qr(matrix)
    method = "bvls" if triangle.shape[0] == triangle.shape[1] else "trf"
    gates = lsq_linear(triangle, frame.T @ wanted, bounds=(0, 1), method=method).x
    filled = smooth.clone()
    filled[at] = push[at] * torch.from_numpy(np.asarray(gates)).to(push)
    return filled
