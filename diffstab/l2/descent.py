r"""Minima over the weights: many nets at once, by Adam and then full-batch L-BFGS or gradient descent.

Nets of different widths share one padded array: a padding neuron has zero weights in and out, so its gradient is
zero and it stays dead; neither function nor penalty sees it (Jacot et al. 2022, arXiv 2205.15809, Proposition 6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.optim.adam import adam

from diffstab.errors import ArgumentError
from diffstab.l2.kinks import stationarity
from diffstab.l2.lbfgs import Minimum, minimise
from diffstab.l2.network import Widths, draw_weights, forward, hidden_widths, weight_gradient, widen
from diffstab.l2.problem import L2Problem
from diffstab.streams import stream

_OVERHEAD_SECONDS, _FLOPS_PER_SECOND = 1e-3, 1e11
_RELATIVE_PENALTY, _MULTIPLIER_STEPS, _MET = 1e-3, 8, 1e-5


@dataclass(frozen=True)
class DescentSettings:
    """How weights are trained.

    Args:
        adam_steps: Full-batch steps of Adam, its rate falling to zero along a half cosine; 0 skips them.
        learning_rate: Of Adam, > 0.
        finish: "lbfgs" or "gd", full batch with a line search that never raises the loss.
        finish_steps: At most so many steps of it.
        tolerance: Stop at |grad| <= tolerance (|grad C| + 2 lambda |W|), with the gradient of back-propagation.
        stall: Stop when the loss has fallen by less than this share in 100 steps: at a kink of relu the gradient
            does not vanish.
        stationary: A net counts as converged when its generalised stationarity (see `diffstab.l2.kinks`) is no
            larger.
        gain: Factor on the initial weights' standard deviation.

    Raises:
        ArgumentError: If a value is out of range.
    """

    adam_steps: int = 10_000
    learning_rate: float = 0.01
    finish: str = "lbfgs"
    finish_steps: int = 1000
    tolerance: float = 1e-6
    stall: float = 1e-9
    stationary: float = 1e-2
    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.finish not in ("lbfgs", "gd"):
            raise ArgumentError("finish", "be lbfgs or gd", repr(self.finish))
        for name in ("adam_steps", "finish_steps"):
            if getattr(self, name) < 0:
                raise ArgumentError(name, "be at least 0", getattr(self, name))
        for name in ("learning_rate", "gain"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ArgumentError(name, "be positive and finite", value)
        for name in ("tolerance", "stall", "stationary"):
            if not 0 <= getattr(self, name) < 1:
                raise ArgumentError(name, "lie in [0, 1)", getattr(self, name))


class Descended(NamedTuple):
    """One trained net.

    Attributes:
        hidden: n_1 ... n_{L-1}.
        restart: Number of the draw.
        weights: W_1 ... W_L.
        loss: C + lambda sum |W|^2; in `representation_cost`, sum |W|^2.
        cost: C.
        squared_norm: sum_l |W_l|_F^2.
        stationarity: |grad| / (|grad C| + 2 lambda |W|) with the best slopes at kinks: 0 at a stationary point.
        steps: Of Adam and of the finish.
        converged: Whether the stationarity is small enough to count.
        history: Pairs (step, loss).
    """

    hidden: tuple[int, ...]
    restart: int
    weights: list[Tensor]
    loss: float
    cost: float
    squared_norm: float
    stationarity: float
    steps: int
    converged: bool
    history: list[tuple[int, float]]


class Nets(Protocol):
    """Nets of one problem as one array (nets, parameters), whose penalty is lambda times its square."""

    problem: L2Problem
    flat: Tensor

    def evaluate(self, flat: Tensor, shift: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return cost (nets,), loss (nets,) and gradient (nets, parameters)."""


class PaddedNets:
    """Nets of one problem and of different widths as one array (nets, parameters).

    Args:
        problem: The problem.
        nets: The weights of each.
    """

    def __init__(self, problem: L2Problem, nets: Sequence[Sequence[Tensor]]) -> None:
        self.problem = problem
        self.widths = [hidden_widths(net) for net in nets]
        padded = tuple(max(layer) for layer in zip(*self.widths, strict=True))
        wide = [widen(problem, net, padded) for net in nets]
        self.shapes = [tuple(weight.shape) for weight in wide[0]]
        self.flat = torch.stack([torch.cat([weight.flatten() for weight in net]) for net in wide])

    def layers(self, flat: Tensor) -> list[Tensor]:
        """Return W_1 ... W_L, each (nets, rows, columns), as views of an array (nets, parameters)."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = torch.split(flat, sizes, dim=-1)
        return [part.view(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def evaluate(self, flat: Tensor, shift: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return cost (nets,), loss (nets,) and gradient (nets, parameters)."""
        cost, loss, gradients = weight_gradient(self.problem, self.layers(flat), shift=shift)
        return cost, loss, torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)

    def outputs(self, flat: Tensor) -> Tensor:
        """Return Z_L, shape (nets, n_L, N)."""
        return forward(self.problem, self.layers(flat))[-1]

    def net(self, flat: Tensor, index: int) -> list[Tensor]:
        """Return one net's weights without padding."""
        extra, below = int(self.problem.bias > 0), self.problem.inputs.shape[0]
        weights = []
        widths = (*self.widths[index], self.problem.outputs)
        for layer, above in zip(self.layers(flat), widths, strict=True):
            columns = layer[index, :above, :below]
            bias = layer[index, :above, layer.shape[-1] - extra :]
            weights.append(torch.cat([columns, bias], dim=1))
            below = above
        return weights


