"""Where a gradient flow stands, whatever integrates it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError


class FlowStatus(NamedTuple):
    """Flow time, next step size, counts of work, and the state of the training set.

    `loss` is the mean pointwise loss (alpha times the loss), `margin_share` the share of points with the stop
    rule's margin, `output_change` the largest change of F on a training point in the last step, `reason` is ""
    while the flow goes on, else "margin", "loss" or "max_steps".
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
        """Whether the stop rule is met or the work is used up."""
        return bool(self.reason)


def check_batch(x: Tensor, y: Tensor) -> None:
    """Raise an ArgumentError unless x (n, ...) and y (n,) hold the same positive number of finite samples."""
    if len(x) != len(y) or len(x) == 0:
        raise ArgumentError("x and y", "hold the same positive number of samples", f"{len(x)} and {len(y)}")
    for name, tensor in (("x", x), ("y", y)):
        if not torch.isfinite(tensor).all():
            raise ArgumentError(name, "be finite", "NaN or infinity")
