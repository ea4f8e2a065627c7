"""Records of `diffstab plateau` as rows, with what pages and claims read of them: heights, best nets, starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from diffstab.errors import ResultsError
from diffstab.l2.plateau import plateau_start
from diffstab.report.tables import column
from diffstab.report.words import counted, value_text
from diffstab.streams import stream

KEYS = ["dataset", "n_train", "seed", "optimiser", "width", "restart"]
"""The columns that together name one run."""
WITHOUT_WIDTH = "covariances"
"""The optimiser that finds its own width."""
LOWEST = 1e-6
"""Relative heights below this are drawn here: minima are not reached more exactly."""
_PER_LAYER = ("pruned_widths", "rank_lower", "rank_upper")
"""Columns of lists with a number for each hidden layer; a frame has them as name_1, name_2, ... too."""
_NUMBERS = (
    "known_width",
    "known_cost",
    "test_error",
    "train_error",
    "stationarity",
    "gap",
    "bound",
    "pruned_loss",
)
_DEPTHS = {1: "one hidden layer", 2: "two hidden layers"}
_START = ("start", "start_low", "start_high", "is_seen", "smallest", "start_text")
"""Columns of starts that are read where there is none."""
_FAR = 10.0
"""Losses above so many times the worst of the best nets are not drawn."""


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """Rows sorted by run, with numbers as numbers and what plots, tables and claims show besides.

    Args:
        records: One row per run, as written by `diffstab plateau`.
        config: Configuration of the folder.

    Returns:
        A new frame. A loss that is missing is infinite; `method` is the optimiser, `wall_seconds` the run's share of
        the time of the runs trained with it; `problem` names data set and size, `case` the depth besides. `floor` is
        the smallest loss of a draw by any optimiser, `height` how far a loss lies above it, as a share. A test error
        that is a mean square has a column of its own.

    Raises:
        ResultsError: A column that names a run, or its loss, is missing.
    """
    if absent := [name for name in [*KEYS, "loss"] if name not in records]:
        raise ResultsError(
            f"The records have no column {', '.join(absent)}. Write them with `diffstab plateau`."
        )
    frame = records.sort_values(KEYS, kind="stable", ignore_index=True)
    for name in _NUMBERS:
        frame[name] = pd.to_numeric(column(frame, name), errors="coerce").astype("float64")
    frame["loss"] = frame["loss"].astype("float64").fillna(np.inf)
    frame = pd.concat([frame, _layers(frame)], axis=1)
    names = [value_text("dataset", name) for name in frame["dataset"]]
    frame["problem"] = [f"{name}, n = {n}" for name, n in zip(names, frame["n_train"], strict=True)]
    depths = frame.groupby("problem")["hidden_layers"].transform("max")
    frame["case"] = frame["problem"] + depths.map(_depth_text)
    settings = run_settings(frame, config)
    floor = frame.groupby(["problem", "seed"])["loss"].transform("min")
    return _with_starts(
        frame.assign(
            method=frame["optimiser"],
            wall_seconds=column(frame, "train_seconds") / column(frame, "runs_together"),
            tolerance=float(settings["plateau_tolerance"]),
            is_interpolation=bool(settings.get("interpolation")),
            floor=floor,
            height=relative_heights(frame["loss"], floor),
            **_errors(frame),
        )
    )


def _layers(frame: pd.DataFrame) -> pd.DataFrame:
    """Lists of layers spread over columns, their number, and in words neurons left and rank of each layer."""
    lists = {name: [_list(one) for one in column(frame, name)] for name in ("hidden_widths", *_PER_LAYER)}
    depth = max(map(len, lists["hidden_widths"]), default=0)
    columns: dict[str, Any] = {"hidden_layers": [len(one) for one in lists["hidden_widths"]]}
    for name in _PER_LAYER:
        for layer in range(depth):
            values = [float(one[layer]) if len(one) > layer else np.nan for one in lists[name]]
            columns[f"{name}_{layer + 1}"] = pd.Series(values, index=frame.index, dtype="float64")
    columns["neurons"] = [max(one, default=np.nan) for one in lists["pruned_widths"]]
    columns["neurons_text"] = [" · ".join(f"{n:g}" for n in one) or None for one in lists["pruned_widths"]]
    ranks = zip(lists["rank_lower"], lists["rank_upper"], strict=True)
    columns["rank_text"] = [" · ".join(map(_rank_text, *ends)) or None for ends in ranks]
    return pd.DataFrame(columns, index=frame.index)


def _list(value: Any) -> list[float]:
    return list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else []


def _rank_text(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _depth_text(layers: int) -> str:
    return f", {_DEPTHS.get(layers, counted(layers, 'hidden layer'))}" if layers else ""


def _errors(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Errors that are shares and errors that are mean squares, apart; and losses down to a lower bound."""
    is_square = column(frame, "error_kind") == "mean_square"
    bound, loss = frame["bound"], frame["loss"]
    return {
        "mean_square_error": frame["test_error"].where(is_square),
        "train_square_error": frame["train_error"].where(is_square),
        "test_error": frame["test_error"].mask(is_square),
        "train_error": frame["train_error"].mask(is_square),
        "loss_low": bound.where(bound <= loss),
        "loss_high": loss.where(bound <= loss),
    }


