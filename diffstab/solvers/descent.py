"""Gradient descent by torch's own rules on the whole training set, many steps at a time."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from diffstab.errors import DegenerateError
from diffstab.nets import CentredOutput, Loss
from diffstab.solvers.solver import Solver
from diffstab.solvers.status import Status, status_of
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
        super().__init__(model, loss, **options)
        self.param_groups[0]["steps"] = 0
        self.stop = stop

    @abstractmethod
    def descend(self) -> object:
        """Move the weights by their gradients."""

    @torch.enable_grad()
    def advance(self, x: Tensor, y: Tensor, steps: int) -> Status:
        """Advance by up to `steps` steps."""
        counters, start = self.param_groups[0], self._start_of(x)
        last = counters["steps"] + steps
        while True:
            outputs = self.model(x, start)
            status = status_of(outputs.detach(), y, loss=self.loss, stop=self.stop, counters=counters)
            if not math.isfinite(status.loss):
                text = f"The loss became {status.loss} after {status.steps} steps; lower the learning rate."
                raise DegenerateError(text)
            if status.done or status.steps >= last:
                return status
            self.zero_grad(set_to_none=True)
            self.loss(outputs, y).backward()  # type: ignore[no-untyped-call]
            self.descend()
            counters["steps"] += 1


class GradientDescent(Descent, torch.optim.SGD):  # type: ignore[misc]
    """Plain steps, with momentum if asked for."""

    descend = torch.optim.SGD.step


class AdamDescent(Descent, torch.optim.Adam):  # type: ignore[misc]
    """Steps of Adam."""

    descend = torch.optim.Adam.step
