"""Who is told of batches at work: trackers of runs, and the display."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from diffstab.experiments.unit import Cell, Experiment
from diffstab.progress import numbers_text


class RunBatch(NamedTuple):
    """Cells of an experiment that are run at once.

    Attributes:
        experiment: Configuration.
        cells: The cells.
        keys: Names of their records.
        label: A line that names the batch.
        columns: Added to the records: the options that a sweep sets.
    """

    experiment: Experiment
    cells: tuple[Cell, ...]
    keys: Mapping[Cell, str]
    label: str
    columns: Mapping[str, Any] = {}

    def coordinates(self, cell: Cell) -> dict[str, Any]:
        """Return what tells a run apart: its place in its experiment, and the options that a sweep sets."""
        return {**self.experiment.coordinates(cell), **self.columns}


def make_batch(experiment: Experiment, cells: tuple[Cell, ...], columns: Mapping[str, Any] = {}) -> RunBatch:
    """Return cells with the names of their records and their label."""
    keys = {cell: experiment.key(cell) for cell in cells}
    return RunBatch(experiment, cells, keys, experiment.label(cells), columns)


class Observer:
    """Is told of the batches of a process, one after another; this one does nothing with it."""

    def started(self, batch: RunBatch, folder: Path) -> None:
        """A batch begins, whose records go to a results folder."""

    def progressed(self, values: Mapping[str, float]) -> None:
        """A training of the batch has come so far."""

    def recorded(self, cell: Cell, row: Mapping[str, Any]) -> None:
        """The record of a cell is on the disk."""

    def finished(self, error: BaseException | None) -> None:
        """The batch is over, by an error unless it is None."""


MakeObserver = Callable[[], Observer]


class Shown(Observer):
    """Shows the batch at work as a line of text, and hands on what it is told.

    Args:
        show: What shows a line.
        then: Told the same.
    """

    def __init__(self, show: Callable[[str], None], then: Observer) -> None:
        self._show, self._then, self._label = show, then, ""

    def started(self, batch: RunBatch, folder: Path) -> None:
        """Show which batch it is."""
        self._label = batch.label
        self._show(self._label)
        self._then.started(batch, folder)

    def progressed(self, values: Mapping[str, float]) -> None:
        """Show how far it has come."""
        self._show(f"{self._label}, {numbers_text(values)}")
        self._then.progressed(values)

    def recorded(self, cell: Cell, row: Mapping[str, Any]) -> None:
        """Hand it on."""
        self._then.recorded(cell, row)

    def finished(self, error: BaseException | None) -> None:
        """Hand it on."""
        self._then.finished(error)
