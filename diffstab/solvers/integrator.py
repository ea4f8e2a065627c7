r"""Adaptive integration of a gradient flow: step-size control and the stop rule, for any `FlowProblem`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import Loss
from diffstab.solvers.rosenbrock import rosenbrock_step
from diffstab.solvers.status import Status, status_of
from diffstab.solvers.stopping import StopRule


@dataclass(frozen=True)
class FlowSettings:
    """Accuracy and stop rule of a gradient flow.

    Args:
        weight_tolerance: Bound on the local error of the weights, relative to how far they have moved from
            their initial values. The weights are of order 3 in the step where the activation is smooth; with relu
            every kink that a point crosses costs an error of the size of this bound (see `GradientFlow`).
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


class Cancellation(NamedTuple):
    """A gradient and F, and the sizes of what they are summed from: eps times these is their rounding.

    Attributes:
        gradient: |g|.
        gradient_terms: Sum of the sizes of the terms of g, with the rounding of F in each.
        output_terms: The largest size of the terms of F on a training point.
    """

    gradient: float
    gradient_terms: float
    output_terms: float


class FlowProblem(Protocol):
    """A flow dy/dt = -grad of a loss of the predictor F(y) on a training set.

    Attributes:
        state: Current y, shape (N,).
        origin: y at time 0.
        targets: Shape (n,).
        loss: Pointwise loss of F and the targets.
    """

    state: Tensor
    origin: Tensor
    targets: Tensor
    loss: Loss

    def at(self, state: Tensor) -> Any:
        """Evaluate at a state: whatever the other methods need there."""

    def predictor(self, point: Any) -> Tensor:
        """Return F on the training set, shape (n,)."""

    def rate(self, point: Any) -> Tensor:
        """Return dy/dt, shape (N,)."""

    def stiff_solver(self, point: Any, step_size: float) -> Callable[[Tensor], Tensor]:
        """Return g -> (I - step_size GAMMA A)^-1 g, A the stiff part of the Jacobian of the rate."""

    def output_change(self, point: Any, direction: Tensor) -> Tensor:
        """Return the first-order change (n,) of F along a direction (N,)."""

    def cancellation(self, point: Any) -> Cancellation:
        """Return how far the terms of the gradient and of F cancel."""


_STALLED_GRADIENT, _LOOKED_AT = 1.0, 10
_STALLED_CHANGE = 1e3
"""The change of F in a long step that is none, in units of rounding."""
_NEAR_STALL = 0.75
"""The gradient that may come with it is eps to this power of its terms: 2e-12 in double, 6e-6 in single precision."""


def start_counters(settings: FlowSettings) -> dict[str, Any]:
    """Return the counters of a flow that has not moved yet."""
    return {"time": 0.0, "step_size": settings.initial_step, "steps": 0, "rejected": 0}


def integrate(
    problem: FlowProblem, counters: dict[str, Any], *, settings: FlowSettings, steps: int
) -> Status:
    """Advance the problem's state and the counters by up to `steps` accepted steps.

    A flow whose gradient is zero to rounding ends as "stalled": more steps would follow the rounding alone.

    Raises:
        DegenerateError: If the flow cannot go on: non-finite values at the smallest step.
    """
    point = problem.at(problem.state)
    status = _status(problem, point, counters, stop=settings.stop)
    for _ in range(steps):
        if status.done:
            break
        point, status = _accepted_step(problem, point, counters, settings)
    return status


def _accepted_step(
    problem: FlowProblem, point: Any, counters: dict[str, Any], settings: FlowSettings
) -> tuple[Any, Status]:
    outputs, rate = problem.predictor(point), problem.rate(point)
    while True:
        step_size = counters["step_size"]
        if not step_size > 1e-14 * max(counters["time"], settings.initial_step):
            return point, _halted(problem, point, rate, counters, settings)
        state, error_ratio = _trial(problem, point, rate, step_size, settings)
        if error_ratio <= 1:
            new = problem.at(state)
            trial = {**counters, "steps": counters["steps"] + 1, "time": counters["time"] + step_size}
            status = _status(problem, new, trial, stop=settings.stop, previous=outputs)
            if status.output_change <= settings.stop_output_change or not status.meets_rule:
                break
            counters["step_size"] *= 0.5
        else:
            counters["step_size"] *= max(0.2, 0.9 * error_ratio ** (-1 / 3))
        counters["rejected"] += 1
    problem.state = state
    counters.update(steps=status.steps, time=status.time)
    if _is_stalled(problem, new, status, step_size):
        status = status.stalled()
    counters["step_size"] *= min(3.0, 0.9 * max(error_ratio, 1e-9) ** (-1 / 3))
    return new, status._replace(step_size=counters["step_size"])


def _halted(
    problem: FlowProblem, point: Any, rate: Tensor, counters: dict[str, Any], settings: FlowSettings
) -> Status:
    """Return the status of a flow that no step takes on; raise DegenerateError where its values are not finite."""
    if not (rate.isfinite().all() and problem.predictor(point).isfinite().all()):
        raise DegenerateError(f"The flow cannot go on at time {counters['time']:.6g}: step size underflow.")
    return _status(problem, point, counters, stop=settings.stop).stalled()


def _is_stalled(problem: FlowProblem, point: Any, status: Status, step_size: float) -> bool:
    """Whether the gradient is zero to rounding, or a step as long as half the flow changes F by rounding only.

    At a minimum the steps grow until rounding alone decides what they do. The gradient then never falls to its own
    rounding: the second rule sees that.
    """
    eps = torch.finfo(problem.state.dtype).eps
    # Looked at where F hardly changes, and now and then: rounding alone can change F in steps that are long enough.
    moves = status.output_change > eps**0.5 * (1 + float(problem.predictor(point).abs().max()))
    if moves and status.steps % _LOOKED_AT:
        return False
    found = problem.cancellation(point)
    share = found.gradient / (eps * found.gradient_terms) if found.gradient_terms > 0 else 0.0
    still = status.output_change <= _STALLED_CHANGE * eps * found.output_terms
    return share <= _STALLED_GRADIENT or (
        share <= eps ** (_NEAR_STALL - 1) and still and step_size >= status.time / 3
    )


def _trial(
    problem: FlowProblem, point: Any, rate: Tensor, step_size: float, settings: FlowSettings
) -> tuple[Tensor, float]:
    """Return the state after a step and its error over the tolerance (inf where it is not finite)."""
    change, error = rosenbrock_step(
        problem.state,
        rate,
        rate=lambda state: problem.rate(problem.at(state)),
        solve=problem.stiff_solver(point, step_size),
        step_size=step_size,
    )
    state = problem.state + change
    travel = float((state - problem.origin).norm())
    output_error = float(problem.output_change(point, error).abs().max())
    ratio = max(
        float(error.norm()) / travel / settings.weight_tolerance if travel else 0.0,
        output_error / settings.output_tolerance,
    )
    return state, ratio if math.isfinite(ratio) else math.inf


def _status(
    problem: FlowProblem,
    point: Any,
    counters: dict[str, Any],
    *,
    stop: StopRule,
    previous: Tensor | None = None,
) -> Status:
    return status_of(
        problem.predictor(point),
        problem.targets,
        loss=problem.loss,
        stop=stop,
        counters=counters,
        previous=previous,
    )
