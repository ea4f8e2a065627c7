"""What a worker does with a batch of runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from diffstab import __version__
from diffstab.errors import ResultsError
from diffstab.results import Provenance, Records, provenance
from diffstab.training.failing import reason_of
from diffstab.training.grid import GridCommand, Observer, run_noted

MakeObserver = Callable[[], Observer]


class Task(NamedTuple):
    """A batch on its way to a worker.

    Attributes:
        command: The command.
        experiment: Its configuration.
        batch: The cells.
        folder: Results folder, a path that every worker sees.
        label: What it is, in words.
        columns: Added to the records.
        make_observer: Makes what is told of the runs on the worker; None for nothing.
    """

    command: GridCommand[Any, Any]
    experiment: Any
    batch: tuple[Any, ...]
    folder: Path
    label: str
    columns: Mapping[str, Any]
    make_observer: MakeObserver | None


class Answer(NamedTuple):
    """What became of a batch on a worker.

    Attributes:
        outcome: As of `run_batch`; or "failed", by an exception of the runs; or "refused", by the results folder.
        seconds: Time it took.
        reason: Of a failure or refusal, in a line.
    """

    outcome: Literal["done", "recorded", "busy", "failed", "refused"]
    seconds: float = 0.0
    reason: str = ""


class _Extended(Records):
    """Records that get further columns as they are written.

    Args:
        folder: Results folder.
        columns: Added where a record has no column of that name.
    """

    def __init__(self, folder: Path, columns: Mapping[str, Any]) -> None:
        super().__init__(folder)
        self._columns = columns

    def write(self, key: str, row: Mapping[str, object]) -> Path:
        """Write a run's record with the columns; see `Records.write`."""
        return super().write(key, {**self._columns, **row})


def run_task(task: Task) -> Answer:
    """Run a batch on this worker, and write its records or why it failed.

    An exception of the runs is answered, not raised: not every exception can be sent over the wire, and a full disk is
    not the fault of a run.
    """
    if reason := unfit(task.folder, __version__):
        return Answer("refused", reason=reason)
    try:
        return _tried(task, _Extended(task.folder, task.columns))
    except ResultsError as error:
        return Answer("refused", reason=str(error))


def _tried(task: Task, records: Records) -> Answer:
    clock = time.perf_counter()
    keys = [task.command.key(task.experiment, cell) for cell in task.batch]
    # Asked of the disk, as the driver may not have heard of it: the worker died before its answer was taken.
    if known := records.failures(keys):
        return Answer("failed", reason=next(iter(known.values())).reason)

    try:
        outcome = run_noted(
            task.command,
            task.experiment,
            task.batch,
            records,
            origin=_origin(),
            observer=task.make_observer() if task.make_observer else None,
            label=task.label,
        )
    except ResultsError:
        raise
    except (Exception, SystemExit) as error:
        return Answer("failed", reason=reason_of(error))
    return Answer(outcome, time.perf_counter() - clock)


def unfit(folder: Path, version: str) -> str:
    """Return why this process cannot work on a results folder of a driver of that version; empty if it can."""
    if version != __version__:
        return (
            f"A worker runs diffstab {__version__}, this process {version}. Install one version everywhere."
        )
    if not folder.is_dir():
        return f"A worker does not see {folder}. Choose a results folder on a file system that all workers share."
    return ""


@lru_cache(maxsize=1)
def _origin() -> Provenance:
    """Return commit, versions and hardware, asked once: a checkout may move on while its code runs."""
    return provenance()
