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

    def within(self, point: Any, change: float) -> tuple[FlowProblem, Any]:
        """Return the problem and a point of it for a step in which F changes by at most so much on any point.

        Training points that do not matter to the rate, up to rounding, may be left out. Else it is the problem itself.
        """

    def rate(self, point: Any) -> Tensor:
        """Return dy/dt, shape (N,)."""

    def stiff_solver(self, point: Any, step_size: float) -> Callable[[Tensor], Tensor]:
        """Return g -> (I - step_size GAMMA A)^-1 g, A the stiff part of the Jacobian of the rate.

        The answer may be written into g.
        """

    def output_change(self, point: Any, direction: Tensor) -> Tensor:
        """Return the first-order change (n,) of F along a direction (N,)."""

    def cancellation(self, point: Any) -> Cancellation:
        """Return how far the terms of the gradient and of F cancel."""


_SAFETY, _LARGEST_GROWTH, _LARGEST_FALL, _ORDER = 0.9, 3.0, 0.2, 3
_BELOW_REFUSED, _REGAINED = 0.7, 1.1
"""Of a step that was refused, the part that the next ones may have; it grows by this, its square, its cube, ...

Near the limit of stability the error grows by a far higher power of the step than the order tells."""
_EXPECTED_CHANGE = 2.0
"""The change of F that a step is prepared for, in units of that of the last step for the same time."""

_STALLED_GRADIENT, _LOOKED_AT = 1.0, 10
_STALLED_CHANGE = 1e3
"""The change of F in a long step that is none, in units of rounding."""
_NEAR_STALL = 0.75
"""The gradient that may come with it is eps to this power of its terms: 2e-12 in double, 6e-6 in single precision."""


def start_counters(settings: FlowSettings) -> dict[str, Any]:
    """Return the counters of a flow that has not moved yet.

    Beside time, next step and counts: the largest step that is tried and its growth with the next step, and the change
    of F per time in the last step.
    """
    return {
        "time": 0.0,
        "step_size": settings.initial_step,
        "steps": 0,
        "rejected": 0,
        "largest_step": math.inf,
        "regained": _REGAINED,
        "output_rate": math.inf,
    }


def integrate(
    problem: FlowProblem, counters: dict[str, Any], *, settings: FlowSettings, steps: int
) -> Status:
    """Advance the problem's state and the counters by up to `steps` accepted steps.

    A flow whose gradient is zero to rounding ends as "stalled": more steps would follow the rounding alone.

    Raises:
        DegenerateError: If the flow cannot go on: non-finite values at the smallest step.
    """
    for name, value in start_counters(settings).items():
        counters.setdefault(name, value)  # a checkpoint of 0.1.0 has fewer
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
    outputs = problem.predictor(point)
    while True:
        step_size = counters["step_size"]
        if not step_size > 1e-14 * max(counters["time"], settings.initial_step):
            return point, _halted(problem, point, counters, settings)
        expected = _EXPECTED_CHANGE * counters["output_rate"] * step_size
        state, error_ratio, is_whole = _trial(problem, point, expected, step_size, settings)
        if error_ratio <= 1:
            new = problem.at(state)
            trial = {**counters, "steps": counters["steps"] + 1, "time": counters["time"] + step_size}
            status = _status(problem, new, trial, stop=settings.stop, previous=outputs)
            if not (is_whole or status.output_change <= expected):
                # A point that was left out may have come to matter: the same step again, with all points.
                counters["output_rate"] = math.inf
                continue
            if status.output_change <= settings.stop_output_change or not status.meets_rule:
                break
            counters["step_size"] *= 0.5
        else:
            counters.update(largest_step=_BELOW_REFUSED * step_size, regained=_REGAINED)
            counters["step_size"] *= max(_LARGEST_FALL, _SAFETY * error_ratio ** (-1 / _ORDER))
        counters["rejected"] += 1
    problem.state = state
    counters.update(steps=status.steps, time=status.time, output_rate=status.output_change / step_size)
    if _is_stalled(problem, new, status, step_size):
        status = status.stalled()
    growth = min(_LARGEST_GROWTH, _SAFETY * max(error_ratio, 1e-9) ** (-1 / _ORDER))
    counters["step_size"] = min(growth * step_size, counters["largest_step"])
    counters["largest_step"] *= counters["regained"]
    counters["regained"] *= _REGAINED
    return new, status._replace(step_size=counters["step_size"])


def _halted(problem: FlowProblem, point: Any, counters: dict[str, Any], settings: FlowSettings) -> Status:
    """Return the status of a flow that no step takes on; raise DegenerateError where its values are not finite."""
    if not (problem.rate(point).isfinite().all() and problem.predictor(point).isfinite().all()):
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
    problem: FlowProblem, point: Any, expected: float, step_size: float, settings: FlowSettings
) -> tuple[Tensor, float, bool]:
    """Return the state after a step, its error over the tolerance (inf if not finite), and if all points were in it."""
    part, start = problem.within(point, expected)
    change, error = rosenbrock_step(
        problem.state,
        part.rate(start),
        rate=lambda state: part.rate(part.at(state)),
        solve=part.stiff_solver(start, step_size),
        step_size=step_size,
    )
    state = problem.state + change
    sizes = error.norm(), (state - problem.origin).norm(), part.output_change(start, error).abs().max()
    weight_error, travel, output_error = torch.stack(sizes).tolist()
    ratios = (
        weight_error / travel / settings.weight_tolerance if travel else 0.0,
        output_error / settings.output_tolerance,
    )
    return state, max(ratios) if all(map(math.isfinite, ratios)) else math.inf, part is problem


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
