"""Cells of an experiment that are run at once, with the names of their records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from diffstab.experiments.unit import Cell, Experiment
from diffstab.results import Records


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


def batches_of(experiment: Experiment) -> Iterator[RunBatch]:
    """Yield all batches of an experiment."""
    return (make_batch(experiment, cells) for cells in experiment.batches())


def missing_batches(batches: Iterable[RunBatch], records: Records) -> list[RunBatch]:
    """Return the batches that lack a record."""
    batches = list(batches)
    missing = set(records.missing(key for batch in batches for key in batch.keys.values()))
    return [batch for batch in batches if not missing.isdisjoint(batch.keys.values())]
