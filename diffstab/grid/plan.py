"""Which runs a sweep asks for, and the results folder that holds them to one base configuration."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments.unit import Experiment
from diffstab.grid.batches import RunBatch, make_batch
from diffstab.grid.combining import experiments
from diffstab.grid.expected import Run
from diffstab.grid.options import parse
from diffstab.grid.sweep_file import SweepFile, coordinates
from diffstab.results import (
    Records,
    RecordStore,
    canonical_json,
    check_folder,
    flatten,
    parse_yaml,
    write_atomically,
)
from diffstab.results.packs import were_numbers

PLAN = "sweep.yaml"
"""File of a sweep's folder with its command, its base configuration's arguments and its parameters."""

CELLS = "cells.parquet"
"""File of a sweep's folder with a row per run: `key` of its record, number of its `batch`, `label`, and `coordinates`.

The coordinates are JSON: the options that the sweep sets, under their dotted names, and what distinguishes the run
within its experiment (seed, n_train, method, ...).
"""


class Plan(NamedTuple):
    """What a sweep asks for.

    Attributes:
        name: Of the sweep.
        base: Experiment without the swept parameters, of which the folder holds the configuration.
        batches: All batches, each run in one of them.
        written: The sweep's file, resolved, of plain values.
        wandb: W&B project that runs are logged to; None for none.
    """

    name: str
    base: Experiment
    batches: list[RunBatch]
    written: dict[str, Any]
    wandb: str | None

    @property
    def grid_keys(self) -> tuple[str, ...]:
        """Settings that may differ within the results folder."""
        return self.base.grid_keys()

    @property
    def keys(self) -> list[str]:
        """Names of all records."""
        return [key for batch in self.batches for key in batch.keys.values()]


def make_plan(sweep: SweepFile) -> Plan:
    """Return the plan of a sweep: every combination parsed by its command, equal runs once.

    Raises:
        ArgumentError: If the base configuration or a combination is wrong, with the combination in the message.
    """
    request = parse(sweep.experiment, sweep.arguments({}))
    _refuse_unknown(sweep, request.experiment.resolved())
    made = list(experiments(sweep, request.experiment))
    places = [_settled(one, experiment) for one, experiment in zip(sweep.combinations(), made, strict=True)]
    columns = _columns(places, request.experiment.grid_keys())
    batches = _once(
        batch
        for one, added in zip(made, columns, strict=True)
        for batch in _batches(one, added, many=len(made) > 1)
    )
    if not batches:
        raise ArgumentError("parameters", "leave a run at least", "none", "Their experiments have no cells.")
    written = {
        "command": sweep.command,
        "arguments": [*sweep.before, *sweep.after],
        "fixed": sweep.fixed,
        "parameters": sweep.swept,
        "columns": list(columns[0]),
        "kinds": {name: _column_kind([row[name] for row in columns]) for name in columns[0]},
    }
    return Plan(sweep.name, request.experiment, batches, written, request.wandb or sweep.project)


def _once(batches: Iterable[RunBatch]) -> list[RunBatch]:
    """Return the batches without those whose runs are all in earlier ones."""
    seen: set[str] = set()
    kept = []
    for batch in batches:
        if not seen.issuperset(batch.keys.values()):
            seen.update(batch.keys.values())
            kept.append(batch)
    return kept


def check_data(experiments: Iterable[Experiment]) -> None:
    """Ask for the data of every configuration, so that bad options are refused before anything is made.

    Raises:
        ArgumentError: If the data options are wrong.
        DataError: If the data are missing or damaged.
    """
    seen = set()
    for experiment in experiments:
        settings, names = experiment.resolved(), experiment.prepared_from
        if names is not None:
            axes = [axis.option for axis in experiment.axes if axis.is_place]
            settings = {name: settings[name] for name in (*names, *axes)}
        described = canonical_json(settings)
        if described not in seen:
            seen.add(described)
            experiment.check_data()


def check_place(plan: Plan, folder: str | Path) -> None:
    """Refuse a results folder whose records do not fit those of a plan; nothing is made or changed.

    Raises:
        ResultsError: If it has another base configuration, an option that was a number there and is text now, say, or
            is damaged.
    """
    check_folder(folder, _common(plan), grid_keys=plan.grid_keys)
    path = Path(folder) / PLAN
    try:
        before = parse_yaml(path.read_bytes())["kinds"] if path.exists() else {}
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return  # of no account to the records, and written anew
    for name, kind in plan.written["kinds"].items():
        there = before.get(name, kind)
        if (
            there != kind
            and "null" not in (there, kind)
            and not _is_corrected(name, (there, kind), Records(folder))
        ):
            message = f"{name} was a {there} in the records of {folder} and is a {kind} now."
            raise ResultsError(f"{message} They would be no column together: choose another results folder.")


def _is_corrected(name: str, kinds: tuple[str, str], records: Records) -> bool:
    """Whether no record has a value of the option, or all that is text there stands for numbers."""
    if not records.keys():
        return True
    if kinds != ("text", "number"):
        return False
    return were_numbers(records.read([name])[name])


def open_plan(plan: Plan, folder: str | Path) -> Records:
    """Make or open the results folder of a plan.

    Returns:
        Its records.

    Raises:
        ResultsError: If it belongs to another base configuration (the grid may change) or cannot be written.
    """
    store = RecordStore(folder, _common(plan), grid_keys=plan.grid_keys)
    plan.batches[0].experiment.begin(store.folder)
    text = yaml.safe_dump(plan.written, sort_keys=False, allow_unicode=True)
    write_atomically(store.folder / PLAN, text.encode())
    buffer = io.BytesIO()
    pq.write_table(_cells(plan), buffer)
    write_atomically(store.folder / CELLS, buffer.getvalue())
    return store


def _refuse_unknown(sweep: SweepFile, base: Mapping[str, Any]) -> None:
    """Refuse an option that would be a new entry of a mapping, a method of one option say: a typing error.

    What follows init_args hangs on the class, and is checked where the combination is parsed.
    """
    options = [option for name in {**sweep.fixed, **sweep.swept} for option in name.split(",")]
    for option in options:
        inside: Any = base
        for part in option.split("."):
            if part == "init_args" or option == "config" or not inside or not isinstance(inside, Mapping):
                break
            if part not in inside:
                known = ", ".join(inside)
                raise ArgumentError(
                    f"parameters.{option}", "name options of the command", part, f"There are {known}."
                )
            inside = inside[part]


def _settled(combination: Mapping[str, Any], experiment: Any) -> dict[str, Any]:
    """Return the options that a combination sets, with the values that its command made of them."""
    leaves = flatten(experiment.resolved())
    return {name: leaves.get(name, value) for name, value in coordinates(combination).items()}


def _batches(experiment: Experiment, columns: Mapping[str, Any], *, many: bool) -> Iterator[RunBatch]:
    """Yield the batches of an experiment."""
    said = " ".join(f"{name}={value}" for name, value in columns.items()) if many else ""
    for cells in experiment.batches():
        batch = make_batch(experiment, cells, columns)
        yield batch._replace(label=f"{said} {batch.label}".strip())


def _columns(places: Sequence[Mapping[str, Any]], grid_keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the columns that each combination adds to its records: scalars, other values as JSON.

    The axes of an experiment (n_train, seeds, ...) add none: a record has its own place on them.
    """
    names = list(dict.fromkeys(name for place in places for name in place if name not in grid_keys))
    kinds = {name: _kind([place.get(name) for place in places]) for name in names}
    return [{name: kinds[name](place.get(name)) for name in names} for place in places]


