r"""From covariances back to representations: Z with Z^T Z = K and s(Z)^T s(Z) = K^s - b^2 1 1^T.

Starts at Z = Q K^(1/2) with Q drawn of orthonormal columns, so that K is met at once, then Levenberg-Marquardt on
both equations, many starts together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.l2.covariances import CovariancePair, check_gram
from diffstab.l2.problem import L2Problem

LARGEST_SYSTEM = 2**25
"""Most entries of the Jacobian, 256 MB, up to which widths are searched."""

_STEPS = 100
_DAMPING = 1e-2
_LEAST_DAMPING, _MOST_DAMPING = 1e-12, 1e3  # above it a start is stuck at a kink of relu


@dataclass(frozen=True, eq=False)
class Goal:
    """The pair that a factor is to give, without bias, in units of |K|_F: float64, on the CPU.

    Args:
        problem: The problem, of a positively homogeneous activation.
        preactivations: K / |K|_F, shape (N, N).
        activations: (K^s - b^2 1 1^T) / |K|_F, shape (N, N).
        scale: |K|_F; 1 for the zero pair.
    """

    problem: L2Problem
    preactivations: Tensor
    activations: Tensor
    scale: float

    @cached_property
    def sizes(self) -> tuple[float, float]:
        """Frobenius norms that residuals are relative to; 1 for a zero matrix."""
        first, second = float(self.preactivations.norm()), float(self.activations.norm())
        return first or 1.0, second or 1.0

    @cached_property
    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """Row, column and weight of each entry of the upper triangle, the others being the same."""
        rows, columns = torch.triu_indices(len(self.preactivations), len(self.preactivations))
        return rows, columns, torch.where(rows == columns, 1.0, 2.0**0.5).double()

    def residuals(self, factor: Tensor) -> Tensor:
        """Return the relative residuals (..., N (N + 1)), whose norm is that of both equations, of Z (..., k, N)."""
        rows, columns, weight = self.entries
        parts = []
        pairs = ((factor, self.preactivations), (self.problem.activate(factor), self.activations))
        for (made, wanted), size in zip(pairs, self.sizes, strict=True):
            parts.append((made.mT @ made - wanted)[..., rows, columns] * (weight / size))
        return torch.cat(parts, dim=-1)

    def jacobian(self, factor: Tensor) -> Tensor:
        """Return the derivative (R, N (N + 1), k N) of the residuals at Z (R, k, N)."""
        rows, columns, weight = self.entries
        index, parts = torch.arange(len(rows)), []
        layers = (
            (factor, torch.ones_like(factor)),
            (self.problem.activate(factor), self.problem.slope(factor)),
        )
        for (values, slope), size in zip(layers, self.sizes, strict=True):
            part = factor.new_zeros(len(factor), len(rows), *factor.shape[1:])
            for one, other in ((rows, columns), (columns, rows)):
                part[:, index, :, other] += (values[..., one] * slope[..., other]).permute(2, 0, 1)
            parts.append(part.flatten(2) * (weight / size)[:, None])
        return torch.cat(parts, dim=1)

    def residual(self, factor: Tensor) -> float:
        """Return the relative residual of one factor (k, N)."""
        return float(self.residuals(factor).norm())


def check_pair(problem: L2Problem, pair: CovariancePair, *, tolerance: float) -> None:
    """Raise ArgumentError unless a pair is one of two covariances of N points, known to the tolerance."""
    if not problem.is_homogeneous:
        raise ArgumentError("activation", "be relu or linear for a rank", repr(problem.activation))
    for name, gram in zip(pair._fields, pair, strict=True):
        check_gram(name, gram, points=problem.points)
        if gram.ndim != 2:
            raise ArgumentError(name, "be one matrix", tuple(gram.shape))
        least = problem.points * torch.finfo(gram.dtype).eps
        if not least <= tolerance < 1:
            raise ArgumentError("tolerance", f"lie in [{least:.2g}, 1), above the rounding", tolerance)


def goal_of(problem: L2Problem, pair: CovariancePair, *, tolerance: float) -> Goal:
    """Return the goal of a pair, after checking what every pair in the cone satisfies.

    Raises:
        ArgumentError: If the activation is not homogeneous, a matrix is not a covariance of N points, the tolerance
            is below the rounding of the pair's type, or the pair is not in the cone: K^s - b^2 1 1^T has negative
            eigenvalues, or a diagonal above that of K.
    """
    check_pair(problem, pair, tolerance=tolerance)
    above, activated = (gram.detach().double().cpu() for gram in pair)
    values, basis = torch.linalg.eigh(activated - problem.bias**2)
    size = max(float(values[-1]), float(above.diagonal().max()))
    rounding = problem.points * torch.finfo(pair.activations.dtype).eps * float(activated.norm())
    if problem.bias > 0 and above.any() and rounding > tolerance * float(above.norm()):
        condition = "exceed the rounding of the activations' covariance, which the bias rules"
        way_out = "Give the representations, or the pair without bias."
        raise ArgumentError("preactivations", condition, f"a norm {float(above.norm()):.2g}", way_out)
    if values[0] < -tolerance * size:
        condition = "exceed b^2 1 1^T (be in the cone)"
        raise ArgumentError(
            "activations", condition, f"an eigenvalue {float(values[0]):.2g} of the difference"
        )
    below = (basis * values.clamp_min(0)) @ basis.mT
    if (below.diagonal() > above.diagonal() + tolerance * size).any():
        raise ArgumentError("activations", "have no larger diagonal than the preactivations", "a larger one")
    scale = float(above.norm()) or 1.0
    return Goal(problem, above / scale, below / scale, scale)


def factorise(
    problem: L2Problem,
    pair: CovariancePair,
    width: int,
    *,
    generator: torch.Generator,
    restarts: int = 16,
    tolerance: float = 1e-6,
) -> Tensor:
    """Return Z, shape (width, N) float64, with Z^T Z = K and s(Z)^T s(Z) = K^s - b^2 1 1^T: the map back to neurons.

    Args:
        problem: The problem, of a positively homogeneous activation.
        pair: (K, K^s) of one layer, the bias included.
        width: Number of neurons, at least 1.
        generator: CPU generator of the starts.
        restarts: Number of starts, at least 1.
        tolerance: Largest relative residual, |Delta K|_F / |K|_F and the same of K^s together.

    Raises:
        ArgumentError: If the pair is no pair of covariances, or a number is out of range.
        DegenerateError: If no start reached the tolerance: the pair needs more neurons, or more starts.
    """
    if width < 1 or restarts < 1:
        raise ArgumentError("width and restarts", "be at least 1", (width, restarts))
    goal = goal_of(problem, pair, tolerance=tolerance)
    factor, residual = fit(
        goal, draw_factors(goal, width, restarts, generator=generator), tolerance=tolerance
    )
    if residual > tolerance:
        way_out = "Its rank may be larger (see rank_bounds), or it takes more restarts."
        raise DegenerateError(
            f"No factor of width {width} found: the best has a residual {residual:.2g}. {way_out}"
        )
    return factor * math.sqrt(goal.scale)


def draw_factors(goal: Goal, width: int, count: int, *, generator: torch.Generator) -> Tensor:
    """Return starts (count, width, N): rotations of K^(1/2), which give K where the width is at least its rank."""
    values, basis = torch.linalg.eigh(goal.preactivations)
    root = (basis * values.clamp_min(0).sqrt()).mT[-width:]
    shape = (count, width, len(root))
    drawn = torch.randn(shape, generator=generator, dtype=root.dtype, device=generator.device).to(root.device)
    rotation, triangle = torch.linalg.qr(drawn)
    signs = triangle.diagonal(dim1=-2, dim2=-1).sign()  # makes the rotation uniform; LAPACK fixes signs
    starts: Tensor = (rotation * signs[:, None, :]) @ root
    return starts


def fit(goal: Goal, starts: Tensor, *, tolerance: float) -> tuple[Tensor, float]:
    """Return the factor (k, N) of least residual that Levenberg-Marquardt reaches from starts (R, k, N), and it."""
    factor, damping = starts, starts.new_full((len(starts),), _DAMPING)
    residuals = goal.residuals(factor)
    best, least = factor[0], math.inf
    for _ in range(_STEPS):
        trial = _step(goal, factor, residuals, damping)
        moved = goal.residuals(trial)
        better = moved.norm(dim=1) < residuals.norm(dim=1)
        factor = torch.where(better[:, None, None], trial, factor)
        residuals = torch.where(better[:, None], moved, residuals)
        damping = torch.where(better, (damping / 4).clamp_min(_LEAST_DAMPING), damping * 4)
        value, index = residuals.norm(dim=1).min(dim=0)
        if value < least:
            best, least = factor[index], float(value)
        moving = damping < _MOST_DAMPING
        if least <= 1e-3 * tolerance or not moving.any():
            break
        factor, residuals, damping = factor[moving], residuals[moving], damping[moving]
    return best, least


def _step(goal: Goal, factor: Tensor, residuals: Tensor, damping: Tensor) -> Tensor:
    """Return Z - J^T (J J^T + damping)^{-1} r, from the smaller of the two systems that give it."""
    jacobian = goal.jacobian(factor)
    rows, columns = jacobian.shape[1:]
    damped = damping[:, None, None] * torch.eye(min(rows, columns), dtype=factor.dtype)
    if rows <= columns:
        dual = torch.linalg.solve(jacobian @ jacobian.mT + damped, residuals[..., None])
        step = jacobian.mT @ dual
    else:
        step = torch.linalg.solve(jacobian.mT @ jacobian + damped, jacobian.mT @ residuals[..., None])
    moved: Tensor = factor - step.reshape(factor.shape)
    return moved