def run_settings(frame: pd.DataFrame, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the runs, as they stand in the records and, where it has them, in the configuration."""
    recorded = column(frame, "config").dropna()
    found = json.loads(recorded.iloc[0]) if len(recorded) else {}
    return {"plateau_tolerance": 0.01, **found, **config}


def relative_heights(losses: Any, floor: Any) -> np.ndarray:
    """Return (loss - floor) / floor of each loss; above a floor of zero every height is infinite."""
    values, least = np.broadcast_arrays(np.asarray(losses, dtype=float), np.asarray(floor, dtype=float))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(least > 0, values / least - 1, np.where(values > least, np.inf, 0.0))


def _with_starts(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with what the plots show: which nets are the best, which failed, and where the plateau starts."""
    found = starts(frame)
    own = frame[["case", "seed", "optimiser"]].merge(found, how="left")
    first = earliest(found)
    first = first[first["is_seen"].astype("bool")]
    seen = frame[["case", "seed"]].merge(first, how="left", on=["case", "seed"])
    best = frame.groupby(["case", "seed", "optimiser", "width"])["loss"].rank(method="first") == 1
    best &= np.isfinite(frame["loss"])
    worst = frame["loss"].where(best).groupby(frame["case"]).transform("max")
    shown, is_free = frame["loss"] <= _FAR * worst, frame["optimiser"] == WITHOUT_WIDTH
    late = (frame["width"] >= own["start"]) & (
        relative_heights(frame["loss"], own["smallest"]) > frame["tolerance"]
    )
    return frame.assign(
        excess=np.maximum(frame["height"], LOWEST),
        is_best=best & ~is_free,
        is_free=is_free,
        is_shown=shown & ~late,
        is_failed=shown & late,
        ceiling=(1 + frame["tolerance"]) * frame["floor"],
        plateau_start=seen["start"],
        start_low=seen["start_low"],
        start_high=seen["start_high"],
        median_start=frame["case"].map(first.groupby("case")["start"].median()),
    )


def starts(frame: pd.DataFrame, by: str = "case") -> pd.DataFrame:
    """Find the plateau of every optimiser that was given a width, and every seed.

    Args:
        frame: Records.
        by: Column that tells apart data sets, sizes and depths.

    Returns:
        A row each, weights first; none where no run has a finite loss. Columns `by`, optimiser, seed, tolerance; start,
        its limits over restarts, what it is at half (`tighter`) and twice (`looser`) the tolerance, whether two wider
        nets were tried (`is_seen`), the smallest loss of the optimiser and how far the next narrower width lies above
        it (`below`), and of the restarts from the start on how many were tried, how many ended above the plateau, and
        the worst height of these.
    """
    rows: list[dict[str, Any]] = []
    given = frame[frame["optimiser"] != WITHOUT_WIDTH]
    for title, part in given.groupby(by, sort=False):
        for name in sorted(set(part["optimiser"]), key=lambda name: (name != "weights", name)):
            for seed, runs in part[part["optimiser"] == name].groupby("seed"):
                if np.isfinite(runs["loss"]).any():
                    rows.append({by: title, "optimiser": name, "seed": seed, **_start(runs)})
    return pd.DataFrame(rows) if rows else given.iloc[:0].assign(**dict.fromkeys(_START, np.nan))


def _start(runs: pd.DataFrame) -> dict[str, Any]:
    # A restart without a record is one that found no net; the page counts these.
    table = runs.pivot_table(index="width", columns="restart", values="loss", aggfunc="min", dropna=False)
    table = table.astype("float64").fillna(np.inf)
    widths, tolerance = (
        [int(width) for width in table.index],
        float(runs["tolerance"].iloc[0]),
    )
    generator = stream(0, "resamples of restarts")
    losses = torch.from_numpy(table.to_numpy().copy())
    found = plateau_start(widths, losses, tolerance=tolerance, generator=generator)
    index = widths.index(found.width)
    heights = relative_heights(runs["loss"][runs["width"] >= found.width], found.floor)
    failed = heights[heights > tolerance]
    has_interval = np.isfinite(found.low) and found.high > found.low
    text = f"{found.width}{f' [{found.low:g}, {found.high:g}]' if has_interval else ''}"
    return {
        "tolerance": tolerance,
        "start": found.width,
        "start_low": found.low,
        "start_high": found.high,
        "tighter": found.tighter,
        "looser": found.looser,
        "is_seen": found.reached,
        "smallest": found.floor,
        "start_text": text + ("" if found.reached else " (not seen: too few wider nets)"),
        "below": float(relative_heights(found.best[index - 1], found.floor)) if index else np.nan,
        "failed": len(failed),
        "tried": len(heights),
        "worst": float(failed.max()) if len(failed) else np.nan,
    }


def earliest(found: pd.DataFrame, by: str = "case") -> pd.DataFrame:
    """Return the earliest start of each seed: another optimiser's later one missed minima.

    An optimiser whose smallest loss lies more than the tolerance above that of another one is left out: it starts early
    on a plateau that is not the lowest.

    Args:
        found: As returned by `starts`, with the same `by`.
        by: Column that tells apart data sets, sizes and depths.
    """
    lowest = found.groupby([by, "seed"])["smallest"].transform("min")
    near = found[relative_heights(found["smallest"], lowest) <= found["tolerance"]]
    order = near.groupby(by, sort=False).ngroup()
    first = near.assign(order=order).sort_values("start", kind="stable").drop_duplicates([by, "seed"])
    return first.sort_values(["order", "seed"], ignore_index=True)


def layer_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Neurons left and bounds on the rank of each hidden layer of the best nets, a row per layer.

    Args:
        frame: As returned by `prepare`; the first optimiser of each case is shown.

    Returns:
        Columns case, seed, width, layer, neurons_left, rank, rank_low and rank_high.
    """
    first = starts(frame).drop_duplicates("case")[["case", "optimiser"]]
    chosen = frame[frame["is_best"]].merge(first)
    parts = [frame.iloc[:0].assign(neurons_left=np.nan, layer="")]
    for layer in range(1, int(frame["hidden_layers"].max()) + 1):
        low, high = chosen[f"rank_lower_{layer}"], chosen[f"rank_upper_{layer}"]
        parts.append(
            chosen[["case", "seed", "width"]].assign(
                layer=f"layer {layer}",
                neurons_left=chosen[f"pruned_widths_{layer}"],
                rank=(low + high) / 2,
                rank_low=low,
                rank_high=high,
            )[chosen["hidden_layers"] >= layer]
        )
    return pd.concat(parts[1:] or parts, ignore_index=True)


def best_first(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows by rising loss, so that the first of any group is its best run."""
    return frame.sort_values("loss", kind="stable")
