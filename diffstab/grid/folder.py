"""A sweep's folder seen from outside: how far it is, what it will take, and the removal of runs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments import class_of_kind
from diffstab.grid.forecast import Expected, expected
from diffstab.grid.options import stored_experiment
from diffstab.grid.plan import CELLS, Plan, Run
from diffstab.results import Failure, Records, canonical_json, stored_config

RunState = Literal["recorded", "running", "failed", "missing"]

_SHOWN = 20
"""Lines of a list that are printed; of the rest, the number."""


@dataclass(frozen=True)
class SweepStatus:
    """How far a sweep is, or what starting it would do.

    Attributes:
        states: RunState of every run, by key.
        labels: What is at work now, or would be run, in words.
        failures: Why batches failed, by what they are.
        expected: Time of the runs that are left.
        workers: Processes that they would be run by.
        head: Before the counts.
        verb: Before each label.
    """

    states: Mapping[str, RunState]
    labels: list[str]
    failures: dict[str, Failure] = field(default_factory=dict)
    expected: Expected = field(default_factory=Expected)
    workers: int = 1
    head: str = ""
    verb: str = "running"

    def count(self, state: RunState) -> int:
        """Return the number of runs in a state."""
        return Counter(self.states.values())[state]

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON can hold it: counts, labels, failures, and the expected seconds of what is left."""
        failures = [{**failure._asdict(), "label": label} for label, failure in self.failures.items()]
        counts = {state: self.count(state) for state in get_args(RunState)}
        return {
            "runs": len(self.states),
            **counts,
            "running_now": self.labels,
            "failures": failures,
            "expected": {**dataclasses.asdict(self.expected), "wall_seconds": self.expected.on(self.workers)},
        }

    def __str__(self) -> str:
        parts = [f"{count} {state}" for state in get_args(RunState) if (count := self.count(state))]
        lines = [f"{self.head}{len(self.states)} runs: {', '.join(parts)}."]
        lines += _listed([f"{self.verb}: {label}" for label in self.labels])
        lines += _listed([_failed(label, failure) for label, failure in self.failures.items()])
        if self.verb != "running" or self.count("missing"):
            lines.append(self.expected.text(self.workers))
        return "\n".join(lines)


def _failed(label: str, failure: Failure) -> str:
    times = "once" if failure.attempts == 1 else f"{failure.attempts} times"
    return f"failed: {label}: {failure.reason} (tried {times}, {failure.when})"


def _listed(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"... and {rest} more"] if rest > 0 else [])]


def status(folder: str | Path) -> SweepStatus:
    """Return how far a sweep is; nothing is written.

    A run that is at work counts as running, if it failed before too.

    Args:
        folder: Results folder of a sweep.

    Raises:
        ResultsError: If no sweep was started there, or a file of it is damaged.
    """
    records, runs = Records(folder), stored_runs(folder)
    states, known = _states(records, runs), records.failures()
    failures = {run.label: known[run.key] for run in runs if states[run.key] == "failed" and run.key in known}
    left = expected([run for run in runs if states[run.key] == "missing"], records, runs)
    return SweepStatus(states, _labels(runs, states, "running"), failures, left, head=f"{records.folder}: ")


def estimate(plan: Plan, folder: str | Path, *, workers: int = 1, retry_failed: bool = False) -> SweepStatus:
    """Return what starting a sweep would do, and how long it would take by the folder's earlier records.

    Args:
        plan: What is asked for.
        folder: Its results folder, which need not exist.
        workers: Processes it would be run by.
        retry_failed: Whether runs that failed before would be tried again.

    Raises:
        ResultsError: If a file of the folder is damaged.
    """
    records, runs = Records(folder), plan.runs
    states = _states(records, runs)
    wanted = ("missing", "failed") if retry_failed else ("missing",)
    todo = [run for run in runs if states[run.key] in wanted]
    # Runs of an earlier, other grid in this folder tell of their time too.
    known = [*runs, *(stored_runs(folder) if (Path(folder) / CELLS).exists() else [])]
    time = expected(todo, records, known)
    return SweepStatus(states, _labels(runs, states, *wanted), expected=time, workers=workers, verb="to run")


def _labels(runs: Sequence[Run], states: Mapping[str, RunState], *wanted: str) -> list[str]:
    return list(dict.fromkeys(run.label for run in runs if states[run.key] in wanted))


def _states(records: Records, runs: Sequence[Run]) -> dict[str, RunState]:
    # Claims first: a run that ends while we look has its record by the time these are listed.
    claimed = records.claimed()
    missing, failed = set(records.missing(run.key for run in runs)), set(records.failures())
    busy = {run.batch for run in runs if run.key in claimed}

    def state(run: Run) -> RunState:
        if run.key not in missing:
            return "recorded"
        if run.batch in busy:
            return "running"
        return "failed" if run.key in failed else "missing"

    return {run.key: state(run) for run in runs}


