"""Statistic of the least norm that needs no runs: how far two predictors of the same least norm can be apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog

from diffstab.errors import ResultsError
from diffstab.report.claims.claim import Claim
from diffstab.report.claims.statistics.registry import Measurement, statistic
from diffstab.report.intervals import exact
from diffstab.sphere.points import uniform_points
from diffstab.streams import stream

SEED, DRAWS, POINTS, DIRECTIONS, PROBES = 100, 5, 12, 720, 5
_SLACK = 1e-9
"""Relative room above the least norm, of the size of the solver's own."""
_Array = NDArray[np.float64]


@statistic("the largest difference of two predictors of the least norm, relative to the values,")
def least_norm_spread(records: pd.DataFrame, claim: Claim) -> Measurement:
    """Largest difference at new points of predictors on the circle that meet random values with the least norm."""
    found = []
    for draw in range(DRAWS):
        generator = stream(SEED, "points of a uniqueness claim", draw)
        train, test = (uniform_points(count, 2, generator=generator).numpy() for count in (POINTS, PROBES))
        values = torch.randn(POINTS, generator=generator, dtype=torch.float64).numpy()
        found.append(spread(_neurons(train), values, _neurons(test)) / float(np.abs(values).max()))
    detail = f"{POINTS} random values, neurons of {DIRECTIONS} directions, {PROBES} new points each"
    return Measurement({"": exact(max(found), DRAWS)}, sample=f"{DRAWS} draws", detail=detail)


def spread(train: _Array, values: _Array, test: _Array) -> float:
    """Return the largest difference at test points of combinations of features with the least sum of |coefficient|.

    Args:
        train: Features of training points, shape (n, m).
        values: To be met exactly, shape (n,).
        test: Features of test points, shape (p, m).
    """
    both, ones = np.hstack([train, -train]), np.ones(2 * train.shape[1])
    least = _solved(ones, A_eq=both, b_eq=values)
    bound = {"A_ub": ones[None], "b_ub": [least * (1 + _SLACK)], "A_eq": both, "b_eq": values}
    ends = [[_solved(sign * np.hstack([row, -row]), **bound) for sign in (1, -1)] for row in test]
    return max(-low - high for low, high in ends)


def _solved(costs: _Array, **constraints: object) -> float:
    solution = linprog(costs, method="highs", **constraints)
    if solution.status != 0:
        raise ResultsError(f"A linear program was not solved: {solution.message}")
    return float(solution.fun)


def _neurons(points: _Array) -> _Array:
    angles = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
    return np.asarray(np.maximum(points @ np.stack([np.cos(angles), np.sin(angles)]), 0.0))
