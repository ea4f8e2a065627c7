"""L-BFGS and gradient descent on many independent functions at once, with a line search for each.

The line search brackets a step that meets the weak Wolfe conditions, as it should on functions with kinks.

Source: Nocedal and Wright, "Numerical Optimization", algorithm 7.4; Lewis and Overton, "Nonsmooth optimization via
quasi-Newton methods", Mathematical Programming 141 (2013).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_ARMIJO, _WOLFE = 1e-4, 0.9
_TRIALS = 30
_WINDOW = 100

Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""From points (k, P) and which of the functions they belong to (k,) to values (k,), gradients (k, P) and the scales
(k,) that the gradients' norms are compared with."""


class Minimum(NamedTuple):
    """Where each of n functions ended.

    Attributes:
        points: Shape (n, P).
        values: Shape (n,).
        stationarity: |gradient| / scale, shape (n,).
        steps: Shape (n,).
        history: Pairs (step, values (n,)).
    """

    points: Tensor
    values: Tensor
    stationarity: Tensor
    steps: Tensor
    history: list[tuple[int, Tensor]]


class _State(NamedTuple):
    """The functions still at work: which, where, and what is known there."""

    which: Tensor
    points: Tensor
    values: Tensor
    gradients: Tensor
    scales: Tensor

    def only(self, kept: Tensor) -> _State:
        return _State(*(part[kept] for part in self))


def minimise(
    evaluate: Evaluate, points: Tensor, *, memory: int, steps: int, tolerance: float, stall: float
) -> Minimum:
    """Minimise n independent functions; those that are done leave the batch.

    Args:
        evaluate: The functions.
        points: Starts, shape (n, P); not changed.
        memory: Pairs kept by L-BFGS; 0 is gradient descent.
        steps: At most so many steps each.
        tolerance: A function is done when |gradient| <= tolerance * scale.
        stall: It is also done when its value fell by less than this share in 100 steps, or no step lowers it.

    Returns:
        Where each ended; no value is above that of its start.
    """
    index = torch.arange(len(points), device=points.device)
    state = _State(index, points.clone(), *evaluate(points, index))
    ended, curvature = _Ended(state), _Pairs(memory)
    lengths = torch.ones_like(state.values)
    reference = state.values.clone()
    for step in range(1, steps + 1):
        directions = curvature.directions(state.gradients)
        if step == 1 or memory == 0:
            lengths = lengths if step > 1 else 1 / state.gradients.norm(dim=1).clamp_min(1e-30)
        else:
            lengths = torch.ones_like(state.values)
        previous = state
        state, lengths, moved = _line_search(
            evaluate, state, directions, 2 * lengths if memory == 0 else lengths
        )
        curvature.push(state.points - previous.points, state.gradients - previous.gradients)
        ended.note(state, step)
        done = ~moved | (state.gradients.norm(dim=1) <= tolerance * state.scales)
        if step % _WINDOW == 0:
            done |= reference - state.values <= stall * reference.abs()
            reference = state.values.clone()
        if done.any():
            kept = ~done
            state, lengths, reference = state.only(kept), lengths[kept], reference[kept]
            curvature.only(kept)
        if not len(state.which):
            break
    return ended.minimum()


class _Ended:
    """The last state of every function, whether at work or done."""

    def __init__(self, state: _State) -> None:
        self.state = _State(*(part.clone() for part in state))
        self.steps = torch.zeros(len(state.which), dtype=torch.int64)
        self.history = [(0, state.values.clone())]

    def note(self, state: _State, step: int) -> None:
        for mine, new in zip(self.state[1:], state[1:], strict=True):
            mine[state.which] = new
        self.steps[state.which.cpu()] = step
        if step % _WINDOW == 0 or step & (step - 1) == 0:
            self.history.append((step, self.state.values.clone()))

    def minimum(self) -> Minimum:
        norms, scales = self.state.gradients.norm(dim=1), self.state.scales
        stationarity = torch.where(scales > 0, norms / torch.where(scales > 0, scales, 1), 0)
        last = int(self.steps.max())
        if self.history[-1][0] != last:
            self.history.append((last, self.state.values.clone()))
        return Minimum(self.state.points, self.state.values, stationarity, self.steps, self.history)


class _Pairs:
    """The latest changes of points and gradients, and the quasi-Newton directions that they give."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    def push(self, change: Tensor, bend: Tensor) -> None:
        """Keep a pair (s, y) of each function; one of no positive curvature counts as absent."""
        if self.memory == 0:
            return
        product = (change * bend).sum(1, keepdim=True)
        usable = product > 1e-12 * change.norm(dim=1, keepdim=True) * bend.norm(dim=1, keepdim=True)
        inverse = torch.where(usable, 1 / torch.where(usable, product, 1), 0)
        self.pairs = [*self.pairs[-self.memory + 1 :], (change, bend, inverse)]

    def only(self, kept: Tensor) -> None:
        """Forget the functions that are done."""
        self.pairs = [tuple(part[kept] for part in pair) for pair in self.pairs]  # type: ignore[misc]

    def directions(self, gradients: Tensor) -> Tensor:
        """Return -H g by the two-loop recursion, shape (k, P)."""
        found, shares = -gradients, []
        scale = torch.ones_like(gradients[:, :1])
        for change, bend, inverse in reversed(self.pairs):
            share = inverse * (change * found).sum(1, keepdim=True)
            found = found - share * bend
            shares.append(share)
        for _, bend, inverse in self.pairs:
            newest = 1 / (inverse * bend.square().sum(1, keepdim=True))
            scale = torch.where(inverse > 0, newest, scale)
        found = found * scale
        for (change, bend, inverse), share in zip(self.pairs, reversed(shares), strict=True):
            found = found + (share - inverse * (bend * found).sum(1, keepdim=True)) * change
        return found


def _line_search(
    evaluate: Evaluate, state: _State, directions: Tensor, lengths: Tensor
) -> tuple[_State, Tensor, Tensor]:
    """Return the states after a step each, the lengths taken, and which functions found a lower point."""
    slopes = (state.gradients * directions).sum(1)
    low, high = torch.zeros_like(lengths), torch.full_like(lengths, torch.inf)
    best = state
    taken, moved = torch.zeros_like(lengths), torch.zeros_like(lengths, dtype=torch.bool)
    searching = slopes < 0
    for _ in range(_TRIALS):
        points = state.points + torch.where(searching, lengths, taken)[:, None] * directions
        values, gradients, scales = evaluate(points, state.which)
        falls = values <= state.values + _ARMIJO * lengths * slopes
        flat = (gradients * directions).sum(1) >= _WOLFE * slopes
        better = searching & falls
        best = _State(
            state.which,
            torch.where(better[:, None], points, best.points),
            torch.where(better, values, best.values),
            torch.where(better[:, None], gradients, best.gradients),
            torch.where(better, scales, best.scales),
        )
        taken, moved = torch.where(better, lengths, taken), moved | better
        high = torch.where(searching & ~falls, lengths, high)
        low = torch.where(better & ~flat, lengths, low)
        searching = searching & ~(falls & flat)
        if not searching.any():
            break
        lengths = torch.where(searching, torch.where(high.isinf(), 2 * low, (low + high) / 2), lengths)
    return best, taken, moved & (best.values < state.values)
