"""Rows that the plots of plateaus read: heights above the smallest loss, failed restarts, where a plateau starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from diffstab.report.glossary import counted
from diffstab.report.l2.plateau_runs import (
    WITHOUT_WIDTH,
    Start,
    best_runs,
    cases,
    earliest,
    floors,
    hidden_layers,
    optimisers,
    plateau_frame,
    relative_heights,
    run_settings,
    starts,
)
from diffstab.report.tables import column

LOWEST = 1e-6
"""Relative heights below this are drawn here: minima are not reached more exactly."""
_FAR = 10.0
"""Losses above so many times the worst of the best nets are not drawn."""
_DEPTHS = {1: "one hidden layer", 2: "two hidden layers"}


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of `plateau_frame` with what the plots show besides.

    Args:
        records: One row per run, as written by `diffstab plateau`.
        config: Configuration of the folder.

    Returns:
        The rows with the columns case, excess, is_best, is_failed, is_shown, floor, ceiling, tolerance, plateau_start,
        start_low, start_high and is_interpolation; a test error that is a mean square has a column of its own.
    """
    frame = plateau_frame(records)
    settings = run_settings(frame, config)
    tolerance = float(settings["plateau_tolerance"])
    frame = frame.assign(tolerance=tolerance, is_interpolation=bool(settings.get("interpolation")))
    is_square = (
        frame["error_kind"] == "mean_square" if "error_kind" in frame else pd.Series(False, index=frame.index)
    )
    for name, square in (("test_error", "mean_square_error"), ("train_error", "train_square_error")):
        frame[square] = frame[name].where(is_square)
        frame[name] = frame[name].mask(is_square)
    frame["loss_low"] = frame["bound"].where(frame["bound"] <= frame["loss"])
    frame["loss_high"] = frame["loss"].where(frame["loss_low"].notna())
    parts = []
    for title, part in cases(frame):
        layers = hidden_layers(part)
        depth = _DEPTHS.get(layers, counted(layers, "hidden layer"))
        parts.append(_case_rows(part, tolerance).assign(case=f"{title}, {depth}" if layers else title))
    return pd.concat(parts, ignore_index=True)


def case_starts(part: pd.DataFrame) -> list[Start]:
    """The plateau of every seed and optimiser of one case."""
    return starts(part, tolerance=float(part["tolerance"].iloc[0]))


def _case_rows(part: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    smallest, found = floors(part), starts(part, tolerance=tolerance)
    first = {start.seed: start for start in earliest(found, tolerance=tolerance)}
    own = {(start.seed, start.optimiser): start for start in found}
    rows = []
    for (seed, optimiser), runs in part.groupby(["seed", "optimiser"], sort=True):
        floor, start = smallest[int(str(seed))], own.get((int(str(seed)), str(optimiser)))
        heights = relative_heights(runs["loss"], floor)
        late = np.zeros(len(runs), dtype=bool)
        if start is not None:
            above = relative_heights(runs["loss"], start.found.floor) > tolerance
            late = (runs["width"] >= start.found.width).to_numpy() & above
        rows.append(runs.assign(excess=np.maximum(heights, LOWEST), is_failed=late, floor=floor))
    table = pd.concat(rows, ignore_index=True)
    best = best_runs(table)
    reach = _FAR * best["loss"][np.isfinite(best["loss"])].max()
    is_free = table["optimiser"] == WITHOUT_WIDTH
    shown, seen = (
        table["loss"] <= reach,
        {seed: one.found for seed, one in first.items() if one.found.reached},
    )
    return table.assign(
        is_best=_is_best(table) & ~is_free,
        is_free=is_free,
        is_shown=shown & ~table["is_failed"],
        is_failed=shown & table["is_failed"],
        ceiling=(1 + tolerance) * table["floor"],
        plateau_start=table["seed"].map({seed: one.width for seed, one in seen.items()}),
        start_low=table["seed"].map({seed: one.low for seed, one in seen.items()}),
        start_high=table["seed"].map({seed: one.high for seed, one in seen.items()}),
        median_start=float(np.median([one.width for one in seen.values()])) if seen else np.nan,
    )


def _is_best(table: pd.DataFrame) -> pd.Series:
    ranks = table.groupby(["seed", "optimiser", "width"])["loss"].rank(method="first")
    best: pd.Series = (ranks == 1) & np.isfinite(table["loss"])
    return best


def layer_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Neurons left and bounds on the rank of each hidden layer of the best nets, a row per layer.

    Args:
        frame: As returned by `prepare`; the first optimiser of each case is shown.

    Returns:
        Columns case, seed, width, layer, neurons_left, rank, rank_low and rank_high.
    """
    rows = []
    for title, part in frame.groupby("case", sort=True):
        chosen = part[part["is_best"] & (part["optimiser"] == (optimisers(part) or [""])[0])]
        for layer in range(1, hidden_layers(part) + 1):
            low, high = (column(chosen, f"rank_{end}_{layer}") for end in ("lower", "upper"))
            table = chosen[["seed", "width"]].assign(
                case=title, layer=f"layer {layer}", rank_low=low, rank_high=high
            )
            left = column(chosen, f"pruned_widths_{layer}")
            rows.append(table.assign(neurons_left=left, rank=(low + high) / 2))
    return (
        pd.concat(rows, ignore_index=True) if rows else frame.iloc[:0].assign(neurons_left=np.nan, layer="")
    )
