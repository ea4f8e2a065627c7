"""Where a gradient flow stands, whatever integrates it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.nets import Loss
from diffstab.solvers.stopping import StopRule, margin_share


class FlowStatus(NamedTuple):
    """Flow time, next step size, counts of work, and the state of the training set.

    `loss` is the mean pointwise loss (alpha times the loss), `margin_share` the share of points with the stop
    rule's margin, `output_change` the largest change of F on a training point in the last step, `reason` is ""
    while the flow goes on, else "margin", "loss", "stalled" (the gradient is zero to rounding, or no step that moves
    the weights is accepted) or "max_steps".
    """

    time: float
    step_size: float
    steps: int
    rejected: int
    loss: float
    margin_share: float
    output_change: float
    reason: str

    @property
    def done(self) -> bool:
        """Whether the stop rule is met, nothing moves any more, or the work is used up."""
        return bool(self.reason)

    @property
    def meets_rule(self) -> bool:
        """Whether the stop rule is met."""
        return self.reason in ("margin", "loss")

    def stalled(self) -> FlowStatus:
        """Return the status of a flow that does not move any more; a stop rule that is met goes first."""
        return self if self.meets_rule else self._replace(reason="stalled")


def flow_status(
    outputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss,
    stop: StopRule,
    counters: dict[str, Any],
    previous: Tensor | None = None,
) -> FlowStatus:
    """Return the status of a flow with outputs F (n,) or (n, C) after the work in `counters`.

    Args:
        outputs: F on the training set.
        targets: Shape (n,).
        loss: Pointwise loss.
        stop: Stop rule.
        counters: time, step_size, steps and rejected.
        previous: F before the last step; None where there was none.
    """
    value = float(loss.pointwise(outputs, targets).mean())
    share = margin_share(outputs, targets, stop.margin)
    return FlowStatus(
        **{name: counters[name] for name in ("time", "step_size", "steps", "rejected")},
        loss=value,
        margin_share=share,
        output_change=0.0 if previous is None else float((outputs - previous).abs().max()),
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
