"""Hermite series: the kernels of infinitely wide networks with the normalised softplus, tile by tile.

For jointly Gaussian p, q of variances v, w and correlation u,
E[g(p) h(q)] = sum over n of g_n(v) h_n(w) u^n, where g_n(v) is the coefficient of z -> g(sqrt(v) z) on
the normalised Hermite polynomial of degree n (Mehler's formula; O'Donnell, Analysis of Boolean Functions,
prop. 11.31). Cut off after any number of terms it is still a positive semi-definite kernel.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.nets.activations import Activation

_REACH = 13.0
"""The square root of the Gaussian density is below 1e-18 of its peak beyond this point."""

_RELATIVE_TAIL = 1e-10
"""Share of E[s^2] and of E[s'^2] that the dropped terms of the series may carry."""

_STEEPEST = 20.0
"""Largest beta * (standard deviation of a preactivation); the number of terms grows as its square."""


class HermiteLayer(NamedTuple):
    """What one hidden layer does to one set of points.

    Attributes:
        value: Coefficients of s(sqrt(v) z), shape (n, terms).
        slope: Coefficients of s'(sqrt(v) z), shape (n, terms).
        deviation: sqrt(E[s(sqrt(v) z)^2]), the standard deviation passed to the next layer, shape (n,).
    """

    value: Tensor
    slope: Tensor
    deviation: Tensor

    def at(self, points: slice) -> "HermiteLayer":
        """The layer on some of the points."""
        return HermiteLayer(self.value[points], self.slope[points], self.deviation[points])


def softplus_layers(deviation: Tensor, *, depth: int, beta: float) -> list[HermiteLayer]:
    """Hermite coefficients, layer by layer, of the softplus with E[s(z)^2] = 1 for z ~ N(0, 1).

    Args:
        deviation: Standard deviation of the first preactivation, |x|/sqrt(d), shape (n,), float64. All
            points that are to meet in one kernel go in together, as they share the number of terms.
        depth: Number of hidden layers, at least 1.
        beta: Steepness of the softplus, above 0.

    Returns:
        One entry per hidden layer.

    Raises:
        ArgumentError: The activation is too steep for a series of reasonable length.
    """
    layers = []
    for _ in range(depth):
        layers.append(_softplus_layer(deviation, beta))
        deviation = layers[-1].deviation
    return layers


def hermite_tile(
    cosine: Tensor,
    deviations: tuple[Tensor, Tensor],
    layers: list[tuple[HermiteLayer, HermiteLayer]],
    *,
    tangent: bool,
) -> Tensor:
    """Kernel of a deep network between points whose inputs have the given cosines.

    Args:
        cosine: Cosines of the inputs, shape (n, m), float64; overwritten.
        deviations: |x|/sqrt(d) of the rows (n,) and of the columns (m,).
        layers: Hidden layers for rows and columns.
        tangent: True for the tangent kernel, False for the random-feature kernel.

    Returns:
        Shape (n, m).
    """
    cosine.clamp_(-1, 1)
    kernel = cosine * torch.outer(*deviations)
    for row, column in layers:
        value = _series(row.value, column.value, cosine)
        if tangent:
            kernel.mul_(_series(row.slope, column.slope, cosine)).add_(value)
        else:
            kernel = value
        torch.div(value, torch.outer(row.deviation, column.deviation), out=cosine).clamp_(-1, 1)
    return kernel


def _series(rows: Tensor, columns: Tensor, cosine: Tensor) -> Tensor:
    """Sum over n of rows[i, n] columns[j, n] cosine[i, j]^n, by Horner's rule."""
    total = torch.zeros_like(cosine)
    # Terms lie one after another in memory: strided vectors take many times as long.
    for row, column in zip(*(part.T.contiguous().flip(0) for part in (rows, columns)), strict=True):
        total.mul_(cosine).addcmul_(row[:, None], column)
    return total


def _softplus_layer(deviation: Tensor, beta: float) -> HermiteLayer:
    steepness = beta * max(float(deviation.max()), 1.0)
    if steepness > _STEEPEST:
        raise ArgumentError(
            "beta",
            f"keep beta * max(1, largest |preactivation| deviation) at most {_STEEPEST:g}",
            f"{steepness:g}",
            "Scale the inputs to norm sqrt(d), lower beta, or use activation='relu', its limit.",
        )
    node, weighted_basis = _hermite_basis(steepness, deviation)
    value, slope = (
        on_nodes @ weighted_basis.T
        for on_nodes in Activation("softplus", beta).value_and_slope(deviation[:, None] * node)
    )
    terms = max(_terms(value), _terms(slope))
    value, slope = value[:, :terms].contiguous(), slope[:, :terms].contiguous()
    return HermiteLayer(value, slope, torch.linalg.vector_norm(value, dim=1))


def _hermite_basis(steepness: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes of the trapezoidal rule, and normalised Hermite polynomials times density and step, on them.

    The rule converges exponentially for functions analytic in the strip |Im z| < pi/steepness. The
    recurrence runs on h_n(z) sqrt(density), which stays bounded.
    """
    step = min(0.1, 0.4 / steepness)
    half = math.ceil(_REACH / step)
    node = torch.arange(-half, half + 1, dtype=like.dtype, device=like.device) * step
    root_density = torch.exp(-node.square() / 4) / (2 * math.pi) ** 0.25
    basis = [root_density, node * root_density]
    for n in range(1, math.ceil(16 * steepness**2) + 32):
        basis.append((node * basis[n] - math.sqrt(n) * basis[n - 1]) / math.sqrt(n + 1))
    return node, torch.stack(basis) * (root_density * step)


def _terms(coefficients: Tensor) -> int:
    """Number of leading terms after which every row's remaining sum of squares is negligible."""
    tail = coefficients.square().flip(1).cumsum(1).flip(1)
    needed = tail > _RELATIVE_TAIL * tail[:, :1]
    return int(needed.any(dim=0).sum())
