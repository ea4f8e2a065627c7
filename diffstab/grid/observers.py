"""Who is told of batches at work: trackers of runs, and the display."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffstab.experiments.unit import Cell
from diffstab.grid.batches import RunBatch
from diffstab.progress import numbers_text


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


class LabelObserver(Observer):
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
