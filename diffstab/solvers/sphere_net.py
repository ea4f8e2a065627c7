"""One hidden layer of ReLU neurons on the sphere: the net, its settings and its start."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError
from diffstab.nets import FCN
from diffstab.nets.activations import Activation
from diffstab.solvers.integrator import FlowSettings
from diffstab.solvers.sphere_rules import RULES, column_norms
from diffstab.solvers.stopping import ConvergenceRule, StopRule
from diffstab.sparsity import activation_atoms, number_carrying
from diffstab.streams import stream

FLOWS = ("alpha_trick", "decay_flow")
"""Rules that follow a gradient flow by implicit steps."""

FITTED = 1e-10
"""Loss at which a flow without a penalty ends by default, for targets of order 1."""


@dataclass(frozen=True)
class SphereTraining:
    """How to train one hidden layer of ReLU neurons on the sphere.

    Four rules are descents on a penalised loss ("projected_gd", "path_norm", "weight_decay", "conic"; see
    `sphere_rules`). Two are gradient flows by implicit steps (`diffstab.solvers.flow`):

    - "alpha_trick", no penalty: the flow of 1/(2 n alpha) sum (y - alpha f)^2 from weights of order 1. In
      u = sqrt(alpha) w, sqrt(alpha) v, alpha f is f of u, and it is the flow of 1/(2n) sum (y - f)^2 at the same time,
      as du/dt = -sqrt(alpha) sqrt(alpha) (1/alpha) d/du: so it starts from weights of order sqrt(alpha), and no number
      leaves the range of float64 down to alpha = 1e-50 and beyond;
    - "decay_flow": that of 1/(2n) sum (y - f)^2 + (lambda/2H) sum (w_h^2 + |v_h|^2), from weights of order 1; the
      minimum is that of the path norm.

    Args:
        rule: One of these.
        width: Number of neurons H.
        penalty: lambda of the penalty; unused by "alpha_trick".
        alpha: Of "alpha_trick", in (0, 1]. The smaller, the fewer the directions in which the neurons gather before
            they fit; on the circle the flow may then end at a stationary point that misses some of the data.
        max_steps: Steps tried, at most; of a flow, steps taken.
        tolerance: Stop when the objective falls by less than this part over the last half of the steps; 0 for never.
            Unused by "alpha_trick".
        objective_bound: Stop at this objective; None for no bound, and for 1e-10 in flows without a penalty.
        weight_tolerance: Of the flows: local error of the weights relative to how far they moved (`FlowSettings`).
        plain: Leave out momentum and, in "projected_gd", the balanced metric: the published update, whose step adapts.
        seed: Seed of the initial neurons.

    Raises:
        ArgumentError: If a value is out of range.
    """

    rule: str = "projected_gd"
    width: int = 1000
    penalty: float = 1e-4
    alpha: float = 1e-6
    max_steps: int = 20_000
    tolerance: float = 1e-4
    objective_bound: float | None = None
    weight_tolerance: float = 5e-4
    plain: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in (*RULES, *FLOWS):
            raise ArgumentError("rule", f"be one of {', '.join((*RULES, *FLOWS))}", repr(self.rule))
        if self.width < 1:
            raise ArgumentError("width", "be at least 1", self.width)
        if not 0 <= self.penalty < math.inf:
            raise ArgumentError("penalty", "be finite and at least 0", self.penalty)
        if not 0 < self.alpha <= 1:
            raise ArgumentError("alpha", "lie in (0, 1]", self.alpha)
        _ = self.stop, self.flow

    @property
    def stop(self) -> ConvergenceRule:
        """The stop rule of what has a penalty."""
        return ConvergenceRule(self.max_steps, tolerance=self.tolerance, objective_bound=self.objective_bound)

    @property
    def flow_penalty(self) -> float:
        """Lambda of a flow; 0 for "alpha_trick"."""
        return self.penalty if self.rule == "decay_flow" else 0.0

    @property
    def flow(self) -> FlowSettings:
        """Accuracy of a flow, and its stop rule, which looks at the loss alone: with a penalty that has no say."""
        fitted = FITTED if self.objective_bound is None else self.objective_bound
        bound = 0.0 if self.flow_penalty else fitted
        stop = StopRule(margin_share=None, loss_bound=bound, max_steps=self.max_steps)
        return FlowSettings(weight_tolerance=self.weight_tolerance, stop=stop)

    def net(self, dimension: int, like: Tensor | None = None) -> ReluNeurons:
        """Return the net as it is before its training.

        Neurons are uniform on the sphere. "projected_gd" starts at w = 0, the others at |w| = 1 with random signs
        (which "conic" keeps), for "alpha_trick" all times sqrt(alpha).

        Args:
            dimension: d of the points.
            like: A tensor of its floating type and device; by default it is float64, on the CPU.
        """
        like = torch.empty(0, dtype=torch.float64) if like is None else like
        generator = stream(self.seed, "neurons")
        neurons = torch.randn(dimension, self.width, generator=generator, dtype=like.dtype)
        signs = 2 * torch.randint(0, 2, (self.width,), generator=generator).to(like.dtype) - 1
        scale = self.alpha**0.5 if self.rule == "alpha_trick" else 1.0
        weights = signs * (0.0 if self.rule == "projected_gd" else scale)
        neurons = neurons / column_norms(neurons) * scale
        return ReluNeurons(weights.to(like.device), neurons.to(like.device))


class ReluNeurons(FCN):
    """f(x) = 1/H sum_h w_h relu(v_h . x).

    Args:
        weights: (H,) w.
        neurons: (d, H) v.
    """

    def __init__(self, weights: Tensor, neurons: Tensor) -> None:
        super(FCN, self).__init__()  # an FCN draws its weights, and these are given
        self.activation, self.scaling = Activation("relu"), "mean_field"
        self.scales = [1.0, 1 / neurons.shape[1]]
        self.weights = nn.ParameterList(part.clone() for part in (neurons.T.contiguous(), weights[None]))

    def forward(self, x: Tensor) -> Tensor:
        """Return f at points (m, d), by blocks, shape (m, 1)."""
        return torch.cat([super(ReluNeurons, self).forward(block) for block in torch.split(x, 1024)])

    def parts(self) -> tuple[Tensor, Tensor]:
        """Return w (H,) and v (d, H), views without a gradient."""
        neurons, weights = (weight.detach() for weight in self.weights)
        return weights[0], neurons.T

    def atoms(self) -> tuple[Tensor, Tensor]:
        """Return unit directions (H, d) and signed masses (H,) of the neurons; one that vanished has mass 0 and any."""
        weights, neurons = self.parts()
        # Neurons that a penalty has let die are so short that their squares are 0.
        largest = neurons.abs().amax(dim=0)
        directions = neurons / torch.where(largest > 0, largest, 1)
        length = directions.norm(dim=0)
        directions = directions / torch.where(length > 0, length, 1)
        directions[0] += length == 0
        return directions.T.contiguous(), weights * (length * largest) / len(length)

    def measures(self, x: Tensor) -> dict[str, float]:
        """Return mass 1/H sum |w_h||v_h|, and the number of atoms on points (n, d) that hold 99% of it."""
        atoms, weights = self.atoms()
        masses = weights.abs()
        alive, carrying = masses > 0, 0
        if alive.any():
            groups = activation_atoms(atoms[alive], x.to(atoms), masses=masses[alive].double())
            carrying = number_carrying(groups.masses)
        return {"mass": float(masses.sum()), "n_atoms": float(carrying)}
