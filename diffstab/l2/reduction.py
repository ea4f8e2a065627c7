r"""Inputs in coordinates of the space that they span: fewer of them, the same minima.

With X = V X' for orthonormal columns V, weights W_1' = W_1 V give W_1 X = W_1' X' and |W_1'|_F <= |W_1|_F, with
equality where the rows of W_1 lie in the span: the part outside changes nothing but the penalty, so it is zero at
every minimum, and the loss has the same minima in both coordinates. The bias column is left alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError


class ReducedInputs(NamedTuple):
    """Inputs in the coordinates of their span.

    Attributes:
        inputs: X' = V^T X, shape (rank, N).
        basis: V, shape (n_0, rank), orthonormal columns; other inputs become V^T x, and weights W_1 = W_1' V^T.
    """

    inputs: Tensor
    basis: Tensor


def reduced_inputs(inputs: Tensor) -> ReducedInputs:
    """Return inputs in an orthonormal basis of their span; as they are where they span the whole space.

    Args:
        inputs: X, shape (n_0, N), floating, finite.

    Returns:
        The reduced inputs and the basis. Directions whose singular value is rounding are left out.

    Raises:
        ArgumentError: If the inputs are no finite floating matrix, or all zero.
    """
    if inputs.ndim != 2 or 0 in inputs.shape or not inputs.is_floating_point():
        received = f"{tuple(inputs.shape)} of {inputs.dtype}"
        raise ArgumentError("inputs", "be a floating matrix (features, points), not empty", received)
    if not inputs.isfinite().all():
        raise ArgumentError("inputs", "be finite", "NaN or infinite entries")
    left, sizes, right = torch.linalg.svd(inputs, full_matrices=False)
    kept = sizes > max(inputs.shape) * torch.finfo(inputs.dtype).eps * sizes[0]
    rank = int(kept.sum())
    if rank == 0:
        raise ArgumentError("inputs", "not be all zero", "zeros")
    if rank == inputs.shape[0]:
        return ReducedInputs(inputs, torch.eye(rank, dtype=inputs.dtype, device=inputs.device))
    return ReducedInputs(sizes[:rank, None] * right[:rank], left[:, :rank])
