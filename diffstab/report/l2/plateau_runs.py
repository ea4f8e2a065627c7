"""Records of `diffstab plateau` as rows: the best run of each width, and the start of each plateau."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch

from diffstab.errors import ResultsError
from diffstab.l2.plateau import PlateauStart, plateau_start
from diffstab.report.tables import column
from diffstab.streams import stream

KEYS = ["dataset", "n_train", "seed", "optimiser", "width", "restart"]
"""The columns that together name one run."""
PER_LAYER = ("pruned_widths", "rank_lower", "rank_upper")
"""Columns of lists with a number for each hidden layer; a frame has them as name_1, name_2, ... too."""
WITHOUT_WIDTH = "covariances"
"""The optimiser that finds its own width."""
_RESAMPLES_SEED = 0
_NAMES = {
    "mnist": "MNIST",
    "teacher": "Teacher",
    "complete_bipartite": "Complete bipartite graph",
    "one_hot": "One-hot classes",
    "scalar": "Scalar function",
}


class Start(NamedTuple):
    """The plateau of one optimiser and seed.

    Attributes:
        seed: Of the points and the initial weights.
        optimiser: What minimised the loss.
        found: Where it starts.
        narrower: The next narrower width tried, which was not enough; None where none was.
        excess: Relative height of the best loss up to it above the floor; NaN where none was.
        failed: So many restarts from the start on ended above the plateau.
        tried: Of so many.
        worst: The largest relative height of these above the floor; 0 where there are none.
    """

    seed: int
    optimiser: str
    found: PlateauStart
    narrower: int | None
    excess: float
    failed: int
    tried: int
    worst: float


def plateau_frame(records: pd.DataFrame) -> pd.DataFrame:
    """Records with numbers as numbers, lists of layers spread over columns, and names that the other pages know.

    Args:
        records: One row per run, as written by `diffstab plateau`.

    Returns:
        A new frame sorted by run; a loss that is missing is infinite, `method` is the optimiser and `wall_seconds`
        the run's share of the time of the runs trained with it.

    Raises:
        ResultsError: A column that names a run, or its loss, is missing.
    """
    if absent := [name for name in [*KEYS, "loss"] if name not in records]:
        raise ResultsError(
            f"The records have no column {', '.join(absent)}. Write them with `diffstab plateau`."
        )
    frame = records.sort_values(KEYS, kind="stable", ignore_index=True)
    for name in ("known_width", "known_cost", "test_error", "train_error", "stationarity", "gap", "bound"):
        frame[name] = pd.to_numeric(column(frame, name), errors="coerce").astype("float64")
    frame["loss"] = frame["loss"].astype("float64").fillna(np.inf)
    frame["method"] = frame["optimiser"]
    frame["wall_seconds"] = column(frame, "train_seconds") / column(frame, "runs_together")
    frame["hidden_layers"] = [len(one) if _is_list(one) else 0 for one in column(frame, "hidden_widths")]
    layers = {
        f"{name}_{layer}": [_entry(value, layer) for value in column(frame, name)]
        for name in PER_LAYER
        for layer in range(1, hidden_layers(frame) + 1)
    }
    return pd.concat([frame, pd.DataFrame(layers, index=frame.index, dtype="float64")], axis=1)


def hidden_layers(frame: pd.DataFrame) -> int:
    """Return the number of hidden layers of the nets of the records; 0 where they do not say."""
    return max((len(value) for value in column(frame, "hidden_widths") if _is_list(value)), default=0)


def run_settings(frame: pd.DataFrame, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the runs, as they stand in the records and, where it has them, in the configuration."""
    recorded = column(frame, "config").dropna()
    found = json.loads(recorded.iloc[0]) if len(recorded) else {}
    return {"plateau_tolerance": 0.01, **found, **config}