def _kind(values: Sequence[Any]) -> Any:
    """Return what turns the values of an option into those of one column."""
    types = {type(value) for value in values} - {type(None)}
    if types <= {int} or types <= {str} or types <= {bool}:
        return lambda value: value
    if types <= {int, float}:
        return lambda value: None if value is None else float(value)
    return lambda value: None if value is None else canonical_json(value)


def _column_kind(values: Sequence[Any]) -> str:
    known = next((value for value in values if value is not None), None)
    return {bool: "truth value", str: "text", int: "number", float: "number"}.get(type(known), "null")


def _common(plan: Plan) -> dict[str, Any]:
    """Return the base configuration with the grid of all experiments in it."""
    config: dict[str, Any] = dict(plan.base.resolved())
    experiments = {id(batch.experiment): batch.experiment for batch in plan.batches}
    grids = [experiment.resolved() for experiment in experiments.values()]
    for name in (name for name in plan.grid_keys if name in config):
        values = [grid[name] for grid in grids]
        if isinstance(config[name], list | tuple):
            joined = {canonical_json(value): value for axis in values for value in axis}
            config[name] = list(joined.values())
        elif isinstance(config[name], Mapping):
            config[name] = {label: part for axis in reversed(values) for label, part in axis.items()}
    return config


def planned_runs(plan: Plan) -> list[Run]:
    """Return the runs of a plan, each once."""
    runs = {}
    for number, batch in enumerate(plan.batches):
        for cell, key in batch.keys.items():
            runs[key] = Run(key, number, batch.label, batch.coordinates(cell))
    return list(runs.values())


def _cells(plan: Plan) -> pa.Table:
    runs = planned_runs(plan)
    return pa.Table.from_pylist(
        [{**run._asdict(), "coordinates": canonical_json(run.coordinates)} for run in runs]
    )
