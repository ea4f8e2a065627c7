r"""The L2-regularised problem: data, cost, penalty, depth, bias amount and non-linearity in one object.

Columns are data points throughout this package, as in the paper: X is (n_0, N), Z_l is (n_l, N).

Source: Jacot, Golikov, Hongler, Gabriel, "Feature learning in L2-regularized DNNs: attraction/repulsion and
sparsity", NeurIPS 2022 (arXiv 2205.15809), section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from diffstab.errors import ArgumentError
from diffstab.nets import Activation

COSTS = ("mse", "cross_entropy")
HOMOGENEOUS = ("relu", "linear")
ACTIVATIONS = (*HOMOGENEOUS, "softplus")


@dataclass(frozen=True, eq=False)
class L2Problem:
    r"""min over weights of C(Z_L) + lambda sum_l |W_l|_F^2, with Z_l = W_l [A_{l-1}; b 1^T], A_l = s(Z_l), A_0 = X.

    Costs, averaged over the N points: mse |z - y|^2 / 2; cross_entropy -log softmax(z)_y.

    Args:
        inputs: X, shape (n_0, N), floating: one column per data point.
        targets: Y, shape (n_L, N), of the type of the inputs, for mse; class indices, shape (N,) int64, for
            cross_entropy.
        cost: "mse" or "cross_entropy".
        penalty: lambda >= 0.
        depth: L >= 1, the number of weight matrices.
        bias: b >= 0; 0 means no bias, and weights have no column for it.
        activation: "relu", "linear" (both positively homogeneous) or "softplus".
        classes: n_L for cross_entropy; None for mse.

    Raises:
        ArgumentError: If a shape, type or value is out of range, or a label is no class index.
    """

    inputs: Tensor
    targets: Tensor
    cost: str = "mse"
    penalty: float = 1e-3
    depth: int = 2
    bias: float = 0.0
    activation: str = "relu"
    classes: int | None = None

    def __post_init__(self) -> None:
        for name, choices in (("cost", COSTS), ("activation", ACTIVATIONS)):
            if getattr(self, name) not in choices:
                raise ArgumentError(name, f"be one of {', '.join(choices)}", repr(getattr(self, name)))
        for name in ("penalty", "bias"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ArgumentError(name, "be finite and at least 0", value)
        if self.depth < 1:
            raise ArgumentError("depth", "be at least 1", self.depth)
        self._check_inputs()
        self._check_targets()

    def _check_inputs(self) -> None:
        inputs = self.inputs
        if inputs.ndim != 2 or 0 in inputs.shape or not inputs.is_floating_point():
            received = f"{tuple(inputs.shape)} of {inputs.dtype}"
            raise ArgumentError("inputs", "be a floating matrix (features, points), not empty", received)
        if not inputs.isfinite().all():
            raise ArgumentError("inputs", "be finite", "NaN or infinite entries")

    def _check_targets(self) -> None:
        targets, count = self.targets, self.points
        if self.cost == "cross_entropy":
            if self.classes is None or self.classes < 2:
                raise ArgumentError("classes", "be at least 2 for cross_entropy", self.classes)
            if targets.shape != (count,) or targets.dtype != torch.int64:
                received = f"{tuple(targets.shape)} of {targets.dtype}"
                raise ArgumentError(
                    "targets", f"be class indices of shape ({count},) and type int64", received
                )
            if targets.min() < 0 or targets.max() >= self.classes:
                received = f"{int(targets.min())} to {int(targets.max())}"
                raise ArgumentError("targets", f"lie in 0 to {self.classes - 1}", received)
            return
        if self.classes is not None:
            raise ArgumentError("classes", "be None for mse", self.classes)
        if targets.ndim != 2 or targets.shape[1] != count or targets.dtype != self.inputs.dtype:
            received = f"{tuple(targets.shape)} of {targets.dtype}"
            raise ArgumentError(
                "targets", f"have shape (outputs, {count}) and type {self.inputs.dtype}", received
            )
        if 0 in targets.shape or not targets.isfinite().all():
            raise ArgumentError("targets", "be finite and not empty", "NaN, infinite or no entries")

    @property
    def points(self) -> int:
        """N, the number of data points."""
        return self.inputs.shape[1]

    @property
    def outputs(self) -> int:
        """n_L, the number of outputs."""
        return self.targets.shape[0] if self.classes is None else self.classes

    @property
    def is_homogeneous(self) -> bool:
        """Whether s(c z) = c s(z) for c > 0, which the covariance form needs."""
        return self.activation in HOMOGENEOUS

    def widths(self, hidden: int | list[int] | tuple[int, ...]) -> tuple[int, ...]:
        """Return n_0 ... n_L for hidden widths, one number meaning the same in every hidden layer.

        Raises:
            ArgumentError: If a width is below 1 or there are not depth - 1 of them.
        """
        chosen = (hidden,) * (self.depth - 1) if isinstance(hidden, int) else tuple(hidden)
        if len(chosen) != self.depth - 1 or min(chosen, default=1) < 1:
            raise ArgumentError("widths", f"be {self.depth - 1} numbers of at least 1", chosen)
        return (self.inputs.shape[0], *chosen, self.outputs)

    def activate(self, preactivations: Tensor) -> Tensor:
        """Return s(Z), of the shape of Z; differentiable by autograd."""
        if self.activation == "linear":
            return preactivations
        return Activation(self.activation)(preactivations)

    def slope(self, preactivations: Tensor) -> Tensor:
        """Return s'(Z), of the shape of Z; 0 for relu at 0."""
        return self.through_slope(torch.ones_like(preactivations), preactivations)

    def through_slope(self, back: Tensor, preactivations: Tensor) -> Tensor:
        """Return G * s'(Z), of the shape of Z: a gradient in A taken back to Z."""
        if self.activation == "linear":
            return back
        if self.activation == "relu":
            # One pass over memory, with relu's own backward kernel: slope 0 at 0.
            return torch.ops.aten.threshold_backward(back, preactivations, 0)  # type: ignore[no-any-return]
        return back * Activation(self.activation).value_and_slope(preactivations)[1]

    def extended(self, activations: Tensor) -> Tensor:
        """Return Z^s = [A; b 1^T], shape (..., n + 1, N); A itself where b = 0."""
        if self.bias == 0:
            return activations
        row = activations.new_full((*activations.shape[:-2], 1, activations.shape[-1]), self.bias)
        return torch.cat([activations, row], dim=-2)

    @cached_property
    def extended_inputs(self) -> Tensor:
        """[X; b 1^T], shape (n_0 + 1, N); X itself where b = 0."""
        return self.extended(self.inputs)

    def cost_of(self, outputs: Tensor) -> Tensor:
        """Return C(Z_L), shape (...), of outputs (..., n_L, N)."""
        if self.cost == "mse":
            return (outputs - self.targets).square().sum((-2, -1)) / (2 * self.points)
        log_shares = functional.log_softmax(outputs, dim=-2)
        return -(log_shares * self._one_hot).sum((-2, -1)) / self.points

    def cost_gradient(self, outputs: Tensor) -> Tensor:
        """Return dC/dZ_L, of the shape of the outputs (..., n_L, N)."""
        if self.cost == "mse":
            return (outputs - self.targets) / self.points
        return (functional.softmax(outputs, dim=-2) - self._one_hot) / self.points

    def cost_and_gradient(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return `cost_of` and `cost_gradient` of outputs (..., n_L, N), sharing what both need."""
        if self.cost == "mse":
            missed = outputs - self.targets
            return missed.square().sum((-2, -1)) / (2 * self.points), missed.div_(self.points)
        log_shares = functional.log_softmax(outputs, dim=-2)
        cost = -(log_shares * self._one_hot).sum((-2, -1)) / self.points
        return cost, log_shares.exp_().sub_(self._one_hot).div_(self.points)

    def cost_conjugate(self, dual: Tensor) -> Tensor:
        r"""Return C*(G) = sup_Z <G, Z> - C(Z), shape (...), of G (..., n_L, N); infinite outside its domain.

        mse: N |G|^2 / 2 + <G, Y>. cross_entropy: with p = N G + onehot(y) a probability in each column,
        (1/N) sum_i sum_c p_ci log p_ci.
        """
        if self.cost == "mse":
            return (dual.square() * (self.points / 2) + dual * self.targets).sum((-2, -1))
        shares = self.points * dual + self._one_hot
        slack = 64 * torch.finfo(dual.dtype).eps * self.points
        outside = (shares < -slack).any(-2) | ((shares.sum(-2) - 1).abs() > slack)
        entropy = torch.special.entr(shares.clamp_min(0)).sum((-2, -1))
        return torch.where(outside.any(-1), torch.inf, -entropy / self.points)

    @cached_property
    def _one_hot(self) -> Tensor:
        return functional.one_hot(self.targets, self.outputs).T.to(self.inputs.dtype)
