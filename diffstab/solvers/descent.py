"""Gradient descent by torch's own rules on the whole training set, many steps at a time."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffstab.errors import DegenerateError
from diffstab.nets import CentredOutput, Loss
from diffstab.solvers.solver import Solver
from diffstab.solvers.status import Status, check_batch, status_of
from diffstab.solvers.stopping import StopRule


class Descent(Solver):
    """A torch optimiser that evaluates the loss itself. Abstract: subclasses name the rule.

    It stops at the first weights that meet the stop rule.

    Args:
        model: Predictor to train; its `net` is changed in place.
        loss: Loss with the model's alpha.
        stop: Stop rule.
        **options: Of the rule: lr, momentum, ...

    Raises:
        ArgumentError: If loss and model disagree on alpha.
    """

    def __init__(self, model: CentredOutput, loss: Loss, stop: StopRule, **options: Any) -> None:
        super().__init__([p for p in model.net.parameters() if p.requires_grad], **options)
        self.param_groups[0]["steps"] = 0
        self.stop = stop
        self._attach(model, loss)

    @abstractmethod
    def descend(self) -> object:
        """Move the weights by their gradients."""

    @torch.enable_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], object] | None = None, *, x: Tensor, y: Tensor, steps: int = 1
    ) -> Status:
        """Advance by up to `steps` steps; see `Solver.step`."""
        if closure is not None:
            closure()
        check_batch(x, y, loss=self.loss)
        start, last = self._start_of(x), self.param_groups[0]["steps"] + steps
        while True:
            outputs = self.model(x, start)
            status = self._status(outputs.detach(), y)
            if status.done or status.steps >= last:
                return status
            self.zero_grad(set_to_none=True)
            self.loss(outputs, y).backward()  # type: ignore[no-untyped-call]
            self.descend()
            self.param_groups[0]["steps"] += 1

    def _status(self, outputs: Tensor, y: Tensor) -> Status:
        steps = self.param_groups[0]["steps"]
        status = status_of(outputs, y, loss=self.loss, stop=self.stop, counters={"steps": steps})
        if not math.isfinite(status.loss):
            message = f"The loss became {status.loss} after {steps} steps; lower the learning rate."
            raise DegenerateError(message)
        return status


class GradientDescent(Descent, torch.optim.SGD):  # type: ignore[misc]
    """Plain steps, with momentum if asked for."""

    descend = torch.optim.SGD.step


class AdamDescent(Descent, torch.optim.Adam):  # type: ignore[misc]
    """Steps of Adam."""

    descend = torch.optim.Adam.step
