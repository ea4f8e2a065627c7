"""`diffstab import-wandb`: the runs of a W&B project, or of an offline folder, back into records."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments import experiment_class, listed
from diffstab.extras import require
from diffstab.results import (
    Records,
    RecordStore,
    canonical_json,
    config_hash,
    record_key,
    stored_config,
    write_atomically,
)
from diffstab.results.scratch import scratch_folder
from diffstab.tracking.runs import FoundRun, Reading, offline_runs, online_runs

PLAIN = "plain"
"""Group of the runs that belong to no results folder: single fits, and runs of other programs."""
KEPT_FILES = ("records/*.parquet", "examples.npz", "snapshots/*.npz")
"""Files of a run's results that are taken over; its files on a server may hold anything."""
_STAGES = ("", "val_", "test_")
"""First parts under which a run may have logged a quantity, the best last."""
_MEASURED = ("error", "loss", "D", "G", "R")


@dataclass
class Found:
    """What a set of runs amounts to.

    Attributes:
        files: Contents by path in a results folder: records, and the files beside them.
        rows: Records made of configuration and summary, by key.
        configs: Configurations of the results folders, by what all runs of one have in common.
        grid_keys: Settings that may differ within the results folder.
        unfinished: Names of the runs that hold no record.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    grid_keys: tuple[str, ...] = ()
    unfinished: list[str] = field(default_factory=list)


class Imported(NamedTuple):
    """What an import did.

    Attributes:
        written: Number of records that it wrote.
        present: Number of those that were there already.
        unfinished: Names of runs that hold none.
        damaged: What is wrong with the runs that were left out, by their names.
    """

    written: int
    present: int
    unfinished: Sequence[str] = ()
    damaged: Mapping[str, str] = {}


def import_runs(
    source: str, folder: str | Path, *, group: str = "", skip_damaged: bool = False, api: Any = None
) -> Imported:
    """Write the records of W&B runs into a results folder; all of them or none.

    A run that kept its records gives them back as they were. Any other finished run becomes a record made of its
    configuration and its last values.

    Args:
        source: A folder with offline runs, or ENTITY/PROJECT on the server.
        folder: Results folder; records that it holds already stay as they are.
        group: Name of the results folder whose runs are wanted, "plain" for the runs of none; "" where there is
            only one.
        skip_damaged: Leave out runs that cannot be read.
        api: What answers for the server; None is W&B's own.

    Raises:
        ArgumentError: If the source is neither, or holds several groups and none is chosen, or wandb is not installed.
        ResultsError: If there is no run, a run is damaged, runs of one group have different configurations, or
            the results folder is another one's or cannot be written; nothing is left behind then.
    """
    if api is None:
        require("wandb", "to read its runs")
    with scratch_folder() as place:
        reading = _read(source, place, api)
        damaged = dict(reading.damaged)
        found = _gather(_chosen(reading.runs, group), damaged)
    if damaged and not skip_damaged:
        name, text = next(iter(damaged.items()))
        message = f"{len(damaged)} runs of {source} are damaged: {name} ({text})."
        raise ResultsError(f"{message} Nothing was imported; --skip-damaged imports the others.")
    return _write(found, Path(folder))._replace(damaged=damaged)


def _read(source: str, place: Path, api: Any) -> Reading:
    if Path(source).is_dir():
        return offline_runs(Path(source))
    if len([part for part in source.split("/") if part]) == 2 and not Path(source).is_absolute():
        return online_runs(source, place, api=api)
    raise ArgumentError("source", "be a folder of offline runs or ENTITY/PROJECT", repr(source))


def _chosen(runs: Sequence[FoundRun], group: str) -> list[FoundRun]:
    """Return the runs of a group."""
    groups = {run.id: PLAIN if _grid_keys(run) is None else run.group or PLAIN for run in runs}
    known = sorted(set(groups.values()))
    if group and group not in known:
        raise ArgumentError("group", f"be one of {', '.join(known)}", repr(group))
    if not group and len(known) > 1:
        way_out = "One results folder holds runs of one configuration: import each group by itself."
        raise ArgumentError("group", f"be one of {', '.join(known)}", "none", way_out)
    return [run for run in runs if not group or groups[run.id] == group]


def _grid_keys(run: FoundRun) -> tuple[str, ...] | None:
    """Return the settings that may differ within the results folder of a grid's run; None for any other run."""
    if isinstance(keys := run.config.get("grid_keys"), list):
        return tuple(map(str, keys))
    # Runs of earlier versions name their command alone.
    command = run.config.get("command")
    return experiment_class(str(command)).grid_keys() if command in listed() else None


