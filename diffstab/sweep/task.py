"""What a worker does with a batch of runs."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from diffstab import __version__
from diffstab.errors import ResultsError
from diffstab.results import Provenance, Records, provenance
from diffstab.training.grid import GridCommand, Observer, run_batch

MakeObserver = Callable[[], Observer]


class Task(NamedTuple):
    """A batch on its way to a worker.

    Attributes:
        command: The command.
        experiment: Its configuration.
        batch: The cells.
        folder: Results folder, a path that every worker sees.
        columns: Added to the records.
        make_observer: Makes what is told of the runs on the worker; None for nothing.
    """

    command: GridCommand[Any, Any]
    experiment: Any
    batch: tuple[Any, ...]
    folder: Path
    columns: Mapping[str, Any]
    make_observer: MakeObserver | None


class Answer(NamedTuple):
    """What became of a batch on a worker.

    Attributes:
        outcome: As of `run_batch`; or "failed", by an exception of the runs; or "refused", by the results folder.
        seconds: Time it took.
        reason: Of a failure, in a line.
        detail: Its traceback.
    """

    outcome: Literal["done", "recorded", "busy", "failed", "refused"]
    seconds: float = 0.0
    reason: str = ""
    detail: str = ""


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
    """Run a batch on this worker and write its records; an exception is answered, not raised.

    Answered, as not every exception can be sent over the wire, and the loop must tell a run that fails from a disk
    that is full.
    """
    clock = time.perf_counter()
    try:
        if reason := unfit(task.folder, __version__):
            raise ResultsError(reason)
        outcome = run_batch(
            task.command,
            task.experiment,
            task.batch,
            _Extended(task.folder, task.columns),
            origin=_origin(),
            observer=task.make_observer() if task.make_observer else None,
        )
    except ResultsError as error:
        return Answer("refused", reason=str(error))
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Answer("failed", time.perf_counter() - clock, reason, traceback.format_exc())
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
