r"""Full-batch gradient flow dW/dt = -grad L(F(W)) of a fully-connected net, to a margin or a loss.

Three facts make it fast:

- the first layer moves only in the span of the n training inputs, so the flow runs in min(n, d) dimensions;
- all the stiffness sits in the Gauss-Newton matrix J^T diag(l'') J, and (I + c J^T diag(l'') J)^-1 needs only the
  tangent kernel of the points on which the loss is curved (Woodbury);
- the step is of order 3 with an error estimate (`diffstab.training.rosenbrock`), so it follows the flow's own
  time scale and neither the stiffness nor a bound on the change of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN, CentredOutput, Loss, Tangent, fcn_tangent
from diffstab.training.rosenbrock import GAMMA, rosenbrock_step
from diffstab.training.status import FlowStatus, check_batch
from diffstab.training.stopping import StopRule, margin_share


@dataclass(frozen=True)
class FlowSettings:
    """Accuracy and stop rule of a gradient flow.

    Args:
        weight_tolerance: Bound on the local error of the weights, relative to how far they have moved from
            their initial values.
        output_tolerance: Bound on the local error of the predictor F on any training point, in units of F.
        stop_output_change: The step that meets the stop rule is shortened until F changes by at most this on
            any point, so that the flow stops at the crossing and not a step later.
        initial_step: First step size tried.
        stop: Stop rule.

    Raises:
        ArgumentError: If a value is not positive.
    """

    weight_tolerance: float = 5e-4
    output_tolerance: float = 0.05
    stop_output_change: float = 0.02
    initial_step: float = 1e-3
    stop: StopRule = field(default_factory=StopRule)

    def __post_init__(self) -> None:
        for name in ("weight_tolerance", "output_tolerance", "stop_output_change", "initial_step"):
            if not getattr(self, name) > 0:
                raise ArgumentError(name, "be positive", getattr(self, name))


class FlowProblem:
    """The flow of one FCN on one training set, its first layer written in the span of the inputs.

    Args:
        model: Predictor F = alpha (f - xi f_0) with an FCN of one output inside.
        loss: A binary loss; its alpha must be the model's.
        x: Training inputs (n, ...).
        y: Targets (n,): -1 / +1, or real for mse.

    Attributes:
        state: Current weights as one vector, of the net's floating type.
    """

    def __init__(self, model: CentredOutput, loss: Loss, x: Tensor, y: Tensor) -> None:
        net = model.net
        if not isinstance(net, FCN) or net.out_features != 1:
            raise ArgumentError(
                "model.net", "be an FCN of one output", type(net).__name__, "Use method='euler'."
            )
        check_batch(x, y)
        self.net = net
        dtype = net.weights[0].dtype
        inputs = net.flatten(x).detach().to(dtype)
        self.loss, self.alpha, self.targets = loss, model.alpha, y.detach().to(dtype)
        self.scales, self.activation = net.scales, net.activation
        # A thin QR of the transposed inputs: columns of the basis span the training set.
        self.basis = torch.linalg.qr(inputs.T).Q
        self.inputs = inputs @ self.basis
        weights = [weight.detach() for weight in net.weights]
        self._first = weights[0]
        self._span_start = weights[0] @ self.basis
        reduced = [self._span_start, *weights[1:]]
        self.shapes = [weight.shape for weight in reduced]
        self.state = torch.cat([weight.flatten() for weight in reduced])
        start_net = model.initial
        assert isinstance(start_net, FCN)
        initial = [weight.detach() for weight in start_net.weights]
        origin = [initial[0] @ self.basis, *initial[1:]]
        self.origin = torch.cat([weight.flatten() for weight in origin])
        start = fcn_tangent(origin, self.inputs, **self._form).outputs
        self.start = model.xi * start

    @property
    def _form(self) -> dict[str, Any]:
        return {"scales": self.scales, "activation": self.activation}

    def split(self, state: Tensor) -> list[Tensor]:
        """Return the weight matrices, views of the state vector."""
        parts = torch.split(state, [shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes)]

    def tangent(self, state: Tensor) -> Tangent:
        """Return the tangent of f on the training set."""
        return fcn_tangent(self.split(state), self.inputs, **self._form)

    def predictor(self, tangent: Tangent) -> Tensor:
        """Return F on the training set, shape (n,)."""
        return self.alpha * (tangent.outputs - self.start)

    def rate(self, tangent: Tangent) -> Tensor:
        """Return -grad of the loss as one vector: -J^T l'(F) / n."""
        slope, _ = self.loss.slope_and_curvature(self.predictor(tangent), self.targets)
        parts = tangent.pull_back(-slope / len(slope))
        return torch.cat([part.flatten() for part in parts])

    def write_back(self) -> None:
        """Copy the current weights into the model's net, leaving the first layer alone outside the span."""
        first, *rest = self.split(self.state)
        first = self._first + (first - self._span_start) @ self.basis.T
        with torch.no_grad():
            for parameter, weight in zip(self.net.weights, [first, *rest]):
                parameter.copy_(weight)


