"""Leaky ResNets: what their page says of its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from diffstab.report.runs import Runs, data_sets
from diffstab.report.words import number_text

LARGEST = 3
"""Sizes of a start that its numbers are fitted to."""
_SMALL = 1e-4
"""Relative gradient up to which a net is at a stationary point, where alone H has a reason to be kept."""


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """The records; every initial net is a draw."""
    frame = records.sort_values(["seed", "restart", "layers"], ignore_index=True)
    return frame.assign(seed=frame.groupby(["seed", "restart"]).ngroup()).drop(columns="restart")


def title(runs: Runs) -> str:
    """On which data."""
    return f"Leaky ResNets on {data_sets(runs.frame)}"


def answer(runs: Runs) -> str:
    """The drift at the most layers, and what it tends to."""
    means = runs.frame.groupby("layers")["hamiltonian_drift"].mean()
    text = f"With {means.index[-1]} layers the Hamiltonian drifts by {number_text(100 * means.iloc[-1])} % of its mean"
    if not (limits := over_starts(runs.frame, drift_limit)):
        return f"{text}."
    limit = number_text(100 * float(np.mean(limits)))
    return (
        f"{text}; a straight line in 1 / layers through the last three sizes of each start ends at {limit} %."
    )


def over_starts(frame: pd.DataFrame, fit: Callable[[np.ndarray, np.ndarray], float]) -> list[float]:
    """Return a number fitted to layers and drift at the three largest sizes of each start that has as many."""
    found = []
    for _, part in frame.sort_values("layers").groupby("seed"):
        last = part[["layers", "hamiltonian_drift"]].tail(LARGEST).to_numpy(dtype=float)
        if len(last) == LARGEST:
            found.append(float(fit(last[:, 0], last[:, 1])))
    return found


def drift_limit(layers: np.ndarray, drift: np.ndarray) -> float:
    """Return where a straight line in 1 / layers ends."""
    return float(np.polyfit(1 / layers, drift, 1)[1])


def cautions(runs: Runs) -> tuple[str, ...]:
    """How many nets are no stationary points."""
    far = int((runs.frame["stationarity"] > _SMALL).sum())
    text = f"{far} of {len(runs.frame)} nets are at no stationary point (gradient above 1e-4): H need not be kept."
    return (text,) if far else ()