def train_widths(
    problem: L2Problem, hidden: Widths, *, restarts: int, seed: int, settings: DescentSettings | None = None
) -> list[Descended]:
    """Train nets of several widths from several starts each, all together.

    A start depends on the seed, the widths and its number only; what else is trained beside a net changes its
    result by rounding alone.

    Args:
        problem: The problem, of penalty > 0.
        hidden: Widths: a number for all hidden layers, or one for each.
        restarts: Starts per width, at least 1.
        seed: Any integer.
        settings: How to train; None means the defaults.

    Returns:
        One trained net per width and start, in that order.

    Raises:
        ArgumentError: If a width or number is out of range, or the penalty is 0: no minimum need exist then.
    """
    if problem.penalty == 0:
        way_out = "The representation cost at zero loss is representation_cost's."
        raise ArgumentError("penalty", "be positive to train", 0, way_out)
    settings = settings or DescentSettings()
    runs = draw_runs(problem, hidden, restarts=restarts, seed=seed, gain=settings.gain)
    return train_from(problem, runs, settings=settings)


def train_from(problem: L2Problem, runs: Sequence[NetStart], *, settings: DescentSettings) -> list[Descended]:
    """Train nets from given weights, all together; see `train_widths`."""
    results: dict[int, Descended] = {}
    for bucket in _buckets(problem, [hidden_widths(run.weights) for run in runs]):
        nets = PaddedNets(problem, [runs[index].weights for index in bucket])
        found = descend(nets, settings)
        # Many tiny least-squares problems: threads of two linear algebras would wait for each other.
        with threadpool_limits(1, user_api="blas"):
            for place, index in enumerate(bucket):
                results[index] = _descended(nets, found, place, runs[index].restart, settings)
    return [results[index] for index in range(len(runs))]


class NetStart(NamedTuple):
    """A net to be trained: its initial weights and the number of its draw."""

    weights: list[Tensor]
    restart: int


def draw_runs(problem: L2Problem, hidden: Widths, *, restarts: int, seed: int, gain: float) -> list[NetStart]:
    """Return the initial nets of all widths and starts; each has a generator of its own."""
    if restarts < 1:
        raise ArgumentError("restarts", "be at least 1", restarts)
    if not hidden:
        raise ArgumentError("hidden", "name at least one width", hidden)
    runs = []
    for choice in hidden:
        widths = problem.widths(choice if isinstance(choice, int) else tuple(choice))[1:-1]
        for restart in range(restarts):
            generator = stream(seed, "start of a descent", restart, *widths)
            runs.append(NetStart(draw_weights(problem, widths, generator=generator, gain=gain), restart))
    return runs


