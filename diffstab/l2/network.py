r"""The loss as a function of the weights, its gradient, initial weights and dead neurons.

A net is a list of weights W_l, shape (..., n_l, n_{l-1} + 1), whose last column belongs to the bias, or
(..., n_l, n_{l-1}) where the bias amount is 0. Leading dimensions are independent nets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.l2.problem import L2Problem

Widths = Sequence[int | Sequence[int]]
"""Nets by the widths of their hidden layers: a number for all of them, or one for each."""


def forward(problem: L2Problem, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the representations Z_1 ... Z_L, each (..., n_l, N), that weights W_1 ... W_L make of the inputs.

    Raises:
        ArgumentError: If the number or the shapes of the weights do not fit the problem.
    """
    check_weights(problem, weights)
    preactivations = [weights[0] @ problem.extended_inputs]
    for weight in weights[1:]:
        preactivations.append(weight @ problem.extended(problem.activate(preactivations[-1])))
    return preactivations


def apply(problem: L2Problem, weights: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Return the outputs Z_L (..., n_L, M) of a net on other inputs (n_0, M)."""
    check_weights(problem, weights)
    outputs = weights[0] @ problem.extended(inputs)
    for weight in weights[1:]:
        outputs = weight @ problem.extended(problem.activate(outputs))
    return outputs


def squared_norm(weights: Sequence[Tensor]) -> Tensor:
    """Return sum_l |W_l|_F^2, shape (...)."""
    total = weights[0].square().sum((-2, -1))
    for weight in weights[1:]:
        total = total + weight.square().sum((-2, -1))
    return total


def weight_loss(problem: L2Problem, weights: Sequence[Tensor]) -> Tensor:
    """Return C(Z_L) + lambda sum_l |W_l|_F^2, shape (...); differentiable by autograd.

    Raises:
        ArgumentError: If the number or the shapes of the weights do not fit the problem.
    """
    return problem.cost_of(forward(problem, weights)[-1]) + problem.penalty * squared_norm(weights)


def weight_gradient(
    problem: L2Problem, weights: Sequence[Tensor], *, shift: Tensor | None = None
) -> tuple[Tensor, Tensor, list[Tensor]]:
    r"""Return cost, loss and the gradient of the loss in every W_l, by back-propagation without autograd.

    Args:
        problem: The problem.
        weights: W_1 ... W_L, each (..., n_l, n_{l-1} + [b > 0]).
        shift: D, shape (..., n_L, N): the cost is taken at Z_L - D. None is 0.

    Returns:
        C (...), C + lambda sum_l |W_l|^2 (...), and the gradients.
    """
    # One product for all nets: a batched one would read the inputs again for each.
    rows = weights[0].reshape(-1, weights[0].shape[-1]) @ problem.extended_inputs
    preactivations, activations = [rows.view(*weights[0].shape[:-1], -1)], []
    for weight in weights[1:]:
        activations.append(problem.activate(preactivations[-1]))
        preactivations.append(_times_extended(problem, weight, activations[-1]))
    outputs = preactivations[-1] if shift is None else preactivations[-1] - shift
    cost, back = problem.cost_and_gradient(outputs)
    gradients = []
    for layer in range(problem.depth - 1, 0, -1):
        gradients.append(_against_extended(problem, back, activations[layer - 1]))
        width = activations[layer - 1].shape[-2]
        back = problem.through_slope(weights[layer][..., :width].mT @ back, preactivations[layer - 1])
    rows = back.reshape(-1, problem.points) @ problem.extended_inputs.mT
    gradients.append(rows.view(*back.shape[:-1], -1))
    for gradient, weight in zip(gradients, reversed(weights), strict=True):
        gradient.add_(weight, alpha=2 * problem.penalty)
    return cost, cost + problem.penalty * squared_norm(weights), gradients[::-1]


def _times_extended(problem: L2Problem, weight: Tensor, activations: Tensor) -> Tensor:
    """Return W [A; b 1^T] without making the extended matrix."""
    if problem.bias == 0:
        return weight @ activations
    return (weight[..., :-1] @ activations).add_(weight[..., -1:], alpha=problem.bias)


def _against_extended(problem: L2Problem, back: Tensor, activations: Tensor) -> Tensor:
    """Return G [A; b 1^T]^T without making the extended matrix."""
    product = back @ activations.mT
    if problem.bias == 0:
        return product
    return torch.cat([product, problem.bias * back.sum(-1, keepdim=True)], dim=-1)


def draw_weights(
    problem: L2Problem,
    hidden: int | Sequence[int],
    *,
    generator: torch.Generator,
    nets: int | None = None,
    gain: float = 1.0,
) -> list[Tensor]:
    r"""Draw Gaussian weights of variance gain^2 2 / (n_{l-1} + [b > 0]), bias columns included.

    Args:
        problem: Gives input and output widths, depth, type and device.
        hidden: Width of all hidden layers, or one for each.
        generator: Source of the draw, on any device.
        nets: Number of independent nets, a leading dimension; None for one net without it.
        gain: Factor on the standard deviation, > 0.

    Returns:
        W_1 ... W_L of the type and on the device of the problem's inputs.

    Raises:
        ArgumentError: If the widths do not fit.
    """
    widths = problem.widths(hidden if isinstance(hidden, int) else tuple(hidden))
    extra, lead = int(problem.bias > 0), () if nets is None else (nets,)
    weights = []
    for below, above in pairwise(widths):
        deviation = gain * math.sqrt(2 / (below + extra))
        shape, dtype = (*lead, above, below + extra), problem.inputs.dtype
        drawn = torch.randn(shape, generator=generator, dtype=dtype, device=generator.device)
        weights.append((deviation * drawn).to(problem.inputs.device))
    return weights


def widen(problem: L2Problem, weights: Sequence[Tensor], hidden: int | Sequence[int]) -> list[Tensor]:
    """Return a net with the same function and norm whose hidden layers are filled up with dead neurons.

    Args:
        problem: The problem.
        weights: W_1 ... W_L.
        hidden: Width of all hidden layers, or one for each, none below the present ones.

    Raises:
        ArgumentError: If a width is below the present one.
    """
    check_weights(problem, weights)
    widths = problem.widths(hidden if isinstance(hidden, int) else tuple(hidden))
    widened = []
    for weight, below, above in zip(weights, widths, widths[1:], strict=False):
        inner = weight.shape[-1] - int(problem.bias > 0)
        if inner > below or weight.shape[-2] > above:
            raise ArgumentError("hidden", "be no narrower than the net", hidden)
        wide = weight.new_zeros(*weight.shape[:-2], above, below + int(problem.bias > 0))
        wide[..., : weight.shape[-2], :inner] = weight[..., :inner]
        if problem.bias > 0:
            wide[..., : weight.shape[-2], -1] = weight[..., -1]
        widened.append(wide)
    return widened


def hidden_widths(weights: Sequence[Tensor]) -> tuple[int, ...]:
    """Return n_1 ... n_{L-1}."""
    return tuple(weight.shape[-2] for weight in weights[:-1])


def check_weights(problem: L2Problem, weights: Sequence[Tensor]) -> None:
    """Raise ArgumentError unless weights W_1 ... W_L fit each other and the problem."""
    if len(weights) != problem.depth:
        raise ArgumentError("weights", f"be {problem.depth} matrices", len(weights))
    extra = int(problem.bias > 0)
    below = problem.inputs.shape[0]
    for index, weight in enumerate(weights, start=1):
        if weight.ndim < 2 or weight.shape[-1] != below + extra:
            condition = f"have {below + extra} columns"
            raise ArgumentError(f"weights[{index - 1}]", condition, tuple(weight.shape))
        below = weight.shape[-2]
    if below != problem.outputs:
        raise ArgumentError(f"weights[{problem.depth - 1}]", f"have {problem.outputs} rows", below)
