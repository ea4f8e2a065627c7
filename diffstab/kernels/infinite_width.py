"""Kernels of infinitely wide fully connected networks: the exact lazy limit of any depth.

Normalisation. The network of hidden widths H_1 ... H_L (all growing) is

    z_1 = theta_1 x / sqrt(d),    z_l = theta_l s(z_{l-1}) / sqrt(H_{l-1}),    f = w . s(z_L) / sqrt(H_L),

every weight a standard Gaussian, no biases, s either the plain max(0, z) (no factor sqrt 2) or the softplus
scaled to E[s(z)^2] = 1 for z ~ N(0, 1). Its kernels are

    random features    Sigma_l(x, y) = E[s(p) s(q)],  (p, q) ~ N(0, Sigma_{l-1}),    Sigma_0 = x . y / d,
    tangent            Theta_l = Sigma_l + Theta_{l-1} E[s'(p) s'(q)],               Theta_0 = Sigma_0.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffstab.diffeo.precision import in_double
from diffstab.errors import ArgumentError
from diffstab.kernels.arccosine import arccosine_tile
from diffstab.kernels.hermite import hermite_tile, softplus_layers

_TILE = 512
"""Side of the square blocks of the Gram matrix: 2 MB each, so that all passes over one stay in the cache."""


class UnitPoints(NamedTuple):
    """Points as directions and lengths.

    Attributes:
        direction: Unit vectors, or zero vectors, shape (n, d).
        deviation: |x|/sqrt(d), the standard deviation of the first preactivation, shape (n,).
    """

    direction: Tensor
    deviation: Tensor


TileKernel = Callable[[slice, slice], Tensor]
"""Entries of the kernel at slices of rows and columns."""


def ntk(
    x: Tensor, y: Tensor | None = None, *, depth: int = 1, activation: str = "relu", beta: float = 5.0
) -> Tensor:
    """Neural tangent kernel of the infinitely wide network: all its weights are trained.

    One hidden layer of ReLU: K(x, y) = |x||y|/(2d) (u k0(u) + k1(u)), u the cosine of the angle,
    k0 = (pi - arccos u)/pi, k1 = (u (pi - arccos u) + sqrt(1 - u^2))/pi. Deeper: the recursion in the
    module's docstring. ReLU kernels are homogeneous: K(ax, by) = ab K(x, y) for a, b >= 0; a zero vector
    has kernel 0 with everything.

    Computed in float64 and in blocks: besides the result only a few blocks and one copy of the inputs are
    held. No gradient flows through it.

    Args:
        x: Points, shape (n, ...), floating point, flattened to (n, d). No bias is added.
        y: Points, shape (m, ...) of the same d; x itself when None, at half the work.
        depth: Number of hidden layers, at least 1.
        activation: "relu" (plain) or "softplus" (scaled to unit second moment; a series of about
            11 (beta |x|/sqrt(d))^2 terms, so dozens of times slower).
        beta: Steepness of the softplus; not used by "relu".

    Returns:
        Gram matrix, shape (n, m), float64, on the device of x (the CPU where that has no float64); exactly symmetric
        when y is None.

    Raises:
        ArgumentError: Not floating point, not finite, different dimensions, an unknown activation, or a
            depth or beta out of range.

    Source:
        Jacot, Gabriel and Hongler 2018 (arXiv 1806.07572), theorem 1; Cho and Saul 2009; Petrini et al. 2022
        (arXiv 2206.12314) for the one-hidden-layer normalisation.
    """
    return _kernel(x, y, depth=depth, activation=activation, beta=beta, tangent=True)


def random_feature_kernel(
    x: Tensor, y: Tensor | None = None, *, depth: int = 1, activation: str = "relu", beta: float = 5.0
) -> Tensor:
    """Kernel of the infinitely wide network of which only the last layer is trained.

    One hidden layer of ReLU: K(x, y) = |x||y|/(2d) k1(u); deeper: Sigma_L of the module's docstring. It is
    also the covariance of the outputs of the random network.

    Args:
        x: Points, shape (n, ...), floating point, flattened to (n, d).
        y: Points, shape (m, ...) of the same d; x itself when None.
        depth: Number of hidden layers, at least 1.
        activation: "relu" or "softplus", as in `ntk`.
        beta: Steepness of the softplus; not used by "relu".

    Returns:
        Gram matrix, shape (n, m), float64, on the device of x (the CPU where that has no float64).

    Raises:
        ArgumentError: As in `ntk`.

    Source:
        Cho and Saul 2009, arc-cosine kernel of order 1, halved.
    """
    return _kernel(x, y, depth=depth, activation=activation, beta=beta, tangent=False)


@torch.no_grad()
def _kernel(
    x: Tensor, y: Tensor | None, *, depth: int, activation: str, beta: float, tangent: bool
) -> Tensor:
    if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 1:
        raise ArgumentError("depth", "be an integer >= 1, the number of hidden layers", repr(depth))
    rows = unit_points("x", x)
    columns = rows if y is None else unit_points("y", y)
    if rows.direction.shape[1] != columns.direction.shape[1]:
        raise ArgumentError(
            "y", f"have the dimension of x, {rows.direction.shape[1]}", columns.direction.shape[1]
        )
    if activation == "relu":
        tile = relu_tiles(rows, columns, depth, tangent)
    elif activation == "softplus":
        tile = _softplus_tiles(rows, columns, depth, beta, tangent)
    else:
        raise ArgumentError("activation", "be 'relu' or 'softplus'", repr(activation))
    return fill(rows, columns, tile, symmetric=y is None)


def unit_points(name: str, x: Tensor) -> UnitPoints:
    """Split checked points into directions (zero vectors stay zero) and lengths over sqrt(d)."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        received = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ArgumentError(name, "be a floating-point tensor", received, "Convert images to floats first.")
    if x.ndim < 2 or x[0:1].numel() == 0:
        raise ArgumentError(name, "have shape (n, ...) with n and all sizes >= 1", tuple(x.shape))
    flat = in_double(x.flatten(1))
    # Scaled by the largest entry first: squares of entries below 1e-154 are zero.
    largest = flat.abs().amax(dim=1, keepdim=True)
    scaled = flat / torch.where(largest > 0, largest, 1.0)
    length = torch.linalg.vector_norm(scaled, dim=1)
    norm = length * largest[:, 0]
    if not bool(norm.isfinite().all()):
        raise ArgumentError(name, "be finite", "NaN or infinite entries, or norms that overflow")
    direction = scaled / torch.where(length > 0, length, 1.0)[:, None]
    return UnitPoints(direction, norm / flat.shape[1] ** 0.5)