def descend(nets: Nets, settings: DescentSettings, *, shift: Tensor | None = None) -> Minimum:
    """Train nets by Adam, then by the finish; `nets.flat` is the start and stays as it is."""
    flat = _adam(nets, settings, shift)

    def evaluate(points: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # What was missed is asked for again: C is taken at Z - D, so that Z - D = Y.
        moved = None if shift is None else shift[index]
        _, loss, gradient = nets.evaluate(points, moved)
        pull = 2 * nets.problem.penalty * points
        scale = (gradient - pull).norm(dim=1) + pull.norm(dim=1)
        return loss, gradient, scale

    return minimise(
        evaluate,
        flat,
        memory=20 if settings.finish == "lbfgs" else 0,
        steps=settings.finish_steps,
        tolerance=settings.tolerance,
        stall=settings.stall,
    )


def _adam(nets: Nets, settings: DescentSettings, shift: Tensor | None) -> Tensor:
    flat = nets.flat.clone()
    first, second, count = torch.zeros_like(flat), torch.zeros_like(flat), torch.zeros((), device=flat.device)
    for step in range(settings.adam_steps):
        share = math.cos(math.pi / 2 * step / settings.adam_steps) ** 2
        gradient = nets.evaluate(flat, shift)[2]
        # The function of the optimiser: its object looks for a GPU at every step, which takes longer than small nets.
        adam(
            [flat], [gradient], [first], [second], [], [count],
            fused=True, amsgrad=False, beta1=0.9, beta2=0.999, lr=settings.learning_rate * share,
            weight_decay=0.0, eps=1e-8, maximize=False,
        )  # fmt: skip
    return flat


def _descended(
    nets: PaddedNets, found: Minimum, place: int, restart: int, settings: DescentSettings
) -> Descended:
    weights = nets.net(found.points, place)
    loss = float(found.values[place])
    norm = float(sum(weight.square().sum() for weight in weights))
    distance = stationarity(nets.problem, weights).relative
    return Descended(
        hidden=nets.widths[place],
        restart=restart,
        weights=weights,
        loss=loss,
        cost=loss - nets.problem.penalty * norm,
        squared_norm=norm,
        stationarity=distance,
        steps=settings.adam_steps + int(found.steps[place]),
        converged=distance <= settings.stationary,
        history=[(settings.adam_steps + step, float(values[place])) for step, values in found.history],
    )


def _buckets(problem: L2Problem, widths: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Return the runs in groups to be padded together: neighbours in size, such that the modelled time is least."""
    order = sorted(range(len(widths)), key=lambda index: widths[index])
    # best[k] is the least time of the first k runs and where their last group starts.
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(order) + 1):
        options = []
        padded = widths[order[end - 1]]
        for start in range(end - 1, -1, -1):
            padded = tuple(map(max, padded, widths[order[start]]))
            chain = (problem.inputs.shape[0], *padded, problem.outputs)
            work = sum(6 * below * above for below, above in pairwise(chain))
            seconds = _OVERHEAD_SECONDS + (end - start) * work * problem.points / _FLOPS_PER_SECOND
            options.append((best[start][0] + seconds, start))
        best.append(min(options))
    groups, end = [], len(order)
    while end:
        start = best[end][1]
        groups.append(order[start:end])
        end = start
    return groups[::-1]


def representation_cost(
    problem: L2Problem, hidden: Widths, *, restarts: int, seed: int, settings: DescentSettings | None = None
) -> list[Descended]:
    r"""Minimise sum_l |W_l|_F^2 subject to Z_L = Y, by the method of multipliers: R(X, Y) at each width.

    The penalised problem is solved again and again with targets shifted by what was missed so far, Y + D, which
    meets the constraint at a fixed penalty. The problem's own penalty plays no part.

    Args:
        problem: Of cost mse.
        hidden: Widths: a number for all hidden layers, or one for each.
        restarts: Starts per width.
        seed: Any integer.
        settings: How each penalised problem is solved; None means the defaults.

    Returns:
        One net per width and start, in that order. Its loss is its squared norm, or infinity where the targets were
        not met to 1e-5 of their norm: by convention the cost of what a width cannot represent.

    Raises:
        ArgumentError: If the cost is not mse, the targets are zero, or a number is out of range.
    """
    if problem.cost != "mse":
        raise ArgumentError("cost", "be mse: class labels cannot be met exactly", repr(problem.cost))
    settings = settings or DescentSettings()
    scale = float(problem.cost_of(torch.zeros_like(problem.targets)))
    if scale == 0:
        raise ArgumentError("targets", "not all be zero: their representation cost is 0", "zeros")
    runs = draw_runs(problem, hidden, restarts=restarts, seed=seed, gain=settings.gain)
    # The norm grows as the targets to the power 2 / L.
    guess = problem.depth * float(problem.targets.norm()) ** (2 / problem.depth)
    held = replace(problem, penalty=_RELATIVE_PENALTY * scale / guess)
    results: dict[int, Descended] = {}
    for bucket in _buckets(problem, [hidden_widths(run.weights) for run in runs]):
        nets = PaddedNets(held, [runs[index].weights for index in bucket])
        found = _constrained(nets, settings)
        for place, index in enumerate(bucket):
            run = _descended(nets, found, place, runs[index].restart, settings)
            cost = float(problem.cost_of(forward(problem, run.weights)[-1]))
            met = cost <= _MET**2 * scale
            results[index] = run._replace(
                loss=run.squared_norm if met else math.inf, cost=cost, converged=met, stationarity=math.nan
            )
    return [results[index] for index in range(len(runs))]


def _constrained(nets: PaddedNets, settings: DescentSettings) -> Minimum:
    """Return the nets that meet the targets with least norm, by shifted targets."""
    shift = nets.problem.targets.new_zeros(len(nets.flat), *nets.problem.targets.shape)
    again = replace(settings, learning_rate=settings.learning_rate / 10)
    found = descend(nets, settings, shift=shift)
    history = found.history
    for _ in range(_MULTIPLIER_STEPS):
        nets.flat = found.points
        outputs = nets.outputs(found.points)
        shift = shift + (nets.problem.targets - outputs)
        found = descend(nets, again, shift=shift)
        history = [*history, found.history[-1]]
    return found._replace(history=history)
