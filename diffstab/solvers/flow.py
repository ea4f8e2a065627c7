r"""Full-batch gradient flow dW/dt = -grad L(F(W)) of a fully-connected net, to a margin or a loss.

Four facts make it fast:

- the first layer moves only in the span of the n training inputs, so the flow runs in min(n, d) dimensions;
- all the stiffness sits in the Gauss-Newton matrix J^T diag(l'') J, and (I + c J^T diag(l'') J)^-1 needs only the
  tangent kernel of the points on which the loss is curved (Woodbury);
- where the slope of the loss is lost in the rounding of the gradient, a point is left out of the stages of a step;
- the step is of order 3 with an error estimate (`diffstab.solvers.rosenbrock`), so it follows the flow's own
  time scale and neither the stiffness nor a bound on the change of the gradient.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from diffstab.errors import ArgumentError
from diffstab.nets import FCN, CentredOutput, Loss, Tangent, fcn_tangent
from diffstab.solvers.integrator import Cancellation, FlowSettings, integrate, start_counters
from diffstab.solvers.rosenbrock import GAMMA, stiff_factor
from diffstab.solvers.solver import SameTensor, Solver
from diffstab.solvers.status import Status, full_precision

# A point with less than this of stiffness is left to the explicit part, which keeps its order without it.
_NEGLIGIBLE_STIFFNESS = 1e-3
# Taking some of the points costs copies, which this share of them would not pay for.
_LARGEST_PART = 0.9


@dataclass(frozen=True)
class FlowPoint:
    """A net at one state on training points.

    Attributes:
        tangent: Outputs f and their Jacobian.
        outputs: F, shape (n,).
        slope: dl/dF, shape (n,).
        curvature: d2l/dF2, shape (n,).
        state: The weights there, as one vector.
    """

    tangent: Tangent
    outputs: Tensor
    slope: Tensor
    curvature: Tensor
    state: Tensor

    @cached_property
    def kernel_diagonal(self) -> Tensor:
        """Squared norms of the rows of the Jacobian of f, shape (n,)."""
        return self.tangent.kernel_diagonal()

    def select(self, rows: Tensor) -> FlowPoint:
        """Return the same on some of the points, given by indices."""
        parts = self.outputs[rows], self.slope[rows], self.curvature[rows]
        return FlowPoint(self.tangent.select(rows), *parts, self.state)


class NetFlow:
    """The flow of one FCN on one training set (a `FlowProblem`), its first layer written in the span of the inputs.

    Args:
        model: Predictor F = alpha (f - xi f_0) with an FCN of one output inside.
        loss: A binary loss; its alpha must be the model's.
        x: Training inputs (n, ...).
        y: Targets (n,): -1 / +1, or real for mse and regression.
        decay: delta of an L2 penalty (delta / 2) |W|^2 on the loss.
        first_layer: What `first_layer()` gave when the weights were written back; not used if it is not of them.

    Attributes:
        state: Current weights as one vector, of the net's floating type.
        origin: The initial weights likewise.

    Raises:
        ArgumentError: If the net is of another kind.
    """

    def __init__(
        self,
        model: CentredOutput,
        loss: Loss,
        x: Tensor,
        y: Tensor,
        *,
        decay: float = 0.0,
        first_layer: dict[str, Tensor] | None = None,
    ) -> None:
        net, initial = model.net, model.initial
        if not (isinstance(net, FCN) and isinstance(initial, FCN) and net.out_features == 1):
            raise ArgumentError("model.net", "be an FCN of one output", type(net).__name__, "Use EulerFlow.")
        self.net, self.loss, self.alpha, self.decay = net, loss, model.alpha, decay
        dtype = net.weights[0].dtype
        self.targets = y.detach().to(dtype)
        inputs = net.flatten(x).detach().to(dtype)
        # A thin QR of the transposed inputs: the columns of the basis span the training set. All weights decay.
        self.basis = torch.eye(inputs.shape[1]).to(inputs) if decay else torch.linalg.qr(inputs.T).Q
        first_scale, *other_scales = net.scales
        self.inputs, self.scales = inputs @ self.basis * first_scale, [1.0, *other_scales]
        self.count = len(inputs)
        first = net.weights[0].detach()
        self._outside = first - first @ self.basis @ self.basis.T
        self._given = SameTensor(x), SameTensor(y)
        self.shapes = [
            torch.Size((len(net.weights[0]), self.basis.shape[1])),
            *[w.shape for w in net.weights[1:]],
        ]
        self.state, self.origin = self._reduced(net), self._reduced(initial)
        self._resume(first_layer or {})
        self._written = self._weights()
        self.start = model.xi * self._tangent(self.origin).outputs

    def _reduced(self, net: FCN) -> Tensor:
        first, *rest = [weight.detach() for weight in net.weights]
        return torch.cat([weight.flatten() for weight in (first @ self.basis, *rest)])

    def _resume(self, kept: dict[str, Tensor]) -> None:
        """Take up the state of the first layer that its weights were written from, if they were."""
        inside, outside = kept.get("inside"), kept.get("outside")
        if inside is None or outside is None or inside.shape != self.shapes[0]:
            return
        if torch.equal(outside + inside @ self.basis.T, self.net.weights[0]):
            self.state[: inside.numel()] = inside.flatten()
            self._outside = outside

    def is_current(self, x: Tensor, y: Tensor) -> bool:
        """Whether a training set is the one of this flow, and the net's weights those that it has written."""
        same_set = self._given[0].is_in(x) and self._given[1].is_in(y)
        return same_set and all(map(torch.equal, self.net.weights, self._written))

    def first_layer(self) -> dict[str, Tensor]:
        """Return the weights of the first layer inside and outside the span of the inputs."""
        return {"inside": self.split(self.state)[0].clone(), "outside": self._outside}

    def split(self, state: Tensor) -> list[Tensor]:
        """Return the weight matrices, views of the state vector."""
        parts = torch.split(state, [shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes)]

    def _tangent(self, state: Tensor) -> Tangent:
        return fcn_tangent(self.split(state), self.inputs, scales=self.scales, activation=self.net.activation)

    def at(self, state: Tensor) -> FlowPoint:
        """Return F, its tangent and the derivatives of the loss on the training set."""
        tangent = self._tangent(state)
        outputs = self.alpha * (tangent.outputs - self.start)
        return FlowPoint(tangent, outputs, *self.loss.slope_and_curvature(outputs, self.targets), state)

    def predictor(self, point: FlowPoint) -> Tensor:
        """Return F on the training set, shape (n,)."""
        return point.outputs

    def within(self, point: FlowPoint, change: float) -> tuple[NetFlow, FlowPoint]:
        """Return this flow and a point of it without the training points whose slopes are below rounding.

        Left out are the points i with |J_i| |l'| <= eps mean_j |J_j| |l'_j| for every F_i that `change` allows: all
        of them together are at most eps of the terms of the gradient.
        """
        if not math.isfinite(change):
            return self, point
        norms, ends = point.kernel_diagonal.sqrt(), (point.outputs - change, point.outputs + change)
        # |l'| of a convex loss is largest at an end.
        steepest = torch.stack(
            [self.loss.slope_and_curvature(end, self.targets)[0].abs() for end in ends]
        ).amax(0)
        bound = torch.finfo(norms.dtype).eps * (norms * point.slope.abs()).mean()
        rows = (norms * steepest > bound).nonzero().squeeze(1)
        if not 0 < len(rows) < _LARGEST_PART * self.count:
            return self, point
        kept, part = point.select(rows), copy.copy(self)
        part.inputs, part.targets, part.start = kept.tangent.inputs[0], self.targets[rows], self.start[rows]
        return part, kept

    def rate(self, point: FlowPoint) -> Tensor:
        """Return -grad of the loss and the penalty as one vector: -J^T l'(F) / n - delta W."""
        loss = self._pull_back(point.tangent, point.slope / -self.count)
        return loss.sub_(point.state, alpha=self.decay) if self.decay else loss

    def output_change(self, point: FlowPoint, direction: Tensor) -> Tensor:
        """Return alpha J u, shape (n,)."""
        return self.alpha * point.tangent.push_forward(self.split(direction))

    def stiff_solver(self, point: FlowPoint, step_size: float) -> Callable[[Tensor], Tensor]:
        """Return the solve with (1 + c delta) I + c J^T diag(l'') J, in place, on the points where it matters."""
        shrink = 1 / (1 + step_size * GAMMA * self.decay)
        weight = step_size * shrink * GAMMA * self.alpha / self.count * point.curvature
        rows = (weight * point.kernel_diagonal > _NEGLIGIBLE_STIFFNESS).nonzero().squeeze(1)
        if not len(rows):
            return lambda g: g.mul_(shrink)
        stiff = point.tangent.select(rows) if len(rows) < len(weight) else point.tangent
        root = weight[rows].sqrt()
        matrix = stiff.kernel().mul_(root[:, None]).mul_(root)
        # Only as large as the stiff points are many, and ill-conditioned: always in double precision.
        factor = stiff_factor(matrix.double())

        def solve(g: Tensor) -> Tensor:
            g.mul_(shrink)
            seen = root * stiff.push_forward(self.split(g))
            answer = torch.cholesky_solve(seen[:, None].double(), factor).squeeze(1).to(g.dtype)
            return self._pull_back(stiff, -root * answer, added_to=g)

        return solve

    def cancellation(self, point: FlowPoint) -> Cancellation:
        """Return |g| and sum_i |J_i| (|l'_i| + l''_i (alpha (|f_i| + |start_i|) + |y_i|)) / n, and the terms of F."""
        terms = self.alpha * (point.tangent.outputs.abs() + self.start.abs()) + self.targets.abs()
        sizes = point.kernel_diagonal.sqrt() * (point.slope.abs() + point.curvature * terms)
        return Cancellation(*torch.stack([self.rate(point).norm(), sizes.mean(), terms.max()]).tolist())

    def write_back(self) -> None:
        """Copy the current weights into the net, leaving the first layer alone outside the span."""
        self._written = self._weights()
        with torch.no_grad():
            for parameter, weight in zip(self.net.weights, self._written):
                parameter.copy_(weight)

    def _weights(self) -> list[Tensor]:
        first, *rest = self.split(self.state)
        return [self._outside + first @ self.basis.T, *rest]

    def _pull_back(self, tangent: Tangent, cotangent: Tensor, added_to: Tensor | None = None) -> Tensor:
        """Return J^T v as one vector, or add it to one, in place."""
        result = torch.empty_like(self.origin) if added_to is None else added_to
        for part, inputs, signals in zip(self.split(result), tangent.inputs, tangent.signals):
            part.addmm_((signals * cotangent[:, None]).T, inputs, beta=0 if added_to is None else 1)
        return result


