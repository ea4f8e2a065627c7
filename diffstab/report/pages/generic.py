"""The page of a kind of experiment that has no file of its own: its columns against its axes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from diffstab.report.catalogue import NamedFigure, plot_picture
from diffstab.report.document import Picture, Table
from diffstab.report.listings import Entry, Listing, draws
from diffstab.report.marks import MARKS
from diffstab.report.outline import Chapter, Page
from diffstab.report.plots import Layer, Plot
from diffstab.report.runs import Runs, data_sets
from diffstab.report.scales import Scale
from diffstab.report.summaries import EVERY, MEAN, mean_text
from diffstab.report.tables import grouped
from diffstab.report.words import column_of, listed, value_text
from diffstab.results.schema import describe, is_axis

_MOST = 6
"""Quantities that the figure shows."""
_LAYERS = (
    Layer(EVERY, MARKS["faint points"], is_spread=True),
    *(Layer(MEAN, MARKS[name]) for name in ("band", "line", "markers")),
)


def generic_page(kind: str) -> Page:
    """Return the page that shows the columns of a kind."""
    return Page(
        kind=kind,
        topic=kind.replace("_", " "),
        question="How do the numbers of this experiment change with what was varied?",
        words={"draw": "seed"},
        lead="measurements",
        figures={"measurements": NamedFigure("measurements", "Measurements", _pictures)},
        chapters=(Chapter("Numbers", tables=("numbers",)),),
        code=sys.modules[__name__],
    )


def title(runs: Runs) -> str:
    """Which experiment on which data."""
    data = data_sets(runs.frame) if "dataset" in runs.frame else "measurements"
    return f"{runs.kind.replace('_', ' ').capitalize()}: {data}"


def prepare(records: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """The records as they are."""
    return records.reset_index(drop=True)


def _measured(frame: pd.DataFrame) -> list[str]:
    """The columns of measurements, those that the schema lists first."""
    names = [
        name
        for name in map(str, frame.select_dtypes("number"))
        if describe(name).role == "number"
        and not name.endswith(("_low", "_high", "_se", "_median", "_seconds"))
        and name != "restart"
        and frame[name].nunique() > 1
    ]
    return sorted(names, key=lambda name: describe(name).label == name)


def _plot(frame: pd.DataFrame) -> Plot:
    """The measurements against the first axis of numbers, a colour per value of the first axis of words."""
    axes = [name for name in map(str, frame) if is_axis(name) and name not in ("seed", "restart")]
    axes = [name for name in axes if frame[name].nunique() > 1]
    numbers = [name for name in axes if pd.api.types.is_numeric_dtype(frame[name])]
    words = [name for name in axes if name not in numbers]
    x = (numbers or ["seed"])[0]
    scale: Scale = "sizes" if x in numbers and (frame[x] > 0).all() else "linear"
    colour, facets = (words or ["method"])[0], tuple(words[1:2])
    return Plot(x, tuple(_measured(frame)[:_MOST]), _LAYERS, colour, facets, scales=(scale, "auto"))


def _pictures(runs: Runs) -> Iterator[Picture]:
    plot = _plot(runs.frame)
    if plot.y and plot.x in runs.frame:
        yield plot_picture(plot, plot.frame(runs.frame), name="measurements")


def numbers(runs: Runs) -> Sequence[Table]:
    """Means of the measurements."""
    plot = _plot(runs.frame)
    rows = (*plot.facets, *([plot.colour] if plot.colour in runs.frame else []), plot.x)
    entries = (*map(Entry, plot.y), draws())
    found = Listing("numbers", "Means over draws [95 % interval; none below three draws]", rows, entries)
    return [table for table in [found.table(runs.frame)] if table]


def answer(runs: Runs) -> str:
    """The first measurement at the end of the first axis, of each colour."""
    plot = _plot(runs.frame)
    if not plot.y:
        return "No column of measurements varies."
    name, frame, lead = plot.y[0], runs.frame, "The"
    if plot.x != "seed":
        frame = frame[frame[plot.x] == frame[plot.x].max()]
        lead = f"At {value_text(plot.x, frame[plot.x].iloc[0], named=True)} the"
    texts = [mean_text(frame, name)]
    if plot.colour in frame and frame[plot.colour].nunique() > 1:
        parts = grouped(frame, [plot.colour])
        texts = [f"{mean_text(part, name)} for {value_text(plot.colour, value)}" for (value,), part in parts]
    return f"{lead} mean {column_of(name).noun} is {listed(texts)}."
