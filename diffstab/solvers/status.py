"""Where a training stands, whatever moves the weights."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.nets import Loss
from diffstab.solvers.stopping import StopRule, has_margin


class Status(NamedTuple):
    """Where a training stands, whatever moves the weights.

    Attributes:
        steps: Steps so far.
        loss: Mean pointwise loss (alpha times the loss).
        error: Share of misclassified points; the mean square error for regression.
        margin_share: Share of points with the stop rule's margin; NaN for regression.
        reason: "" while it goes on, else "margin", "loss", "max_steps", or "stalled" (the gradient of a flow is zero to
            rounding, or no step that moves the weights is accepted).
        time: Time of a flow; NaN where there is none.
        step_size: Next step of a flow.
        rejected: Steps that a flow refused.
        output_change: Largest change of F on a training point in the last step.
    """

    steps: int
    loss: float
    error: float
    margin_share: float
    reason: str
    time: float = math.nan
    step_size: float = math.nan
    rejected: int = 0
    output_change: float = 0.0

    @property
    def done(self) -> bool:
        """Whether the stop rule is met, nothing moves any more, or the work is used up."""
        return bool(self.reason)

    @property
    def meets_rule(self) -> bool:
        """Whether the stop rule is met."""
        return self.reason in ("margin", "loss")

    def stalled(self) -> Status:
        """Return the status of a flow that does not move any more; a stop rule that is met goes first."""
        return self if self.meets_rule else self._replace(reason="stalled")


def status_of(
    outputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss,
    stop: StopRule,
    counters: dict[str, Any],
    previous: Tensor | None = None,
) -> Status:
    """Return the status of a training with outputs F (n,) or (n, C) after the work in `counters`.

    Args:
        outputs: F on the training set.
        targets: Shape (n,), or (n, C) for regression.
        loss: Pointwise loss.
        stop: Stop rule.
        counters: steps; time, step_size and rejected too for a flow.
        previous: F before the last step; None where there was none.
    """
    errors = loss.errors(outputs, targets)
    numbers = [
        loss.pointwise(outputs, targets).mean(),
        errors.mean(),
        errors.new_full((), math.nan)
        if loss.is_regression
        else has_margin(outputs, targets, stop.margin).to(errors.dtype).mean(),
        errors.new_zeros(()) if previous is None else (outputs - previous).abs().max(),
    ]
    # One transfer from the device for all of them.
    value, error, share, change = torch.stack([number.to(errors.dtype) for number in numbers]).tolist()
    names = ("steps", "time", "step_size", "rejected")
    return Status(
        **{name: counters[name] for name in names if name in counters},
        loss=value,
        error=error,
        # One object, so that statuses are equal to themselves, as a new NaN is not.
        margin_share=math.nan if loss.is_regression else share,
        output_change=change,
        reason=stop.reason(loss=value, share=share, steps=counters["steps"]),
    )


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context without autocast: a flow is integrated in the type of its state, whatever is around."""
    return torch.autocast(tensor.device.type, enabled=False)


def check_batch(x: Tensor, y: Tensor, *, loss: Loss) -> None:
    """Raise an ArgumentError unless x (n, ...) and y (n,) hold as many finite samples, with targets of the loss.

    The hinges take -1 and +1: with labels 0 and 1 half of the points would never get a margin.
    """
    if len(x) != len(y) or len(x) == 0:
        raise ArgumentError("x and y", "hold the same positive number of samples", f"{len(x)} and {len(y)}")
    for name, tensor in (("x", x), ("y", y)):
        if not torch.isfinite(tensor).all():
            raise ArgumentError(name, "be finite", "NaN or infinity")
    if loss.is_binary and loss.name != "mse" and not bool((y.abs() == 1).all()):
        received = f"values from {float(y.min()):g} to {float(y.max()):g}"
        raise ArgumentError("y", f"hold -1 and +1 only with {loss.name}", received)