class _StiffPart:
    """Solves with I + c J^T diag(l'') J on the points where the loss is curved enough to matter."""

    def __init__(self, problem: FlowProblem, tangent: Tangent, curvature: Tensor, step_size: float) -> None:
        self.problem = problem
        diagonal = sum(a.square().sum(1) * b.square().sum(1) for a, b in zip(tangent.inputs, tangent.signals))
        weight = step_size * GAMMA * problem.alpha / len(curvature) * curvature
        # Below this bound a point is not stiff, and the method keeps its order without it.
        rows = (weight * diagonal > 1e-3).nonzero().squeeze(1)
        self.tangent = tangent.select(rows) if len(rows) < len(weight) else tangent
        self.root = weight[rows].sqrt()
        self.factor = None
        if len(rows):
            matrix = self.tangent.kernel().mul_(self.root[:, None]).mul_(self.root)
            matrix.diagonal().add_(1)
            # Only n x n, and as ill-conditioned as the flow is stiff: always in double precision.
            self.factor = torch.linalg.cholesky(matrix.double())

    def solve(self, g: Tensor) -> Tensor:
        """Return (I + c J^T diag(l'') J)^-1 g by the Woodbury identity."""
        if self.factor is None:
            return g
        seen = self.root * self.tangent.push_forward(self.problem.split(g))
        answer = torch.cholesky_solve(seen[:, None].double(), self.factor).squeeze(1).to(g.dtype)
        parts = self.tangent.pull_back(self.root * answer)
        return g - torch.cat([part.flatten() for part in parts])


