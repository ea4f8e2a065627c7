"""Full-batch training of a predictor by any of the optimisers, under one stop rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN, CentredOutput, Loss
from diffstab.solvers.euler import EulerFlow, EulerSettings
from diffstab.solvers.flow import GradientFlow
from diffstab.solvers.integrator import FlowSettings
from diffstab.solvers.status import FlowStatus, check_batch
from diffstab.solvers.stopping import StopRule, margin_share

OPTIMISERS = ("gradient_flow", "euler", "gd", "adam", "sgd")


@dataclass(frozen=True)
class OptimiserSettings:
    """How a net is trained.

    Args:
        name: "gradient_flow" (an FCN of one output; other modules fall back to "euler"), "euler" (the published
            adaptive Euler integrator), "gd", "adam" or "sgd".
        learning_rate: Step of gd, sgd and adam.
        momentum: Momentum of sgd.
        batch_size: Mini-batch of sgd and adam; None is the full batch. Ignored by the flows and gd.
        weight_tolerance: Accuracy of the gradient flow, see `FlowSettings`.
        stop: Stop rule of every optimiser.

    Raises:
        ArgumentError: If the name is unknown or a number is out of range.
    """

    name: str = "gradient_flow"
    learning_rate: float = 0.1
    momentum: float = 0.0
    batch_size: int | None = None
    weight_tolerance: float = FlowSettings.weight_tolerance
    stop: StopRule = field(default_factory=StopRule)

    def __post_init__(self) -> None:
        if self.name not in OPTIMISERS:
            raise ArgumentError("optimiser", f"be one of {', '.join(OPTIMISERS)}", repr(self.name))
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ArgumentError("learning_rate", "be positive and finite", self.learning_rate)
        if not self.weight_tolerance > 0:
            raise ArgumentError("weight_tolerance", "be positive", self.weight_tolerance)
        if not 0 <= self.momentum < 1:
            raise ArgumentError("momentum", "lie in [0, 1)", self.momentum)
        if self.batch_size is not None and self.batch_size < 1:
            raise ArgumentError("batch_size", "be at least 1", self.batch_size)


class TrainingOutcome(NamedTuple):
    """How a training ended; `flow_time` is NaN for optimisers without a time."""

    steps: int
    flow_time: float
    loss: float
    margin_share: float
    reason: str


def fit_model(
    model: CentredOutput,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    *,
    settings: OptimiserSettings,
    generator: torch.Generator | None = None,
    on_progress: Callable[[TrainingOutcome], object] | None = None,
) -> TrainingOutcome:
    """Train the model's net in place until the stop rule of the settings is met.

    Args:
        model: Predictor; only its `net` changes.
        loss: Loss with the model's alpha.
        x: Training inputs (n, ...).
        y: Targets (n,).
        settings: Optimiser and stop rule.
        generator: Source of the mini-batches; needed when `settings.batch_size` is set.
        on_progress: Called now and then with the state of the training.

    Returns:
        The outcome; its reason is "margin", "loss" or "max_steps".

    Raises:
        ArgumentError: If the batch is empty, uneven, not finite or has targets that the loss does not take.
        DegenerateError: If the training diverges.
    """
    if settings.name in ("gradient_flow", "euler"):
        report = None if on_progress is None else lambda status: on_progress(_outcome(status))
        return _outcome(make_flow(model, loss, settings).run(x, y, on_step=report))
    return _descend(model, loss, x, y, settings=settings, generator=generator, on_progress=on_progress)


def make_flow(model: CentredOutput, loss: Loss, settings: OptimiserSettings) -> GradientFlow | EulerFlow:
    """Return the integrator of the flow: the fast one where the model and the loss allow it."""
    has_tangent = isinstance(model.net, FCN) and model.net.out_features == 1 and loss.is_binary
    if settings.name == "gradient_flow" and has_tangent:
        flow_settings = FlowSettings(weight_tolerance=settings.weight_tolerance, stop=settings.stop)
        return GradientFlow(model, loss, flow_settings)
    if settings.name in ("gradient_flow", "euler"):
        return EulerFlow(model, loss, EulerSettings(stop=settings.stop))
    raise ArgumentError("optimiser", "be gradient_flow or euler here", repr(settings.name))


def _outcome(status: FlowStatus) -> TrainingOutcome:
    return TrainingOutcome(status.steps, status.time, status.loss, status.margin_share, status.reason)


def _descend(
    model: CentredOutput,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    *,
    settings: OptimiserSettings,
    generator: torch.Generator | None,
    on_progress: Callable[[TrainingOutcome], object] | None,
) -> TrainingOutcome:
    check_batch(x, y, loss=loss)
    optimiser = make_optimiser(model, settings)
    start = model.start(x)
    for step in range(settings.stop.max_steps + 1):
        rows = _batch(len(x), settings, generator, x.device)
        outputs = model(x[rows], start[rows])
        # A full batch is measured on the way; a mini-batch says nothing of the margins of the others.
        with torch.no_grad():
            all_outputs = outputs if isinstance(rows, slice) else model(x, start)
        outcome = _measure(all_outputs, loss, y, step, settings.stop)
        if on_progress is not None and step % 100 == 0:
            on_progress(outcome)
        if outcome.reason:
            break
        optimiser.zero_grad(set_to_none=True)
        loss(outputs, y[rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return outcome


def make_optimiser(model: CentredOutput, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """Return the torch optimiser of gd, sgd or adam over the net's parameters."""
    parameters = model.net.parameters()
    if settings.name == "adam":
        return torch.optim.Adam(parameters, lr=settings.learning_rate)
    if settings.name in ("gd", "sgd"):
        momentum = settings.momentum if settings.name == "sgd" else 0.0
        return torch.optim.SGD(parameters, lr=settings.learning_rate, momentum=momentum)
    raise ArgumentError("optimiser", "be gd, sgd or adam here", repr(settings.name))


def _batch(
    count: int, settings: OptimiserSettings, generator: torch.Generator | None, device: torch.device
) -> Tensor | slice:
    if settings.batch_size is None or settings.name == "gd" or settings.batch_size >= count:
        return slice(None)
    if generator is None:
        raise ArgumentError("generator", "be given with a batch_size", None)
    order = torch.randperm(count, generator=generator, device=generator.device)
    return order[: settings.batch_size].to(device)


@torch.no_grad()
def _measure(outputs: Tensor, loss: Loss, y: Tensor, step: int, stop: StopRule) -> TrainingOutcome:
    value = float(loss.pointwise(outputs, y).mean())
    if not math.isfinite(value):
        raise DegenerateError(f"The loss became {value} after {step} steps; lower the learning rate.")
    share = margin_share(outputs, y, stop.margin)
    return TrainingOutcome(step, math.nan, value, share, stop.reason(loss=value, share=share, steps=step))
