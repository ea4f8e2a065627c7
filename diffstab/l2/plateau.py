r"""Where the loss stops to fall with the width: the start of the plateau, by a stated rule, with its uncertainty.

Source: Jacot et al. 2022 (arXiv 2205.15809), Proposition 7 and Figure 2; rule and uncertainty are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffstab.errors import ArgumentError

WIDTHS_BEYOND = 2
"""So many larger widths must have been tried for a plateau to be seen."""


class PlateauStart(NamedTuple):
    """Where a plateau starts.

    Attributes:
        width: The start.
        low: Lower end of its percentile interval; NaN for one restart.
        high: Upper end; NaN for one restart.
        tighter: The start at half the tolerance.
        looser: The start at twice the tolerance.
        reached: Whether two larger widths were tried: otherwise the loss may fall on.
        floor: The smallest loss of all.
        best: The smallest loss up to each width, shape (number of widths,).
    """

    width: int
    low: float
    high: float
    tighter: int
    looser: int
    reached: bool
    floor: float
    best: Tensor


def plateau_start(
    widths: Sequence[int],
    losses: Tensor,
    *,
    tolerance: float = 0.01,
    resamples: int = 1000,
    confidence: float = 0.95,
    generator: torch.Generator,
) -> PlateauStart:
    r"""Find the least width whose loss is within a tolerance of the smallest.

    Rule: best_w is the least loss over the restarts of width w, then over all widths up to w, as dead neurons make a
    narrower net a wider one of the same loss. The start is the least w with best_w <= (1 + tolerance) min_w best_w.
    Interval: restarts are drawn again, with replacement, within each width, and the rule is applied to each such
    table; its ends are percentiles of the starts. It tells the luck of initialisations, and no more: a minimum that
    no restart found is not in it.

    Args:
        widths: Different widths, rising.
        losses: Shape (number of widths, restarts), at least 0, one of them finite; infinite for a restart that found
            no net, as the norm of narrow nets that do not meet the targets.
        tolerance: Share of the floor by which a loss may lie above it, > 0.
        resamples: Tables drawn, at least 1.
        confidence: Nominal coverage of the interval, in (0, 1).
        generator: Source of the draw, on any device.

    Returns:
        The start.

    Raises:
        ArgumentError: If shapes do not fit, widths do not rise, a loss is NaN or negative, none is finite, or an
            option is out of range.
    """
    _check(widths, losses)
    if not 0 < tolerance < math.inf:
        raise ArgumentError("tolerance", "be positive and finite", tolerance)
    if resamples < 1:
        raise ArgumentError("resamples", "be at least 1", resamples)
    if not 0 < confidence < 1:
        raise ArgumentError("confidence", "lie strictly between 0 and 1", confidence)
    best = _cumulative_best(losses)
    start, tighter, looser = (int(_start(best, share * tolerance)) for share in (1, 0.5, 2))
    low, high = _interval(widths, losses, tolerance, resamples, confidence, generator)
    reached = start + WIDTHS_BEYOND < len(widths)
    floor = float(best[-1])
    return PlateauStart(widths[start], low, high, widths[tighter], widths[looser], reached, floor, best)


def _cumulative_best(losses: Tensor) -> Tensor:
    """Return the least loss up to each width, (..., widths), of losses (..., widths, restarts)."""
    return losses.amin(-1).cummin(-1).values


def _start(best: Tensor, tolerance: float) -> Tensor:
    """Return the index of the least width near the floor, shape (...), of cumulative best losses (..., widths)."""
    near = (best <= (1 + tolerance) * best[..., -1:]) & best.isfinite()
    # A table drawn again may hold no finite loss; its start is not below the last width.
    near[..., -1] = True
    return near.int().argmax(-1)


def _interval(
    widths: Sequence[int],
    losses: Tensor,
    tolerance: float,
    resamples: int,
    confidence: float,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Return the ends of the percentile interval, each a width; NaN for one restart."""
    if losses.shape[1] == 1:
        return math.nan, math.nan
    drawn = torch.randint(
        losses.shape[1], (resamples, *losses.shape), generator=generator, device=generator.device
    ).to(losses.device)
    tables = losses.expand(resamples, -1, -1).gather(-1, drawn)
    starts = torch.tensor(widths, dtype=torch.float64)[_start(_cumulative_best(tables), tolerance).cpu()]
    outside = (1 - confidence) / 2
    low = torch.quantile(starts, outside, interpolation="lower")
    high = torch.quantile(starts, 1 - outside, interpolation="higher")
    return float(low), float(high)


def _check(widths: Sequence[int], losses: Tensor) -> None:
    if losses.ndim != 2 or losses.shape[0] != len(widths) or 0 in losses.shape:
        condition = f"have shape ({len(widths)}, restarts), not empty"
        raise ArgumentError("losses", condition, tuple(losses.shape))
    if list(widths) != sorted(set(widths)) or widths[0] < 1:
        raise ArgumentError("widths", "rise from 1 or above", list(widths))
    if not losses.is_floating_point() or losses.isnan().any() or losses.min() < 0:
        raise ArgumentError("losses", "be floating numbers of at least 0", "NaN, negative or integer ones")
    if not losses.isfinite().any():
        raise ArgumentError("losses", "hold a finite one", "infinite ones", "Try wider nets.")
