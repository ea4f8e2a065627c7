"""Arc-cosine recursion: the kernels of infinitely wide ReLU networks, tile by tile."""

import math

import torch
from torch import Tensor

_NEAR_PARALLEL = {torch.float64: 1e-6, torch.float32: 1e-3}
"""1 - |cosine| below which arccos loses digits: its error is (rounding error of the cosine) / angle."""

_PAIRS_AT_ONCE = 4096
"""Nearly parallel pairs handled together; bounds the memory when all points lie on one line."""


def arccosine_tile(rows: Tensor, columns: Tensor, *, depth: int, tangent: bool) -> Tensor:
    """Kernel of a deep ReLU network between unit vectors, without its factor 2^-depth.

    With angle a_0 between the vectors, k0(a) = (pi - a)/pi and k1(a) = (cos(a) (pi - a) + sin(a))/pi,
    layer l turns the angle a into arccos k1(a), the random-feature kernel into k1(a), and the tangent
    kernel t into t k0(a) + k1(a), starting from t = cos(a_0). For one hidden layer that is
    u k0 + k1 with u = cos(a_0).

    The recursion runs on angles, and the next angle comes from the gap 1 - k1(a), which keeps its
    relative accuracy at small angles where k1 itself is 1 to rounding.

    Args:
        rows: Unit vectors (or zero vectors), shape (n, d), float64 or float32.
        columns: The same, shape (m, d).
        depth: Number of hidden layers, at least 1.
        tangent: True for the tangent kernel t, False for the random-feature kernel.

    Returns:
        Shape (n, m).

    Source:
        Cho and Saul 2009, eqs. 3-6; Jacot, Gabriel and Hongler 2018, theorem 1.
    """
    cosine = (rows @ columns.T).clamp_(-1, 1)
    angle = accurate_angle(cosine, rows, columns)
    kernel = cosine.clone()
    for layer in range(1, depth + 1):
        sine, supplement = angle.sin(), math.pi - angle
        if tangent:
            kernel.mul_(supplement).add_(sine).addcmul_(cosine, supplement).div_(math.pi)
        if layer < depth:
            gap = _gap(angle, cosine, sine)
            angle = gap.div(2).sqrt_().arcsin_().mul_(2)
            cosine = 1 - gap
    return kernel if tangent else cosine.mul_(supplement).add_(sine).div_(math.pi)


def _gap(angle: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """1 - k1(angle) = 2 sin^2(angle/2) + (angle cos(angle) - sin(angle))/pi, accurate at small angles."""
    gap = (angle / 2).sin_().square_().mul_(2)
    return gap.addcmul_(angle, cosine, value=1 / math.pi).sub_(sine, alpha=1 / math.pi)


def accurate_angle(cosine: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Angle of each pair: arccos, but from the chord 2 sin(angle/2) where the two are nearly parallel."""
    angle = cosine.arccos()
    near = (cosine.abs() > 1 - _NEAR_PARALLEL[cosine.dtype]).nonzero()
    for pairs in torch.split(near, _PAIRS_AT_ONCE):
        i, j = pairs.unbind(dim=1)
        sign = cosine[i, j].sign()
        chord = torch.linalg.vector_norm(rows[i] - sign[:, None] * columns[j], dim=1)
        folded = chord.div_(2).clamp_(max=1).arcsin_().mul_(2)
        angle[i, j] = torch.where(sign > 0, folded, math.pi - folded)
    return angle
