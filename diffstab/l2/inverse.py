"""Pseudo-inverses of Gram matrices with a stated tolerance, or their Tikhonov form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffstab.errors import ArgumentError


@dataclass(frozen=True)
class Inverse:
    r"""How K^+ is computed for a positive semi-definite K = B^T B.

    With tikhonov = 0: Moore-Penrose; singular values of B below `tolerance` times the largest count as zero
    (eigenvalues of K below tolerance^2 times the largest). With tikhonov = e > 0: (K + e I)^{-1}, which needs no
    tolerance and is continuous where the rank of K changes.

    Args:
        tolerance: Relative, in [0, 1); None is max(rows, columns) of B times the rounding unit of its type, and
            for a K whose B is not at hand the square root of N times the rounding unit.
        tikhonov: e >= 0, absolute.

    Raises:
        ArgumentError: If a value is out of range.
    """

    tolerance: float | None = None
    tikhonov: float = 0.0

    def __post_init__(self) -> None:
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise ArgumentError("tolerance", "be None or lie in [0, 1)", self.tolerance)
        if not (self.tikhonov >= 0 and math.isfinite(self.tikhonov)):
            raise ArgumentError("tikhonov", "be finite and at least 0", self.tikhonov)

    def times_factor(self, left: Tensor, factor: Tensor) -> Tensor:
        r"""Return Z B^+, shape (..., m, k), for Z (..., m, N) and B (..., k, N); Z B^T (B^T B + e)^{-1} for e > 0."""
        rotated, values, basis = torch.linalg.svd(factor, full_matrices=False)
        product: Tensor = (
            (left @ basis.mT) * self._reciprocal(values, factor.shape).unsqueeze(-2)
        ) @ rotated.mT
        return product

    def row_space(self, factor: Tensor) -> Tensor:
        """Return the orthogonal projector (..., N, N) onto the row space of B (..., k, N)."""
        _, values, basis = torch.linalg.svd(factor, full_matrices=False)
        kept = (values > self._threshold(values, factor.shape)).to(factor.dtype)
        projector: Tensor = (basis.mT * kept.unsqueeze(-2)) @ basis
        return projector

    def of_gram(self, gram: Tensor) -> Tensor:
        """Return K^+ or (K + e I)^{-1}, shape (..., N, N), of a symmetric positive semi-definite K."""
        if self.tikhonov > 0:
            shifted = gram + self.tikhonov * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
            solved: Tensor = torch.linalg.inv(shifted)
            return solved
        values, basis = torch.linalg.eigh((gram + gram.mT) / 2)
        kept = self._counts(values)
        inverted = torch.where(kept, 1 / torch.where(kept, values, 1), 0)
        inverse: Tensor = (basis * inverted.unsqueeze(-2)) @ basis.mT
        return inverse

    def image(self, gram: Tensor) -> Tensor:
        """Return the orthogonal projector (..., N, N) onto the image of a symmetric positive semi-definite K."""
        values, basis = torch.linalg.eigh((gram + gram.mT) / 2)
        projector: Tensor = (basis * self._counts(values).to(gram.dtype).unsqueeze(-2)) @ basis.mT
        return projector

    def _counts(self, values: Tensor) -> Tensor:
        """Return which eigenvalues of K, rising, do not count as zero."""
        rounding = values.shape[-1] * torch.finfo(values.dtype).eps
        relative = rounding if self.tolerance is None else max(self.tolerance**2, rounding)
        return values > relative * values[..., -1:].clamp_min(0)

    def _threshold(self, values: Tensor, shape: torch.Size) -> Tensor:
        rounding = max(shape[-2:]) * torch.finfo(values.dtype).eps
        return (rounding if self.tolerance is None else self.tolerance) * values[..., :1]

    def _reciprocal(self, values: Tensor, shape: torch.Size) -> Tensor:
        """Return 1 / s, zero where s counts as zero, or s / (s^2 + e)."""
        if self.tikhonov > 0:
            return values / (values.square() + self.tikhonov)
        kept = values > self._threshold(values, shape)
        return torch.where(kept, 1 / torch.where(kept, values, 1), 0)


EXACT = Inverse()
"""The Moore-Penrose inverse with the default tolerance."""
