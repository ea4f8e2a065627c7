"""What W&B shows of the records of an experiment: points of its curves, moments of training, tables, pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from diffstab.results.schema import describe

if TYPE_CHECKING:
    from diffstab.experiments.unit import Cell, Experiment
    from diffstab.report.document import Picture

Row = Mapping[str, Any]

TRAINING = "train/"
"""First part of the names of what is followed during a training."""
PICTURES = "pictures/"
_LONGEST_TEXT = 200


class Curves(NamedTuple):
    """What is drawn of the records of an experiment, against its own axis.

    Attributes:
        prefix: First part of the names of the curves.
        axis: Column that they are drawn against.
        measures: Columns that are drawn.
        best: First part of the names of the least of the first measure over all starts; "" without restarts.
    """

    prefix: str
    axis: str
    measures: tuple[str, ...]
    best: str


def curves_of(experiment: type[Experiment]) -> Curves:
    """Return what is drawn of an experiment's records, as it declares it."""
    has_restarts = any(axis.name == "restart" for axis in experiment.axes)
    best = f"{experiment.kind}_best/" if has_restarts else ""
    return Curves(f"{experiment.kind}/", experiment.curve, experiment.measures, best)


def point(curves: Curves, row: Row) -> dict[str, float]:
    """Return a record as one point of its curves, with its place on the axis."""
    numbers = _numbers({name: row.get(name) for name in (curves.axis, *curves.measures)})
    return {curves.prefix + name: value for name, value in numbers.items()}


def best_points(curves: Curves, rows: Sequence[Row]) -> list[dict[str, float]]:
    """Return the least of the first measure at each place of the axis; nothing where there are no restarts."""
    least: dict[float, float] = {}
    for row in rows if curves.best else []:
        place, value = float(row[curves.axis]), float(row[curves.measures[0]])
        least[place] = min(value, least.get(place, math.inf))
    names = [curves.best + name for name in (curves.axis, curves.measures[0])]
    return [dict(zip(names, pair, strict=True)) for pair in sorted(least.items())]


def line_name(experiment: Experiment, cell: Cell) -> str:
    """Return what the runs of one line of a curve share: their place but for the curve's axis and the draw."""
    parts = [axis for axis in experiment.axes if axis.name not in (experiment.curve, "seed", "restart")]
    return " ".join(axis.label(cell[axis.name]) for axis in parts) or experiment.name


def moment(values: Mapping[str, float]) -> dict[str, float]:
    """Return a moment of a training with its number of steps under one name."""
    return {"steps" if name == "step" else name: value for name, value in values.items()}


def training_axis(values: Mapping[str, float]) -> str:
    """Return what a moment of a training is drawn against: the time of a flow, else the number of steps."""
    return "flow_time" if math.isfinite(values.get("flow_time", math.nan)) else "steps"


def training_history(row: Row) -> Iterator[dict[str, float]]:
    """Yield the moments of a training that a record keeps in its lists `history_*` or `trace_*`."""
    lists = {
        name.partition("_")[2]: values
        for name, values in row.items()
        if name.startswith(("history_", "trace_")) and values is not None and len(values)
    }
    for index in range(min(map(len, lists.values()), default=0)):
        yield moment(_numbers({name: values[index] for name, values in lists.items()}))


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the single values that all records of a batch share; of one record, all of its own."""
    first, *others = map(scalars, rows or [{}])
    # By their texts: what no run has a number for, NaN, is shared too.
    return {
        name: value
        for name, value in first.items()
        if all(repr(row.get(name)) == repr(value) for row in others)
    }


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


def intervals_table(rows: Sequence[Row], places: Sequence[str]) -> Rows:
    """Return the measurements that have intervals, a line each.

    Args:
        rows: Records.
        places: Columns that tell them apart.
    """
    data = [
        [
            *(row.get(place) for place in places),
            describe(name).heading,
            *(float(row[name + end]) for end in ("", "_low", "_high")),
        ]
        for row in rows
        for name in row
        if row[name] is not None and row.get(f"{name}_low") is not None
    ]
    return Rows([*places, "quantity", "value", "low", "high"], data)


def records_table(rows: Sequence[Row]) -> Rows:
    """Return the single values of the records, a line each."""
    lines = [scalars(row) for row in rows]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    return Rows(columns, [[line.get(name) for name in columns] for line in lines])


def as_tables(tables: Mapping[str, Rows]) -> dict[str, Any]:
    """Return the tables that have lines as W&B takes them."""
    import wandb

    return {name: wandb.Table(table.columns, table.data) for name, table in tables.items() if table.data}


def as_images(drawn: Mapping[str, Picture]) -> dict[str, Any]:
    """Return pictures as W&B takes them."""
    import wandb
    from PIL import Image

    return {
        PICTURES + name: wandb.Image(Image.open(io.BytesIO(picture.rendered.png)), caption=picture.caption)
        for name, picture in drawn.items()
    }


def _numbers(row: Row) -> dict[str, float]:
    """Return the values that are numbers."""
    kinds = (int, float, np.number)
    is_number = {name: isinstance(one, kinds) and not isinstance(one, bool) for name, one in row.items()}
    return {name: float(value) for name, value in row.items() if is_number[name]}