def _gather(runs: Sequence[FoundRun], damaged: dict[str, str]) -> Found:
    """Collect what the runs hold, of several that hold a record the newest; damaged ones are added to `damaged`."""
    found = Found()
    for run in runs:
        keys = _grid_keys(run)
        try:
            if keys is not None and run.kept.is_dir():
                config, files = stored_config(run.kept / "config.yaml"), _kept_files(run.kept)
                found.files |= files
                found.configs[record_key(config, {}, grid_keys=keys)] = config
                found.grid_keys = keys
            elif run.is_finished and keys is None:
                found.rows[config_hash({"wandb": run.id})] = row_of(run)
            else:
                found.unfinished.append(run.name)
        except (ResultsError, OSError, yaml.YAMLError) as error:
            damaged[run.id] = " ".join(str(error).split())
    if len(found.configs) > 1:
        message = f"The runs of one group have {len(found.configs)} different configurations."
        way_out = "Import their offline folders one by one, each into its own results folder."
        raise ResultsError(f"{message} {way_out}")
    return found


def _kept_files(kept: Path) -> dict[str, bytes]:
    """Return the files of a run's results by their paths, once its records are known to be whole."""
    Records(kept).read()
    paths = [path for pattern in KEPT_FILES for path in sorted(kept.glob(pattern))]
    return {path.relative_to(kept).as_posix(): path.read_bytes() for path in paths}


def row_of(run: FoundRun) -> dict[str, Any]:
    """Return a record of a run that kept none: its configuration, and its last values that are single numbers.

    Data set, size, seed and the measured quantities get the names that they have in other records, where the run
    is one of `diffstab fit` or names them so itself.
    """
    config, data = run.config, _part(run.config, "data")
    options = _part(data, "init_args")
    values = {
        name: value
        for name, value in run.summary.items()
        if isinstance(value, int | float) and not name.startswith("_")
    }
    measured = {
        f"test_{name}" if name in ("error", "loss") else name: values[stage + name]
        for name in _MEASURED
        for stage in _STAGES
        # A bare loss or error is that of anything; validation here is on the test split.
        if stage + name in values and (stage or name not in ("error", "loss"))
    }
    return {
        "dataset": config.get("dataset") or str(data.get("class_path", "")).rpartition(".")[2] or None,
        "method": config.get("method") or run.name,
        "n_train": config.get("n_train", options.get("n_train")),
        "seed": config.get("seed", options.get("seed", config.get("seed_everything"))),
        **values,
        **measured,
        "config": canonical_json(config),
        "started_at": run.started,
        "wandb_id": run.id,
        "wandb_name": run.name,
    }


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    return part if isinstance(part, Mapping) else {}


def _write(found: Found, folder: Path) -> Imported:
    """Write what is not there yet; take it back if the disk refuses."""
    records = _opened(found, folder)
    names = {name: Path(name).stem for name in found.files if name.startswith("records/")}
    absent = set(records.missing([*names.values(), *found.rows]))
    made: list[Path] = []
    try:
        for name, content in found.files.items():
            path = folder / name
            if absent.issuperset({names[name]} if name in names else ()) and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                made.append(write_atomically(path, content))
        made += [records.write(key, row) for key, row in found.rows.items() if key in absent]
    except (ResultsError, OSError):
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return Imported(len(absent), len(names) + len(found.rows) - len(absent), found.unfinished)


def _opened(found: Found, folder: Path) -> Records:
    """Open the results folder, whose own grid stays as it is."""
    for fixed, config in found.configs.items():
        path, keys = folder / "config.yaml", found.grid_keys
        there = stored_config(path) if path.exists() else config
        is_same = record_key(there, {}, grid_keys=keys) == fixed
        return RecordStore(folder, there if is_same else config, grid_keys=keys)
    return Records(folder)


def main(args: Sequence[str]) -> None:
    """Import, and print what became of it.

    Raises:
        ArgumentError: If an option is wrong, or a group must be chosen.
        ResultsError: If the runs cannot be read, or the records not be written.
    """
    parser = argparse.ArgumentParser(
        prog="diffstab import-wandb", description="Turn W&B runs back into the records of a results folder."
    )
    parser.add_argument("source", help="ENTITY/PROJECT, or a folder with offline runs")
    parser.add_argument("--results", required=True, help="results folder to write to")
    parser.add_argument("--group", default="", help="import the runs of this results folder only")
    parser.add_argument("--skip-damaged", action="store_true", help="leave out runs that cannot be read")
    given = parser.parse_args(list(args))
    done = import_runs(given.source, given.results, group=given.group, skip_damaged=given.skip_damaged)
    print(f"{done.written} records imported into {given.results}, {done.present} were there already.")
    if done.unfinished:
        print(f"Runs without an end, which hold no record: {len(done.unfinished)}.")
    for name, text in done.damaged.items():
        print(f"Left out as damaged: {name} ({text}).", file=sys.stderr)
