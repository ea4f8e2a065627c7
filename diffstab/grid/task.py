"""What a worker does with a batch of runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal, NamedTuple

from diffstab import __version__
from diffstab.errors import ResultsError
from diffstab.grid.batches import RunBatch
from diffstab.grid.observers import MakeObserver
from diffstab.grid.running import reason_of, run_batch
from diffstab.results import Records


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


def run_task(batch: RunBatch, folder: Path, make_observer: MakeObserver | None = None) -> Answer:
    """Run a batch on this worker, and write its records or why it failed.

    An exception of the runs is answered, not raised: not every exception can be sent over the wire, and a full disk is
    not the fault of a run.

    Args:
        batch: The cells.
        folder: Results folder, a path that every worker sees.
        make_observer: Makes what is told of the runs on the worker; None for nothing.
    """
    if reason := unfit(folder, __version__):
        return Answer("refused", reason=reason)
    try:
        return _tried(batch, Records(folder), make_observer)
    except ResultsError as error:
        return Answer("refused", reason=str(error))


def _tried(batch: RunBatch, records: Records, make_observer: MakeObserver | None) -> Answer:
    # Asked of the disk, as the driver may not have heard of it: the worker died before its answer was taken.
    if known := records.failures(batch.keys.values()):
        return Answer("failed", reason=next(iter(known.values())).reason)
    clock = time.perf_counter()
    try:
        outcome = run_batch(batch, records, make_observer() if make_observer else None)
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
