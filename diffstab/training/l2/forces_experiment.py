"""What a run of forces is made of: the configuration, checked as it is read."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import torch

from diffstab.errors import ArgumentError
from diffstab.l2.descent import DescentSettings
from diffstab.l2.inverse import Inverse
from diffstab.l2.problem import L2Problem
from diffstab.training.l2.points import Points


@dataclass(frozen=True)
class ForcesExperiment:
    """Attraction and repulsion of the representations of one net during its training.

    Training has three stages: full-batch gradient descent with a line search, whose first steps are the pictured ones;
    Adam; and the finish of `descent`, to a stationary point.

    Args:
        data: Data module: "class_path" and "init_args", without n_train and seed.
        n_train: Number of training points.
        seeds: Each draws the points and the initial weights.
        hidden: n_1 ... n_{L-1}, the widths of the hidden layers; the depth L is one more than their number.
        cost: "mse" (|z - y|^2 / 2; classes become one-hot targets) or "cross_entropy"; a mean over the points.
        penalty: lambda > 0.
        bias: b >= 0, the amount of bias.
        activation: "relu", "linear" or "softplus".
        gd_steps: Steps of gradient descent.
        snapshots: Steps of gradient descent, 0 among them or not, at which the layers are kept for pictures; the end
            of training always is.
        descent: Adam and the finish, and the gain of the initial weights.
        tolerance: Singular values of an activation matrix below this share of its largest count as zero in the
            pseudo-inverses, > 0. Neurons that die or align leave small ones, which no force should be divided by.
        tikhonov: e >= 0: K^+ becomes (K + e I)^{-1}.
        aligned_deg: Neurons within this angle, seen from the origin, count as on one ray.
        threads: Of linear algebra; None leaves torch's choice.

    Raises:
        ArgumentError: If a list is empty or a value is out of range.
    """

    data: dict[str, Any] = field(
        default_factory=lambda: {"class_path": "datamodules.Digits", "init_args": {"labels": "classes"}}
    )
    n_train: int = 60
    seeds: list[int] = field(default_factory=lambda: [0])
    hidden: list[int] = field(default_factory=lambda: [20, 20])
    cost: str = "cross_entropy"
    penalty: float = 1e-3
    bias: float = 1.0
    activation: str = "relu"
    gd_steps: int = 1000
    snapshots: list[int] = field(default_factory=lambda: [0, 64])
    descent: DescentSettings = field(default_factory=DescentSettings)
    tolerance: float = 1e-3
    tikhonov: float = 0.0
    aligned_deg: float = 5.0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("seeds", "hidden"):
            if not getattr(self, name):
                raise ArgumentError(name, "not be empty", getattr(self, name))
        if min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ArgumentError("seeds", "hold different numbers of at least 0", self.seeds)
        for name, least in (("n_train", 1), ("gd_steps", 0), ("threads", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ArgumentError(name, f"be at least {least}", value)
        steps = self.snapshots
        if steps != sorted(set(steps)) or not all(0 <= step <= self.gd_steps for step in steps):
            raise ArgumentError("snapshots", f"rise from 0 or above to gd_steps = {self.gd_steps}", steps)
        if not 0 < self.tolerance < 1:
            raise ArgumentError("tolerance", "lie in (0, 1)", self.tolerance)
        if not 1e-5 <= self.aligned_deg < 90:
            raise ArgumentError("aligned_deg", "lie in [1e-5, 90)", self.aligned_deg)
        if not (self.penalty > 0 and math.isfinite(self.penalty)):
            raise ArgumentError(
                "penalty", "be positive and finite", self.penalty, "Both forces scale with it."
            )
        Inverse(self.tolerance, self.tikhonov)
        self._check_problem()

    def _check_problem(self) -> None:
        """Refuse what no problem can be made of, on one point, before any data are read."""
        point = torch.ones(1, 1, dtype=torch.float64)
        labels = self.cost == "cross_entropy"
        problem = self._problem(point, torch.zeros(1, dtype=torch.int64) if labels else point, 2)
        problem.widths(self.hidden)

    def problem(self, points: Points) -> L2Problem:
        """Return what is minimised on the points."""
        return self._problem(points.inputs, points.targets, points.classes)

    def _problem(self, inputs: torch.Tensor, targets: torch.Tensor, classes: int | None) -> L2Problem:
        return L2Problem(
            inputs,
            targets,
            cost=self.cost,
            penalty=self.penalty,
            depth=len(self.hidden) + 1,
            bias=self.bias,
            activation=self.activation,
            classes=classes if self.cost == "cross_entropy" else None,
        )

    @property
    def inverse(self) -> Inverse:
        """How the pseudo-inverses behind the forces are computed."""
        return Inverse(self.tolerance, self.tikhonov)

    def resolved(self) -> dict[str, Any]:
        """Return the configuration as plain nested dictionaries."""
        return dataclasses.asdict(self)