def cases(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return (title, records) of each data set and size."""
    groups = frame.groupby(["dataset", "n_train"], sort=True)
    return [(f"{_NAMES.get(str(name), str(name))}, n = {n}", part) for (name, n), part in groups]


def optimisers(part: pd.DataFrame) -> list[str]:
    """Return the optimisers that were given a width, weights first."""
    found = sorted(set(part["optimiser"]) - {WITHOUT_WIDTH}, key=lambda name: (name != "weights", name))
    return cast("list[str]", found)


def best_runs(part: pd.DataFrame) -> pd.DataFrame:
    """Return the run of least loss of each seed, optimiser and width."""
    keys = ["seed", "optimiser", "width"]
    ordered = part.sort_values([*keys, "loss"], kind="stable")
    return ordered.drop_duplicates(keys).reset_index(drop=True)


def starts(part: pd.DataFrame, *, tolerance: float) -> list[Start]:
    """Find the plateau of every seed and optimiser of one data set and size.

    Args:
        part: Records of one data set and size.
        tolerance: Of the rule of `plateau_start`.

    Returns:
        One each, weights first; none where no run has a finite loss.
    """
    found = []
    for optimiser in optimisers(part):
        runs = part[part["optimiser"] == optimiser]
        for seed, group in runs.groupby("seed", sort=True):
            if np.isfinite(group["loss"]).any():
                found.append(_start(int(str(seed)), optimiser, group, tolerance))
    return found


def earliest(starts: Sequence[Start], *, tolerance: float) -> list[Start]:
    """Return the earliest start of each seed: another optimiser's later one missed minima.

    Args:
        starts: Of all seeds and optimisers.
        tolerance: An optimiser whose smallest loss lies further above that of another one, as a share of it, is left
            out: it starts early on a plateau that is not the lowest.
    """
    found: dict[int, Start] = {}
    lowest: dict[int, float] = {}
    for start in starts:
        lowest[start.seed] = min(start.found.floor, lowest.get(start.seed, np.inf))
    for start in sorted(starts, key=lambda start: start.found.width):
        if relative_heights([start.found.floor], lowest[start.seed])[0] <= tolerance:
            found.setdefault(start.seed, start)
    return [found[seed] for seed in sorted(found)]


def _start(seed: int, optimiser: str, group: pd.DataFrame, tolerance: float) -> Start:
    # A restart without a record is one that found no net; the page counts these.
    table = group.pivot_table(index="width", columns="restart", values="loss", aggfunc="min", dropna=False)
    table = table.astype("float64").fillna(np.inf)
    widths, losses = [int(width) for width in table.index], table.to_numpy()
    generator = stream(_RESAMPLES_SEED, "resamples of restarts")
    found = plateau_start(widths, torch.from_numpy(losses.copy()), tolerance=tolerance, generator=generator)
    index = widths.index(found.width)
    heights = relative_heights(group["loss"][group["width"] >= found.width], found.floor)
    failed = heights[heights > tolerance]
    below = float(relative_heights([float(found.best[index - 1])], found.floor)[0]) if index else np.nan
    worst = float(failed.max()) if len(failed) else 0.0
    narrower = widths[index - 1] if index else None
    return Start(seed, optimiser, found, narrower, below, len(failed), len(heights), worst)


class Fewest(NamedTuple):
    """A net of few neurons on the plateau.

    Attributes:
        neurons: Of its widest hidden layer.
        optimiser: What found the net that it was pruned from.
        width: Of that net.
        excess: Relative height of its loss above the smallest.
    """

    neurons: int
    optimiser: str
    width: int
    excess: float


def fewest_neurons(runs: pd.DataFrame, floor: float, *, tolerance: float) -> Fewest | None:
    """Find the pruned net of fewest neurons whose loss is within a tolerance of the smallest.

    Args:
        runs: Records of one data set, size and seed.
        floor: The smallest loss.
        tolerance: Share of it.

    Returns:
        The net, of least loss among equals; None where none is recorded.
    """
    heights = relative_heights(column(runs, "pruned_loss"), floor)
    near = runs.assign(excess=heights)[heights <= tolerance]
    if near.empty:
        return None
    near = near.assign(neurons=[int(max(widths)) for widths in near["pruned_widths"]])
    row = near.sort_values(["neurons", "excess"], kind="stable").iloc[0]
    return Fewest(
        int(row["neurons"]), str(row["optimiser"]), int(row["width"]), max(0.0, float(row["excess"]))
    )


def relative_heights(losses: Sequence[float] | pd.Series, floor: float) -> np.ndarray:
    """Return (loss - floor) / floor of each loss; above a floor of zero every height is infinite."""
    values = np.asarray(losses, dtype=np.float64)
    if floor > 0:
        heights: np.ndarray = values / floor - 1
        return heights
    return np.where(values > floor, np.inf, 0.0)


def floors(part: pd.DataFrame) -> dict[int, float]:
    """Return the smallest loss of each seed, whichever optimiser found it."""
    return {int(str(seed)): float(loss) for seed, loss in part.groupby("seed")["loss"].min().items()}


def excess_of_optimisers(part: pd.DataFrame) -> pd.DataFrame:
    """Return seed, optimiser and how far its best loss lies above the best of all, as a share of that."""
    smallest = floors(part)
    best = part.groupby(["seed", "optimiser"], sort=True)["loss"].min().reset_index()
    best["excess"] = [
        float(relative_heights([loss], smallest[int(seed)])[0])
        for seed, loss in zip(best["seed"], best["loss"], strict=True)
    ]
    return best


def start_text(start: Start) -> str:
    """The width at which a plateau starts, with its interval, and whether the plateau was seen."""
    found = start.found
    interval = (
        f" [{found.low:g}, {found.high:g}]" if np.isfinite(found.low) and found.high > found.low else ""
    )
    return f"{found.width}{interval}" + ("" if found.reached else " (not seen: too few wider nets)")


def _entry(value: Any, layer: int) -> float:
    return float(value[layer - 1]) if _is_list(value) and len(value) >= layer else np.nan


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
