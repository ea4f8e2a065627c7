r"""Losses (1/alpha) mean_i l(F_i, y_i), with the slope and curvature in F that a gradient flow needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from diffstab.errors import ArgumentError

BINARY_LOSSES = ("mse", "hinge", "quadratic_hinge", "soft_hinge")
LOSSES = (*BINARY_LOSSES, "cross_entropy", "regression")


@dataclass(frozen=True)
class Loss:
    r"""A pointwise loss l(F, y), averaged over the points and divided by alpha.

    With m = y F: mse (y - F)^2 / 2; hinge max(0, 1 - m); quadratic_hinge max(0, 1 - m)^2 / 2;
    soft_hinge log(1 + exp(beta (1 - m))) / beta; cross_entropy -log softmax(F)_y; regression |y - F|^2 / 2 with real
    targets, summed over the outputs.

    The factor 1/alpha keeps the rate of the gradient flow of F = alpha f finite as alpha -> 0 or infinity.

    Args:
        name: One of `LOSSES`.
        alpha: Output scale of the predictor, > 0.
        beta: Sharpness of the soft hinge; 20 by default.

    Raises:
        ArgumentError: If the name is unknown or alpha or beta is not positive.

    Source: Petrini et al. 2022 (arXiv 2206.12314), section 2 and appendix; Geiger et al. 2020.
    """

    name: str = "soft_hinge"
    alpha: float = 1.0
    beta: float = 20.0

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ArgumentError("loss", f"be one of {', '.join(LOSSES)}", repr(self.name))
        for argument in ("alpha", "beta"):
            value = getattr(self, argument)
            if not (value > 0 and math.isfinite(value)):
                raise ArgumentError(argument, "be positive and finite", value)

    @property
    def is_binary(self) -> bool:
        """Whether targets are -1 / +1 (or real, for mse)."""
        return self.name in BINARY_LOSSES

    @property
    def is_regression(self) -> bool:
        """Whether targets are real numbers, so that there are no classes and no margins."""
        return self.name == "regression"

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar (1/alpha) mean l for outputs (n,) or (n, C) and targets (n,), (n, C) for regression."""
        return self.pointwise(outputs, targets).mean() / self.alpha

    def pointwise(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return l(F_i, y_i), shape (n,).

        Raises:
            ArgumentError: If the shapes of outputs and targets do not fit the loss.
        """
        if self.is_regression:
            return self.errors(outputs, targets) / 2
        if not self.is_binary:
            if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
                received = f"{tuple(outputs.shape)} and {tuple(targets.shape)}"
                raise ArgumentError("outputs and targets", "have shapes (n, C) and (n,)", received)
            return functional.cross_entropy(outputs, targets, reduction="none")
        if outputs.ndim != 1 or outputs.shape != targets.shape:
            received = f"{tuple(outputs.shape)} and {tuple(targets.shape)}"
            way_out = "A net of several outputs takes cross_entropy and labels='classes'."
            raise ArgumentError("outputs and targets", "both have shape (n,)", received, way_out)
        if self.name == "mse":
            return (targets - outputs).square() / 2
        gap = 1 - targets * outputs
        if self.name == "hinge":
            return gap.clamp_min(0)
        if self.name == "quadratic_hinge":
            return gap.clamp_min(0).square() / 2
        return functional.softplus(gap, self.beta)

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return whether each point is misclassified, 0.0 or 1.0 (n,); for regression |y_i - F_i|^2.

        An output of exactly 0 is an error, as its sign is none.

        Raises:
            ArgumentError: If the shapes of outputs and targets do not fit.
        """
        if self.is_regression:
            if outputs.shape != targets.shape:
                received = f"{tuple(outputs.shape)} and {tuple(targets.shape)}"
                raise ArgumentError("outputs and targets", "have one shape for regression", received)
            return (
                (targets - outputs).square().flatten(1).sum(1)
                if outputs.ndim > 1
                else (targets - outputs).square()
            )
        wrong = outputs * targets <= 0 if outputs.ndim == 1 else outputs.argmax(1) != targets
        return wrong.to(widest_float(outputs.device))

    def slope_and_curvature(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return dl/dF and d2l/dF2 at each point, shapes (n,); at a kink, the value on its flat side.

        Raises:
            ArgumentError: If there are several outputs: the curvature is a matrix.
        """
        if self.name == "cross_entropy" or outputs.ndim > 1:
            received = f"{self.name} on outputs of shape {tuple(outputs.shape)}"
            raise ArgumentError("loss", f"be one of {', '.join(BINARY_LOSSES)} here", received)
        if self.name in ("mse", "regression"):
            return outputs - targets, torch.ones_like(outputs)
        gap = 1 - targets * outputs
        if self.name == "soft_hinge":
            rise = torch.sigmoid(self.beta * gap)
            return -targets * rise, targets.square() * self.beta * rise * (1 - rise)
        active = (gap > 0).to(outputs.dtype)
        if self.name == "hinge":
            return -targets * active, torch.zeros_like(outputs)
        return -targets * gap * active, targets.square() * active


def make_loss(name: str, *, alpha: float = 1.0, beta: float = 20.0) -> Loss:
    """Return the loss of that name; see `Loss`."""
    return Loss(name, alpha=alpha, beta=beta)


def widest_float(device: torch.device) -> torch.dtype:
    """Return the type that sums are kept in on a device: float64, or float32 where there is no wider one (MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64
