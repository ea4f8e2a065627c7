"""How long runs took, by their records."""

from __future__ import annotations

import pandas as pd

from diffstab.errors import ArgumentError
from diffstab.results.records import Records

_TOGETHER = ("train_seconds", "runs_together")
"""Columns of records without `wall_seconds`, of nets that were trained together: the time of all, and their number."""


def wall_seconds(frame: pd.DataFrame) -> pd.Series:
    """Return the seconds that each run of a frame of records took; NaN where nothing tells.

    Of runs that were trained together each has an equal share.
    """
    nothing = pd.Series(float("nan"), index=frame.index, dtype="float64")
    told = frame["wall_seconds"].astype("float64") if "wall_seconds" in frame else nothing
    if set(_TOGETHER) <= set(frame.columns):
        seconds, together = (frame[name].astype("float64") for name in _TOGETHER)
        told = told.fillna(seconds / together)
    return told


def run_seconds(records: Records) -> dict[str, float]:
    """Return the seconds of each record that tells them, by its key."""
    found: dict[str, float] = {}
    for columns in (_TOGETHER, ("wall_seconds",)) if records.keys() else ():
        try:
            frame = records.read(["key", *columns])
        except ArgumentError:  # no record has such columns
            continue
        frame["seconds"] = wall_seconds(frame)
        told = frame.dropna(subset=["seconds"])
        found |= dict(zip(told["key"], told["seconds"], strict=True))
    return found
