"""Attraction and repulsion during training: rows that their figures read, and what their page says of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from diffstab.report.runs import Runs, data_sets
from diffstab.report.summaries import MEAN
from diffstab.report.tables import column
from diffstab.report.words import counted, interval_text, listed, number_text

_OF_LAYERS = (
    *("attraction", "repulsion", "imbalance", "fixed_imbalance", "separation"),
    *("rank", "groups", "aligned_share", "dead_share"),
)
_SMALL = 1e-3


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """The records in the order of their seeds."""
    return records.sort_values("seed", ignore_index=True)


def _layers(frame: pd.DataFrame) -> range:
    """The layers 1 to L of the nets of the records."""
    return range(1, len(frame["hidden_widths"].iloc[0]) + 2)


def end_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers at the end of training, a row per seed and layer."""
    parts = [
        frame[["seed"]].assign(
            layer=f"layer {layer}", **{name: column(frame, f"{name}_{layer}") for name in _OF_LAYERS}
        )
        for layer in _layers(frame)
    ]
    return pd.concat(parts, ignore_index=True)


def trace_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """What was recorded during training, a row per seed, layer and step, with where its stages begin."""
    traces = list(zip(frame["trace_step"], frame["trace_stage"], strict=True))
    begins = {
        f"{stage}_begins": [_begin(steps, list(stages), stage) for steps, stages in traces]
        for stage in ("adam", "finish")
    }
    parts = []
    for layer in _layers(frame):
        names = {"step": "trace_step", "loss": "trace_loss"}
        names |= {name: f"trace_{name}_{layer}" for name in _OF_LAYERS if f"trace_{name}_{layer}" in frame}
        lists = {name: frame[trace] for name, trace in names.items()}
        part = frame[["seed"]].assign(layer=f"layer {layer}", **begins, **lists).explode(list(names))
        parts.append(part.astype(dict.fromkeys(names, "float64")))
    return pd.concat(parts, ignore_index=True)


def loss_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The trace of one layer: the loss is that of all."""
    trace = trace_rows(frame)
    return trace[trace["layer"] == "layer 1"]


def size_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The sizes of the two forces, a row for each besides."""
    trace = trace_rows(frame)
    return pd.concat([trace.assign(force=name, size=trace[name]) for name in ("attraction", "repulsion")])


def _begin(steps: Sequence[float], stages: Sequence[str], stage: str) -> float:
    """Return the last step before a stage, NaN without that stage."""
    return float(steps[stages.index(stage) - 1]) if stage in stages and stages.index(stage) else np.nan


def title(runs: Runs) -> str:
    """Whose forces."""
    return f"Forces on the representations of a net: {data_sets(runs.frame)}"


def varied(runs: Runs) -> str:
    """The step and the draw."""
    first = runs.frame.iloc[0]
    n, widths = number_text(int(first["n_train"])), listed([int(width) for width in first["hidden_widths"]])
    draws = counted(len(runs.frame), "draw")
    return f"The step of training and the draw ({draws}); fixed: n = {n}, hidden widths {widths}."


def courses(runs: Runs) -> Sequence[str]:
    """How scatter, alignment and the number of rays change from the start to the end of training."""
    frame, hidden = runs.frame, _layers(runs.frame)[:-1]
    angle = number_text(float(frame["aligned_deg"].iloc[0]))
    says = {
        "separation": "The share of the scatter that lies between classes",
        "aligned_share": f"The share of live neurons within {angle}° of another one",
        "groups": "The number of rays",
    }
    if not np.isfinite(frame["separation_1"]).all():
        del says["separation"]
    return [
        f"{text} goes {listed([_course(frame, name, layer) for layer in hidden])} (means over draws)."
        for name, text in says.items()
    ]


def _course(frame: pd.DataFrame, name: str, layer: int) -> str:
    """A trace at its start and at its end, as means over draws."""
    ends = np.array([(values[0], values[-1]) for values in frame[f"trace_{name}_{layer}"]], dtype=np.float64)
    last = interval_text(name, *MEAN.of(pd.Series(ends[:, 1]), name)[:3])
    return f"from {interval_text(name, ends[:, 0].mean())} to {last} in layer {layer}"


def method(runs: Runs) -> Sequence[str]:
    """How forces are computed."""
    tolerance, ridge = (float(runs.frame[name].iloc[0]) for name in ("tolerance", "tikhonov"))
    term = f", with a Tikhonov term of {ridge:g}" if ridge > 0 else ""
    return [
        f"Pseudo-inverses take singular values below {tolerance:g} of the largest for zero{term}. Repulsion includes "
        "what a layer passes on from the layers above. Weights also have a part that makes no representation and "
        "decays by the penalty alone."
    ]


def cautions(runs: Runs) -> Sequence[str]:
    """Parts of the nets that the forces do not see."""
    lost, moved, ridge = (runs.frame[name].max() for name in ("residual_share", "moved_share", "tikhonov"))
    said = [
        (
            lost > _SMALL,
            f"Up to {number_text(100 * lost)} % of a net's squared norm makes no representation at the end.",
        ),
        (
            moved > _SMALL,
            f"Up to {number_text(100 * moved)} % of a representation changes at the end by the tolerance of the "
            "pseudo-inverses.",
        ),
        (ridge > 0, "The forces have a Tikhonov term, so that they need not cancel at a minimum."),
    ]
    return [text for is_so, text in said if is_so]
