"""The published adaptive Euler integrator of the gradient flow, for any module and loss."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import CentredOutput, Loss
from diffstab.solvers.solver import Solver
from diffstab.solvers.status import Status, full_precision, status_of
from diffstab.solvers.stopping import StopRule


@dataclass(frozen=True)
class EulerSettings:
    """Acceptance and stop rule of the Euler integrator.

    Args:
        gradient_change: A step is accepted when |g' - g|^2 / (|g| |g'|) is at most this.
        output_change: ... and F changes by at most this on every training point.
        initial_step: First step size tried.
        stop: Stop rule.

    Source: reference runs of Petrini et al. 2022 and Geiger et al. 2020: 1e-4 and 0.1; an accepted step makes
    the next 1.1 times longer, a refused one is tried again ten times shorter.
    """

    gradient_change: float = 1e-4
    output_change: float = 0.1
    initial_step: float = 1e-3
    stop: StopRule = field(default_factory=lambda: StopRule(max_steps=1_000_000))

    def __post_init__(self) -> None:
        for name in ("gradient_change", "output_change", "initial_step"):
            if not getattr(self, name) > 0:
                raise ArgumentError(name, "be positive", getattr(self, name))


class EulerFlow(Solver):
    """Adaptive Euler steps along -grad L on the full batch.

    Slower than `GradientFlow` by an order of magnitude or more, but for any module: convolutional nets, several
    outputs, cross-entropy. A kink that changes the gradient by more than the rule allows is never crossed, so a
    relu net of few neurons and points can come to a halt at one and end as "stalled"; smooth activations do not. So
    ends a flow at a minimum: every step that moves the weights is refused, as rounding turns the gradient.

    Args:
        model: Predictor to train; its `net` is changed in place.
        loss: Loss with the model's alpha.
        settings: Acceptance and stop rule.

    Raises:
        ArgumentError: If loss and model disagree on alpha.
    """

    def __init__(self, model: CentredOutput, loss: Loss, settings: EulerSettings | None = None) -> None:
        self.settings = settings or EulerSettings()
        counters = {"time": 0.0, "step_size": self.settings.initial_step, "steps": 0, "rejected": 0}
        super().__init__(model, loss, counters)

    def advance(self, x: Tensor, y: Tensor, steps: int) -> Status:
        """Advance by up to `steps` accepted steps."""
        outputs, gradient = self._evaluate(x, y)
        status = self._status(outputs, y)
        for _ in range(steps):
            if status.done:
                break
            previous = outputs
            outputs, gradient, moved = self._accepted_step(x, y, outputs, gradient)
            status = self._status(outputs, y, previous)
            if not moved:
                status = status.stalled()
        return status

    @property
    def _parameters(self) -> list[Tensor]:
        return list(self.param_groups[0]["params"])

    def _evaluate(self, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        with torch.enable_grad(), full_precision(x):
            outputs = self.model(x, self._start_of(x))
            gradient = torch.autograd.grad(self.loss(outputs, y), self._parameters)
        return outputs.detach(), list(gradient)

    def _accepted_step(
        self, x: Tensor, y: Tensor, outputs: Tensor, gradient: list[Tensor]
    ) -> tuple[Tensor, list[Tensor], bool]:
        """Return outputs and gradient after a step; and whether it moved the weights, or may when it grows."""
        counters, settings = self.param_groups[0], self.settings
        refused = counters["rejected"]
        start = [parameter.detach().clone() for parameter in self._parameters]
        while True:
            step_size = counters["step_size"]
            if not step_size > 1e-14 * max(counters["time"], settings.initial_step):
                return self._halted(start, outputs, gradient)
            with torch.no_grad():
                for parameter, weight, slope in zip(self._parameters, start, gradient):
                    parameter.copy_(weight - step_size * slope)
            new_outputs, new_gradient = self._evaluate(x, y)
            change = relative_gradient_change(gradient, new_gradient)
            # Written so that NaN refuses the step.
            if (
                change <= settings.gradient_change
                and (new_outputs - outputs).abs().max() <= settings.output_change
            ):
                break
            counters["step_size"] *= 0.1
            counters["rejected"] += 1
        counters["time"] += step_size
        counters["step_size"] *= 1.1
        counters["steps"] += 1
        can_grow = counters["rejected"] == refused and any(bool(slope.any()) for slope in gradient)
        moved = can_grow or any(not torch.equal(*pair) for pair in zip(self._parameters, start))
        return new_outputs, new_gradient, moved

    def _halted(
        self, start: list[Tensor], outputs: Tensor, gradient: list[Tensor]
    ) -> tuple[Tensor, list[Tensor], bool]:
        """Put the weights back where no step was accepted: a halt at a kink, an error where values are not finite."""
        time = self.param_groups[0]["time"]
        if not all(bool(slope.isfinite().all()) for slope in [outputs, *gradient]):
            raise DegenerateError(f"The flow cannot go on at time {time:.6g}: step size underflow.")
        with torch.no_grad():
            for parameter, weight in zip(self._parameters, start):
                parameter.copy_(weight)
        return outputs, gradient, False

    def _status(self, outputs: Tensor, y: Tensor, previous: Tensor | None = None) -> Status:
        return status_of(
            outputs,
            y,
            loss=self.loss,
            stop=self.settings.stop,
            counters=self.param_groups[0],
            previous=previous,
        )


def relative_gradient_change(old: list[Tensor], new: list[Tensor]) -> float:
    """Return |g' - g|^2 / (|g| |g'|) over all parameters, 0 when both gradients vanish."""
    difference = sum(float((b - a).square().sum()) for a, b in zip(old, new))
    norms = [sum(float(g.square().sum()) for g in gradient) ** 0.5 for gradient in (old, new)]
    return difference / (norms[0] * norms[1]) if difference else 0.0
