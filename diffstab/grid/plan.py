"""Which runs are asked for, and the results folder that holds them to one base configuration."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments.unit import Cell, Experiment
from diffstab.grid.combining import experiments
from diffstab.grid.options import parse
from diffstab.grid.sweep_file import SweepFile, coordinates
from diffstab.results import (
    Records,
    RecordStore,
    canonical_json,
    check_folder,
    dump_yaml,
    flatten,
    parse_yaml,
    write_atomically,
)
from diffstab.results.packs import were_numbers

PLAN = "sweep.yaml"
"""File of a sweep's folder with its command, its base configuration's arguments and its parameters."""
CELLS = "cells.parquet"
"""File of a results folder with a row per run: `key` of its record, number of its `batch`, `label`, `coordinates`.

The coordinates are JSON: the options that the sweep sets, under their dotted names, and what distinguishes the run
within its experiment (seed, n_train, method, ...).
"""


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


class Run(NamedTuple):
    """A run of a plan.

    Attributes:
        key: Name of its record.
        batch: Number of the batch that it is run in.
        label: What the batch is, in words.
        coordinates: What distinguishes it; see `RunBatch.coordinates`.
    """

    key: str
    batch: int
    label: str
    coordinates: Mapping[str, Any]


class Plan(NamedTuple):
    """Runs that are asked for: of one experiment, or of a sweep over several.

    Attributes:
        name: Of the sweep, or of the experiment.
        base: Experiment without the swept parameters, of which the folder holds the configuration.
        batches: All batches, each run in one of them.
        written: The sweep's file, resolved, of plain values; empty for one experiment.
        wandb: W&B project that runs are logged to; None for none.
    """

    name: str
    base: Experiment
    batches: list[RunBatch]
    written: Mapping[str, Any] = {}
    wandb: str | None = None

    @property
    def keys(self) -> list[str]:
        """Names of all records."""
        return [key for batch in self.batches for key in batch.keys.values()]

    @property
    def runs(self) -> list[Run]:
        """The runs, each once."""
        runs = {}
        for number, batch in enumerate(self.batches):
            for cell, key in batch.keys.items():
                runs[key] = Run(key, number, batch.label, batch.coordinates(cell))
        return list(runs.values())


def make_batch(experiment: Experiment, cells: tuple[Cell, ...], columns: Mapping[str, Any] = {}) -> RunBatch:
    """Return cells with the names of their records and their label."""
    keys = {cell: experiment.key(cell) for cell in cells}
    return RunBatch(experiment, cells, keys, experiment.label(cells), columns)


def experiment_plan(experiment: Experiment) -> Plan:
    """Return the plan of all cells of one experiment."""
    batches = [make_batch(experiment, cells) for cells in experiment.batches()]
    return Plan(experiment.name, experiment, batches)


def missing_batches(batches: Sequence[RunBatch], records: Records) -> list[RunBatch]:
    """Return the batches that lack a record."""
    missing = set(records.missing(key for batch in batches for key in batch.keys.values()))
    return [batch for batch in batches if not missing.isdisjoint(batch.keys.values())]


def make_plan(sweep: SweepFile) -> Plan:
    """Return the plan of a sweep: every combination parsed by its command, equal runs once.

    Raises:
        ArgumentError: If the base configuration or a combination is wrong, with the combination in the message.
    """
    request = parse(sweep.experiment, sweep.arguments({}))
    made = list(experiments(sweep, request.experiment))
    places = [_settled(one, experiment) for one, experiment in zip(sweep.combinations(), made, strict=True)]
    columns, kinds = _columns(places, request.experiment.grid_keys())
    batches = list(_once(_batches(made, columns)))
    if not batches:
        raise ArgumentError("parameters", "leave a run at least", "none", "Their experiments have no cells.")
    written = {
        "command": sweep.command,
        "arguments": [*sweep.before, *sweep.after],
        "fixed": sweep.fixed,
        "parameters": sweep.swept,
        "columns": list(columns[0]),
        "kinds": kinds,
    }
    return Plan(sweep.name, request.experiment, batches, written, request.wandb or sweep.project)


def _batches(made: Sequence[Experiment], columns: Sequence[Mapping[str, Any]]) -> Iterator[RunBatch]:
    for experiment, added in zip(made, columns, strict=True):
        said = " ".join(f"{name}={value}" for name, value in added.items()) if len(made) > 1 else ""
        for cells in experiment.batches():
            batch = make_batch(experiment, cells, added)
            yield batch._replace(label=f"{said} {batch.label}".strip())


def _once(batches: Iterable[RunBatch]) -> Iterator[RunBatch]:
    """Yield the batches without those whose runs are all in earlier ones."""
    seen: set[str] = set()
    for batch in batches:
        if not seen.issuperset(batch.keys.values()):
            seen.update(batch.keys.values())
            yield batch


def _settled(combination: Mapping[str, Any], experiment: Experiment) -> dict[str, Any]:
    """Return the options that a combination sets, with the values that its command made of them."""
    leaves = flatten(experiment.resolved())
    return {name: leaves.get(name, value) for name, value in coordinates(combination).items()}


def _columns(
    places: Sequence[Mapping[str, Any]], grid_keys: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the columns that each combination adds to its records, and the kind of each column.

    The axes of an experiment (n_train, seeds, ...) add none: a record has its own place on them.
    """
    names = list(dict.fromkeys(name for place in places for name in place if name not in grid_keys))
    kinds = {name: _kind([place.get(name) for place in places]) for name in names}
    rows = [
        {name: None if place.get(name) is None else kinds[name][1](place[name]) for name in names}
        for place in places
    ]
    return rows, {name: kind for name, (kind, _) in kinds.items()}


