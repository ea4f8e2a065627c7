"""A preconditioner for K + ridge: a low-rank part of K from randomly chosen columns."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_ROUNDS = 8
"""Pivots are drawn in so many rounds, each after what the earlier ones leave of the diagonal."""

_JITTER = 1e-5
"""Share of their mean that is added to the diagonals of the pivots: entries are rounded to float32."""


class LowRank(NamedTuple):
    """K is about F F^T + remainder I.

    Attributes:
        factor: F, shape (n, k), float64.
        vectors: Eigenvectors of F^T F, shape (k, k).
        values: Its eigenvalues, shape (k,).
        remainder: Mean diagonal of K - F F^T, above 0.
    """

    factor: Tensor
    vectors: Tensor
    values: Tensor
    remainder: float

    def solve(self, vectors: Tensor, ridges: Tensor) -> Tensor:
        """Return (F F^T + remainder + ridge)^-1 v, each column with a ridge of its own.

        Args:
            vectors: v, shape (n, columns).
            ridges: Shape (columns,).

        Source:
            Woodbury's identity.
        """
        shifts = ridges + self.remainder
        inner = self.vectors.T @ (self.factor.T @ vectors)
        inner = self.vectors @ (inner / (self.values[:, None] + shifts))
        return (vectors - self.factor @ inner) / shifts


def low_rank(
    columns: Callable[[Tensor], Tensor], diagonal: Tensor, *, rank: int, generator: torch.Generator
) -> LowRank:
    """Find the low-rank part of a positive semi-definite matrix by randomly pivoted Cholesky, in blocks.

    Args:
        columns: Gives columns of the matrix by their places, shape (n, number of places).
        diagonal: Of the matrix, shape (n,), float64, not all zero.
        rank: Number of columns to use, at least 1; fewer are used where fewer tell the whole matrix.
        generator: Draws the places, in proportion to what is left of the diagonal.

    Source:
        Chen, Epperly, Tropp and Webber 2022 (arXiv 2207.06503), algorithm 2.2 (block RPCholesky).
    """
    n, left, used = len(diagonal), diagonal.clone(), 0
    rank, negligible = min(rank, n), _JITTER * float(diagonal.max())
    factor = diagonal.new_zeros(n, rank)
    while used < rank:
        weights = torch.where(left > negligible, left, 0.0)
        count = min(-(-rank // _ROUNDS), rank - used, int((weights > 0).sum()))
        if count == 0:
            break
        pivots = torch.multinomial(weights.cpu(), count, generator=generator).to(diagonal.device)
        part = columns(pivots).double() - factor[:, :used] @ factor[pivots, :used].T
        factor[:, used : used + count] = _over_root(part, part[pivots])
        left = (left - factor[:, used : used + count].square().sum(dim=1)).clamp_(min=0)
        used += count
    factor = factor[:, :used]
    values, vectors = torch.linalg.eigh(factor.T @ factor)
    return LowRank(factor, vectors, values.clamp_(min=0), max(float(left.mean()), negligible))


def _over_root(part: Tensor, core: Tensor) -> Tensor:
    """Return part R^-1 with R^T R = core, so that it times its transpose is part core^-1 part^T."""
    core = (core + core.T) / 2
    core.diagonal().add_(_JITTER * core.diagonal().mean())
    lower = torch.linalg.cholesky(core)
    found: Tensor = torch.linalg.solve_triangular(lower, part.T, upper=False).T
    return found
