"""Preconditioned conjugate gradients for many right-hand sides, each with a ridge of its own."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_AIM = 0.9
"""Share of the tolerance at which the recurrence for the residual stops: the true residual differs a little."""


class System(NamedTuple):
    """(K + ridge_c) x_c = y_c.

    Attributes:
        product: K v in float64, fast: with the rounding of float32, say.
        checked: The same, accurate: what residuals are reported of.
        precondition: About (K + ridge)^-1 v, symmetric and positive definite, from vectors and their ridges.
        targets: y, shape (n, columns), float64.
        ridges: Shape (columns,).
    """

    product: Callable[[Tensor], Tensor]
    checked: Callable[[Tensor], Tensor]
    precondition: Callable[[Tensor, Tensor], Tensor]
    targets: Tensor
    ridges: Tensor

    def missed(self, solution: Tensor) -> Tensor:
        """Return y - (K + ridge) x, shape (n, columns)."""
        return self.targets - self.checked(solution) - self.ridges * solution


class Iterate(NamedTuple):
    """Where the iteration stands; it goes on from here as if it had never stopped.

    Attributes:
        solution: x, shape (n, columns).
        residual: By its recurrence, likewise.
        direction: Of the next step, likewise.
        overlap: Residual times preconditioned residual, shape (columns,).
        is_open: Whether a column is still iterated, shape (columns,).
        steps: Number of steps of each column, shape (columns,).
        checked: Norm of the true residual when it was last computed, infinite before, shape (columns,).
    """

    solution: Tensor
    residual: Tensor
    direction: Tensor
    overlap: Tensor
    is_open: Tensor
    steps: Tensor
    checked: Tensor


def conjugate_gradients(
    system: System,
    *,
    tolerance: float,
    max_steps: int,
    iterate: Iterate | None = None,
    after_step: Callable[[Iterate], object] = lambda iterate: None,
) -> Iterate:
    """Iterate until every column has |y - (K + ridge) x| <= tolerance |y|, or has no steps left, or is stuck.

    When the recurrence says that a column is done its true residual is computed, and where that is too large the
    iteration begins again from the solution so far; it is given up where a round of that has not halved the residual.

    Args:
        system: The equations.
        tolerance: Relative residual.
        max_steps: Of each column.
        iterate: Where to go on; None begins at zero.
        after_step: Told of every step, to save the iterate, say.

    Returns:
        The last iterate; its `checked` are the norms of the true residuals of its solution.

    Source:
        Hestenes and Stiefel 1952; Saad 2003, algorithm 9.1.
    """
    goal = tolerance * torch.linalg.vector_norm(system.targets, dim=0)
    state = iterate or _begun(system, torch.zeros_like(system.targets), goal)
    while True:
        while bool(state.is_open.any()) and int(state.steps.max()) < max_steps:
            state = _step(system, state, _AIM * goal)
            after_step(state)
        missed = system.missed(state.solution)
        norms, before = torch.linalg.vector_norm(missed, dim=0), state.checked
        again = (norms > goal) & (norms < before / 2)
        state = state._replace(checked=norms)
        if not bool(again.any()) or int(state.steps.max()) >= max_steps:
            return state
        state = _restarted(system, state, missed, again)


def _begun(system: System, start: Tensor, goal: Tensor) -> Iterate:
    columns = len(system.ridges)
    empty = system.ridges.new_zeros(columns)
    state = Iterate(
        solution=start,
        residual=start,
        direction=start,
        overlap=empty,
        is_open=torch.zeros_like(goal, dtype=torch.bool),
        steps=torch.zeros_like(goal, dtype=torch.int64),
        checked=torch.full_like(goal, torch.inf),
    )
    return _restarted(system, state, system.targets.clone(), goal > 0)


def _restarted(system: System, state: Iterate, residual: Tensor, which: Tensor) -> Iterate:
    """Return the iterate with some columns at the beginning of an iteration from their true residual."""
    direction = system.precondition(residual, system.ridges)
    return state._replace(
        residual=torch.where(which, residual, state.residual),
        direction=torch.where(which, direction, state.direction),
        overlap=torch.where(which, (residual * direction).sum(dim=0), state.overlap),
        is_open=which,
    )


def _step(system: System, state: Iterate, goal: Tensor) -> Iterate:
    """Take a step with the open columns; one whose matrix shows as not positive definite is closed as it is."""
    at = state.is_open.nonzero()[:, 0]
    direction, ridges = state.direction[:, at], system.ridges[at]
    moved = system.product(direction) + ridges * direction
    curvature = (direction * moved).sum(dim=0)
    is_sound = curvature > 0
    length = torch.where(is_sound, state.overlap[at] / curvature, 0.0)
    residual = state.residual[:, at] - length * moved
    preconditioned = system.precondition(residual, ridges)
    overlap = (residual * preconditioned).sum(dim=0)
    change = torch.where(is_sound, overlap / state.overlap[at], 0.0)
    found = {
        "solution": state.solution[:, at] + length * direction,
        "residual": residual,
        "direction": preconditioned + change * direction,
        "overlap": overlap,
        "is_open": is_sound & (torch.linalg.vector_norm(residual, dim=0) > goal[at]),
        "steps": state.steps[at] + 1,
    }
    return state._replace(**{name: _put(getattr(state, name), at, part) for name, part in found.items()})


def _put(whole: Tensor, at: Tensor, part: Tensor) -> Tensor:
    """Return a copy with some columns, or entries of one number per column, replaced."""
    whole = whole.clone()
    whole[..., at] = part
    return whole