def _kind(values: Sequence[Any]) -> tuple[str, Callable[[Any], Any]]:
    """Return the kind of an option's column, and what turns values into those of the column."""
    types = {type(value) for value in values} - {type(None)}
    if not types or types == {bool}:
        return "truth value" if types else "null", bool
    if types <= {int, float}:
        return "number", float if float in types else int
    return "text", str if types == {str} else canonical_json


def check_data(batches: Iterable[RunBatch]) -> None:
    """Ask for the data of every configuration of batches, so that bad options are refused before anything is made.

    Raises:
        ArgumentError: If the data options are wrong.
        DataError: If the data are missing or damaged.
    """
    seen = set()
    for experiment in _experiments(batches):
        settings, names = experiment.resolved(), experiment.prepared_from
        if names is not None:
            axes = [axis.option for axis in experiment.axes if axis.is_place]
            settings = {name: settings[name] for name in (*names, *axes)}
        described = canonical_json(settings)
        if described not in seen:
            seen.add(described)
            experiment.check_data()


def _experiments(batches: Iterable[RunBatch]) -> Iterable[Experiment]:
    return {id(batch.experiment): batch.experiment for batch in batches}.values()


def check_place(plan: Plan, folder: str | Path) -> None:
    """Refuse a results folder whose records do not fit those of a plan; nothing is made or changed.

    Raises:
        ResultsError: If it has another base configuration, an option that was a number there and is text now, say, or
            is damaged.
    """
    check_folder(folder, _common(plan), grid_keys=plan.base.grid_keys())
    path = Path(folder) / PLAN
    try:
        before = parse_yaml(path.read_bytes())["kinds"] if path.exists() else {}
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return  # of no account to the records, and written anew
    for name, kind in plan.written.get("kinds", {}).items():
        there = before.get(name, kind)
        if there != kind and "null" not in (there, kind) and not _is_corrected(name, there, kind, folder):
            message = f"{name} was a {there} in the records of {folder} and is a {kind} now."
            raise ResultsError(f"{message} They would be no column together: choose another results folder.")


def _is_corrected(name: str, there: str, kind: str, folder: str | Path) -> bool:
    """Whether no record has a value of the option, or all that is text there stands for numbers."""
    records = Records(folder)
    if not records.keys():
        return True
    return (there, kind) == ("text", "number") and were_numbers(records.read([name])[name])


def open_plan(plan: Plan, folder: str | Path) -> Records:
    """Make or open the results folder of a plan.

    Returns:
        Its records.

    Raises:
        ResultsError: If it belongs to another base configuration (the grid may change) or cannot be written.
    """
    store = RecordStore(folder, _common(plan), grid_keys=plan.base.grid_keys())
    (plan.batches[0].experiment if plan.batches else plan.base).begin(store.folder)
    if plan.written:
        write_atomically(store.folder / PLAN, dump_yaml(dict(plan.written)).encode())
    rows = [{**run._asdict(), "coordinates": canonical_json(run.coordinates)} for run in plan.runs]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    write_atomically(store.folder / CELLS, buffer.getvalue())
    return store


def _common(plan: Plan) -> dict[str, Any]:
    """Return the base configuration with the grid of all experiments in it."""
    config = dict(plan.base.resolved())
    if not plan.written:
        return config
    grids = [experiment.resolved() for experiment in _experiments(plan.batches)]
    for name in (name for name in plan.base.grid_keys() if name in config):
        values = [grid[name] for grid in grids]
        if isinstance(config[name], list | tuple):
            joined = {canonical_json(value): value for axis in values for value in axis}
            config[name] = list(joined.values())
        elif isinstance(config[name], Mapping):
            config[name] = {label: part for axis in reversed(values) for label, part in axis.items()}
    return config
