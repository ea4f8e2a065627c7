r"""The tangent of a scalar FCN on a batch: outputs, and the Jacobian in factored form.

For a layer z_l = W_l A_{l-1} (scales absorbed in A), the Jacobian of output i with respect to W_l is the outer
product of the signal B_l[i] = df_i/dz_l and of A_{l-1}[i]. Products with it, and the tangent kernel
Theta_ij = sum_l (B_l[i] . B_l[j]) (A_{l-1}[i] . A_{l-1}[j]), never need the n x (number of weights) matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.nets.activations import Activation


class Tangent(NamedTuple):
    """Outputs (n,), and per layer the inputs A (n, n_{l-1}) and the signals B (n, n_l)."""

    outputs: Tensor
    inputs: tuple[Tensor, ...]
    signals: tuple[Tensor, ...]

    def select(self, rows: Tensor) -> Tangent:
        """Return the tangent on some of the points, given by indices or a mask."""
        return Tangent(
            self.outputs[rows], tuple(a[rows] for a in self.inputs), tuple(b[rows] for b in self.signals)
        )

    def pull_back(self, cotangent: Tensor) -> list[Tensor]:
        """Return J^T v, one tensor per weight matrix, for v (n,)."""
        return [(b * cotangent[:, None]).T @ a for a, b in zip(self.inputs, self.signals)]

    def push_forward(self, directions: Sequence[Tensor]) -> Tensor:
        """Return J u, shape (n,), for one direction per weight matrix."""
        terms = [
            (b * (a @ direction.T)).sum(1) for a, b, direction in zip(self.inputs, self.signals, directions)
        ]
        return torch.stack(terms).sum(0)

    def kernel_diagonal(self) -> Tensor:
        """Return the diagonal of the tangent kernel, shape (n,)."""
        terms = [a.square().sum(1) * b.square().sum(1) for a, b in zip(self.inputs, self.signals)]
        return torch.stack(terms).sum(0)

    def kernel(self, other: Tangent | None = None) -> Tensor:
        """Return the empirical tangent kernel (n, m) between these points and the other's (or themselves)."""
        other = other or self
        total = self.outputs.new_zeros(len(self.outputs), len(other.outputs))
        for a, b, a_other, b_other in zip(self.inputs, self.signals, other.inputs, other.signals):
            total += (a @ a_other.T).mul_(b @ b_other.T)
        return total


def fcn_tangent(
    weights: Sequence[Tensor], x: Tensor, *, scales: Sequence[float], activation: Activation
) -> Tangent:
    """Return the tangent of an FCN of one output at the given weights.

    Args:
        weights: W_l (n_l, n_{l-1}), the last with one row.
        x: Inputs (n, n_0).
        scales: Factor in front of each layer's product, as in `FCN.scales`.
        activation: Non-linearity of the hidden layers.
    """
    a = x if scales[0] == 1 else x * scales[0]
    inputs, slopes = [a], []
    for weight, scale in zip(weights[:-1], scales[1:]):
        value, slope = activation.value_and_slope(a @ weight.T)
        a = value.mul_(scale)
        inputs.append(a)
        slopes.append(slope.mul_(scale))
    outputs = (a @ weights[-1].T).squeeze(1)
    signal = torch.ones_like(outputs)[:, None]
    signals = [signal]
    for weight, slope in zip(reversed(weights[1:]), reversed(slopes)):
        signal = slope.mul_(signal @ weight)
        signals.insert(0, signal)
    return Tangent(outputs, tuple(inputs), tuple(signals))