def relu_tiles(rows: UnitPoints, columns: UnitPoints, depth: int, tangent: bool) -> TileKernel:
    """Return the relu kernel of slices of two sets of points, in the floating type of these."""

    def tile(i: slice, j: slice) -> Tensor:
        kernel = arccosine_tile(rows.direction[i], columns.direction[j], depth=depth, tangent=tangent)
        scale = rows.deviation[i] * 0.5**depth
        return kernel.mul_(scale[:, None]).mul_(columns.deviation[j])

    return tile


def _softplus_tiles(
    rows: UnitPoints, columns: UnitPoints, depth: int, beta: float, tangent: bool
) -> TileKernel:
    if not 0 < beta < float("inf"):
        raise ArgumentError("beta", "be positive and finite", beta)
    n = rows.deviation.shape[0]
    both = rows.deviation if rows is columns else torch.cat([rows.deviation, columns.deviation])
    layers = softplus_layers(both, depth=depth, beta=beta)
    first_column = 0 if rows is columns else n

    def tile(i: slice, j: slice) -> Tensor:
        cosine = rows.direction[i] @ columns.direction[j].T
        shifted = slice(j.start + first_column, j.stop + first_column)
        pairs = [(layer.at(i), layer.at(shifted)) for layer in layers]
        return hermite_tile(cosine, (rows.deviation[i], columns.deviation[j]), pairs, tangent=tangent)

    return tile


def fill(rows: UnitPoints, columns: UnitPoints, tile: TileKernel, *, symmetric: bool) -> Tensor:
    """Return the matrix (n, m) from its tiles; the lower ones are mirrored when it is symmetric."""
    n, m = rows.deviation.shape[0], columns.deviation.shape[0]
    gram = torch.empty(n, m, dtype=rows.deviation.dtype, device=rows.deviation.device)
    for i_start in range(0, n, _TILE):
        i = slice(i_start, min(i_start + _TILE, n))
        for j_start in range(i_start if symmetric else 0, m, _TILE):
            j = slice(j_start, min(j_start + _TILE, m))
            block = tile(i, j)
            if symmetric and i == j:
                block = (block + block.T).div_(2)
            gram[i, j] = block
            if symmetric and i != j:
                gram[j, i] = block.T
    return gram
