"""Nets of falling width, each started from the next wider one: minima that random starts of that width seldom reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from diffstab.errors import ArgumentError
from diffstab.l2.descent import Descended, DescentSettings, NetStart, train_from, train_widths
from diffstab.l2.network import widen
from diffstab.l2.problem import L2Problem
from diffstab.l2.prune import shrink

REFIT_STEPS, REFIT_RATE = 0.2, 0.15
"""Share of the steps and of the rate of a training from scratch that follow each merge."""


def train_shrinking(
    problem: L2Problem,
    widths: Sequence[int],
    *,
    restarts: int,
    seed: int,
    settings: DescentSettings | None = None,
) -> list[Descended]:
    """Train the widest net from several starts, then merge its most alike neurons down to each width and train on.

    A wide net reaches the plateau from almost any start; merging carries its minimum to narrower nets as far as it
    goes, so the start of the plateau does not hang on the luck of narrow starts.

    Args:
        problem: The problem, of a positively homogeneous activation and penalty > 0.
        widths: Of all hidden layers, different ones.
        restarts: Starts of the widest net; the best goes on.
        seed: Any integer.
        settings: Of the first training; the others take 0.2 of its steps at 0.15 of its rate.

    Returns:
        One net per width, from the widest to the narrowest.

    Raises:
        ArgumentError: If the activation is not homogeneous, widths repeat, or a number is out of range.
    """
    if not problem.is_homogeneous:
        raise ArgumentError("activation", "be relu or linear to merge neurons", repr(problem.activation))
    if len(set(widths)) < len(widths) or not widths:
        raise ArgumentError("widths", "be different ones", list(widths))
    settings = settings or DescentSettings()
    refit = replace(
        settings,
        adam_steps=round(REFIT_STEPS * settings.adam_steps),
        learning_rate=REFIT_RATE * settings.learning_rate,
    )
    falling = sorted(widths, reverse=True)
    first = train_widths(problem, falling[:1], restarts=restarts, seed=seed, settings=settings)
    found = [min(first, key=lambda run: run.loss)._replace(restart=0)]
    for width in falling[1:]:
        # Aligned neurons merge first, which may leave fewer than asked for: dead ones fill the width.
        start = widen(problem, shrink(problem, found[-1].weights, width), width)
        found += train_from(problem, [NetStart(start, 0)], settings=refit)
    return found