class GradientFlow(Optimizer):
    """Gradient flow of an FCN of one output as a torch optimiser: state dict, checkpoints, Lightning.

    Args:
        model: Predictor to train; its `net` is changed in place.
        loss: Binary loss with the model's alpha.
        settings: Accuracy and stop rule.

    Raises:
        ArgumentError: If loss and model disagree on alpha.

    Source: adaptive gradient flow of Geiger et al. 2020 and Petrini et al. 2022 (arXiv 2206.12314); the
    integrator is this project's.
    """

    def __init__(self, model: CentredOutput, loss: Loss, settings: FlowSettings | None = None) -> None:
        if loss.alpha != model.alpha:
            raise ArgumentError("loss.alpha", f"equal the model's alpha {model.alpha}", loss.alpha)
        self.settings = settings or FlowSettings()
        counters = {"time": 0.0, "step_size": self.settings.initial_step, "steps": 0, "rejected": 0}
        super().__init__(model.net.parameters(), counters)
        self.model, self.loss = model, loss

    def step(  # type: ignore[override]
        self, closure: Callable[[], object] | None = None, *, x: Tensor, y: Tensor, steps: int = 1
    ) -> FlowStatus:
        """Advance by up to `steps` accepted steps on the full training set, then write the weights back.

        Args:
            closure: Called first if given, for callers that pass one; its result is not used.
            x: Training inputs (n, ...).
            y: Targets (n,).
            steps: Accepted steps at most; fewer when the stop rule is met.

        Raises:
            ArgumentError: If the batch holds NaN or the shapes do not fit.
            DegenerateError: If the flow cannot go on: non-finite values at the smallest step.
        """
        if closure is not None:
            closure()
        with torch.no_grad():
            problem = FlowProblem(self.model, self.loss, x, y)
            status = self._advance(problem, steps)
            problem.write_back()
        return status

    def run(
        self, x: Tensor, y: Tensor, *, on_step: Callable[[FlowStatus], object] | None = None
    ) -> FlowStatus:
        """Integrate until the stop rule is met; `on_step` is called about every 50 accepted steps."""
        with torch.no_grad():
            problem = FlowProblem(self.model, self.loss, x, y)
            status = self._advance(problem, 0)
            while not status.done:
                status = self._advance(problem, 50)
                if on_step is not None:
                    on_step(status)
            problem.write_back()
        return status

    def _advance(self, problem: FlowProblem, steps: int) -> FlowStatus:
        tangent = problem.tangent(problem.state)
        status = self._status(problem, tangent, 0.0, steps=self.param_groups[0]["steps"])
        for _ in range(steps):
            if status.done:
                break
            tangent, status = self._accepted_step(problem, tangent)
        return status

    def _accepted_step(self, problem: FlowProblem, tangent: Tangent) -> tuple[Tangent, FlowStatus]:
        counters, settings = self.param_groups[0], self.settings
        outputs, rate = problem.predictor(tangent), problem.rate(tangent)
        while True:
            step_size = counters["step_size"]
            if not step_size > 1e-14 * max(counters["time"], settings.initial_step):
                raise DegenerateError(
                    f"The flow cannot go on at time {counters['time']:.6g}: step size underflow."
                )
            state, error_ratio = self._trial(problem, tangent, rate, step_size)
            if error_ratio <= 1:
                new = problem.tangent(state)
                change = float((problem.predictor(new) - outputs).abs().max())
                status = self._status(problem, new, change, steps=counters["steps"] + 1)
                if change <= settings.stop_output_change or status.reason not in ("margin", "loss"):
                    break
                counters["step_size"] *= 0.5
            else:
                counters["step_size"] *= max(0.2, 0.9 * error_ratio ** (-1 / 3))
            counters["rejected"] += 1
        problem.state = state
        counters["steps"] += 1
        counters["time"] += step_size
        counters["step_size"] *= min(3.0, 0.9 * max(error_ratio, 1e-9) ** (-1 / 3))
        return new, status._replace(time=counters["time"], step_size=counters["step_size"])

    def _trial(
        self, problem: FlowProblem, tangent: Tangent, rate: Tensor, step_size: float
    ) -> tuple[Tensor, float]:
        """Return the state after a step and its error over the tolerance (inf where it is not finite)."""
        outputs = problem.predictor(tangent)
        _, curvature = self.loss.slope_and_curvature(outputs, problem.targets)
        change, error = rosenbrock_step(
            problem.state,
            rate,
            rate=lambda state: problem.rate(problem.tangent(state)),
            solve=_StiffPart(problem, tangent, curvature, step_size).solve,
            step_size=step_size,
        )
        state = problem.state + change
        travel = (state - problem.origin).norm()
        output_error = problem.alpha * tangent.push_forward(problem.split(error)).abs().max()
        ratio = max(
            float(error.norm() / travel) / self.settings.weight_tolerance if travel else 0.0,
            float(output_error) / self.settings.output_tolerance,
        )
        return state, ratio if math.isfinite(ratio) else math.inf

    def _status(self, problem: FlowProblem, tangent: Tangent, change: float, *, steps: int) -> FlowStatus:
        counters = self.param_groups[0]
        outputs = problem.predictor(tangent)
        loss = float(problem.loss.pointwise(outputs, problem.targets).mean())
        share = margin_share(outputs, problem.targets, self.settings.stop.margin)
        return FlowStatus(
            time=counters["time"],
            step_size=counters["step_size"],
            steps=steps,
            rejected=counters["rejected"],
            loss=loss,
            margin_share=share,
            output_change=change,
            reason=self.settings.stop.reason(loss=loss, share=share, steps=steps),
        )