def stored_runs(folder: str | Path) -> list[Run]:
    """Return the runs of the sweep that was started last in a folder.

    Raises:
        ResultsError: If there is none, or its file is damaged.
    """
    path = Path(folder) / CELLS
    if not path.exists():
        message = f"No sweep was started in {folder}: there is no {CELLS}."
        raise ResultsError(f"{message} Start one: `diffstab sweep FILE --results {folder}`.")
    try:
        rows = pq.read_table(path).to_pylist()
        return [Run(**{**row, "coordinates": dict(json.loads(row["coordinates"]))}) for row in rows]
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        message = f"{path} is damaged ({error})."
        raise ResultsError(f"{message} Start the sweep again: it writes this file anew.") from error


def runs_of(folder: str | Path, kind: str) -> dict[str, Mapping[str, Any]]:
    """Return the runs that a results folder is for: what tells each apart, by the name of its record.

    Those of a sweep are in its plan, others follow from the configuration; none where the folder does not say.

    Args:
        folder: Results folder.
        kind: Word in the column `kind` of its records.

    Raises:
        ResultsError: If a file of the folder is damaged.
    """
    folder = Path(folder)
    if (folder / CELLS).exists():
        return {run.key: run.coordinates for run in stored_runs(folder)}
    found, path = class_of_kind(kind), folder / "config.yaml"
    config = stored_config(path) if found and path.exists() else {}
    # Without a side of its grid a configuration does not say how large that is.
    if found is None or not (found.axes and config.keys() >= {axis.option for axis in found.axes}):
        return {}
    try:
        experiment = stored_experiment(found, config)
    except ArgumentError:  # changed by hand
        return {}
    return {experiment.key(cell): cell for cell in experiment.cells()}


def remove(
    folder: str | Path, *, where: Sequence[str] = (), failed: bool = False, everything: bool = False
) -> int:
    """Remove runs of a sweep: their records, failures, and the files beside the records that have their names.

    Args:
        folder: Results folder of a sweep.
        where: Conditions such as `n_train=64` on coordinates; a run is removed if it meets all.
        failed: Only runs that failed, which are then tried again.
        everything: All runs; the folder stays, with the plan.

    Returns:
        Number of runs that had a record or a failure.

    Raises:
        ArgumentError: If nothing is selected, everything with a condition, or a condition names no coordinate.
        ResultsError: If no sweep was started there, a selected run is at work now, or the disk refuses.
    """
    if everything == bool(where or failed):
        received, way_out = "both" if everything else "nothing", "Give --where NAME=VALUE, --failed or --all."
        raise ArgumentError("selection", "be conditions, or all runs", received, way_out)
    records, runs = Records(folder), stored_runs(folder)
    conditions = [_condition(text, runs) for text in where]
    chosen = [run for run in runs if all(_meets(run.coordinates, *one) for one in conditions)]
    states = _states(records, runs)
    if failed:
        chosen = [run for run in chosen if states[run.key] == "failed"]
    if busy := [run.label for run in chosen if states[run.key] == "running"]:
        message = f"{busy[0]} is being run at this moment."
        raise ResultsError(f"{message} Stop the sweep, or wait, then start again.")
    keys = {run.key for run in chosen if states[run.key] != "missing"}
    records.remove(keys)
    records.forget(keys)
    # A lock stays: whoever holds it by now would hold it alone no more.
    beside = (path for path in records.folder.glob("*/*") if path.parent.name != "claims")
    _remove_all(path for path in beside if path.name.partition(".")[0] in keys)
    return len(keys)


def _condition(text: str, runs: Sequence[Run]) -> tuple[str, object]:
    name, sign, value = text.partition("=")
    known = sorted({coordinate for run in runs for coordinate in run.coordinates})
    if not sign or name not in known:
        way_out = f"There are {', '.join(known)}."
        raise ArgumentError("where", "be NAME=VALUE of a coordinate", repr(text), way_out)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _meets(coordinates: Mapping[str, Any], name: str, value: object) -> bool:
    # Values that are neither numbers nor text are coordinates as JSON.
    there = coordinates.get(name)
    return name in coordinates and canonical_json(value) in (canonical_json(there), there)


def _remove_all(paths: Iterable[Path]) -> None:
    try:
        for path in list(paths):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        message = f"Cannot remove {error.filename}: {error.strerror}."
        raise ResultsError(f"{message} Mend the permissions, then start again.") from error
