r"""First reformulation: the loss as a function of the representations Z_1 ... Z_L of the training points.

C(Z_L) + lambda sum_l |Z_l (Z_{l-1}^s)^+|_F^2 subject to Im Z_l^T in Im (Z_{l-1}^s)^T, with Z_l^s = [s(Z_l); b 1^T].

Source: Jacot et al. 2022 (arXiv 2205.15809), Proposition 1 and section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.l2.inverse import EXACT, Inverse
from diffstab.l2.problem import L2Problem

FEASIBLE = 1e-6
"""Largest share of a representation outside the row space that counts as rounding."""


def factors(problem: L2Problem, representations: Sequence[Tensor]) -> list[Tensor]:
    """Return Z_0^s ... Z_{L-1}^s, whose row spaces the representations Z_1 ... Z_L must lie in.

    Raises:
        ArgumentError: If the number or the shapes of the representations do not fit the problem.
    """
    check_representations(problem, representations)
    below = [problem.extended(problem.activate(z)) for z in representations[:-1]]
    lead = representations[0].shape[:-2]
    return [problem.extended_inputs.expand(*lead, -1, -1), *below]


def weights_of(
    problem: L2Problem, representations: Sequence[Tensor], *, inverse: Inverse = EXACT
) -> list[Tensor]:
    """Return the weights W_l = Z_l (Z_{l-1}^s)^+ of least norm that make these representations.

    Args:
        problem: The problem.
        representations: Z_1 ... Z_L, each (..., n_l, N).
        inverse: Tolerance, or Tikhonov term.

    Returns:
        W_1 ... W_L; they give the representations back where the row space constraint holds.

    Raises:
        ArgumentError: If the shapes do not fit the problem.
    """
    below = factors(problem, representations)
    return [inverse.times_factor(z, factor) for z, factor in zip(representations, below, strict=True)]


def representation_loss(
    problem: L2Problem, representations: Sequence[Tensor], *, inverse: Inverse = EXACT
) -> Tensor:
    r"""Return C(Z_L) + lambda sum_l |Z_l (Z_{l-1}^s)^+|_F^2, shape (...).

    With a Tikhonov term e the penalty is sum_l Tr[Z_l^T Z_l (K_{l-1}^s + e I)^{-1}], finite everywhere, and no
    constraint is checked: it is the penalty of weights that may miss Z_l at a cost |residual|^2 / e.

    Args:
        problem: The problem.
        representations: Z_1 ... Z_L, each (..., n_l, N).
        inverse: Tolerance, or Tikhonov term.

    Raises:
        ArgumentError: If the shapes do not fit, or without a Tikhonov term a row space constraint is violated:
            the loss is infinite there.
    """
    if inverse.tikhonov == 0:
        share = float(constraint_violation(problem, representations, inverse=inverse).detach().max())
        if share > FEASIBLE:
            condition = "have Im Z_l^T in Im (Z_{l-1}^s)^T"
            way_out = "The loss is infinite there. Call project(), or give a Tikhonov term."
            raise ArgumentError(
                "representations", condition, f"a share {share:.2g} outside the row space", way_out
            )
    return problem.cost_of(representations[-1]) + problem.penalty * representation_cost_terms(
        problem, representations, inverse=inverse
    ).sum(-1)


def representation_cost_terms(
    problem: L2Problem, representations: Sequence[Tensor], *, inverse: Inverse = EXACT
) -> Tensor:
    r"""Return the layers' terms |Z_l (Z_{l-1}^s)^+|_F^2, or Tr[Z_l^T Z_l (K_{l-1}^s + e I)^{-1}], shape (..., L)."""
    terms = []
    for z, factor in zip(representations, factors(problem, representations), strict=True):
        if inverse.tikhonov == 0:
            terms.append(inverse.times_factor(z, factor).square().sum((-2, -1)))
        else:
            terms.append((z * (z @ inverse.of_gram(factor.mT @ factor))).sum((-2, -1)))
    return torch.stack(terms, dim=-1)


def constraint_violation(
    problem: L2Problem, representations: Sequence[Tensor], *, inverse: Inverse = EXACT
) -> Tensor:
    """Return |Z_l (1 - P_{l-1})| / |Z_l|, shape (..., L), P projecting onto the row space below; 0 for Z = 0."""
    shares = []
    for z, factor in zip(representations, factors(problem, representations), strict=True):
        outside = (z - z @ inverse.row_space(factor)).square().sum((-2, -1)).sqrt()
        size = z.square().sum((-2, -1)).sqrt()
        shares.append(torch.where(size > 0, outside / torch.where(size > 0, size, 1), 0))
    return torch.stack(shares, dim=-1)


def project(
    problem: L2Problem, representations: Sequence[Tensor], *, inverse: Inverse = EXACT
) -> list[Tensor]:
    """Return representations whose rows are projected, from the first layer to the last, onto the row space below.

    Source: Jacot et al. 2022, section 3.3.
    """
    check_representations(problem, representations)
    projected: list[Tensor] = []
    below = problem.extended_inputs.expand(*representations[0].shape[:-2], -1, -1)
    for z in representations:
        projected.append(z @ inverse.row_space(below))
        below = problem.extended(problem.activate(projected[-1]))
    return projected


def check_representations(problem: L2Problem, representations: Sequence[Tensor]) -> None:
    """Raise ArgumentError unless Z_1 ... Z_L fit the problem."""
    if len(representations) != problem.depth:
        raise ArgumentError("representations", f"be {problem.depth} matrices", len(representations))
    for index, z in enumerate(representations):
        if z.ndim < 2 or z.shape[-1] != problem.points:
            raise ArgumentError(f"representations[{index}]", f"have {problem.points} columns", tuple(z.shape))
    if representations[-1].shape[-2] != problem.outputs:
        received = representations[-1].shape[-2]
        raise ArgumentError(f"representations[{problem.depth - 1}]", f"have {problem.outputs} rows", received)
