"""What W&B shows of a batch of records: curves against their axis, numbers, tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from diffstab.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

    from diffstab.reporting.document import Picture

Row = Mapping[str, Any]

TRAINING = "train/"
"""First part of the names of what is followed during a training."""
_LONGEST_TEXT = 200


class Curves(NamedTuple):
    """The quantities of a command's records that are drawn against one of them."""

    axis: str
    quantities: tuple[str, ...]


_STABILITY = ("D", "G", "R")
_IMAGES = (
    "test_error",
    "train_error",
    "margin_share",
    *_STABILITY,
    *(f"init_{name}" for name in _STABILITY),
    "effective_neurons",
    "kernel_drift",
)
_SPHERE = ("test_error", "drawn_error", "theory_error", "D_rotation", "n_atoms", "gap")
_PLATEAU = ("loss", "cost", "squared_norm", "train_error", "test_error", "pruned_loss")

CURVES = {
    "compare": Curves("n_train", _IMAGES),
    "fit": Curves("n_train", _IMAGES),
    "sphere curve": Curves("n_train", _SPHERE),
    "plateau": Curves("width", _PLATEAU),
    "forces": Curves("n_train", ("loss", "squared_norm", "stationarity")),
}


def curves_of(command: str) -> Curves:
    """Return what is drawn of a command's records.

    Raises:
        ArgumentError: If no command of that name is logged.
    """
    if command not in CURVES:
        raise ArgumentError("command", f"be one of {', '.join(CURVES)}", repr(command))
    return CURVES[command]


def point(command: str, row: Row) -> dict[str, float]:
    """Return a record as one point of the command's curves, with its place on the axis."""
    curves = curves_of(command)
    return _numbers(row, (curves.axis, *curves.quantities))


def best_points(command: str, rows: Sequence[Row]) -> list[dict[str, float]]:
    """Return the least loss of each width among the starts of a plateau; nothing for other commands."""
    if command != "plateau":
        return []
    least: dict[int, float] = {}
    for row in rows:
        width, loss = int(row["width"]), float(row["loss"])
        least[width] = min(loss, least.get(width, math.inf))
    return [{"best/width": float(width), "best/loss": least[width]} for width in sorted(least)]


def training_axis(values: Mapping[str, float]) -> str:
    """Return what a moment of a training is drawn against: the time of a flow, else the number of steps."""
    time = values.get("flow_time", math.nan)
    return "flow_time" if math.isfinite(time) else "steps"


def training_history(row: Row) -> Iterator[dict[str, float]]:
    """Yield the moments of a training that a record keeps in its lists `history_*` or `trace_*`."""
    lists = {
        name.partition("_")[2]: values
        for name, values in row.items()
        if name.startswith(("history_", "trace_")) and values is not None and len(values)
    }
    if "step" in lists:
        lists["steps"] = lists.pop("step")
    for index in range(min(map(len, lists.values()), default=0)):
        yield _numbers({name: values[index] for name, values in lists.items()}, tuple(lists))


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the single values that all records of a batch share; of one record, all of its own."""
    shared = dict(scalars(rows[0])) if rows else {}
    for row in rows[1:]:
        shared = {name: value for name, value in shared.items() if row.get(name) == value}
    return shared


def scalars(row: Row) -> dict[str, Any]:
    """Return the numbers, flags and short texts of a record."""
    kept = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
    return {
        name: value
        for name, value in kept.items()
        if isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _LONGEST_TEXT)
    }


class Rows(NamedTuple):
    """A table as W&B takes it."""

    columns: list[str]
    data: list[list[Any]]


def stability_table(rows: Sequence[Row]) -> Rows:
    """Return D, G and R with their intervals, before and after training, a line each."""
    places = ("dataset", "method", "n_train", "seed")
    data = []
    for row in rows:
        for prefix, when in (("init_", "before"), ("", "after")):
            for name in _STABILITY:
                if row.get(prefix + name) is not None:
                    numbers = [float(row.get(prefix + name + end, math.nan)) for end in ("", "_low", "_high")]
                    data.append([*(row.get(place) for place in places), name, when, *numbers])
    return Rows([*places, "quantity", "training", "value", "low", "high"], data)


def records_table(rows: Sequence[Row]) -> Rows:
    """Return the single values of the records, a line each."""
    lines = [scalars(row) for row in rows]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    return Rows(columns, [[line.get(name) for name in columns] for line in lines])


def pictures(command: str, frame: pd.DataFrame, folder: Path) -> list[Picture]:
    """Return the pictures of a batch, as the pages of results folders draw them.

    Args:
        command: What made the records.
        frame: The records, with their keys.
        folder: Results folder, for the files beside the records.

    Raises:
        ArgumentError: If no command of that name is logged.
        ResultsError: If a file beside the records is damaged.
    """
    if command in ("compare", "fit"):
        return _image_pictures(frame, folder)
    if command == "sphere curve":
        return _sphere_pictures(frame)
    if command == "plateau":
        return _plateau_pictures(frame)
    if command == "forces":
        return _forces_pictures(frame, folder)
    raise ArgumentError("command", f"be one of {', '.join(CURVES)}", repr(command))


def _image_pictures(frame: pd.DataFrame, folder: Path) -> list[Picture]:
    from diffstab.reporting.pictures import neurons_picture
    from diffstab.reporting.sections import examples

    found = [neurons_picture(part, prefix="neurons") for _, part in frame.groupby("method")]
    drawn = [picture for picture in found if picture is not None]
    path = folder / "examples.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as stored:
            drawn += examples(dict(stored)).pictures
    return drawn


def _sphere_pictures(frame: pd.DataFrame) -> list[Picture]:
    from diffstab.reporting.sphere.pictures import circle_picture, neurons_picture

    found = [circle_picture(frame), *(neurons_picture(frame, dimension=dimension) for dimension in (2, 3))]
    return [picture for picture in found if picture is not None]


def _plateau_pictures(frame: pd.DataFrame) -> list[Picture]:
    from diffstab.reporting.l2.plateau_pictures import case_pictures
    from diffstab.reporting.l2.plateau_runs import cases, plateau_frame, run_settings, starts

    settings = run_settings(frame, {})
    drawn: list[Picture] = []
    for _, part in cases(plateau_frame(frame)):
        found = starts(part, tolerance=float(settings["plateau_tolerance"]))
        drawn += case_pictures(part, found, settings) if found else []
    return drawn


def _forces_pictures(frame: pd.DataFrame, folder: Path) -> list[Picture]:
    from diffstab.reporting.l2.forces import course, layers_section

    return [*layers_section(folder, frame).pictures, *course(frame).pictures]


def _numbers(row: Row, names: Sequence[str]) -> dict[str, float]:
    """Return the named values that are numbers."""
    kept = {name: row.get(name) for name in names}
    return {
        name: float(value)
        for name, value in kept.items()
        if isinstance(value, int | float | np.number) and not isinstance(value, bool)
    }
