"""The optimisers by name: on the whole training set (`make_solver`), or as torch knows them (`make_optimiser`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from diffstab.errors import ArgumentError
from diffstab.nets import FCN, CentredOutput, Loss
from diffstab.solvers.descent import AdamDescent, GradientDescent
from diffstab.solvers.euler import EulerFlow, EulerSettings
from diffstab.solvers.flow import GradientFlow
from diffstab.solvers.integrator import FlowSettings
from diffstab.solvers.solver import Solver
from diffstab.solvers.stopping import StopRule

FLOWS = ("gradient_flow", "euler")
OPTIMISERS = (*FLOWS, "gd", "adam", "sgd")


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

    @property
    def used_momentum(self) -> float:
        """Momentum where it is used: by sgd."""
        return self.momentum if self.name == "sgd" else 0.0


def make_solver(model: CentredOutput, loss: Loss, settings: OptimiserSettings) -> Solver:
    """Return what trains a predictor on its whole training set, by the fast flow where model and loss allow it.

    Args:
        model: Predictor; only its `net` changes.
        loss: Loss with the model's alpha.
        settings: Optimiser and stop rule; the batch size is not used.

    Raises:
        ArgumentError: If loss and model disagree on alpha.
    """
    has_tangent = isinstance(model.net, FCN) and model.net.out_features == 1 and loss.name != "cross_entropy"
    if settings.name == "gradient_flow" and has_tangent:
        flow_settings = FlowSettings(weight_tolerance=settings.weight_tolerance, stop=settings.stop)
        return GradientFlow(model, loss, flow_settings)
    if settings.name in FLOWS:
        return EulerFlow(model, loss, EulerSettings(stop=settings.stop))
    if settings.name == "adam":
        return AdamDescent(model, loss, settings.stop, lr=settings.learning_rate)
    if settings.name in ("gd", "sgd"):
        return GradientDescent(
            model, loss, settings.stop, lr=settings.learning_rate, momentum=settings.used_momentum
        )
    raise ArgumentError("optimiser", f"be one of {', '.join(OPTIMISERS)}", repr(settings.name))


def make_optimiser(model: CentredOutput, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """Return the torch optimiser of gd, sgd or adam over the net's parameters."""
    parameters = [p for p in model.net.parameters() if p.requires_grad]
    if settings.name == "adam":
        return torch.optim.Adam(parameters, lr=settings.learning_rate)
    if settings.name in ("gd", "sgd"):
        return torch.optim.SGD(parameters, lr=settings.learning_rate, momentum=settings.used_momentum)
    raise ArgumentError("optimiser", "be gd, sgd or adam here", repr(settings.name))
