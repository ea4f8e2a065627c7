r"""The fully corrective step: masses and outputs for fixed generators, a convex group lasso.

min over V of C(V A + b v 1^T) + 2 lambda sum_j |V_j| + lambda |v|^2, A the activations of neurons of unit in-weights:
lambda (|u_j|^2 m_j + |V_j|^2 / m_j) is least at the mass m_j = |V_j|.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.l2.problem import L2Problem


def corrected(
    problem: L2Problem, activations: Tensor, start: Tensor, *, steps: int = 5000, tolerance: float = 1e-12
) -> Tensor:
    """Return the out-weights (n_L, k + [b > 0]) by accelerated proximal gradient with restarts.

    Args:
        problem: Cost, penalty and bias amount.
        activations: A, shape (k, N).
        start: Out-weights to start from.
        steps: At most so many.
        tolerance: Stop when a step changes the weights by less than this share.
    """
    extended, count = problem.extended(activations), activations.shape[0]
    if extended.numel() == 0:
        return start
    # The Hessian of either cost in Z is at most 1 / N.
    bend = float(torch.linalg.matrix_norm(extended, 2)) ** 2 / problem.points + 2 * problem.penalty
    if bend == 0:
        return start
    weights, ahead, momentum = start, start, 1.0
    for _ in range(steps):
        slopes = problem.cost_gradient(ahead @ extended) @ extended.T
        slopes[:, count:] += 2 * problem.penalty * ahead[:, count:]
        trial = ahead - slopes / bend
        sizes = trial[:, :count].norm(dim=0)
        shrunk = (1 - 2 * problem.penalty / bend / sizes.clamp_min(1e-300)).clamp_min(0)
        trial[:, :count] *= shrunk
        change = trial - weights
        if ((ahead - trial) * change).sum() > 0:
            momentum = 1.0
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = trial + (momentum - 1) / following * change
        weights, momentum = trial, following
        if change.norm() <= tolerance * trial.norm():
            break
    return weights


def primal_value(problem: L2Problem, activations: Tensor, weights: Tensor) -> Tensor:
    """Return C + 2 lambda sum_j |V_j| + lambda |v|^2."""
    count = activations.shape[0]
    masses, bias = weights[:, :count].norm(dim=0).sum(), weights[:, count:].square().sum()
    outputs = weights @ problem.extended(activations)
    value: Tensor = problem.cost_of(outputs) + problem.penalty * (2 * masses + bias)
    return value


def dual_value(problem: L2Problem, slopes: Tensor, largest: Tensor) -> Tensor:
    r"""Return the value of a dual point: a lower bound of the minimum over all generators.

    The dual of the shallow problem is max over G of -C*(G) - b^2 |G 1|^2 / (4 lambda) subject to |G s(z)| <= 2 lambda
    for every generator; G = dC/dZ is scaled down to be feasible.

    Args:
        problem: The problem.
        slopes: G, shape (n_L, N).
        largest: max over unit u of |G s(u^T X^s)|.
    """
    limit = 2 * problem.penalty
    scaled = slopes * (limit / largest).clamp_max(1) if largest > 0 else slopes
    bias = problem.bias**2 * scaled.sum(1).square().sum() / (2 * limit)
    value: Tensor = -problem.cost_conjugate(scaled) - bias
    return value


class DualPoint(NamedTuple):
    """A point of the dual problem and its price.

    Attributes:
        slopes: G, shape (n_L, N), to be scaled down until it is feasible.
        largest: The largest |G s(z)| known, over generators z. Too small a number makes the value too large.
        value: `dual_value` at that price.
    """

    slopes: Tensor
    largest: float
    value: float


def dual_point(problem: L2Problem, slopes: Tensor, largest: float) -> DualPoint:
    """Return the dual point of slopes G (n_L, N) whose largest |G s(z)| is given."""
    value = float(dual_value(problem, slopes, slopes.new_tensor(largest)))
    return DualPoint(slopes, largest, value)


def priced_by(problem: L2Problem, point: DualPoint, directions: Tensor) -> DualPoint:
    """Return a dual point whose price takes in the generators of more unit directions (k, n).

    Its value is then at most the loss of every net that is made of these generators (weak duality).
    """
    activations = problem.activate(directions @ problem.extended_inputs)
    sizes = (point.slopes @ activations.mT).norm(dim=0)
    largest = float(sizes.max()) if len(sizes) else 0.0
    return dual_point(problem, point.slopes, largest) if largest > point.largest else point
