"""What W&B shows of a batch of records: curves against their axis, numbers, tables and pictures."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from diffstab.experiments.unit import Experiment
    from diffstab.report.document import Picture

Row = Mapping[str, Any]

BEST = "plateau_best/"
"""First part of the names of the least loss of each width."""
_LONGEST_TEXT = 200
DRAWING = threading.Lock()
"""Matplotlib's styles are those of the process: one thread at a time draws."""


class Curves(NamedTuple):
    """What is drawn of a command's runs, each against its own axis.

    Attributes:
        prefix: First part of the names of the curves over the records.
        axis: Quantity of a record that they are drawn against.
        quantities: Of a record.
        training: First part of the names of what is followed during a training.
    """

    prefix: str
    axis: str
    quantities: tuple[str, ...]
    training: str = "train/"


STABILITY = ("D", "G", "R")
IMAGES = Curves(
    "image/",
    "n_train",
    (
        "test_error",
        "train_error",
        "margin_share",
        *STABILITY,
        *(f"init_{name}" for name in STABILITY),
        "effective_neurons",
        "kernel_drift",
    ),
)
CURVES = {
    "compare": IMAGES,
    "fit": Curves(
        "fit/", "steps", ("train_loss", "train_error", "val_loss", "val_error", "val_D", "val_G", "val_R")
    ),
    "sphere curve": Curves(
        "sphere/", "n_train", ("test_error", "drawn_error", "theory_error", "D_rotation", "n_atoms", "gap")
    ),
    "plateau": Curves(
        "plateau/", "width", ("loss", "cost", "squared_norm", "train_error", "test_error", "pruned_loss")
    ),
    "forces": Curves("forces_end/", "n_train", ("loss", "squared_norm", "stationarity"), "forces/"),
}


def curves_of(experiment: type[Experiment]) -> Curves:
    """Return what is drawn of an experiment's runs."""
    own = Curves(f"{experiment.kind}/", experiment.curve, experiment.measures)
    return CURVES.get(experiment.name, own)


def point(curves: Curves, row: Row) -> dict[str, float]:
    """Return a record as one point of its command's curves, with its place on the axis."""
    found = _numbers(row, (curves.axis, *curves.quantities))
    return {curves.prefix + name: value for name, value in found.items()}


def best_points(command: str, rows: Sequence[Row]) -> list[dict[str, float]]:
    """Return the least loss of each width among the starts of a plateau; nothing for other commands."""
    if command != "plateau":
        return []
    least: dict[int, float] = {}
    for row in rows:
        width, loss = int(row["width"]), float(row["loss"])
        least[width] = min(loss, least.get(width, math.inf))
    return [{BEST + "width": float(width), BEST + "loss": least[width]} for width in sorted(least)]


def line_name(cell: Mapping[str, Any], *, axis: str) -> str:
    """Return what the runs of one line of a curve share: their places in the grid but for the axis and the seed."""
    parts = [
        _described(name, value)
        for name, value in cell.items()
        if name not in (axis, "seed", "settings", "restart")
    ]
    return ", ".join(parts)


def _described(name: str, value: Any) -> str:
    if isinstance(value, Mapping) and "class_path" in value:
        options = [_described(*option) for option in dict(value.get("init_args") or {}).items()]
        return " ".join([str(value["class_path"]).rpartition(".")[2], *options])
    return str(value) if isinstance(value, str) else f"{name}={value}"


def moment(values: Mapping[str, float]) -> dict[str, float]:
    """Return a moment of a training with its number of steps under one name."""
    return {"steps" if name == "step" else name: value for name, value in values.items()}


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
    for index in range(min(map(len, lists.values()), default=0)):
        yield moment(_numbers({name: values[index] for name, values in lists.items()}, tuple(lists)))


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the single values that all records of a batch share; of one record, all of its own."""
    shared = scalars(rows[0]) if rows else {}
    for row in map(scalars, rows[1:]):
        # By their texts: what no run has a number for, NaN, is shared too.
        shared = {name: value for name, value in shared.items() if repr(row.get(name)) == repr(value)}
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
        for prefix, when in (("init_", "before"), ("", "after"), ("val_", "after")):
            for name in STABILITY:
                if row.get(prefix + name) is not None:
                    numbers = [float(row.get(prefix + name + end, math.nan)) for end in ("", "_low", "_high")]
                    data.append([*(row.get(place) for place in places), name, when, *numbers])
    return Rows([*places, "quantity", "training", "value", "low", "high"], data)


def records_table(rows: Sequence[Row]) -> Rows:
    """Return the single values of the records, a line each."""
    lines = [scalars(row) for row in rows]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    return Rows(columns, [[line.get(name) for name in columns] for line in lines])


def pictures(command: str, frame: pd.DataFrame, folder: Path) -> dict[str, Picture]:
    """Return the pictures of a batch by name, as the pages of results folders draw them.

    Args:
        command: What made the records.
        frame: The records, with their keys.
        folder: Results folder, for the files beside the records.

    Raises:
        ResultsError: If a file beside the records is damaged.
    """
    from diffstab.report.pages import run_pictures

    return run_pictures({"compare": "images", "sphere curve": "sphere"}.get(command, command), frame, folder)


def as_tables(tables: Mapping[str, Rows]) -> dict[str, Any]:
    """Return the tables that have lines as W&B takes them."""
    import wandb

    return {
        name: wandb.Table(columns=table.columns, data=table.data)
        for name, table in tables.items()
        if table.data
    }


def images(drawn: Mapping[str, Picture]) -> dict[str, Any]:
    """Return pictures as W&B takes them, under `images/` and their names."""
    import wandb
    from PIL import Image

    return {
        f"images/{name}": wandb.Image(Image.open(io.BytesIO(picture.rendered.png)), caption=picture.caption)
        for name, picture in drawn.items()
    }


def _numbers(row: Row, names: Sequence[str]) -> dict[str, float]:
    """Return the named values that are numbers."""
    kept = {name: row.get(name) for name in names}
    return {
        name: float(value)
        for name, value in kept.items()
        if isinstance(value, int | float | np.number) and not isinstance(value, bool)
    }
