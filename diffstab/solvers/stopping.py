"""The stop rule shared by every way of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from diffstab.errors import ArgumentError

GIVEN_UP = ("max_steps", "stalled")
"""Reasons of a training that ended before it met its rule: its steps used up, or nothing moved any more."""

_LEAST_LOOKS = 5
"""Looks in the first half of the steps before a training counts as converged."""


@dataclass(frozen=True)
class StopRule:
    """When training ends.

    Args:
        margin_share: Stop when this share of the training points has margin >= `margin`; None: never.
        margin: The margin of the rule: y F for binary targets, F_y minus the best other output for classes.
        loss_bound: Stop when the mean pointwise loss (alpha times the loss) is at most this; None: never.
        max_steps: Give up after this many steps.

    Raises:
        ArgumentError: If a value is out of range, or neither a margin nor a loss is asked for.

    Source: Petrini et al. 2022 (arXiv 2206.12314): 99% of the training points fitted with margin 1.
    """

    margin_share: float | None = 0.99
    margin: float = 1.0
    loss_bound: float | None = None
    max_steps: int = 20_000

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ArgumentError("max_steps", "be at least 1", self.max_steps)
        if self.margin_share is not None and not 0 < self.margin_share <= 1:
            raise ArgumentError("margin_share", "lie in (0, 1]", self.margin_share)
        if self.margin_share is None and self.loss_bound is None:
            raise ArgumentError("margin_share or loss_bound", "be given", None, "Training would never stop.")

    def reason(self, *, loss: float, share: float, steps: int) -> str:
        """Return why training ends here: "margin", "loss", "max_steps", or "" to go on.

        Args:
            loss: Mean pointwise loss.
            share: Share of points with the margin.
            steps: Steps done so far.
        """
        if self.margin_share is not None and share >= self.margin_share:
            return "margin"
        if self.loss_bound is not None and loss <= self.loss_bound:
            return "loss"
        return "max_steps" if steps >= self.max_steps else ""


@dataclass(frozen=True)
class ConvergenceRule:
    """When a training ends whose objective holds a penalty, so that its least value is not known.

    Args:
        max_steps: Give up after this many steps.
        tolerance: Stop when the objective falls by less than this part over the last half of the steps; 0 for never.
        objective_bound: Stop at this objective; None for no bound.

    Raises:
        ArgumentError: If a value is out of range.
    """

    max_steps: int
    tolerance: float = 0.0
    objective_bound: float | None = None

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ArgumentError("max_steps", "be at least 1", self.max_steps)
        if not 0 <= self.tolerance < math.inf:
            raise ArgumentError("tolerance", "be finite and at least 0", self.tolerance)

    def reason(self, seen: Sequence[Sequence[float]]) -> str:
        """Return why training ends here: "objective", "max_steps", "converged", or "" to go on.

        Args:
            seen: Steps and objective at each look so far, in their order.
        """
        if not seen:
            return ""
        step, objective = seen[-1]
        if self.objective_bound is not None and objective <= self.objective_bound:
            return "objective"
        if step >= self.max_steps:
            return "max_steps"
        earlier = [value for at, value in seen if at <= step / 2]
        falls = len(earlier) < _LEAST_LOOKS or earlier[-1] - objective >= self.tolerance * earlier[-1]
        return "" if falls else "converged"


def margin_share(outputs: Tensor, targets: Tensor, margin: float = 1.0) -> float:
    """Return the share of points whose margin is at least `margin`; see `has_margin`."""
    return float(has_margin(outputs, targets, margin).double().mean())


def has_margin(outputs: Tensor, targets: Tensor, margin: float = 1.0) -> Tensor:
    """Return whether the margin of each point is at least `margin`, shape (n,).

    Args:
        outputs: F (n,) with targets -1 / +1, or (n, C) with class indices.
        targets: Shape (n,).
        margin: Margin asked for.
    """
    if outputs.ndim == 1:
        margins = targets * outputs
    else:
        chosen = outputs.gather(1, targets[:, None])
        margins = chosen.squeeze(1) - outputs.scatter(1, targets[:, None], -math.inf).amax(1)
    return margins >= margin
