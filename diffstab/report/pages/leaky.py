"""Leaky ResNets: what their page says of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from diffstab.report.runs import Runs, data_sets
from diffstab.report.words import number_text

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
    if len(means) < 3:
        return f"{text}."
    last = means.iloc[-3:]
    _, limit = np.polyfit(1 / last.index.to_numpy(float), last.to_numpy(), 1)
    return f"{text}; a straight line in 1 / layers through the last three sizes ends at {number_text(100 * limit)} %."


def cautions(runs: Runs) -> tuple[str, ...]:
    """How many nets are no stationary points."""
    far = int((runs.frame["stationarity"] > _SMALL).sum())
    text = f"{far} of {len(runs.frame)} nets are at no stationary point (gradient above 1e-4): H need not be kept."
    return (text,) if far else ()
