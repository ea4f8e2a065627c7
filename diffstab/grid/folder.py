"""A results folder seen from outside: how far its grid is, what it will take, and the removal of runs."""

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
from diffstab.grid.forecast import Expected, expected
from diffstab.grid.plan import CELLS, Plan, Run
from diffstab.results import Failure, Records, canonical_json

RunState = Literal["recorded", "running", "failed", "missing"]

_SHOWN = 20
"""Lines of a list that are printed; of the rest, the number."""


@dataclass(frozen=True)
class SweepStatus:
    """How far a grid is, or what starting it would do.

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
    """Return how far the grid of a results folder is; nothing is written.

    A run that is at work counts as running, if it failed before too.

    Raises:
        ResultsError: If no grid was started there, or a file of it is damaged.
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
    time = expected(todo, records, [*runs, *known_runs(folder)])
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
    """Return the runs of the grid that was started last in a folder.

    Raises:
        ResultsError: If there is none, or its file is damaged.
    """
    if not (Path(folder) / CELLS).exists():
        message = f"No grid was started in {folder}: there is no {CELLS}."
        raise ResultsError(f"{message} Start one: `diffstab sweep FILE --results {folder}`.")
    return known_runs(folder)


def known_runs(folder: str | Path) -> list[Run]:
    """Return the same; none where nothing was started, or by a version that did not write it down.

    Raises:
        ResultsError: If its file is damaged.
    """
    path = Path(folder) / CELLS
    try:
        rows = pq.read_table(path).to_pylist() if path.exists() else []
        return [Run(**{**row, "coordinates": dict(json.loads(row["coordinates"]))}) for row in rows]
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        message = f"{path} is damaged ({error})."
        raise ResultsError(f"{message} Start the same command again: it writes this file anew.") from error


def remove(
    folder: str | Path, *, where: Sequence[str] = (), failed: bool = False, everything: bool = False
) -> int:
    """Remove runs of a grid: their records, failures, and the files beside the records that have their names.

    Args:
        folder: Results folder.
        where: Conditions such as `n_train=64` on coordinates; a run is removed if it meets all.
        failed: Only runs that failed, which are then tried again.
        everything: All runs; the folder stays, with the plan.

    Returns:
        Number of runs that had a record or a failure.

    Raises:
        ArgumentError: If nothing is selected, everything with a condition, or a condition names no coordinate.
        ResultsError: If no grid was started there, a selected run is at work now, or the disk refuses.
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
