"""Records of forces during training as rows: a row per recorded step, and a row per layer at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

CANCELLED = 0.05
"""Imbalance up to which two forces are said to cancel."""
_OF_LAYERS = (
    *("attraction", "repulsion", "imbalance", "fixed_imbalance", "separation"),
    *("rank", "groups", "aligned_share", "dead_share"),
)


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """The records in the order of their seeds."""
    return records.sort_values("seed", ignore_index=True)


def depth_of(frame: pd.DataFrame) -> int:
    """Return L, the number of layers of the nets of the records."""
    return len(frame["hidden_widths"].iloc[0]) + 1


def end_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers at the end of training, a row per seed and layer."""
    rows = [
        {"seed": row["seed"], "layer": f"layer {layer}", **_numbers(row, "", layer)}
        for _, row in frame.iterrows()
        for layer in range(1, depth_of(frame) + 1)
    ]
    return pd.DataFrame(rows)


def trace_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """What was recorded during training, a row per seed, layer and step, with where its stages begin."""
    parts = []
    for _, row in frame.iterrows():
        stages = list(row["trace_stage"])
        begins = {f"{stage}_begins": _begin(row["trace_step"], stages, stage) for stage in ("adam", "finish")}
        for layer in range(1, depth_of(frame) + 1):
            table = pd.DataFrame({"step": row["trace_step"], **_numbers(row, "trace_", layer)})
            table = table.assign(
                seed=row["seed"], layer=f"layer {layer}", loss=list(row["trace_loss"]), **begins
            )
            parts.append(table)
    return pd.concat(parts, ignore_index=True)


def loss_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The trace of one layer: the loss is that of all."""
    trace = trace_rows(frame)
    return trace[trace["layer"] == "layer 1"]


def size_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The sizes of the two forces, a row for each besides."""
    trace = trace_rows(frame)
    return pd.concat([trace.assign(force=name, size=trace[name]) for name in ("attraction", "repulsion")])


def _numbers(row: pd.Series, prefix: str, layer: int) -> dict[str, Any]:
    return {name: row.get(f"{prefix}{name}_{layer}", np.nan) for name in _OF_LAYERS}


def _begin(steps: Sequence[float], stages: Sequence[str], stage: str) -> float:
    """Return the last step before a stage, NaN without that stage."""
    return float(steps[stages.index(stage) - 1]) if stage in stages and stages.index(stage) else np.nan
