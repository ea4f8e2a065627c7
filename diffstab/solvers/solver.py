"""What all ways of training on the whole training set have in common: a state, steps, and where they stand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from diffstab.errors import ArgumentError
from diffstab.nets import CentredOutput, Loss
from diffstab.solvers.status import Status, check_batch

CHUNK = 50
"""Steps after which `run` tells how it goes."""


class Solver(Optimizer):
    """Steps of a predictor on its whole training set. Abstract: subclasses `advance`.

    It is a torch optimiser, so that its state, of plain tensors and numbers, travels in checkpoints.

    Args:
        model: Predictor to train; its `net` is changed in place.
        loss: Loss with the model's alpha.
        *defaults: Those of the optimiser.
        **options: Likewise.

    Raises:
        ArgumentError: If loss and model disagree on alpha.
    """

    def __init__(self, model: CentredOutput, loss: Loss, *defaults: Any, **options: Any) -> None:
        if loss.alpha != model.alpha:
            raise ArgumentError("loss.alpha", f"equal the model's alpha {model.alpha}", loss.alpha)
        super().__init__([p for p in model.net.parameters() if p.requires_grad], *defaults, **options)
        self.model, self.loss = model, loss
        self._start: tuple[SameTensor, Tensor | None] | None = None

    @abstractmethod
    def advance(self, x: Tensor, y: Tensor, steps: int) -> Status:
        """Advance by up to a number of steps on a batch that was checked; see `step`."""

    def step(  # type: ignore[override]
        self, closure: Callable[[], object] | None = None, *, x: Tensor, y: Tensor, steps: int = 1
    ) -> Status:
        """Advance by up to a number of steps.

        Args:
            closure: Called first if given, for callers that pass one; its result is not used.
            x: Training inputs (n, ...), the whole set.
            y: Targets (n,), or (n, C) for regression on several outputs.
            steps: Steps at most; fewer when the stop rule is met.

        Returns:
            The status after them.

        Raises:
            ArgumentError: If the batch is empty, uneven, not finite or has targets that the loss does not take.
            DegenerateError: If the training cannot go on.
        """
        if closure is not None:
            closure()
        check_batch(x, y, loss=self.loss)
        return self.advance(x, y, steps)

    def run(
        self, x: Tensor, y: Tensor, *, chunk: int = CHUNK, on_step: Callable[[Status], object] | None = None
    ) -> Status:
        """Train until the stop rule is met; `on_step` is called after each `chunk` of steps."""
        status = self.step(x=x, y=y, steps=0)
        while not status.done:
            status = self.step(x=x, y=y, steps=chunk)
            if on_step is not None:
                on_step(status)
        return status

    def measures(self, x: Tensor) -> dict[str, float]:
        """Return what is known beside the status, by name; nothing by default.

        Args:
            x: Training inputs of the last step.
        """
        return {}

    @property
    def _first(self) -> Tensor:
        """The parameter under which a solver keeps its own state."""
        first: Tensor = self.param_groups[0]["params"][0]
        return first

    def _start_of(self, x: Tensor) -> Tensor | None:
        """Return f_0 of the training set, computed once; None where it has to be computed anew each time."""
        if self._start is None or not self._start[0].is_in(x):
            self._start = SameTensor(x), self.model.fixed_start(x)
        return self._start[1]


class SameTensor:
    """Recognises a tensor that is given again, be it a copy.

    Args:
        tensor: To be recognised.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._version = tensor, tensor._version

    def is_in(self, other: Tensor) -> bool:
        """Whether another tensor has the values that the first had when it was given."""
        known = self._tensor
        if known._version != self._version:
            return False
        return other is known or (
            other.shape == known.shape
            and other.dtype == known.dtype
            and other.device == known.device
            and torch.equal(other, known)
        )