class GradientFlow(Solver):
    """Gradient flow of an FCN of one output as a torch optimiser: state dict, checkpoints, Lightning.

    Runs in the floating type of the net, also under autocast: float32 is enough for alpha <= 1, the lazy regime needs
    float64.

    Accuracy at the default tolerance, against the same integrator at 2e-5 (50 neurons, 30 points, one draw): with
    softplus the stop comes within 2 %, the weights within 1 % of how far they moved, the outputs within 1 % root mean
    square. With relu the kinks cost the order, and the steps grow as the inverse of the tolerance. At alpha = 1 the
    numbers are those of softplus. In the feature regime (alpha = 1e-6) the outputs are within 1 %, the weights off by
    up to 8 % of how far they moved; at a tolerance of 1e-4, five times the steps, by 0.4 % and 5 %. With relu and 1000
    neurons on 96 images it is 0.8 % and 24 %, against a tolerance of 5e-5: many weights give the same outputs.

    Args:
        model: Predictor to train; its `net` is changed in place.
        loss: Binary loss with the model's alpha.
        settings: Accuracy and stop rule.
        decay: delta of an L2 penalty (delta / 2) |W|^2 on the loss. The stop rule looks at the loss alone; at a minimum
            of both, steps stay of order 1 / delta and the weights within the tolerance of it, which is no stall.

    Raises:
        ArgumentError: If loss and model disagree on alpha, or the decay is negative or not finite.

    Source: the flow and its stop rule are those of Petrini et al. 2022 (arXiv 2206.12314).
    """

    def __init__(
        self, model: CentredOutput, loss: Loss, settings: FlowSettings | None = None, *, decay: float = 0.0
    ) -> None:
        if not 0 <= decay < math.inf:
            raise ArgumentError("decay", "be finite and at least 0", decay)
        self.settings, self.decay = settings or FlowSettings(), decay
        super().__init__(model, loss, start_counters(self.settings))
        self._problem: NetFlow | None = None

    @torch.no_grad()
    def advance(self, x: Tensor, y: Tensor, steps: int) -> Status:
        """Advance by up to `steps` accepted steps, then write the weights back."""
        with full_precision(x):
            problem = self._problem_on(x, y)
            status = integrate(problem, self.param_groups[0], settings=self.settings, steps=steps)
            problem.write_back()
        # A resumed flow goes on from here: the weights alone would give the state up to rounding only.
        self.state[self._first] = problem.first_layer()
        return status

    def _problem_on(self, x: Tensor, y: Tensor) -> NetFlow:
        if self._problem is None or not self._problem.is_current(x, y):
            kept = self.state.get(self._first)
            self._problem = NetFlow(self.model, self.loss, x, y, decay=self.decay, first_layer=kept)
        return self._problem
