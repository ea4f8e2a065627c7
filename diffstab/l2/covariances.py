r"""Second reformulation: the loss as a function of the hidden covariances (K_l, K_l^s) and the outputs.

C(Z_L) + lambda sum_l Tr[K_l (K_{l-1}^s)^+], with K_l = Z_l^T Z_l, K_l^s = s(Z_l)^T s(Z_l) + b^2 1 1^T, K_L = Z_L^T Z_L,
over pairs (K_l, K_l^s - b^2 1 1^T) in the conical hull of {(z z^T, s(z) s(z)^T)}, for positively homogeneous s.

Source: Jacot et al. 2022 (arXiv 2205.15809), Proposition 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.l2.inverse import EXACT, Inverse
from diffstab.l2.problem import L2Problem
from diffstab.l2.representations import FEASIBLE, check_representations


class CovariancePair(NamedTuple):
    """The covariances of a hidden layer on N points.

    Attributes:
        preactivations: K = Z^T Z, shape (..., N, N).
        activations: K^s = s(Z)^T s(Z) + b^2 1 1^T, shape (..., N, N): with the bias.
    """

    preactivations: Tensor
    activations: Tensor


def covariance_pair(problem: L2Problem, preactivations: Tensor) -> CovariancePair:
    """Return (K, K^s) of one layer's Z, shape (..., n, N)."""
    extended = problem.extended(problem.activate(preactivations))
    return CovariancePair(preactivations.mT @ preactivations, extended.mT @ extended)


def covariances_of(problem: L2Problem, representations: Sequence[Tensor]) -> list[CovariancePair]:
    """Return the pairs (K_l, K_l^s) of the hidden layers l = 1 ... L - 1 of representations Z_1 ... Z_L."""
    check_representations(problem, representations)
    return [covariance_pair(problem, z) for z in representations[:-1]]


def covariance_loss(
    problem: L2Problem,
    pairs: Sequence[CovariancePair],
    outputs: Tensor,
    *,
    inverse: Inverse = EXACT,
) -> Tensor:
    r"""Return C(Z_L) + lambda sum_l Tr[K_l (K_{l-1}^s)^+], shape (...).

    Membership of the cone is not checked here: it is as hard as the rank (see `diffstab.l2.rank`).

    Args:
        problem: The problem, of a positively homogeneous activation.
        pairs: (K_l, K_l^s) of the L - 1 hidden layers, the bias included in K^s.
        outputs: Z_L, shape (..., n_L, N).
        inverse: Tolerance of the eigenvalues, or Tikhonov term.

    Raises:
        ArgumentError: If the activation is not homogeneous, the shapes do not fit, a matrix is not symmetric
            positive semi-definite, or Im K_l is not in Im K_{l-1}^s: the loss is infinite there.
    """
    if not problem.is_homogeneous:
        raise ArgumentError("activation", "be relu or linear for covariances", repr(problem.activation))
    if len(pairs) != problem.depth - 1:
        raise ArgumentError("pairs", f"be those of {problem.depth - 1} hidden layers", len(pairs))
    for layer, pair in enumerate(pairs, start=1):
        for name, gram in zip(pair._fields, pair, strict=True):
            check_gram(f"{name} of layer {layer}", gram, points=problem.points)
    below = [problem.extended_inputs.mT @ problem.extended_inputs, *(pair.activations for pair in pairs)]
    above = [*(pair.preactivations for pair in pairs), outputs.mT @ outputs]
    total = problem.cost_of(outputs)
    for layer, (gram, base) in enumerate(zip(above, below, strict=True), start=1):
        inverted = inverse.of_gram(base)
        if inverse.tikhonov == 0:
            _check_image(layer, gram, inverse.image(base))
        total = total + problem.penalty * (gram * inverted).sum((-2, -1))
    return total


def _check_image(layer: int, gram: Tensor, projector: Tensor) -> None:
    """Raise ArgumentError unless Im K_l lies in the space that a projector (..., N, N) projects onto."""
    trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    outside = trace - (gram * projector.mT).sum((-2, -1))
    share = float((outside.clamp_min(0) / torch.where(trace > 0, trace, 1)).sqrt().detach().max())
    if share > max(FEASIBLE, 8 * (gram.shape[-1] * torch.finfo(gram.dtype).eps) ** 0.5):
        condition = "lie in the image of the activations' covariance below"
        way_out = "The loss is infinite there, or rounding hides it. Give a Tikhonov term."
        raise ArgumentError(
            f"covariance of layer {layer}", condition, f"a share {share:.2g} outside", way_out
        )


def check_gram(name: str, gram: Tensor, *, points: int) -> None:
    """Raise ArgumentError unless a matrix (..., N, N) is finite, symmetric and positive semi-definite to rounding."""
    if gram.ndim < 2 or gram.shape[-2:] != (points, points) or not gram.is_floating_point():
        raise ArgumentError(name, f"be a floating matrix ({points}, {points})", tuple(gram.shape))
    if not gram.isfinite().all():
        raise ArgumentError(name, "be finite", "NaN or infinite entries")
    size = gram.abs().amax((-2, -1), keepdim=True)
    rounding = 64 * points * torch.finfo(gram.dtype).eps
    if ((gram - gram.mT).abs() > rounding * size).any():
        raise ArgumentError(name, "be symmetric", "another matrix")
    if (torch.linalg.eigvalsh(gram)[..., 0] < -rounding * size[..., 0, 0]).any():
        raise ArgumentError(name, "be positive semi-definite", "a negative eigenvalue")
