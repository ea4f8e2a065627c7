"""Tables of plateaus: the optimisers side by side, and every width."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from diffstab.report.document import Cell, Table
from diffstab.report.l2.plateau_runs import (
    Start,
    excess_of_optimisers,
    floors,
    hidden_layers,
    relative_heights,
    start_text,
)
from diffstab.report.numbers import number_text, percent
from diffstab.report.tables import column, is_recorded


def optimisers_table(part: pd.DataFrame) -> Table:
    """The best run of each optimiser and seed: objective, time, rank, gap and stationarity."""
    lines = []
    for _, row in excess_of_optimisers(part).iterrows():
        runs = part[(part["seed"] == row["seed"]) & (part["optimiser"] == row["optimiser"])]
        best = runs.sort_values("loss", kind="stable").iloc[0]
        lines.append(
            [
                _text(str(row["optimiser"])),
                _count(row["seed"]),
                _number(row["loss"]),
                Cell(percent(row["excess"]), row["excess"]),
                _number(float(runs["wall_seconds"].sum())),
                _count(len(runs)),
                _count(best["width"]),
                _layers(best.get("pruned_widths")),
                _text(rank_text(best)),
                _number(best["gap"]),
                _text(str(best.get("gap_kind") or "–")),
                _number(best["stationarity"]),
                _text("yes" if best["converged"] else "no"),
            ]
        )
    headers = ["Optimiser", "Seed", "Loss", "Above the best", "Seconds, all runs", "Runs", "Width"]
    headers += ["Neurons left", "Rank", "Gap", "Kind of gap", "Stationarity", "Converged"]
    return Table("Optimisers side by side: the best run of each", headers, lines)


def starts_table(starts: Sequence[Start]) -> Table:
    """Where each optimiser's own plateau starts, seed by seed, and the restarts on it that end above it."""
    lines = [
        [
            _text(start.optimiser),
            _count(start.seed),
            Cell(start_text(start), start.found.width),
            _loss(start.found.floor),
            Cell(f"{start.failed} of {start.tried}", start.failed),
            Cell(percent(start.worst) if start.failed else "–", start.worst),
        ]
        for start in starts
    ]
    headers = ["Optimiser", "Seed", "Start", "Smallest loss", "Restarts that end above", "The worst of them"]
    return Table(
        "Plateau of each optimiser, above its own smallest loss [95 % interval over restarts]", headers, lines
    )


def widths_table(part: pd.DataFrame, starts: Sequence[Start]) -> Table:
    """Every width of every optimiser and seed: losses of its restarts and what its best net is like."""
    smallest = floors(part)
    places = {(start.seed, start.optimiser): start.found.width for start in starts}
    lines = []
    for keys, runs in part.groupby(["optimiser", "seed", "width"], sort=True):
        optimiser, seed, width = str(keys[0]), int(str(keys[1])), int(str(keys[2]))
        best = runs.sort_values("loss", kind="stable").iloc[0]
        height = float(relative_heights([best["loss"]], smallest[seed])[0])
        mark = " (start)" if places.get((seed, optimiser)) == width else ""
        lines.append(
            [
                _text(optimiser),
                _count(seed),
                Cell(f"{width}{mark}", width),
                _count(len(runs)),
                _loss(best["loss"]),
                Cell(percent(height) if np.isfinite(height) else "–", height),
                _loss(float(runs["loss"].median())),
                _loss(float(runs["loss"].max())),
                _number(best["squared_norm"]),
                _error(best, "train_error"),
                _error(best, "test_error"),
                _layers(best.get("pruned_widths")),
                _text(rank_text(best)),
                _number(best["stationarity"]),
                _count(int(runs["converged"].astype("bool").sum())),
            ]
        )
    headers = [
        "Optimiser",
        "Seed",
        "Width",
        "Runs",
        "Best loss",
        "Above the smallest",
        "Median loss",
        "Worst",
    ]
    headers += ["Squared norm", "Training error", "Test error", "Neurons left", "Rank", "Stationarity"]
    return Table("All widths; from “Squared norm” on: the best run", [*headers, "Converged"], lines)


def rank_text(row: pd.Series) -> str:
    """The bounds on the rank of each hidden layer of a run; a dash where they are not recorded."""
    texts = []
    for layer in range(1, hidden_layers(row.to_frame().T) + 1):
        low, high = row[f"rank_lower_{layer}"], row[f"rank_upper_{layer}"]
        if not np.isfinite([low, high]).all():
            return "–"
        texts.append(f"{low:g}" if low == high else f"{low:g} to {high:g}")
    return " · ".join(texts) or "–"


def solver_facts(part: pd.DataFrame) -> list[tuple[str, str]]:
    """Steps and time of each optimiser."""
    found = []
    for optimiser, runs in part.groupby("optimiser", sort=True):
        text = f"{len(runs)} runs, {number_text(float(runs['wall_seconds'].sum()))} s"
        if is_recorded(runs, "runs_together"):
            text += f", up to {int(column(runs, 'runs_together').max())} trained together"
        text += f"; {number_text(float(column(runs, 'steps').median()))} steps in the median"
        found.append((str(optimiser), text))
    return found


def _error(row: pd.Series, name: str) -> Cell:
    if row.get("error_kind") == "misclassified" and np.isfinite(row[name]):
        return Cell(f"{number_text(100 * row[name])} %", row[name])
    return _number(row[name])


def _loss(value: float) -> Cell:
    return Cell("targets not met", np.inf) if np.isposinf(value) else _number(value)


def _layers(value: object) -> Cell:
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str):
        return Cell("–", np.nan)
    return Cell(" · ".join(str(int(width)) for width in value), float(max(value)))


def _number(value: float) -> Cell:
    return Cell(number_text(float(value)), float(value))


def _count(value: int) -> Cell:
    return Cell(str(int(value)), float(value))


def _text(value: str) -> Cell:
    return Cell(value, value)
